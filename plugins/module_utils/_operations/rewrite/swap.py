# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The moment at which the copy takes the table's place, in the guard's own transaction.

Under a lock that only keeps writers out, another connection takes over the last changes and commits. So whoever takes a
snapshot from then on sees all rows of the copy, and the swap waits, briefly, until those who took theirs before are
gone. Then it locks everybody out for two moves. Where anything of that does not come at once, it lets go of all locks
and tries again after a pause, longer each time: those who queue up behind it wait no longer than BUDGET for it.
All three connections are in a transaction before that: a pooler whose others are taken by those who queue up could give
none any more.
"""

from __future__ import annotations

from typing import Any, List

from ..core.api import Context
from ..core.sessions import Blocker, both, told
from ..core.waiting import DDL_LOCK
from ..core.words import people_seconds
from .catalog import Table
from .copy import FEW, Copy, portraits, take
from .errors import RewriteBlocked, RewriteRefused
from .portrait import differences
from .session import REPEATABLE_READ, RewriteSession
from .sql import hold_everybody, hold_writers, swap
from .watch import Watch

BUDGET = DDL_LOCK / 1000  # seconds that an attempt may keep writers waiting before the last changes are over
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
APART = 0.2  # seconds between the two looks that tell who stays
LOCKS = ("55P03", "40P01")  # lock_not_available, deadlock_detected


class NotNow(Exception):
    """The attempt was given up; everything is as before."""


class Swap:
    def __init__(
        self, context: Context, table: Table, guard: RewriteSession, worker: RewriteSession, watch: Watch, copy: Copy
    ) -> None:
        self._context = context
        self._table = table
        self._guard = guard
        self._worker = worker
        self._watch = watch
        self._copy = copy
        self.attempts = 0
        self.held = 0.0  # seconds for which the last attempt kept writers waiting

    def run(self, who: str, patience: float) -> None:
        """Until it is done. Raises RewriteBlocked after ``patience`` seconds, and what ``Copy.checkpoint`` raises."""
        begun, pause = self._context.clock(), FIRST_PAUSE
        while True:
            self._copy.checkpoint()
            self._copy.rounds(self._worker)
            self._compare()
            reason = self._stayers() or self._attempt(who)
            if not reason:
                return
            if self._context.clock() - begun >= patience:
                raise RewriteBlocked(
                    "The rewritten table could not take the place of the old one within %s: %s."
                    % (people_seconds(patience), reason),
                    "Let those sessions end (phase_info with gather_subset=activity shows them), then run it again.",
                )
            self._context.report("The swap waits: %s" % reason, throttle="lock", attempts=self.attempts)
            self._pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _pause(self, seconds: float) -> None:
        until = self._context.clock() + seconds
        while self._context.clock() < until:
            self._copy.checkpoint()
            self._context.sleep(min(0.5, seconds))

    def _compare(self) -> None:
        """Somebody may have granted or set something meanwhile; and a copy that is not like the table stays out."""
        different = differences(*portraits(self._worker, self._table))
        if different:
            raise RewriteRefused(
                "The copy would not be like the table: %s." % "; ".join(different),
                "Run it again if somebody changed the table just now; otherwise use another strategy and report this.",
            )

    def _stayers(self) -> str:
        """Who has a snapshot or a lock in the way for longer than a moment, in words."""
        first = self._watch.in_the_way()
        if not first:
            return ""
        self._context.sleep(APART)
        return told(both(first, self._watch.in_the_way()))

    def _attempt(self, who: str) -> str:
        """Empty when the swap is committed, or why it is not."""
        self.attempts += 1
        with self._watch.held(), self._worker.transaction(REPEATABLE_READ) as last:
            return self._try(who, last)

    def _try(self, who: str, last: Any) -> str:
        import psycopg2

        begun = self._context.clock()
        cursor = self._guard.connection.cursor()
        cursor.execute("savepoint attempt")
        try:
            self._swap(cursor, last, begun, who)
        except NotNow as error:
            reason = str(error)
        except psycopg2.Error as error:
            if error.pgcode not in LOCKS:
                raise
            reason = "locks did not come at once"
        else:
            self.held = self._context.clock() - begun
            self._context.check_cancelled()  # whoever asked may think by now that it was not done
            cursor.execute("commit")  # which lets go of the locks before it removes the old files
            return ""
        cursor.execute("rollback to savepoint attempt; release savepoint attempt")
        self.held = self._context.clock() - begun
        return reason + self._who()

    def _who(self) -> str:
        people = told(self._watch.in_the_way())
        return ": " + people if people else ""

    def _left(self, begun: float) -> int:
        """Milliseconds of the budget; at least a few, or PostgreSQL would wait forever."""
        return max(10, round(1000 * (BUDGET - (self._context.clock() - begun))))

    def _swap(self, cursor: Any, last: Any, begun: float, who: str) -> None:
        """``last``: the worker's cursor for the last changes, whose transaction has no snapshot yet."""
        cursor.execute("set local lock_timeout = %d; %s" % (self._left(begun), hold_writers(self._table)))
        begun = self._context.clock()
        while take(last, 10 * FEW):
            self._worker.chain(last)
            if self._context.clock() - begun > BUDGET:
                raise NotNow("there was more to catch up than a moment allows")
        self._worker.chain(last)
        self._wait_for_snapshots(self._context.clock())
        cursor.execute("set local lock_timeout = %d; %s" % (self._left(begun), hold_everybody(self._table)))
        dumps = [one for one in self._watch.snapshots(True) if "pg_dump" in one.text]
        if dumps:
            raise NotNow(told(dumps))
        cursor.execute(swap(self._table, who))

    def _wait_for_snapshots(self, begun: float) -> None:
        """Until all who have one now are gone; those that are taken from now on see all rows of the copy."""
        older: List[Blocker] = self._watch.snapshots(True)
        while older:
            if self._context.clock() - begun > BUDGET:
                raise NotNow(told(older))
            self._context.sleep(0.005)
            older = both(older, self._watch.snapshots(True))
