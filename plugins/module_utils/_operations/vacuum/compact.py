# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moves a table's last rows to its front in small transactions, so that VACUUM can cut off the end.

A row moves by being updated with its own values. PostgreSQL puts the new version into the same block while there is
room, else where the free space map points; so the update is repeated until no row is left in the blocks to be emptied.
Whoever updates or deletes such a row meanwhile follows it, as with any update in READ COMMITTED (documentation,
13.2.1).
No key changes, so no foreign key is disturbed: rows that refer to it need no look, and its lock is FOR NO KEY UPDATE
(13.3.2), which lets others refer to it. It can be cut off at any point: a transaction is whole or was never there.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Tuple

from ..._errors import LockTimeout
from ..core.api import Context
from ..core.words import people_seconds
from .run import GIVE_UP

LOCK_TIMEOUT = "150ms"  # below deadlock_timeout, so that no one else becomes the victim
AIM = 0.25  # seconds of a transaction
SMALLEST, LARGEST = 8, 2048  # blocks of a transaction
PASSES = 400  # a block holds at most 291 rows (MaxHeapTuplesPerPage)
GROWTH = 256  # blocks by which the table may grow meanwhile, since others write too
PAUSE = 0.2  # seconds after a lock that was not to be had
TOLD = 2.0
SWEEPS = 3  # looks at the emptied end for rows that others put there meanwhile

# ``above`` are the rows that came to lie at or behind the edge again.
_MOVE = """
with moved as (
  update only {table} as t set {column} = t.{column} where t.ctid >= {edge} and t.ctid < {end} returning t.ctid as place
)
select count(*), count(*) filter (where place >= {edge}), (max(place)::text::point)[0]::bigint from moved
"""


class NoRoom(Exception):
    """The front is full: rows came to lie far behind the old end of the table."""


def compact(context: Context, step: Mapping[str, Any], patience: float, deadline: Optional[float]) -> Dict[str, Any]:
    """Empty the blocks from ``step["blocks"]`` down to ``step["target"]``: ``moved`` rows, ``block`` that was reached,
    ``stopped_by`` (None, max_duration or no_room). Raises LockTimeout after ``patience`` seconds without progress."""
    connection = context.connect("vacuum compact")
    try:
        return _Compaction(context, connection, step, patience, deadline).run()
    finally:
        connection.close()


class _Compaction:
    def __init__(
        self, context: Context, connection: Any, step: Mapping[str, Any], patience: float, deadline: Optional[float]
    ) -> None:
        self._context, self._connection, self._step = context, connection, step
        self._patience, self._deadline = patience, deadline
        self._blocks = self._size()
        self._moved = 0

    def _size(self) -> int:
        with self._connection.cursor() as cursor:
            cursor.execute(
                "select pg_relation_size(%s::regclass) / current_setting('block_size')::int", (self._step["table"],)
            )
            return int(cursor.fetchone()[0])

    def run(self) -> Dict[str, Any]:
        target, edge, window = self._step["target"], self._blocks, float(self._step["window"])
        clock, told, stopped = self._context.clock, self._context.clock(), None
        while edge > target and stopped is None:
            self._context.check_cancelled()
            if self._deadline is not None and clock() >= self._deadline:
                stopped = "max_duration"
                break
            low, started = max(target, edge - int(window)), clock()
            try:
                self._empty(low, edge)
            except NoRoom:
                stopped = "no_room"
                break
            elapsed, edge = clock() - started, low
            window = min(LARGEST, max(SMALLEST, window * min(2.0, max(0.5, AIM / max(elapsed, 1e-3)))))
            if clock() - told >= TOLD:
                told = clock()
                self._tell(edge, target)
        for _sweep in range(SWEEPS if edge < self._blocks and stopped is None else 0):
            try:
                if not self._empty(edge, self._size()):
                    break
            except NoRoom:
                break
        return {"moved": self._moved, "block": edge, "stopped_by": stopped}

    def _tell(self, edge: int, target: int) -> None:
        done = 100.0 * (self._blocks - edge) / max(1, self._blocks - target)
        self._context.report(
            "Compacting %s: %d rows moved, at block %d of %d, down to %d"
            % (self._step["table"], self._moved, edge, self._blocks, target),
            percent=round(done, 1),
            rows=self._moved,
        )

    def _empty(self, low: int, high: int) -> int:
        """Move all rows of a range of blocks away, in one transaction; how many there were."""
        import psycopg2

        end = self._context.clock() + self._patience
        while True:
            try:
                moved = self._transaction(low, high)
                self._moved += moved
                return moved
            except psycopg2.Error as error:
                if error.pgcode not in GIVE_UP:
                    raise
                self._rollback()
                if self._context.clock() + PAUSE > end:
                    raise LockTimeout(
                        "A row of %s stayed locked for %s." % (self._step["table"], people_seconds(self._patience)),
                        "phase_info with gather_subset=activity shows long transactions; run it again to go on.",
                    ) from error
            except NoRoom:
                self._rollback()
                raise
            self._context.sleep(PAUSE)

    def _rollback(self) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute("rollback")

    def _transaction(self, low: int, high: int) -> int:
        first, end = None, high
        with self._connection.cursor() as cursor:
            cursor.execute("begin isolation level read committed")
            cursor.execute("set local lock_timeout = %s", (LOCK_TIMEOUT,))
            for _pass in range(PASSES):
                rows, above, highest = self._pass(cursor, low, end)
                first = rows if first is None else first
                if not above:
                    cursor.execute("commit")
                    return first
                if highest >= self._blocks + GROWTH:
                    raise NoRoom
                end = max(end, highest + 1)
        raise NoRoom

    def _pass(self, cursor: Any, low: int, end: int) -> Tuple[int, int, int]:
        from psycopg2 import sql

        statement = sql.SQL(_MOVE).format(
            table=sql.SQL(self._step["table"]),  # quoted by the server itself
            column=sql.Identifier(self._step["column"]),
            edge=sql.SQL("'(%d,0)'::tid" % low),
            end=sql.SQL("'(%d,0)'::tid" % end),
        )
        cursor.execute(statement)
        rows, above, highest = cursor.fetchone()
        return int(rows), int(above), int(highest or 0)
