# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in the way of a purge, or would suffer from it. A finding that blocks nothing is only good to know. Sources:
pg_stat_activity, pg_locks, pg_prepared_xacts, pg_stat_replication, pg_replication_slots (documentation, 28.2, 54).
Texts of queries are left out: they can hold ciphertext.
"""

from __future__ import annotations

from typing import List, Sequence, Tuple, cast

from ..core.lock import holder_of, key_of
from ..core.types import Connection
from ..core.words import people_bytes, people_seconds
from .scope import EVENTS, TAGS
from .types import Finding

KEY = key_of("purge")
# pid, name, state, seconds, is pg_dump, has locked one of the tables
Snapshot = Tuple[int, str, str, float, bool, bool]
OLD = 300  # seconds after which a transaction is worth a word

_SNAPSHOTS = """
select a.pid, coalesce(nullif(a.application_name, ''), 'a session without a name'), coalesce(a.state, 'hidden'),
       extract(epoch from clock_timestamp() - a.xact_start)::float8, a.application_name = 'pg_dump',
       exists (select from pg_catalog.pg_locks l where l.pid = a.pid and l.granted
               and l.relation in (%(events)s::regclass, %(tags)s::regclass))
from pg_catalog.pg_stat_activity a
where a.datname = current_database() and a.pid <> pg_backend_pid() and a.xact_start is not null
  and a.backend_type = 'client backend' and a.application_name not like 'phase.console%%'
order by a.xact_start
"""

# Modes that a DELETE has to wait for: all that conflict with ROW EXCLUSIVE (documentation, 13.3.1).
_HOLDERS = """
select l.pid, l.mode, c.relname, coalesce(nullif(a.application_name, ''), 'a session without a name'),
       coalesce(extract(epoch from clock_timestamp() - a.xact_start), 0)::float8
from pg_catalog.pg_locks l join pg_catalog.pg_class c on c.oid = l.relation
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.granted and l.pid <> pg_backend_pid()
  and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
  and l.relation in (select to_regclass(name) from unnest(%(tables)s::text[]) as name)
  and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
order by 5 desc
"""

# The statements of the application's own command; between two batches its session shows none.
_STOCK = """
select a.pid from pg_catalog.pg_stat_activity a
where a.datname = current_database() and a.pid <> pg_backend_pid() and a.application_name not like 'phase.console%%'
  and a.query ~* '(delete from|for update.*)' and a.query ilike '%%api_secretevent%%'
  and (a.query ilike 'delete%%' or a.query ilike '%%skip locked%%')
  and (a.state <> 'idle' or a.state_change > clock_timestamp() - interval '5 seconds')
"""

_REPLICAS = "select count(*) from pg_catalog.pg_stat_replication"
_SLOTS = """
select slot_name::text, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint
from pg_catalog.pg_replication_slots where not active and restart_lsn is not null
"""
_PREPARED = """
select gid, extract(epoch from clock_timestamp() - prepared)::float8 from pg_catalog.pg_prepared_xacts
where database = current_database() order by prepared
"""


def look(connection: Connection, others: Sequence[str] = ()) -> List[Finding]:
    """``others`` are tables that are purged beside the events."""
    values = {"events": EVENTS, "tags": TAGS, "tables": [EVENTS, TAGS, *others]}
    found: List[Finding] = []
    with connection.cursor() as cursor:
        cursor.execute(_SNAPSHOTS, values)
        found += snapshots(cast(List[Snapshot], cursor.fetchall()))
        cursor.execute(_HOLDERS, values)
        for pid, mode, table, name, seconds in cursor.fetchall():
            text = "%s (pid %d) holds %s on %s since %s" % (name, pid, mode, table, people_seconds(seconds))
            found.append(finding("lock", text, "delete", "set_aside", *(["rewrite"] if table in others else [])))
        cursor.execute(_STOCK, ())
        for (pid,) in cursor.fetchall():
            text = "the application's own purge seems to be at work (pid %d): both would delete the same rows" % pid
            found.append(finding("stock_purge", text))
        cursor.execute(_REPLICAS)
        replicas = cursor.fetchone()[0]
        if replicas:
            text = "%d replica%s will receive all of the WAL; throttle by replica_lag" % (replicas, "s"[: replicas > 1])
            found.append(finding("replicas", text))
        cursor.execute(_SLOTS)
        for name, behind in cursor.fetchall():
            text = "replication slot %s is not read and keeps %s of WAL on the disk; it will keep more" % (
                name,
                people_bytes(behind),
            )
            found.append(finding("replication_slot", text))
        cursor.execute(_PREPARED)
        for gid, seconds in cursor.fetchall():
            text = "prepared transaction %s is open since %s: its rows stay locked, and vacuum cannot clean up"
            found.append(finding("prepared_transaction", text % (gid, people_seconds(seconds)), "set_aside"))
    holder = holder_of(connection, KEY)
    if holder is not None:
        found.append(finding("purge", "a purge is running: %s" % holder, "delete", "set_aside"))
    return found


def snapshots(rows: Sequence[Snapshot]) -> List[Finding]:
    found = []
    for pid, name, state, seconds, dump, locks in rows:
        who = "%s (pid %d, %s, open since %s)" % (name, pid, state, people_seconds(seconds))
        if dump:
            text = "%s: a dump reads the tables until it ends; the foreign key cannot be set aside meanwhile" % who
            found.append(finding("pg_dump", text, "set_aside"))
        elif seconds >= OLD:
            text = "%s: vacuum cannot clean up after the purge until it ends" % who
            found.append(finding("old_snapshot", text, *(["set_aside"] if locks else [])))
    return found


def finding(what: str, text: str, *blocks: str) -> Finding:
    return {"what": what, "text": text, "blocks": list(blocks)}
