# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One migration of a database at a time: an advisory lock, and who holds it.

The lock belongs to a transaction, so PgBouncer in transaction mode keeps it with its server connection. The transaction
is READ COMMITTED and idle, which holds no snapshot: CREATE INDEX CONCURRENTLY does not wait for it (PostgreSQL
documentation, CREATE INDEX: it waits for transactions that "have a snapshot predating" it). The lock ends with the
process that holds it.

``application_name`` says who it is, and ends in MARK once nobody waits for the run any more: then another caller may
join it.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Optional

from .._errors import Cancelled
from ._api import Context
from ._migration_errors import LockHeld

KEY = int.from_bytes(hashlib.sha256(b"phase.console/migrate").digest()[:8], "big", signed=True)
MARK = " orphaned"
LONGEST_NAME = 63  # bytes: NAMEDATALEN - 1
POLL = 1.0  # seconds

_HOLDER = """
select l.pid, coalesce(a.application_name, ''), coalesce(host(a.client_addr), ''),
       to_char(a.xact_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.objsubid = 1
  and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
  and (l.classid::bigint << 32) | l.objid::bigint = %s
"""


@dataclass(frozen=True)
class Holder:
    pid: int
    name: str
    client: str
    since: Optional[str]  # UTC, ISO 8601

    @property
    def orphaned(self) -> bool:
        return self.name.endswith(MARK)

    def __str__(self) -> str:
        who = self.name or "a session without a name"
        where = " from %s" % self.client if self.client else ""
        return "%s (pid %d%s, since %s)" % (who, self.pid, where, self.since or "an unknown time")


def session_name(host: str, run: str) -> str:
    """``phase.console migrate HOST RUN``, shortened so that the mark still fits."""
    room = LONGEST_NAME - len(MARK)
    tail = " " + run
    name = "phase.console migrate " + host
    return name.encode("ascii", "replace").decode()[: room - len(tail)] + tail


class MigrationLock:
    """The lock on a connection of its own."""

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        self._name = name
        self._marked = False

    def take(self) -> bool:
        """Whether it was free. Takes it for as long as the transaction goes on, which no timeout ends."""
        limits = ["idle_in_transaction_session_timeout"]
        if self._connection.server_version >= 170000:
            limits.append("transaction_timeout")
        with self._connection.cursor() as cursor:
            cursor.execute("begin isolation level read committed")
            for limit in limits:
                cursor.execute("set local %s = 0" % limit)
            cursor.execute("set local application_name = %s", (self._name,))
            cursor.execute("select pg_try_advisory_xact_lock(%s)", (KEY,))
            taken = bool(cursor.fetchone()[0])
            if not taken:
                cursor.execute("rollback")
        return taken

    def mark_orphaned(self) -> None:
        """Let others see that nobody waits for this run. A mark that cannot be made is no reason to stop migrating."""
        import psycopg2

        if not self._marked:
            self._marked = True
            try:
                with self._connection.cursor() as cursor:
                    cursor.execute("set local application_name = %s", (self._name + MARK,))
            except psycopg2.Error:
                pass

    def release(self) -> None:
        self._connection.close()


def holder(connection: Any) -> Optional[Holder]:
    with connection.cursor() as cursor:
        cursor.execute(_HOLDER, (KEY,))
        row = cursor.fetchone()
    return Holder(*row) if row else None


def acquire(context: Context, lock: MigrationLock, watcher: Any, wait: float) -> bool:
    """Take the lock, waiting up to ``wait`` seconds for a living holder; whether an orphaned one was joined.

    An orphaned run is waited for however long it takes: its caller is gone, and this caller's ``timeout`` limits the
    waiting. Raises LockHeld, which names the holder, and Cancelled when nobody waits for this run itself any more.
    """
    started = context.clock()
    joined = False
    said = ""
    while not lock.take():
        if context.caller_lost():
            raise Cancelled("The caller went away while this waited for the migration lock.", "Run it again.")
        current = holder(watcher)
        if current is not None:
            if not current.orphaned and not joined and context.clock() - started >= wait:
                raise LockHeld(
                    "Another run migrates this database: %s." % current,
                    "Let it end, or wait for it with wait_for_lock.",
                    partial={"holder": asdict(current)},
                )
            joined = joined or current.orphaned
            text = "Joining a run that outlived its caller: %s." if current.orphaned else "Waiting for another run: %s."
            if said != text % current:
                said = text % current
                context.report(said)
        context.sleep(POLL)
    return joined
