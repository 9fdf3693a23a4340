# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of tables before and after they are vacuumed. Reads only, with the rights of the tables' owner.

How full a table is comes from a sample of its blocks (TABLESAMPLE SYSTEM: documentation, SELECT), so neither
pgstattuple nor fresh statistics are needed.
"""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from ..._errors import NotAllowed
from ..core.server import rows
from ..core.sessions import keepers
from .errors import UnknownTable

Connection = Any
Facts = Dict[str, Any]

SAMPLE = 2000  # blocks
KINDS = {
    "p": "partitioned",
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "i": "an index",
    "S": "a sequence",
}  # pg_class.relkind

_SERVER = """
select to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as now,
       current_user::text as "user", session_user::text as session_user, current_database()::text as database,
       current_setting('server_version') as server_version,
       current_setting('server_version_num')::int as server_version_num,
       (select rolsuper from pg_catalog.pg_roles where rolname = current_user) as superuser,
       pg_is_in_recovery() as standby,
       current_setting('block_size')::int as block_size,
       current_setting('max_parallel_maintenance_workers')::int as parallel_workers,
       current_setting('autovacuum_freeze_max_age')::bigint as freeze_max_age,
       pg_size_bytes(current_setting('max_wal_size')) as max_wal_bytes,
       (select extversion from pg_catalog.pg_extension where extname = 'pg_repack') as pg_repack
"""

# What keeps dead rows for replicas (documentation, 27.2.5 and 27.2.6). How long in seconds is not known.
_REPLICAS = """
select format('a query on replica %s (hot_standby_feedback), %s transactions old', application_name, age(backend_xmin))
from pg_catalog.pg_stat_replication where age(backend_xmin) > 0
union all
select format('replication slot %s, whose snapshot is %s transactions old', slot_name, age(xmin))
from pg_catalog.pg_replication_slots where age(xmin) > 0
"""

_TABLES = """
select c.oid::bigint as oid, c.relname::text as name, format('%%I.%%I', n.nspname, c.relname) as quoted,
       n.nspname::text as schema, c.relkind::text as kind,
       pg_get_userbyid(c.relowner)::text as owner, pg_has_role(c.relowner, 'USAGE') as owned,
       has_table_privilege(c.oid, 'SELECT') as readable,
       array(select t.tgname::text from pg_catalog.pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal
             order by 1) as triggers,
       exists (select from pg_catalog.pg_rewrite r where r.ev_class = c.oid) as rules,
       c.relrowsecurity as row_security, c.relhassubclass as inherited,
       (select option_value::int from pg_catalog.pg_options_to_table(c.reloptions)
        where option_name = 'fillfactor') as fillfactor,
       age(c.relfrozenxid)::bigint as freeze_age,
       c.reltuples::float8 as rows_estimate, c.relpages as pages, c.relallvisible as visible_pages,
       (select a.attname::text from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0
        and not a.attisdropped and a.attgenerated = '' and a.attidentity <> 'a' order by a.attnum limit 1) as column
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relname = any(%s) and c.relkind not in ('c', 't') and pg_table_is_visible(c.oid)
  and n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%%'
order by c.relname
"""

_STATE = """
select pg_relation_size(c.oid) as heap_bytes, pg_table_size(c.oid) as table_bytes,
       pg_indexes_size(c.oid) as index_bytes, pg_total_relation_size(c.oid) as total_bytes,
       coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0) as toast_bytes,
       coalesce(s.n_live_tup, 0) as live_rows, coalesce(s.n_dead_tup, 0) as dead_rows,
       coalesce(s.n_mod_since_analyze, 0) as modified_rows, coalesce(s.n_ins_since_vacuum, 0) as inserted_rows,
       to_char(greatest(s.last_vacuum, s.last_autovacuum) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
         as last_vacuum,
       to_char(greatest(s.last_analyze, s.last_autoanalyze) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
         as last_analyze
from pg_catalog.pg_class c left join pg_catalog.pg_stat_all_tables s on s.relid = c.oid where c.oid = %s::regclass
"""

_COLUMNS = """
select a.attname::text as name, a.attlen as length, a.attalign::text as align, a.attnotnull as not_null,
       s.null_frac::float8 as nulls, s.avg_width as width, s.n_distinct::float8 as n_distinct
from pg_catalog.pg_attribute a
left join pg_catalog.pg_stats s on s.schemaname = %s and s.tablename = %s and s.attname = a.attname and not s.inherited
where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""

_INDEXES = """
select x.relname::text as name, format('%%I.%%I', n.nspname, x.relname) as quoted, pg_relation_size(x.oid) as bytes,
       am.amname::text as method, i.indisunique as "unique", i.indisvalid as valid, i.indpred is not null as partial,
       x.reltuples::float8 as rows, i.indnatts > i.indnkeyatts as includes,
       coalesce((select option_value::int from pg_catalog.pg_options_to_table(x.reloptions)
                 where option_name = 'fillfactor'), 90) as fillfactor,
       array(select case when k.number <> 0 then a.attname::text end
             from unnest(i.indkey::int2[]) with ordinality k(number, at)
             left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
             order by k.at) as columns
from pg_catalog.pg_index i join pg_catalog.pg_class x on x.oid = i.indexrelid
join pg_catalog.pg_namespace n on n.oid = x.relnamespace join pg_catalog.pg_am am on am.oid = x.relam
where i.indrelid = %s order by 1
"""

# Others at work on the table: an index build, a vacuum, a rewrite (documentation, 28.4 Progress Reporting).
_BUSY = """
with t as (select %s::oid as oid, current_database() as name)
select pid, 'builds an index' as what from t join pg_catalog.pg_stat_progress_create_index on relid = oid
where datname = name
union all select pid, 'vacuums it' from t join pg_catalog.pg_stat_progress_vacuum on relid = oid where datname = name
union all select pid, 'rewrites it' from t join pg_catalog.pg_stat_progress_cluster on relid = oid where datname = name
"""


def server(connection: Connection) -> Facts:
    """Who we are and where: ``now``, ``user``, ``database``, version, settings; and ``snapshots``, the oldest first:
    ``Blocker.facts``, and of replicas and slots no more than ``text``.
    """
    found = rows(connection, _SERVER)[0]
    replicas = [str(row["format"]) for row in rows(connection, _REPLICAS)]
    found["snapshots"] = [one.facts() for one in keepers(connection)]
    found["snapshots"] += [{"text": text, "seconds": None, "since": None} for text in replicas]
    return found


def tables(connection: Connection, names: Sequence[str]) -> List[Facts]:
    """The tables of these names, in their order. Raises UnknownTable, and NotAllowed for those of somebody else."""
    known = {row["name"]: row for row in rows(connection, _TABLES, (list(names),))}
    missing = [name for name in names if name not in known]
    others = [
        "%s is %s" % (name, KINDS.get(row["kind"], "no table")) for name, row in known.items() if row["kind"] != "r"
    ]
    if others:
        raise UnknownTable(
            "%s, which is not vacuumed as a whole here." % "; ".join(others),
            "Name plain tables; of a partitioned table its partitions.",
        )
    if missing:
        raise UnknownTable(
            "There is no table of the name %s." % ", ".join(repr(name[:80]) for name in missing),
            "Name tables as they are in the database, without schema and quotes, such as api_secretevent.",
        )
    for name in names:
        row = known[name]
        row["allowed"] = may_vacuum(connection, row["quoted"])
    denied = [known[name] for name in names if not (known[name]["allowed"] and known[name]["readable"])]
    if denied:
        raise NotAllowed(
            "This role may not vacuum %s." % ", ".join("%(name)s, which belongs to %(owner)s" % row for row in denied),
            "Connect as %s, the role that owns Phase's tables (DATABASE_USER)." % denied[0]["owner"],
        )
    return [known[name] for name in names]


def may_vacuum(connection: Connection, quoted: str) -> bool:
    """Vacuuming is the owner's, from version 17 on also that of a role with MAINTAIN (documentation, VACUUM, Notes)."""
    privilege = "has_table_privilege(oid, 'MAINTAIN')" if connection.server_version >= 170000 else "false"
    query = "select pg_has_role(relowner, 'USAGE') or %s as may from pg_catalog.pg_class where oid = to_regclass(%%s)"
    found = rows(connection, query % privilege, (quoted,))
    return bool(found and found[0]["may"])


def state(connection: Connection, quoted: str) -> Facts:
    """Sizes and what PostgreSQL has counted, for ``before`` and ``after``; by name, since a rewrite changes the oid."""
    return rows(connection, _STATE, (quoted,))[0]


def examine(connection: Connection, table: Facts, block: int, version: int) -> Facts:
    """All that the choice needs of one table: its ``state``, columns, indexes, a sample and its empty end."""
    table["state"] = state(connection, table["quoted"])
    table["columns"] = rows(connection, _COLUMNS, (table["schema"], table["name"], table["oid"]))
    table["indexes"] = rows(connection, _INDEXES, (table["oid"],))
    table["busy"] = rows(connection, _BUSY, (table["oid"],))
    blocks = table["state"]["heap_bytes"] // block
    table["sample"] = sample(connection, table, blocks)
    # A range of blocks is found without reading the table from version 14 on (documentation, release notes of 14).
    table["empty_end_blocks"] = empty_end(connection, table["quoted"], blocks) if version >= 140000 else None
    return table


def sample(connection: Connection, table: Facts, blocks: int) -> Facts:
    """``share`` (of the blocks, 0 to 1), ``rows`` found there, and of each column ``bytes`` and how many ``values``.

    Bytes are those on disk, compressed or moved out of line as they may be (documentation, 9.28.7
    pg_column_size).
    """
    from psycopg2 import sql

    share = min(1.0, SAMPLE / max(1, blocks))
    names = [column["name"] for column in table["columns"]]
    # Nothing to repeat: each look takes other blocks, so an unlucky one stays the only one.
    query = sql.SQL("select count(*), {} from only {} tablesample system ({})").format(
        sql.SQL(", ").join(
            sql.SQL("coalesce(sum(pg_column_size({0})), 0)::float8, count({0})").format(sql.Identifier(name))
            for name in names
        ),
        sql.Identifier(table["schema"], table["name"]),
        sql.Literal(share * 100),
    )
    with connection.cursor() as cursor:
        cursor.execute(query)
        found = cursor.fetchone()
    return {
        "share": share,
        "rows": found[0],
        "columns": {name: {"bytes": found[1 + 2 * n], "values": found[2 + 2 * n]} for n, name in enumerate(names)},
    }


def empty_end(connection: Connection, quoted: str, blocks: int) -> int:
    """How many blocks after the last living row, which is what plain VACUUM can cut off. Reads twice that, not more."""
    from psycopg2 import sql

    width, with_rows = 64, None
    while with_rows is None:
        start = max(0, blocks - width)
        query = sql.SQL("select max(ctid)::text from only {} where ctid >= {}::tid").format(
            sql.SQL(quoted), sql.Literal("(%d,0)" % start)
        )
        with connection.cursor() as cursor:
            cursor.execute(query)
            with_rows = cursor.fetchone()[0]
        if with_rows is None and start == 0:
            return blocks
        width *= 2
    return max(0, blocks - 1 - int(with_rows.strip("()").split(",")[0]))
