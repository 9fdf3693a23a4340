# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the kept rows of a table to a copy with its indexes, up to date but for the last changes.

All rows are copied on one snapshot, by ranges of blocks so that the copy can pause, stop and tell how far it is. What
was changed since is in the log; catching up takes keys from it and, on one snapshot each, replaces their rows.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, TypeVar

from ..core.api import Context
from ..core.waiting import CALM_LOCK, scaled
from .catalog import WORK, Table, grants
from .errors import RewriteBlocked, RewriteStopped
from .portrait import Portrait, portrait
from .session import REPEATABLE_READ, RewriteSession
from .sql import block_range, fill, finish, make_copy, make_index, scanned

T = TypeVar("T")
# (cursor, table, range of blocks as a condition): hands over what leaves in it; how many rows
Export = Callable[[Any, Table, str], int]

SMALLEST, LARGEST = 256, 65536  # blocks in a statement
TARGET = 0.5  # seconds for a statement
AT_ONCE = 20_000  # changed keys in one transaction
FEW = 25  # changes that may be left for the swap
TELL = 2.0  # seconds between two lines of progress
LOOK = 0.2
# Where a range is nearly the whole table the planner might read all of it, and count what is outside as left out.
BY_RANGE = "set local enable_tidscan = on; set local enable_seqscan = off"


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


class Ranges:
    """Ranges of blocks, of about TARGET seconds each."""

    def __init__(self, blocks: int, size: int) -> None:
        self.blocks = blocks
        self.begun = 0  # blocks that somebody has taken
        self._size = size

    def take(self) -> Tuple[int, int]:
        first, self.begun = self.begun, min(self.begun + self._size, self.blocks)
        return first, self.begun

    def took(self, seconds: float) -> None:
        self._size = scaled(self._size, seconds, TARGET, SMALLEST, LARGEST)


class Copy:
    """``give_way`` says who waits for a lock that the guard holds and keeps others queued behind it, or nothing."""

    def __init__(
        self,
        context: Context,
        table: Table,
        goes: Optional[str],
        gate: Gate,
        give_way: Callable[[], str],
        export: Optional[Export] = None,
    ) -> None:
        self._context = context
        self._table = table
        self._goes = goes
        self._gate = gate
        self._give_way = give_way
        self._export = export
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

    def rows(self, sessions: List[RewriteSession]) -> Copied:
        """All that stay, on one snapshot that the sessions share; each takes the next range when it is free."""
        first = sessions[0]
        first.run(make_copy(self._table), lock_timeout=CALM_LOCK)
        kept = left_out = 0
        with contextlib.ExitStack() as transactions:
            # Two sessions that extend one table wait for each other, on a busy machine for longer than DDL_LOCK.
            cursor = transactions.enter_context(first.transaction(REPEATABLE_READ, CALM_LOCK))
            cursor.execute("select pg_export_snapshot()")
            (snapshot,) = cursor.fetchone()
            cursors = [cursor]
            for session in sessions[1:]:
                cursors.append(transactions.enter_context(session.transaction(REPEATABLE_READ, CALM_LOCK)))
                cursors[-1].execute("set transaction snapshot %s", (snapshot,))
            for each in cursors:
                each.execute(BY_RANGE)
            # The size is read after the snapshot is taken: what comes into blocks beyond is not in the snapshot.
            cursor.execute("select pg_relation_size(%s) / current_setting('block_size')::int", (self._table.oid,))
            blocks = cursor.fetchone()[0]
            # Without a range scan (before version 14) each range would read the whole table.
            ranges = Ranges(blocks, SMALLEST if first.connection.server_version >= 140000 else max(blocks, 1))
            for rows, without in self._side_by_side(sessions, self._fillings(cursors, ranges)):
                kept, left_out = kept + rows, left_out + without
                self._tell("Copying", ranges.begun / max(blocks, 1), kept)
        return Copied(kept, left_out)

    def _fillings(self, cursors: List[Any], ranges: Ranges) -> Iterator[Callable[[int], Tuple[int, int]]]:
        def filling(first: int, end: int) -> Callable[[int], Tuple[int, int]]:
            def fill_range(number: int) -> Tuple[int, int]:
                cursor, begun = cursors[number], self._context.clock()
                where = block_range(first, end)
                cursor.execute(fill(self._table, self._goes, where))
                rows, without = scanned(cursor.fetchone()[0][0]["Plan"])
                if self._export is not None:
                    without = self._export(cursor, self._table, where)
                ranges.took(self._context.clock() - begun)
                return rows, without

            return fill_range

        while ranges.begun < ranges.blocks:
            self.checkpoint()
            yield filling(*ranges.take())

    def _side_by_side(self, sessions: List[RewriteSession], work: Iterator[Callable[[int], T]]) -> Iterator[T]:
        """What each piece of work returns, given the number of a session that is free. Looks meanwhile whether to stop,
        and then cancels what is running.
        """
        idle, more = list(range(len(sessions))), True
        running: Dict[Future[T], int] = {}
        with ThreadPoolExecutor(len(sessions)) as pool:
            try:
                while more or running:
                    while more and idle:
                        piece = next(work, None)
                        if piece is None:
                            more = False
                        else:
                            number = idle.pop()
                            running[pool.submit(piece, number)] = number
                    for future in wait(running, LOOK, FIRST_COMPLETED)[0]:
                        idle.append(running.pop(future))
                        yield future.result()
                    if self._gate.over():
                        raise RewriteStopped("max_duration")
                    self._context.check_cancelled()
                    self.give_way()
            finally:
                cancel({future: sessions[number] for future, number in running.items()})

    def _tell(self, what: str, done: float, rows: int) -> None:
        now = self._context.clock()
        if now - self._told >= TELL:
            self._told = now
            text = "%s: %.0f %%, %d rows kept" % (what, 100 * done, rows)
            self._context.report(text, percent=round(100 * done, 1), kept=rows)

    def indexes(self, sessions: List[RewriteSession]) -> None:
        """All of them, the largest first, as many at once as there are sessions."""
        self.checkpoint()

        def building(statement: str) -> Callable[[int], int]:
            return lambda number: sessions[number].run(statement, lock_timeout=CALM_LOCK)

        statements = [make_index(self._table, index) for index in self._table.indexes]
        work: Iterator[Callable[[int], int]] = iter([building(statement) for statement in statements])
        for done, _rows in enumerate(self._side_by_side(sessions, work), 1):
            self._tell_indexes(done, len(statements))

    def _tell_indexes(self, done: int, total: int) -> None:
        now = self._context.clock()
        if now - self._told >= TELL:
            self._told = now
            self._context.report("Indexing: %d of %d" % (done, total), indexes=done, of=total)

    def finish(self, session: RewriteSession) -> None:
        """Constraints, options, grants, comments and statistics."""
        with session.transaction(lock_timeout=CALM_LOCK) as cursor:
            cursor.execute("select %s::regclass::oid::bigint", (self._table.copy,))
            for statement in finish(self._table, grants(cursor, cursor.fetchone()[0])):
                cursor.execute(statement)
        self.checkpoint()
        session.run("analyze %s" % self._table.copy, lock_timeout=CALM_LOCK)

    def rounds(self, session: RewriteSession) -> int:
        """Catch up until only a few changes are left; how many rounds it took."""
        import psycopg2.errors

        count = 0
        while True:
            try:
                if changes(session, FEW + 1) <= FEW:
                    return count
                self.checkpoint()
                catch_up(session)
            except psycopg2.errors.LockNotAvailable:
                self.give_way(at_once=True)  # who waits for the guard's lock is before us in the queue
            count += 1


def cancel(running: Dict[Future[T], RewriteSession]) -> None:
    """Cancel until all have ended: what a session is told between two statements does not reach the next."""
    import psycopg2

    pending = set(running)
    while pending:
        for future in pending:
            with contextlib.suppress(psycopg2.Error):  # one that is lost ends by itself
                running[future].connection.cancel()
        pending = wait(pending, LOOK)[1]


def catch_up(session: RewriteSession, most: int = AT_ONCE) -> int:
    """How many keys were brought up to date; 0 when the log was empty."""
    with session.transaction(REPEATABLE_READ) as cursor:
        return take(cursor, most)


def take(cursor: Any, most: int) -> int:
    """As ``catch_up``, within a transaction."""
    cursor.execute("select %s.catch_up(%d)" % (WORK, most))
    return int(cursor.fetchone()[0])


def changes(session: RewriteSession, most: int) -> int:
    with session.transaction() as cursor:
        cursor.execute("select count(*) from (select from %s.changed limit %d) c" % (WORK, most))  # noqa: S608
        return int(cursor.fetchone()[0])


def portraits(session: RewriteSession, table: Table) -> List[Portrait]:
    """Of the table and of its copy."""
    with session.transaction() as cursor:
        cursor.execute("select %s::regclass::oid::bigint", (table.copy,))
        copy = cursor.fetchone()[0]
        return [portrait(cursor, table.oid), portrait(cursor, copy)]
