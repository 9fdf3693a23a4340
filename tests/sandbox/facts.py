# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""What is known of Phase Console's releases: their migrations, and their schema at five levels.

Read from the databases that the releases' own migrations made on PostgreSQL 15.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).resolve().parent / "schema"
LEVELS = ("v2.37.2", "v2.42.0", "v2.54.0", "v2.66.0", "v2.73.2")
OLDEST, NEWEST = "v2.36.4", LEVELS[-1]


def numbers(version: str) -> tuple[int, ...]:
    """Make `v2.73.2` comparable: (2, 73, 2)."""
    if not re.fullmatch(r"v\d+\.\d+\.\d+", version):
        raise ValueError(f"{version!r} is not a release like {NEWEST}.")
    return tuple(int(part) for part in version[1:].split("."))


@cache
def level(version: str) -> dict[str, Any]:
    """One of LEVELS: {"tables": {name: {"columns", "constraints", "indexes"}}, "migrations": ["app.name"], ...}."""
    facts: dict[str, Any] = json.loads((SCHEMA / f"{version}.json").read_text(encoding="utf-8"))
    return facts


@dataclass(frozen=True)
class Release:
    """A release that brought migrations of the app `api`, in the order of the table."""

    version: str
    migrations: tuple[str, ...]


@cache
def releases() -> tuple[Release, ...]:
    """All of them, oldest first."""
    rows = (SCHEMA / "releases.tsv").read_text(encoding="utf-8").splitlines()[1:]
    cells = [row.split("\t") for row in rows]
    return tuple(
        Release(cell[0], tuple(re.sub(r"\[.*?\]", "", name) for name in cell[3].split("; "))) for cell in cells
    )


def migrations_since_baseline(version: str) -> tuple[str, ...]:
    """Names of the app `api` that came after 0094 and are part of that release."""
    if numbers(version) < numbers(OLDEST):
        raise ValueError(f"The oldest release that the sandbox knows is {OLDEST}, not {version}.")
    return tuple(
        name
        for release in releases()
        if numbers(OLDEST) < numbers(release.version) <= numbers(version)
        for name in release.migrations
    )


def baseline_migrations() -> tuple[str, ...]:
    """Names of the app `api` up to 0094, in an order in which they can be applied."""
    return tuple(name.removeprefix("api.") for name in level(LEVELS[0])["migrations"] if name.startswith("api."))


def other_migrations(app: str) -> tuple[str, ...]:
    """Names of another app of the ledger, in order."""
    return tuple(name.removeprefix(f"{app}.") for name in level(NEWEST)["migrations"] if name.startswith(f"{app}."))
