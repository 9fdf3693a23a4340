# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of a kind at a time in a database: an advisory lock, and who holds it.

The lock belongs to a transaction, so PgBouncer in transaction mode keeps it with its server connection. The transaction
is READ COMMITTED and idle, which holds no snapshot: CREATE INDEX CONCURRENTLY does not wait for it (PostgreSQL
documentation, CREATE INDEX: it waits for transactions that "have a snapshot predating" it), and vacuum is not held
back. The lock ends with the process that holds it. ``application_name`` says who that is.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from typing import Any, Optional

LONGEST_NAME = 63  # bytes: NAMEDATALEN - 1

_HOLDER = """
select l.pid, coalesce(a.application_name, ''), coalesce(host(a.client_addr), ''),
       to_char(a.xact_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.objsubid = 1
  and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
  and (l.classid::bigint << 32) | l.objid::bigint = %s
"""


def key_of(kind: str) -> int:
    """The lock's number for a kind of run, ``migrate`` or ``purge``."""
    return int.from_bytes(hashlib.sha256(("phase.console/" + kind).encode()).digest()[:8], "big", signed=True)


def session_name(kind: str, host: str, run: str, room: int = LONGEST_NAME) -> str:
    """``phase.console KIND HOST RUN``, shortened to ``room`` bytes in the middle."""
    tail = " " + run
    name = "phase.console %s %s" % (kind, host)
    return name.encode("ascii", "replace").decode()[: room - len(tail)] + tail


@dataclass(frozen=True)
class Holder:
    pid: int
    name: str
    client: str
    since: Optional[str]  # UTC, ISO 8601

    def __str__(self) -> str:
        who = self.name or "a session without a name"
        where = " from %s" % self.client if self.client else ""
        return "%s (pid %d%s, since %s)" % (who, self.pid, where, self.since or "an unknown time")


class Lock:
    """The lock on a connection of its own."""

    def __init__(self, connection: Any, key: int, name: str) -> None:
        self._connection = connection
        self._key = key
        self._name = name

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
            cursor.execute("select pg_try_advisory_xact_lock(%s)", (self._key,))
            taken = bool(cursor.fetchone()[0])
            if not taken:
                cursor.execute("rollback")
        return taken

    def rename(self, name: str) -> None:
        """Another ``application_name`` for the time that is left."""
        with self._connection.cursor() as cursor:
            cursor.execute("set local application_name = %s", (name,))

    def confirm(self) -> None:
        """Raise psycopg2's error when the connection, and so the lock, is lost."""
        with self._connection.cursor() as cursor:
            cursor.execute("select")

    def release(self) -> None:
        """At once: that a connection was closed is noticed by the server a moment later."""
        import psycopg2

        with contextlib.suppress(psycopg2.Error), self._connection.cursor() as cursor:
            cursor.execute("rollback")
        self._connection.close()


def holder_of(connection: Any, key: int) -> Optional[Holder]:
    with connection.cursor() as cursor:
        cursor.execute(_HOLDER, (key,))
        row = cursor.fetchone()
    return Holder(*row) if row else None
