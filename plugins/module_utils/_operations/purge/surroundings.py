# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in the way of a purge, or would suffer from it. A finding that blocks nothing is only good to know. Sources:
pg_stat_activity, pg_locks, pg_prepared_xacts, pg_stat_replication, pg_replication_slots (documentation, 28.2, 54).
Texts of queries are left out: they can hold ciphertext.
"""

from __future__ import annotations

from typing import List, Sequence

from ..core.lock import holder_of, key_of
from ..core.sessions import BEFORE_WRITERS, Blocker, holders, prepared, transactions, wanted_mode
from ..core.types import Connection
from ..core.words import people_bytes
from .scope import EVENTS, TAGS
from .types import Finding

KEY = key_of("purge")
OLD = 300  # seconds after which a transaction is worth a word

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


def look(connection: Connection, others: Sequence[str] = ()) -> List[Finding]:
    """``others`` are tables that are purged beside the events."""
    found = snapshots(transactions(connection, [EVENTS, TAGS]))
    for table in (EVENTS, TAGS, *others):
        for one in holders(connection, [table], BEFORE_WRITERS, ours=True):
            text = "%s holds %s on %s" % (one, wanted_mode(one.what), table)
            found.append(finding("lock", text, "delete", "set_aside", *(["rewrite"] if table in others else [])))
    found += [prepared_transaction(connection, one) for one in prepared(connection)]
    with connection.cursor() as cursor:
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
    holder = holder_of(connection, KEY)
    if holder is not None:
        found.append(finding("purge", "a purge is running: %s" % holder, "delete", "set_aside"))
    return found


def prepared_transaction(connection: Connection, one: Blocker) -> Finding:
    """Its rows stay locked. Where it holds a lock on the events or their tags, no swap and no set_aside comes by it."""
    there = any(holder.name == one.name for holder in holders(connection, [EVENTS, TAGS]) if holder.pid == 0)
    text = "%s is open: its rows stay locked, and vacuum cannot clean up" % one
    return finding("prepared_transaction", text, *(["set_aside", "rewrite"] if there else []))


def snapshots(open_transactions: Sequence[Blocker]) -> List[Finding]:
    found = []
    for one in open_transactions:
        if one.name == "pg_dump":
            text = "%s: a dump reads the tables until it ends; the foreign key cannot be set aside meanwhile" % one
            found.append(finding("pg_dump", text, "set_aside"))
        elif (one.seconds or 0.0) >= OLD:
            text = "%s: vacuum cannot clean up after the purge until it ends" % one
            found.append(finding("old_snapshot", text, *(["set_aside"] if one.what else [])))
    return found


def finding(what: str, text: str, *blocks: str) -> Finding:
    return {"what": what, "text": text, "blocks": list(blocks)}
