# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs ``manage.py migrate`` in a child process, watched, under the migration lock."""

from __future__ import annotations

from dataclasses import dataclass, field
from queue import Empty
from typing import Any, Callable, Dict, List, Mapping, Optional

from ..core.api import Context
from ..core.monitor import Monitor
from ..core.subprocess import Child, spawn
from . import child as _migration_child
from .repair import WORKER

POLL = 0.25  # seconds between looks at the child and at its session
LONGEST_PAUSE = 30.0  # seconds between two tries
RETRIED = ("55P03", "40P01")  # lock_not_available, deadlock_detected: rolled back, and worth another try


@dataclass
class Attempt:
    """What one run of the child did. ``seconds`` by migration; ``failed`` is the one that was under way at its end."""

    exit_code: Optional[int] = None
    sqlstate: Optional[str] = None
    error: Optional[str] = None
    seconds: Dict[str, float] = field(default_factory=dict)
    failed: Optional[str] = None
    output: List[str] = field(default_factory=list)


def pause(attempt: int) -> float:
    """Seconds before try number ``attempt`` + 1: 1, 2, 4, ... up to LONGEST_PAUSE."""
    return float(min(2.0 ** (attempt - 1), LONGEST_PAUSE))


def child_environment(base: Mapping[str, str], lock_timeout: int, check_interval: bool, run: str) -> Dict[str, str]:
    """The environment of ``manage.py migrate``: the user's PGOPTIONS stay, ours come after them and so win.

    ``client_connection_check_interval`` (since version 14, as idle_session_timeout) lets the server notice a killed
    client in the midst of a statement.
    """
    options = ["-c lock_timeout=%d" % lock_timeout, "-c statement_timeout=0", "-c default_transaction_read_only=off"]
    options += ["-c row_security=off", "-c %s=on" % _migration_child.MARKER]
    if check_interval:
        options += ["-c idle_session_timeout=0", "-c client_connection_check_interval=2000"]
    own = " ".join([base.get("PGOPTIONS", "")] + options).strip()
    return dict(base, PGOPTIONS=own, PGAPPNAME="%s %s" % (WORKER, run))


class Runner:
    """Attempts at one migrate."""

    def __init__(
        self,
        context: Context,
        monitor: Monitor,
        environment: Dict[str, str],
        mask: Callable[[str], str],
    ) -> None:
        self._context = context
        self._monitor = monitor
        self._environment = environment
        self._mask = mask

    def attempt(self, lock_timeout: int, pending: List[str]) -> Attempt:
        """One run of the child to its end. ``pending`` is for the count in the progress."""
        self._monitor.forget()
        result = Attempt()
        process = spawn(self._context, _migration_child.run, {"lock_timeout": lock_timeout}, self._environment)
        child = Child(process, self._mask)
        try:
            self._follow(child, result, len(pending))
        finally:
            child.stop()
        result.output = child.output()
        if result.exit_code is None:  # it ended without a last word: killed, or a fault of ours in its output
            result.exit_code = process.returncode or 1
        return result

    def _follow(self, child: Child, result: Attempt, total: int) -> None:
        context = self._context
        while True:
            ended = child.drained()
            try:
                while True:
                    self._take(child.events.get_nowait(), result, total)
            except Empty:
                pass
            if ended:
                return
            if result.failed:
                self._monitor.watch(self._environment["PGAPPNAME"], result.failed)
            context.sleep(POLL)

    def _take(self, event: Dict[str, Any], result: Attempt, total: int) -> None:
        """Act on one event of the child."""
        if event["event"] == "progress" and event.get("phase") == "start":
            result.failed = event["migration"]
            done = len(result.seconds)
            self._context.report("Applying %s" % event["migration"], done=done, of=total)
        elif event["event"] == "progress" and event.get("phase") == "finish":
            result.seconds[event["migration"]] = event["seconds"]
            result.failed = None
            text = "Applied %s in %.1f s" % (event["migration"], event["seconds"])
            self._context.report(text, done=len(result.seconds), of=total)
        elif event["event"] == "result":
            outcome = event["result"]
            result.exit_code, result.sqlstate = outcome["exit_code"], outcome["sqlstate"]
            result.error = self._mask(outcome["error"]) if outcome["error"] else None
        elif event["event"] == "error":
            result.exit_code, result.error = 1, self._mask(event["error"]["message"])
