# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release this checkout is. One source tree stands for all of them: what came later is behind `since`."""

from __future__ import annotations

from pathlib import Path

VERSION = (Path(__file__).resolve().parent.parent / "version.txt").read_text(encoding="utf-8").strip()


def numbers(version: str) -> tuple[int, ...]:
    """Make `v2.73.2` comparable: (2, 73, 2)."""
    return tuple(int(part) for part in version.lstrip("v").split("."))


def since(version: str) -> bool:
    """Tell whether this checkout is that release or a later one."""
    return numbers(VERSION) >= numbers(version)
