# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One migration of a database at a time (``core/lock``), and joining one that outlived its caller.

``application_name`` ends in MARK once nobody waits for the run any more: then another caller may join it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Optional

from ..._errors import Cancelled, LockHeld
from ..core import lock as _lock
from ..core.api import Context
from ..core.lock import LONGEST_NAME, Holder, Lock, holder_of, key_of

KEY = key_of("migrate")
MARK = " orphaned"
POLL = 1.0  # seconds


def orphaned(holder: Holder) -> bool:
    return holder.name.endswith(MARK)


def session_name(host: str, run: str) -> str:
    """``phase.console migrate HOST RUN``, shortened so that the mark still fits."""
    return _lock.session_name("migrate", host, run, LONGEST_NAME - len(MARK))


class MigrationLock(Lock):
    """The lock on a connection of its own."""

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, KEY, name)
        self._marked = False

    def mark_orphaned(self) -> None:
        """Let others see that nobody waits for this run. A mark that cannot be made is no reason to stop migrating."""
        import psycopg2

        if not self._marked:
            self._marked = True
            try:
                self.rename(self._name + MARK)
            except psycopg2.Error:
                pass


def holder(connection: Any) -> Optional[Holder]:
    return holder_of(connection, KEY)


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
            if not orphaned(current) and not joined and context.clock() - started >= wait:
                raise LockHeld(
                    "Another run migrates this database: %s." % current,
                    "Let it end, or wait for it with wait_for_lock.",
                    partial={"holder": asdict(current)},
                )
            joined = joined or orphaned(current)
            text = (
                "Joining a run that outlived its caller: %s." if orphaned(current) else "Waiting for another run: %s."
            )
            if said != text % current:
                said = text % current
                context.report(said)
        context.sleep(POLL)
    return joined
