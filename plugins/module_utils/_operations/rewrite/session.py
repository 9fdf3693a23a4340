# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connections of a rewrite: each transaction brings its own limits, which a pooler's transaction mode keeps."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, List

from ..core.database import supports_check_interval
from ..core.waiting import DDL_LOCK

NAME = "rewrite"  # purpose of all these connections: ``phase.console rewrite ...``
READ_COMMITTED, REPEATABLE_READ = "read committed", "repeatable read"


class RewriteSession:
    """One connection; ``begin`` and ``end`` are for a transaction that stays open."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        limits = ["statement_timeout = 0", "idle_in_transaction_session_timeout = 0", "jit = off"]
        if connection.server_version >= 170000:
            limits.append("transaction_timeout = 0")
        if supports_check_interval(connection):  # else a busy server process outlives a killed client
            limits.append("client_connection_check_interval = 1000")
        limits += ["search_path = pg_catalog", "default_tablespace = ''", "max_parallel_maintenance_workers = 0"]
        self._limits = "; ".join("set local " + limit for limit in limits)

    def begin(self, level: str = READ_COMMITTED, lock_timeout: int = DDL_LOCK) -> Any:
        """A cursor in a new transaction. ``lock_timeout`` in milliseconds for each lock, 0 for no limit."""
        cursor = self.connection.cursor()
        cursor.execute("begin isolation level " + level)
        cursor.execute("%s; set local lock_timeout = %d" % (self._limits, lock_timeout))
        return cursor

    def chain(self, cursor: Any) -> None:
        """Commit, and begin anew like it without handing back the connection to a pooler."""
        cursor.execute("commit and chain; %s; set local lock_timeout = %d" % (self._limits, DDL_LOCK))

    def end(self, how: str = "commit") -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(how)

    @contextlib.contextmanager
    def transaction(self, level: str = READ_COMMITTED, lock_timeout: int = DDL_LOCK) -> Iterator[Any]:
        import psycopg2

        try:
            yield self.begin(level, lock_timeout)
            self.end()
        except BaseException:
            with contextlib.suppress(psycopg2.Error):  # a lost connection has rolled back by itself
                self.end("rollback")
            raise

    def run(self, statements: str, lock_timeout: int = DDL_LOCK) -> int:
        """All in one transaction; how many rows the last of them concerned."""
        with self.transaction(lock_timeout=lock_timeout) as cursor:
            cursor.execute(statements)
            return int(cursor.rowcount)

    def close(self) -> None:
        self.connection.close()


class RewriteSessions:
    """Several, closed together."""

    def __init__(self, connect: Any, *purposes: str) -> None:
        self._open: List[Any] = []
        try:
            for purpose in purposes:
                self._open.append(RewriteSession(connect("%s %s" % (NAME, purpose))))
        except BaseException:
            self.close()
            raise

    def __getitem__(self, number: int) -> RewriteSession:
        session: RewriteSession = self._open[number]
        return session

    def close(self) -> None:
        for session in self._open:
            session.close()
