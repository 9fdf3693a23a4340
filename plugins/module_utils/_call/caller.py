# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module's line to whoever started it: progress out, and whether somebody is still there.

The action plugin (``plugin_utils/_progress.py``) makes a private folder beside the module and names one file in it by
the environment variable ``PHASE_CONSOLE_PROGRESS_FILE``:

``events``
    The module appends one ASCII JSON object per line: ``{"event": "start", "pid": ...}`` first, then
    ``{"event": "progress", "time": <unix>, "message": "...", <counters>}``.
``events.lease``
    The caller's sign of life. Its text is the number of seconds a renewal is good for, its modification time the last
    renewal. A detached module gets no end of file and no signal when its caller dies, so this is what tells it.

Without the variable there is nobody to tell and nobody to lose. A file outside such a folder, named by a person, is
written to and has no lease.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, Callable, Dict, MutableMapping, Optional

VARIABLE = "PHASE_CONSOLE_PROGRESS_FILE"
LEASE_SUFFIX = ".lease"
FOLDER_PREFIX = "phase-console-"


class Caller:
    """Tells progress and knows whether the caller is still there. Nothing here ever fails the operation."""

    def __init__(self, events: Optional[Path], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._events = events
        leased = events is not None and events.parent.name.startswith(FOLDER_PREFIX)
        self._lease = Path(str(events) + LEASE_SUFFIX) if leased else None
        self._good_for = _seconds(self._lease) if self._lease else 0.0
        self._stamp: Optional[int] = None
        self._renewed = clock()
        self._write({"event": "start", "pid": os.getpid()})

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], clock: Callable[[], float] = time.monotonic) -> Caller:
        """Take the variable out of ``environ``: the module's own children must not write there."""
        name = environ.pop(VARIABLE, "")
        return cls(Path(name) if name else None, clock)

    def tell(self, message: str, **counters: Any) -> None:
        self._write({**counters, "event": "progress", "time": round(time.time(), 3), "message": message})

    def lost(self) -> bool:
        """True once the caller took the lease away, or did not renew it for as long as it is good for.

        Seconds are those of our own clock since the last change seen, so a clock that is set meanwhile does no harm.
        """
        if self._lease is None:
            return False
        try:
            stamp = self._lease.stat().st_mtime_ns
        except FileNotFoundError:
            return True
        if stamp != self._stamp:
            self._stamp, self._renewed = stamp, self._clock()
        return self._clock() - self._renewed > self._good_for

    def close(self) -> None:
        """Remove the folder when nobody is left to do it."""
        if self._lease is not None and self.lost():
            shutil.rmtree(self._lease.parent, ignore_errors=True)

    def _write(self, event: Dict[str, Any]) -> None:
        if self._events is None:
            return
        line = json.dumps(event, default=str) + "\n"
        try:
            handle = os.open(self._events, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(handle, line.encode("ascii"))
            finally:
                os.close(handle)
        except OSError:
            # The folder is gone or the disk is full: the operation matters more than its progress.
            self._events = None


def _seconds(lease: Path) -> float:
    """How long a renewal is good for. A lease that is gone already is good for nothing: the caller left meanwhile."""
    try:
        return float(lease.read_text(encoding="ascii"))
    except FileNotFoundError:
        return 0.0
