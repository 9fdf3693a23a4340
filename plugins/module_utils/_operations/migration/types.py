# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What travels between the far end's plan of migrations and who shows or applies it. Sizes are bytes, times seconds.

``rows`` is PostgreSQL's estimate, and null where the table was never analysed; ``bytes`` is null for a table that the
catalog does not have yet.
"""

from __future__ import annotations

from typing import Dict, List, Optional, TypedDict


class Size(TypedDict):
    rows: Optional[int]
    bytes: Optional[int]


class SizedTable(Size):
    table: str


class LockedTable(SizedTable):
    """The strongest lock that a migration takes on it; ``new``: made by a pending migration."""

    lock: str
    new: bool


class TableLock(TypedDict):
    table: str
    lock: str


# ``class`` is a keyword of Python, so these two have no class statement.
StatementFacts = TypedDict("StatementFacts", {"sql": str, "class": str, "tables": List[TableLock], "why": str})


class IndexBuild(TypedDict):
    index: str
    table: str


class PlannedIndex(IndexBuild):
    migration: str


class LeftoverFacts(PlannedIndex):
    valid: bool
    bytes: int


class Finding(TypedDict):
    """``table`` is null for what is about the whole migration."""

    finding: str
    table: Optional[str]
    rows: Optional[int]


class RefusedFinding(Finding):
    migration: str


Entry = TypedDict(
    "Entry",
    {
        "name": str,
        "class": str,
        "atomic": bool,
        "runs_python": bool,
        "irreversible": bool,
        "breaks_running_version": bool,
        "breaks_secret_reads": bool,
        "breaks": List[str],
        "statements": List[StatementFacts],
        "tables": List[LockedTable],
        "python_tables": List[SizedTable],
        "concurrent_indexes": List[IndexBuild],
        "notes": List[str],
        "findings": List[Finding],
        "summary": str,
    },
)


class Gap(TypedDict):
    """An applied migration whose ``dependency`` is not applied."""

    migration: str
    dependency: str


class Duplicate(TypedDict):
    name: str
    ids: List[int]


class MigrationPlan(TypedDict):
    """The answer of ``operation.plan``, which says what each key is."""

    pending: List[str]
    plan: List[Entry]
    unknown: List[str]
    inconsistent: List[Gap]
    conflicts: Dict[str, List[str]]
    duplicates: List[Duplicate]
    from_leaves: List[str]
    to_leaves: List[str]
    from_release: Optional[str]
    to_release: Optional[str]
    known: List[str]
    leftover_indexes: List[LeftoverFacts]
    server_version: int


class ApplyRequest(TypedDict):
    """What ``operation.apply`` is asked for, which says what each key is."""

    host: str
    run: str
    image: str
    pending: List[str]
    known: List[str]
    non_atomic: List[str]
    indexes: List[PlannedIndex]
    lock_timeout: float
    retries: int
    wait_for_lock: float
    repair_indexes: bool
