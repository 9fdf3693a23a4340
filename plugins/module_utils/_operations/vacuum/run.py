# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs statements that cannot be in a transaction, watched from a second connection: progress, waiting, cancelling.

How long a statement may wait for a lock is the server's lock_timeout on a direct connection. Behind a pooler a setting
would not stay with the session, so there the watching connection cancels what has waited for too long.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any, Dict, List, Optional

from ..._errors import LockTimeout
from ..core.api import Context
from ..core.monitor import Monitor
from ..core.pooler import held, is_pooled
from ..core.sessions import busy, holder_text, waits
from ..core.words import people_seconds
from .errors import Skipped
from .facts import may_vacuum

ATTEMPT = 0.15  # seconds to wait for ACCESS EXCLUSIVE: everybody else queues behind, and deadlock_timeout is 1 s
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between two attempts
POLL = 0.05
LOOK = 1.0
GIVE_UP = ("55P03", "40P01")  # lock_not_available, deadlock_detected

# Documentation, 28.4.1, 28.4.4 and 28.4.5 (analyze since version 13, cluster and vacuum in all).
_PHASES = """
select 'vacuum', phase, 100.0 * heap_blks_scanned / nullif(heap_blks_total, 0)
from pg_catalog.pg_stat_progress_vacuum where pid = %(pid)s
union all select 'rewrite', phase, 100.0 * heap_blks_scanned / nullif(heap_blks_total, 0)
from pg_catalog.pg_stat_progress_cluster where pid = %(pid)s
union all select 'analyze', phase, 100.0 * sample_blks_scanned / nullif(sample_blks_total, 0)
from pg_catalog.pg_stat_progress_analyze where pid = %(pid)s
"""


class Watch(Monitor):
    """Tells how far the statement of one session is, and who holds it up."""

    def look(self, pid: int, what: str) -> None:
        super().look(pid, what)
        with self._connection.cursor() as cursor:
            cursor.execute(_PHASES, {"pid": pid})
            for _kind, phase, percent in cursor.fetchall():
                counters: Dict[str, Any] = {} if percent is None else {"percent": round(float(percent), 1)}
                done = "" if percent is None else " %.0f %%" % percent
                self._say("phase", "%s: %s%s" % (what, phase, done), what + phase, **counters)

    def cancel(self, pid: int) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute("select pg_cancel_backend(%s)", (pid,))


class Runner:
    """One connection that works, one that watches. ``max_lock_wait``: seconds that a statement may wait in all."""

    def __init__(self, context: Context, max_lock_wait: float) -> None:
        self._context = context
        self._patience = max_lock_wait
        purpose = "vacuum " + os.urandom(4).hex()
        self._name = "phase.console " + purpose
        self.work = context.connect(purpose)
        watching = context.connect("vacuum watch")
        self._watching = watching
        self.watch = Watch(watching, context.report, context.clock)
        self._pooled = is_pooled(self.work)
        if not self._pooled and self.work.server_version >= 140000:
            self._set("client_connection_check_interval", "2s")  # end with this process, whatever ends it

    def close(self) -> None:
        self.work.close()
        self._watching.close()

    def _set(self, name: str, value: str) -> None:
        with self.work.cursor() as cursor:
            cursor.execute("select set_config(%s, %s, false)", (name, value))

    def run(self, statement: str, what: str, exclusive: bool = False, table: str = "") -> None:
        """Run it; ``exclusive``, which makes others queue, in short attempts. Raises LockTimeout and Skipped."""
        context = self._context
        attempt = min(ATTEMPT, self._patience) if exclusive else self._patience
        end, pause = context.clock() + self._patience, FIRST_PAUSE
        if not self._pooled:
            self._set("lock_timeout", "%dms" % max(1, round(attempt * 1000)))
        self.watch.forget()
        del self.work.notices[:]
        while not self._watched(statement, what, attempt):
            if not exclusive or context.clock() + pause > end:
                raise LockTimeout(
                    "%s did not get its lock within %s%s."
                    % (what, people_seconds(self._patience), self._blamed(table)),
                    "Let that session end, or raise max_lock_wait.",
                )
            context.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5)
        # A notice has no SQLSTATE, and its words are in the server's language: the catalog says what it is about.
        if self.work.notices and table and not may_vacuum(self._watching, table):
            raise Skipped(
                "PostgreSQL left it out: %s" % " ".join(self.work.notices[0].split()),
                "Connect as the owner of the tables.",
            )

    def _blamed(self, table: str) -> str:
        """Short attempts may end before anybody was seen in their way: then who holds the table now."""
        if not self.watch.blocked_text and table:
            return ": the table is held by %s" % holder_text(self._watching, [table])
        return ": it waited for %s" % self.watch.blocked_text if self.watch.blocked_text else ""

    def _watched(self, statement: str, what: str, attempt: float) -> bool:
        with held(self._watching) if self._pooled else contextlib.nullcontext():
            return self._once(statement, what, attempt)

    def _once(self, statement: str, what: str, attempt: float) -> bool:
        """Whether it was done; False when it waited for a lock for too long."""
        import psycopg2

        failures: List[Exception] = []
        done = threading.Event()

        def work() -> None:
            try:
                with self.work.cursor() as cursor:
                    cursor.execute(statement)
            except psycopg2.Error as error:
                failures.append(error)
            finally:
                done.set()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        given_up = self._attend(done, what, attempt)
        thread.join()
        self._context.check_cancelled()
        if failures:
            code = getattr(failures[0], "pgcode", None)
            if code in GIVE_UP or (given_up and code == "57014"):
                return False
            raise failures[0]
        return True

    def _attend(self, done: threading.Event, what: str, attempt: float) -> bool:
        """Look at the statement until it is done; whether it was cancelled for having waited for too long."""
        clock, waiting, looked, given_up = self._context.clock, None, self._context.clock(), False
        interval = min(LOOK, attempt / 3)  # the first look has to come before the attempt is over
        while not done.wait(POLL):
            if self._context.cancelled():
                self.work.cancel()
                done.wait(2)
                return given_up
            pid = self._pid() if self._pooled or clock() - looked >= interval else None
            if pid is None:
                continue
            if self._pooled and attempt:
                waiting = (waiting or clock()) if waits(self._watching, pid) else None
                if waiting is not None and clock() - waiting >= attempt and not given_up:
                    self.watch.look(pid, what)
                    self.watch.cancel(pid)
                    given_up = True
            if clock() - looked >= interval:
                looked, interval = clock(), min(LOOK, 2 * interval)
                self.watch.look(pid, what)
        return given_up

    def _pid(self) -> Optional[int]:
        return busy(self._watching, self._name)
