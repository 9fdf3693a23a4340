# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Processes that outlive the one that started them, and that any other can find and end by the note they leave."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil


class StartError(RuntimeError):
    """A process ended, or did not get ready in time. The message has the end of its log."""


def launch(
    argv: Sequence[str | Path],
    note: Path,
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
) -> psutil.Process:
    """Start a process of its own session and leave a note of it: {"pid", "created"}."""
    log.parent.mkdir(parents=True, exist_ok=True)
    note.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            [str(part) for part in argv],
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            user=user,
            extra_groups=[] if user else None,
        )
    process = psutil.Process(child.pid)
    note.write_text(json.dumps({"pid": process.pid, "created": process.create_time()}), encoding="utf-8")
    return process


def find(note: Path) -> psutil.Process | None:
    """The process of a note, if it still runs; a later process of the same id is not it, and neither is a zombie."""
    try:
        left = json.loads(note.read_text(encoding="utf-8"))
        process = psutil.Process(left["pid"])
        same = abs(process.create_time() - left["created"]) < 0.1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None


def end(note: Path, *, patience: float = 15.0, kind: str = "terminate") -> None:
    """End the process of a note politely, after `patience` seconds not so, and remove the note."""
    process = find(note)
    if process is not None:
        getattr(process, kind)()
        if not gone(note, patience):
            process.kill()
            gone(note, patience)
    note.unlink(missing_ok=True)


def gone(note: Path, patience: float) -> bool:
    """Wait until the process of a note has ended."""
    limit = time.monotonic() + patience
    while find(note) is not None:
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


def wait_ready(note: Path, log: Path, ready: Callable[[], bool], *, patience: float = 90.0) -> None:
    """Wait until `ready()` holds. Raises StartError when the process ends before that, or time runs out."""
    limit = time.monotonic() + patience
    while not ready():
        if find(note) is None:
            raise StartError(f"{note.stem} ended at its start. {tail(log)}")
        if time.monotonic() > limit:
            raise StartError(f"{note.stem} was not ready within {patience:.0f} s. {tail(log)}")
        time.sleep(0.02)


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]) if log.exists() else ""
