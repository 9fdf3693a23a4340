# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the live catalog says of tables, and the ledger of applied migrations. Reads only."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

_TABLES = """
select c.relname,
       case when c.reltuples < 0 or (c.reltuples = 0 and c.relpages = 0 and %s < 140000) then null
            else c.reltuples::bigint end
from pg_catalog.pg_class c
where c.relkind in ('r', 'p') and pg_catalog.pg_table_is_visible(c.oid)
  and c.relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
"""

_COLUMNS = """
select c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.atthasdef or a.attidentity <> ''
from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
where a.attnum > 0 and not a.attisdropped and c.relname = any(%s) and c.relkind in ('r', 'p')
  and pg_catalog.pg_table_is_visible(c.oid)
order by c.relname, a.attnum
"""

_CONSTRAINTS = """
select k.conname, c.relname, k.contype::text, r.relname,
       array(select a.attname::text from unnest(k.conkey) with ordinality as u(n, i)
             join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.n order by u.i),
       array(select a.attname::text from unnest(k.confkey) with ordinality as u(n, i)
             join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.n order by u.i)
from pg_catalog.pg_constraint k
join pg_catalog.pg_class c on c.oid = k.conrelid
left join pg_catalog.pg_class r on r.oid = k.confrelid
where c.relname = any(%s) and pg_catalog.pg_table_is_visible(c.oid)
"""

_INDEXES = """
select x.relname, c.relname, i.indisunique,
       array(select a.attname::text from unnest(i.indkey::int[]) with ordinality as u(n, i)
             join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.n order by u.i)
from pg_catalog.pg_index i
join pg_catalog.pg_class x on x.oid = i.indexrelid
join pg_catalog.pg_class c on c.oid = i.indrelid
where c.relname = any(%s) and pg_catalog.pg_table_is_visible(c.oid)
"""


def read(connection: Any) -> Dict[str, Any]:
    """{"server_version", "tables": {name: {"rows", "bytes"}}, "columns", "constraints", "indexes"}.

    ``rows`` is the planner's estimate, None for a table that was never analyzed or vacuumed (reltuples -1 since version
    14, 0 with no pages before; documentation, pg_class). ``bytes`` is filled in by ``measure``.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TABLES, (connection.server_version,))
        tables: Dict[str, Dict[str, Any]] = {name: {"rows": rows, "bytes": None} for name, rows in cursor.fetchall()}
        names = list(tables)
        cursor.execute(_COLUMNS, (names,))
        columns: Dict[str, Dict[str, Any]] = {name: {} for name in names}
        for table, name, type_name, not_null, default in cursor.fetchall():
            columns[table][name] = {"type": type_name, "not_null": not_null, "default": default}
        cursor.execute(_CONSTRAINTS, (names,))
        constraints = [
            dict(zip(("name", "table", "type", "references", "columns", "referenced_columns"), row))
            for row in cursor.fetchall()
        ]
        cursor.execute(_INDEXES, (names,))
        indexes = [dict(zip(("name", "table", "unique", "columns"), row)) for row in cursor.fetchall()]
    return {
        "server_version": connection.server_version,
        "tables": tables,
        "columns": columns,
        "constraints": constraints,
        "indexes": indexes,
    }


_SIZES = """
select c.relname, pg_total_relation_size(c.oid), pg_relation_size(c.oid)
from pg_catalog.pg_class c
where c.relname = any(%s) and c.relkind in ('r', 'p') and pg_catalog.pg_table_is_visible(c.oid)
"""


def measure(connection: Any, sizes: Dict[str, Dict[str, Any]], patience: float = 1.0) -> None:
    """Fill in the bytes of each table with its indexes and TOAST, in place; a table without pages has no rows.

    pg_total_relation_size() takes ACCESS SHARE, which waits behind somebody's exclusive lock: after ``patience``
    seconds the sizes are asked for one by one, and those of locked tables stay unknown.
    """
    from psycopg2 import errors

    def ask(names: List[str]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("begin")
            try:
                cursor.execute("set local lock_timeout = %s", ("%dms" % (patience * 1000),))
                cursor.execute(_SIZES, (names,))
                for name, total, heap in cursor.fetchall():
                    sizes[name]["bytes"] = total
                    if heap == 0:
                        sizes[name]["rows"] = 0
            finally:
                cursor.execute("rollback")

    try:
        ask(list(sizes))
    except errors.LockNotAvailable:
        for name in sizes:
            try:
                ask([name])
            except errors.LockNotAvailable:
                continue


def ledger(connection: Any) -> List[Tuple[int, str, str]]:
    """The rows of django_migrations as (id, app, name), oldest first; none when there is no such table."""
    with connection.cursor() as cursor:
        cursor.execute("select to_regclass('django_migrations') is not null")
        if not cursor.fetchone()[0]:
            return []
        cursor.execute("select id, app, name from django_migrations order by id")
        return [(row[0], row[1], row[2]) for row in cursor.fetchall()]


def applied_names(rows: Sequence[Tuple[int, str, str]]) -> List[str]:
    """The distinct ``app.name`` of the ledger, in order."""
    return list(dict.fromkeys("%s.%s" % (app, name) for number, app, name in rows))
