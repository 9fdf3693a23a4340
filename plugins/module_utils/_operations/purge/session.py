# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection that deletes: each transaction brings its own limits, which a pooler's transaction mode keeps."""

from __future__ import annotations

import contextlib
from typing import Iterator, Optional

from ..core.sessions import holder_text
from ..core.types import Connection, Cursor


class Session:
    """``lock_timeout`` in seconds (0: none) for each wait of a deleting transaction."""

    def __init__(self, connection: Connection, lock_timeout: float, check_interval: bool) -> None:
        self.connection = connection
        self._lock_timeout = round(lock_timeout * 1000)
        # A server notices a client that was killed within a statement only when it looks (since version 14).
        self._more = "; set local client_connection_check_interval = 1000" if check_interval else ""

    @contextlib.contextmanager
    def transaction(
        self, lock_timeout: Optional[int] = None, statement_timeout: Optional[int] = None
    ) -> Iterator[Cursor]:
        """A cursor in a transaction; limits in milliseconds, by default the caller's. An error rolls back."""
        limit = self._lock_timeout if lock_timeout is None else lock_timeout
        more = self._more
        if statement_timeout is not None:
            more += "; set local statement_timeout = %d" % statement_timeout
        with self.connection.cursor() as cursor:
            cursor.execute("begin isolation level read committed; set local lock_timeout = %d%s" % (limit, more))
            try:
                yield cursor
                cursor.execute("commit")
            except BaseException:
                with contextlib.suppress(Exception):  # what went wrong first is what counts
                    cursor.execute("rollback")
                raise

    def blocker(self, *tables: str) -> str:
        """Who holds a lock on one of the tables for the longest time, in words."""
        return holder_text(self.connection, tables)
