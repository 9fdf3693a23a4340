# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What travels between the plan of a rewrite and who shows or applies it. Sizes are bytes, times seconds."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, TypedDict


class RewriteCost(TypedDict):
    """Orders of magnitude."""

    seconds: float
    wal_bytes: int
    bytes_after: int
    returned_bytes: int


class RewritePlan(TypedDict):
    """The answer of ``rewrite.plan``, which says what each key is."""

    refused: List[str]
    waits_for: str
    notes: List[str]
    space_bytes: int
    free_bytes: Optional[int]
    expected: RewriteCost
    leftovers: Optional[Dict[str, Any]]
