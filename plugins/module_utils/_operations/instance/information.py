# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an instance is and does, read from its database. Nothing here changes anything."""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple

from ..core.api import Context, Request, Result
from ..core.database import require_phase
from ..core.releases import next_after, release_of
from ..core.server import free_bytes, rows

Connection = Any


def instance(connection: Connection) -> Dict[str, Any]:
    """The server and who we are there."""
    found = rows(
        connection,
        """
        select current_setting('server_version') as server_version,
               current_setting('server_version_num')::int as server_version_num,
               current_database()::text as database,
               current_user::text as "user",
               (select rolsuper from pg_roles where rolname = current_user) as superuser,
               pg_is_in_recovery() as standby,
               coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false) as tls,
               extract(epoch from now() - pg_postmaster_start_time())::bigint as uptime_seconds
        """,
    )
    return {"database": found[0]}


def migrations(connection: Connection) -> Dict[str, Any]:
    """The ledger ``django_migrations`` by itself; what an image would still apply is phase_migrate's to say."""
    ledger = rows(
        connection,
        "select app, name, count(*) as copies, min(id) as first,"
        " to_char(max(applied) at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as applied"
        " from django_migrations group by app, name order by first",
    )
    release = release_of([(row["app"], row["name"]) for row in ledger])
    return {
        "release": release,
        "before_release": next_after(release),
        "applied": len(ledger),
        "last": {key: ledger[-1][key] for key in ("app", "name", "applied")} if ledger else None,
        "duplicates": ["%(app)s.%(name)s" % row for row in ledger if row["copies"] > 1],
        "names": ["%(app)s.%(name)s" % row for row in ledger],
    }


def storage(connection: Connection) -> Dict[str, Any]:
    """Sizes in bytes, rows as PostgreSQL estimates them (-1 or null: never analysed), and broken indexes."""
    tables = rows(
        connection,
        """
        select c.relname::text as name,
               pg_table_size(c.oid) as table_bytes,
               pg_indexes_size(c.oid) as index_bytes,
               case when c.reltuples >= 0 then c.reltuples::bigint end as rows,
               coalesce(s.n_dead_tup, 0) as dead_rows
          from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
          left join pg_stat_user_tables s on s.relid = c.oid
         where c.relkind in ('r', 'p') and n.nspname = any (current_schemas(false))
         order by pg_total_relation_size(c.oid) desc, 1
         limit 20
        """,
    )
    invalid = rows(
        connection,
        """
        select i.indexrelid::regclass::text as name, i.indrelid::regclass::text as "table"
          from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
         where not i.indisvalid
           and n.nspname = any (current_schemas(false)) order by 1
        """,
    )
    total = rows(connection, "select pg_database_size(current_database()) as bytes")[0]["bytes"]
    return {"database_bytes": total, "tables": tables, "invalid_indexes": invalid, "free_bytes": free_bytes(connection)}


def activity(connection: Connection) -> Dict[str, Any]:
    """Who works in the database now: long transactions, blocked sessions, advisory locks, index builds.

    Query texts are left out: they can hold ciphertext.
    """
    sessions = """
        select a.pid, a.usename::text as "user", a.application_name as application, host(a.client_addr) as client,
               a.state, a.wait_event_type as waits_for,
               extract(epoch from now() - a.xact_start)::bigint as transaction_seconds,
               pg_blocking_pids(a.pid) as blocked_by
          from pg_stat_activity a
         where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
         order by a.xact_start nulls last, a.pid
    """
    everyone = rows(connection, sessions)
    locks = rows(
        connection,
        """
        select l.pid, a.application_name as application, host(a.client_addr) as client,
               to_char(a.xact_start at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as since
          from pg_locks l join pg_stat_activity a using (pid)
         where l.locktype = 'advisory' and l.granted
           and l.database = (select oid from pg_database where datname = current_database())
        """,
    )
    building = rows(
        connection,
        """
        select p.pid, p.relid::regclass::text as "table", nullif(p.index_relid, 0)::regclass::text as index, p.command,
               p.phase, case when p.blocks_total > 0 then p.blocks_done * 100 / p.blocks_total end as percent
          from pg_stat_progress_create_index p where p.datname = current_database()
        """,
    )
    return {
        "sessions": len(everyone),
        "long_transactions": [one for one in everyone if (one["transaction_seconds"] or 0) >= 60],
        "blocked": [one for one in everyone if one["blocked_by"]],
        "advisory_locks": locks,
        "index_builds": building,
    }


SUBSETS: Tuple[Tuple[str, Callable[[Connection], Dict[str, Any]]], ...] = (
    ("instance", instance),
    ("migrations", migrations),
    ("storage", storage),
    ("activity", activity),
)


def gather(context: Context, request: Request) -> Result:
    """The wanted subsets: ``{"subsets": ["instance", ...]}`` gives one key for each."""
    connection = context.connect("info")
    try:
        require_phase(connection)
        return {name: read(connection) for name, read in SUBSETS if name in request["subsets"]}
    finally:
        connection.close()
