# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks that others hold: how long to wait for each, how often, and how much to ask for at once."""

# ruff: noqa: S608 - names are the caller's, quoted by the server

from __future__ import annotations

from typing import Any, Callable, Sequence, Type

from ..._errors import PhaseError
from .words import people_seconds

# lock_not_available, deadlock_detected, and foreign_key_violation: at COMMIT, when an event got a tag meanwhile
RETRIED = ("55P03", "40P01", "23503")
DDL_LOCK = 150  # milliseconds: below deadlock_timeout, and too short for a queue of writers to form behind it
# Milliseconds for SHARE UPDATE EXCLUSIVE, behind which no reader or writer queues up: longer than deadlock_timeout, for
# after that an autovacuum that holds it gives way (documentation, 24.1.6).
CALM_LOCK = 5000
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds between two tries


def patiently(
    work: Callable[[], None],
    context: Any,
    patience: float,
    who: Callable[[], str],
    what: str,
    stop: Callable[[], bool] = lambda: False,
    *,
    blocked: Type[PhaseError],
) -> bool:
    """Do ``work``, again with growing pauses while others are in the way; False when ``stop`` said so meanwhile.

    Raises ``blocked`` after ``patience`` seconds.
    """
    import psycopg2

    started, pause = context.clock(), FIRST_PAUSE
    while True:
        try:
            work()
            return True
        except psycopg2.Error as error:
            if error.pgcode not in RETRIED:
                raise
        if stop():
            return False
        blocker = who()
        if context.clock() - started >= patience:
            raise blocked(
                "%s waited %s for a lock, held by %s." % (what, people_seconds(patience), blocker),
                "Let that session end, or end it, then run this again.",
            )
        context.report("%s waits for a lock, held by %s" % (what, blocker), throttle="lock")
        context.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def scaled(size: int, seconds: float, target: float, least: int, most: int) -> int:
    """The next batch's size: what would have taken ``target`` seconds, at most four times more or less."""
    factor = min(4.0, max(0.25, target / max(seconds, 1e-4)))
    return int(min(most, max(least, size * factor)))


def calm(*tables: str) -> str:
    """Keeps TRUNCATE, DDL and vacuum away, while rows may be written: SHARE UPDATE EXCLUSIVE conflicts with itself.

    Before a stronger lock it sends an autovacuum away, which would go on for longer than the stronger one may wait.
    """
    return "lock table %s in share update exclusive mode; set local lock_timeout = %d" % (only(tables), DDL_LOCK)


def only(tables: Sequence[str]) -> str:
    return ", ".join("only " + table for table in tables)
