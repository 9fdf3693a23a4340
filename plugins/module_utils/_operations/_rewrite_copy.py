# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the kept rows of a table to a copy with its indexes, up to date but for the last changes.

All rows are copied on one snapshot, by ranges of blocks so that the copy can pause, stop and tell how far it is. What
was changed since is in the log; catching up takes keys from it and, on one snapshot each, replaces their rows.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Set

from ._api import Context
from ._purge_walk import scaled
from ._rewrite_catalog import WORK, Table, grants, portrait
from ._rewrite_errors import RewriteBlocked, RewriteStopped
from ._rewrite_session import CALM_LOCK, REPEATABLE_READ, Session
from ._rewrite_sql import block_range, fill, finish, leaving, make_copy, make_index

SMALLEST, LARGEST = 256, 65536  # blocks in a statement
TARGET = 0.5  # seconds for a statement
AT_ONCE = 20_000  # changed keys in one transaction
FEW = 25  # changes that may be left for the swap
TELL = 2.0  # seconds between two lines of progress
LOOK = 0.2


@dataclass(frozen=True)
class Gate:
    """What the caller puts between two steps. ``gate`` waits while there is a reason to pause and returns what stops
    the run, or None; ``over`` says without waiting whether its time is up.
    """

    gate: Callable[[], Optional[str]]
    over: Callable[[], bool]

    def pass_through(self) -> None:
        reason = self.gate()
        if reason:
            raise RewriteStopped(reason)


@dataclass(frozen=True)
class Copied:
    kept: int
    left_out: int


class Copy:
    """``give_way`` says who waits for a lock that the guard holds and keeps others queued behind it, or nothing."""

    def __init__(
        self, context: Context, table: Table, goes: Optional[str], gate: Gate, give_way: Callable[[], str]
    ) -> None:
        self._context = context
        self._table = table
        self._goes = goes
        self._gate = gate
        self._give_way = give_way
        self._told = context.clock()
        self._looked = context.clock()

    def checkpoint(self) -> None:
        """Between two statements. Raises Cancelled, RewriteStopped, RewriteBlocked."""
        self._gate.pass_through()
        self._context.check_cancelled()
        self.give_way()

    def give_way(self, at_once: bool = False) -> None:
        now = self._context.clock()
        if now - self._looked < LOOK and not at_once:
            return
        self._looked = now
        waiter = self._give_way()
        if waiter:
            raise RewriteBlocked(
                "The rewrite gave way: %s, and the application's statements queue behind that." % waiter,
                "Run it again when nobody changes the table's definition.",
            )

    def rows(self, session: Session) -> Copied:
        kept = left_out = 0
        with session.transaction(REPEATABLE_READ) as cursor:
            cursor.execute(make_copy(self._table))
            # The size is read after the snapshot is taken: what comes into blocks beyond is not in the snapshot.
            cursor.execute("select pg_relation_size(%s) / current_setting('block_size')::int", (self._table.oid,))
            blocks, size, first = cursor.fetchone()[0], SMALLEST, 0
            if session.connection.server_version < 140000:
                size = max(blocks, 1)  # without a range scan each range would read the whole table
            while first < blocks:
                self.checkpoint()
                begun = self._context.clock()
                end = min(first + size, blocks)
                where = block_range(first, end)
                cursor.execute(fill(self._table, self._goes, where))
                kept += cursor.rowcount
                if self._goes is not None:
                    cursor.execute(leaving(self._table, self._goes, where))
                    left_out += cursor.fetchone()[0]
                first = end
                size = scaled(size, self._context.clock() - begun, TARGET, SMALLEST, LARGEST)
                self._tell("Copying", end / blocks, kept)
        return Copied(kept, left_out)

    def _tell(self, what: str, done: float, rows: int) -> None:
        now = self._context.clock()
        if now - self._told >= TELL:
            self._told = now
            text = "%s: %.0f %%, %d rows kept" % (what, 100 * done, rows)
            self._context.report(text, percent=round(100 * done, 1), kept=rows)

    def indexes(self, sessions: List[Session]) -> None:
        """All of them, the largest first, as many at once as there are sessions."""
        self.checkpoint()
        idle, todo = list(sessions), list(self._table.indexes)
        total, done = len(todo), 0
        building: Set[Future[Session]] = set()
        with ThreadPoolExecutor(len(sessions)) as pool:
            try:
                while todo or building:
                    while todo and idle:
                        building.add(pool.submit(build, idle.pop(), make_index(self._table, todo.pop(0))))
                    finished, building = wait(building, LOOK, FIRST_COMPLETED)
                    for future in finished:
                        idle.append(future.result())
                        done += 1
                    if self._gate.over():
                        raise RewriteStopped("max_duration")
                    self._context.check_cancelled()
                    self.give_way()
                    self._tell_indexes(done, total)
            finally:
                if building:
                    for session in sessions:
                        session.connection.cancel()

    def _tell_indexes(self, done: int, total: int) -> None:
        now = self._context.clock()
        if now - self._told >= TELL:
            self._told = now
            self._context.report("Indexing: %d of %d" % (done, total), indexes=done, of=total)

    def finish(self, session: Session) -> None:
        """Constraints, options, grants, comments and statistics."""
        with session.transaction(lock_timeout=CALM_LOCK) as cursor:
            cursor.execute("select %s::regclass::oid::bigint", (self._table.copy,))
            for statement in finish(self._table, grants(cursor, cursor.fetchone()[0])):
                cursor.execute(statement)
        self.checkpoint()
        session.run("analyze %s" % self._table.copy)

    def rounds(self, session: Session) -> int:
        """Catch up until only a few changes are left; how many rounds it took."""
        import psycopg2.errors

        count = 0
        while changes(session, FEW + 1) > FEW:
            self.checkpoint()
            try:
                catch_up(session)
            except psycopg2.errors.LockNotAvailable:
                self.give_way(at_once=True)  # who waits for the guard's lock is before us in the queue
            count += 1
        return count


def build(session: Session, statement: str) -> Session:
    session.run(statement, lock_timeout=CALM_LOCK)
    return session


def catch_up(session: Session, most: int = AT_ONCE) -> int:
    """How many keys were brought up to date; 0 when the log was empty."""
    with session.transaction(REPEATABLE_READ) as cursor:
        cursor.execute("select %s.catch_up(%d)" % (WORK, most))
        return int(cursor.fetchone()[0])


def changes(session: Session, most: int) -> int:
    with session.transaction() as cursor:
        cursor.execute("select count(*) from (select from %s.changed limit %d) c" % (WORK, most))  # noqa: S608
        return int(cursor.fetchone()[0])


def portraits(session: Session, table: Table) -> List[Any]:
    """Of the table and of its copy."""
    with session.transaction() as cursor:
        cursor.execute("select %s::regclass::oid::bigint", (table.copy,))
        copy = cursor.fetchone()[0]
        return [portrait(cursor, table.oid), portrait(cursor, copy)]
