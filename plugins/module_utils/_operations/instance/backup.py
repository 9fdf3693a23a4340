# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a dump of the database has to hold. Reads the catalog only."""

from __future__ import annotations

from ..core.api import Context, Request, Result
from ..core.database import require_phase

# Ordinary tables whose data pg_dump writes: not of the system, not temporary, not part of an extension.
# reltuples is an estimate, -1 where the table was never analysed (PostgreSQL documentation, 52.11 pg_class).
_TABLES = """
    select n.nspname || '.' || c.relname, greatest(c.reltuples, 0)::bigint, pg_table_size(c.oid)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.relpersistence <> 't' and n.nspname <> 'information_schema'
      and n.nspname not like 'pg\\_%%'
      and not exists (select from pg_depend d
                      where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
    order by 1
"""


def survey(context: Context, request: Request) -> Result:
    """``database``, ``server_version``, ``tables`` (name, rows, bytes without indexes), ``bytes``, ``migrations``,
    ``leaf``.

    ``leaf`` is the migration of app ``api`` that was applied last. Migrations are applied parents first, so none that
    is applied depends on it. It raises NotPhase for a database without Phase's tables.
    """
    connection = context.connect("backup")
    try:
        require_phase(connection)
        with connection.cursor() as cursor:
            cursor.execute("select current_database(), current_setting('server_version')")
            database, version = cursor.fetchone()
            cursor.execute(_TABLES, ())
            tables = [{"name": name, "rows": rows, "bytes": size} for name, rows, size in cursor.fetchall()]
            cursor.execute(
                "select app || '.' || name from django_migrations where app = 'api' order by id desc limit 1"
            )
            leaf = cursor.fetchone()
            cursor.execute("select count(*) from django_migrations")
            migrations = cursor.fetchone()[0]
    finally:
        connection.close()
    return {
        "database": database,
        "server_version": version,
        "tables": tables,
        "bytes": sum(table["bytes"] for table in tables),
        "migrations": migrations,
        "leaf": leaf[0] if leaf else None,
    }
