# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets from the environment or from files."""

from __future__ import annotations

import os
from pathlib import Path


def secret(name: str) -> str | None:
    """Read `<name>_FILE` where that file can be read, else the plain variable: as in Phase, without a word about it."""
    path = os.environ.get(f"{name}_FILE")
    if path:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError:
            pass
    return os.environ.get(name)
