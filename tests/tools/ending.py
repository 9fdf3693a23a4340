# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Ending a run with all that it has started, however deep: servers leave their parents, and so would stay."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

PATIENCE = 6  # seconds for the jobs to tidy up after themselves
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def supervised(work: Callable[[], int], stop: Callable[[], None]) -> int:
    """Do the work in a child, and return its exit code once it and all that it has started have ended.

    SIGINT and SIGTERM have ``stop`` called there; what has not ended PATIENCE seconds later is killed. This process
    adopts, and buries, whatever its own parent has left (Linux alone; elsewhere the work is done here).
    """
    if sys.platform != "linux":
        _on_signals(lambda _number, _frame: stop())
        return work()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _on_signals(lambda _number, _frame: stop())
        code = work()
        sys.stdout.flush()
        os._exit(code)
    return _watch(child)


def _on_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _watch(child: int) -> int:
    asked: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        if not asked:
            asked.append(number)
            name = signal.Signals(number).name
            print(f"\nStopping by {name}; what has not ended in {PATIENCE} seconds is killed.", flush=True)
            signal.alarm(PATIENCE)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGALRM, lambda _number, _frame: kill())
    _on_signals(end)
    process, status = os.wait()
    while process != child:
        process, status = os.wait()
    signal.alarm(0)
    left = names(descendants())
    kill()
    if asked:
        return 128 + asked[0]
    if left:
        print(f"\nStill running at the end, and killed: {'; '.join(left)}", flush=True)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1


def descendants() -> list[int]:
    """The processes that this one has started, and theirs; the youngest first."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(stat.parent.name))
    found, unseen = [], [os.getpid()]
    while unseen:
        unseen = [child for parent in unseen for child in children.get(parent, [])]
        found += unseen
    return found[::-1]


def names(processes: list[int]) -> list[str]:
    """The first words of their command lines."""
    found = []
    for process in processes:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
            found.append(f"{process} {' '.join(words[:3])}".strip())
    return found


def kill() -> None:
    """Kill every descendant, and those that they start meanwhile."""
    deadline = time.monotonic() + 3
    while (left := descendants()) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)
