# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which way of deleting is taken, why, and what it will cost. Pure: facts in, a choice out.

A strategy is an entry in STRATEGIES. A new one brings ``reasons_against(facts)``, and auto takes the first of the list
that has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple

from ..rewrite.types import RewritePlan
from .types import Expected

SMALL = 0.02  # of the table: below that the index of the environments is quicker than a walk over all blocks
# Seconds, measured on two cores with the table in memory; results call what follows from them "about".
PER_BLOCK = 6e-6  # looking at a block of the table
# Deleting a row, by what becomes of the foreign key. unchecked was not measured: set_aside and a little for the tags.
PER_ROW = {"kept": 17e-6, "set_aside": 4e-6, "unchecked": 5e-6}
PER_ROW_BY_INDEX = 60e-6
BLOCK = 8192
WAL_PER_ROW = 80  # bytes, without the images of pages
IMAGE = 0.85  # of a page, after each checkpoint that falls into the purge
WORTH_A_REWRITE = 0.5  # of the table
WORTH_DROPPING = 60.0  # seconds that auto wants to save by dropping the foreign key, with an exclusive lock twice


@dataclass(frozen=True)
class Facts:
    """``time_index``: there is an index by environment and time. ``share``: the part of the table that goes (0 to 1),
    None where it is unknown; ``total`` are the table's rows, None likewise. ``rewrite``: the plan of
    ``rewrite/rewrite``, where that was made."""

    server_version: int
    time_index: bool
    full_page_writes: bool
    eligible: int
    total: Optional[int]
    share: Optional[float]
    blocks: int
    rewrite: Optional[RewritePlan] = None


def nothing(facts: Facts) -> List[str]:
    return []


@dataclass(frozen=True)
class Strategy:
    """``not_by_itself``: reasons for which auto leaves it, though it would work when it is asked for."""

    name: str
    reasons_against: Callable[[Facts], List[str]]
    why: str
    not_by_itself: Callable[[Facts], List[str]] = nothing


def against_rewrite(facts: Facts) -> List[str]:
    return list(facts.rewrite["refused"]) if facts.rewrite else ["it was not looked at"]


def rewrite_not_by_itself(facts: Facts) -> List[str]:
    """It needs room for a copy and a moment without long transactions in the table."""
    reasons, plan = [], facts.rewrite
    if (facts.share or 0.0) < WORTH_A_REWRITE:
        reasons.append("most of the table stays")
    if plan and plan["free_bytes"] is None:
        reasons.append("whether the disk has room for a copy cannot be seen from here")
    if plan and plan["waits_for"]:
        reasons.append("it would wait for %s" % plan["waits_for"])
    return reasons


def against_delete(facts: Facts) -> List[str]:
    if facts.server_version < 140000 and not facts.time_index:
        return [
            "PostgreSQL %d cannot walk a table by blocks, and this release has no index by environment and time"
            % (facts.server_version // 10000)
        ]
    return []


STRATEGIES: Dict[str, Strategy] = {
    "rewrite": Strategy(
        "rewrite",
        against_rewrite,
        "most of the table goes, and a rewrite gives its space back at once",
        rewrite_not_by_itself,
    ),
    "delete": Strategy(
        "delete",
        against_delete,
        "it is online, needs only the rights of the tables' owner, and can be stopped and resumed at any time",
    ),
}


@dataclass(frozen=True)
class Choice:
    strategy: Optional[str]  # None: no strategy works
    why: str
    against: List[str]


def choose(wanted: str, facts: Facts) -> Choice:
    if wanted != "auto":
        against = STRATEGIES[wanted].reasons_against(facts)
        return Choice(None if against else wanted, "it was asked for", against)
    reasons: List[str] = []
    for strategy in STRATEGIES.values():
        against = strategy.reasons_against(facts) or strategy.not_by_itself(facts)
        if not against:
            return Choice(strategy.name, "; ".join(reasons + [strategy.why]), [])
        reasons += ["not %s: %s" % (strategy.name, reason) for reason in against]
    return Choice(None, "", reasons)


def by_index(facts: Facts) -> Optional[str]:
    """Why the rows are found by the index of the environments; None for a walk over all blocks."""
    if not facts.time_index:
        return None
    if facts.server_version < 140000:
        return "PostgreSQL before version 14 reads the whole table for each range of blocks"
    if facts.share is not None and facts.share <= SMALL:
        return "only %.1f %% of the rows are deleted" % (100 * facts.share)
    return None


def expected(facts: Facts, index: bool, foreign_key: str) -> Expected:
    """The costs of a delete."""
    rows, blocks, share = facts.eligible, facts.blocks, facts.share or 0.0
    per_block = (facts.total or rows) / blocks if blocks else 0
    touched = blocks * (1 - (1 - share) ** per_block) if not index else min(blocks, rows)
    wal = rows * WAL_PER_ROW + (touched * BLOCK * IMAGE if facts.full_page_writes else 0)
    seconds = rows * PER_ROW_BY_INDEX if index else blocks * PER_BLOCK + rows * PER_ROW[foreign_key]
    return {"seconds": round(seconds, 1), "wal_bytes": int(wal)}


def foreign_key_of(wanted: str, strategy: str, must_check: Optional[str], owner: bool, facts: Facts) -> Tuple[str, str]:
    """What becomes of the foreign key of the tags (kept, set_aside or unchecked), and why.

    ``must_check``: why transactions have to check it. ``owner``: the role may drop it.
    """
    if strategy != "delete":
        return "kept", "a %s does not check it" % strategy
    if by_index(facts):
        return "kept", by_index(facts) or ""
    if wanted != "auto":
        return "set_aside" if wanted == "set_aside" else "kept", "it was asked for"
    if must_check is None:
        return "unchecked", "the role may leave its check out, and tags are deleted after their events"
    saved = expected(facts, False, "kept")["seconds"] - expected(facts, False, "set_aside")["seconds"]
    if owner and saved >= WORTH_DROPPING:
        return "set_aside", "%s, and dropping it saves about %.0f s" % (must_check, saved)
    return "kept", "%s, and dropping it would save only about %.0f s" % (must_check, saved) if owner else must_check
