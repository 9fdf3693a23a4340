# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A table as the decision sees it: what its facts say of it, and the steps that could be taken. Pure.

A step is plain data: ``kind`` (drop, analyze, vacuum, reindex, full, rewrite, repack, compact), ``statement``, and of a
compaction its numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .._errors import PhaseError
from .._operations.core.words import people_bytes, people_rows
from .estimate import bloated_indexes, estimate, freed_by_rewrite, living_rows, size_after_rewrite

Facts = Mapping[str, Any]
Step = Dict[str, Any]

FEW, STALE = 50, 0.02  # rows, and share of the rows, below which vacuum and analyze are left to autovacuum
INSERTED = 0.2  # share: autovacuum_vacuum_insert_scale_factor (documentation, 19.10)
FREEZE = 0.75  # of autovacuum_freeze_max_age, at which autovacuum would start one that cannot be put off
# VACUUM cuts off an empty end of that many blocks or that share of the table (vacuumlazy.c of version 14 to 18).
END_BLOCKS, END_SHARE = 1000, 1 / 16.0

# From what size on each mode is worth it: share of what it works on, and bytes.
WORTH = {"full": (0.05, 1 << 20), "rewrite": (0.05, 1 << 20), "compact": (0.15, 1 << 20), "reindex": (0.3, 1 << 18)}
AUTO_WORTH = {"table": (0.25, 8 << 20), "reindex": (0.5, 1 << 20)}
OLD = 300  # seconds after which somebody's snapshot is taken for one that stays

LEFTOVER = re.compile(r"_cc(new|old)\d*$")  # documentation, REINDEX, Rebuilding Indexes Concurrently
# Bytes a second: two cores, PostgreSQL 15, the table in memory. What is said is "about", and what it depends on.
READ, WRITTEN = 400e6, 100e6
DEPENDS = "(on an idle machine with the table in memory; several times that on a busy one or from disk)"
MOVED = 5000  # rows a second of a compaction, on a table with 19 indexes
WINDOW = 64  # blocks that a compaction empties in one transaction

SHARED = "SHARE UPDATE EXCLUSIVE: reads and writes go on"
CUT = "; ACCESS EXCLUSIVE for the moment of cutting off the empty end, given up when anybody waits"
ROWS = "ROW EXCLUSIVE and the locks of the rows being moved: reads and writes go on" + CUT
SWAPPED = "SHARE UPDATE EXCLUSIVE; ACCESS EXCLUSIVE for a moment at the swap, asked for in attempts of 150 ms"
ALONE = "ACCESS EXCLUSIVE: nobody reads or writes"


@dataclass
class Decision:
    """``predicted``: ``reclaimed_bytes``, ``lock``, ``stall_seconds``, ``needed_bytes``, ``seconds`` (or None)."""

    mode: str
    reason: str
    steps: List[Step] = field(default_factory=list)
    predicted: Dict[str, Any] = field(default_factory=dict)
    warnings: List[str] = field(default_factory=list)
    refusal: Optional[PhaseError] = None

    @property
    def statements(self) -> List[str]:
        return [step["statement"] for step in self.steps]


class Case:
    """A table of ``_vacuum_facts.examine`` on a server, and what was asked for.

    ``request``: ``mode``, ``force``, ``confirm_full``, ``max_lock_wait``, and ``repack``, the version of its program or
    None. ``free``: bytes of disk, or None where nobody can see them.
    """

    def __init__(self, table: Facts, server: Facts, request: Facts, free: Optional[int]) -> None:
        self.table, self.server, self.request, self.free = table, server, request, free
        self.state, self.name = table["state"], table["quoted"]
        self.block, self.version = server["block_size"], server["server_version_num"]
        self.guess = estimate(table, self.block)
        self.rows = living_rows(table)
        self.blocks = self.state["heap_bytes"] // self.block
        self.table_freed = self.state["table_bytes"] - self.guess["table_bytes"]
        self.freed = freed_by_rewrite(table, self.guess)
        self.after = size_after_rewrite(table, self.guess)
        self.leftovers = [index for index in table["indexes"] if not index["valid"] and LEFTOVER.search(index["name"])]

    def uncopiable(self) -> List[str]:
        """What a copy would lose; leftovers of a reindexing are dropped first, so they do not count."""
        gone = ["index %s is invalid" % index["name"] for index in self.leftovers]
        return [reason for reason in self.table["rewrite"]["refused"] if reason not in gone]

    # What is needed and held back

    def room(self, new: int) -> int:
        """Free bytes to write so much anew, with its WAL as long as checkpoints keep that."""
        return int(1.1 * new + min(new, self.server["max_wal_bytes"]))

    def lacks_room(self, new: int) -> Optional[str]:
        if self.free is None:
            return "how much disk is free cannot be seen from here (say it with free_space)"
        if self.free < self.room(new):
            return "it needs %s of free disk and there are %s" % (people_bytes(self.room(new)), people_bytes(self.free))
        return None

    def held_back(self) -> Optional[str]:
        """Who keeps the rows that are dead now from being removed: a snapshot that is older than the last vacuum."""
        for snapshot in self.server["snapshots"]:
            if self.state["last_vacuum"] and (snapshot["since"] or "z") < self.state["last_vacuum"]:
                return str(snapshot["text"])
        return None

    def old_snapshot(self) -> Optional[str]:
        old = [snapshot for snapshot in self.server["snapshots"] if (snapshot["seconds"] or 0) >= OLD]
        return str(old[0]["text"]) if old else None

    # What there is to do

    def empty_end(self) -> int:
        """Blocks that a plain VACUUM would cut off."""
        empty = self.table["empty_end_blocks"] or 0
        return empty if empty and (empty >= END_BLOCKS or empty >= self.blocks * END_SHARE) else 0

    def freezing(self) -> bool:
        return bool(self.table["freeze_age"] > FREEZE * self.server["freeze_max_age"])

    def vacuum_reasons(self) -> List[str]:
        few = FEW + STALE * self.rows
        found = []
        if self.freezing():
            text = "it is %d transactions old, and at %d PostgreSQL itself would insist"
            found.append(text % (self.table["freeze_age"], self.server["freeze_max_age"]))
        held = self.held_back()
        if self.blocks and self.state["last_vacuum"] is None:
            found.append("it was not vacuumed since statistics are kept")
        elif self.state["dead_rows"] > few and not held:
            found.append("it has %s dead" % people_rows(self.state["dead_rows"]))
        elif self.state["inserted_rows"] > 20 * FEW + INSERTED * self.rows and not held:
            found.append("%s were inserted since the last vacuum" % people_rows(self.state["inserted_rows"]))
        if self.empty_end() and not held:
            found.append("its last %s are empty" % people_bytes(self.empty_end() * self.block))
        return found

    def analyze_reasons(self) -> List[str]:
        if self.rows and self.state["last_analyze"] is None:
            return ["it was never analyzed"]
        if self.state["modified_rows"] > FEW + STALE * max(self.rows, self.state["live_rows"]):
            return ["%s changed since it was analyzed" % people_rows(self.state["modified_rows"])]
        return []

    def bloated(self, share: float, least: int) -> List[Facts]:
        return bloated_indexes(self.table, self.guess, share, least)

    def worth(self, freed: int, of: int, mode: str) -> bool:
        share, least = WORTH[mode]
        return self.request["force"] or (freed >= least and freed >= share * of)

    def index_freed(self, index: Facts) -> int:
        return int(index["bytes"] - self.guess["index_bytes"][index["name"]])

    # Steps

    def drop_leftovers(self) -> List[Step]:
        return [
            {"kind": "drop", "statement": "DROP INDEX CONCURRENTLY IF EXISTS %s" % index["quoted"]}
            for index in self.leftovers
        ]

    def vacuum(self, analyze: bool = True) -> Step:
        """PARALLEL is for indexes, a worker for each but the leader's (documentation, VACUUM)."""
        workers = min(self.server["parallel_workers"], max(0, len(self.table["indexes"]) - 1))
        options = ["FREEZE"] * self.freezing() + ["ANALYZE"] * analyze + ["PARALLEL %d" % workers] * bool(workers)
        return {
            "kind": "vacuum",
            "statement": "VACUUM %s%s" % ("(%s) " % ", ".join(options) if options else "", self.name),
        }

    def reindex(self, indexes: List[Facts]) -> List[Step]:
        return [
            {"kind": "reindex", "statement": "REINDEX INDEX CONCURRENTLY %s" % index["quoted"]} for index in indexes
        ]


def share_text(part: float, whole: float) -> str:
    return "%d %%" % round(100.0 * part / whole) if whole else "0 %"


def too_little(freed: float, whole: float, worth: Tuple[float, int]) -> str:
    """Why a mode is not due."""
    words = (people_bytes(freed), share_text(freed, whole), 100 * worth[0], people_bytes(worth[1]))
    return "only %s of it (%s) would be given back, and it is due from %.0f %% and %s on" % words


def predicted(
    reclaimed: int, lock: str, needed: int = 0, stall: float = 0, seconds: Optional[float] = None
) -> Dict[str, Any]:
    return {
        "reclaimed_bytes": int(reclaimed),
        "lock": lock,
        "stall_seconds": round(stall, 1),
        "needed_bytes": int(needed),
        "seconds": None if seconds is None else round(seconds, 1),
    }


def nothing(case: Case, reason: str) -> Decision:
    """No mode is due; what an interrupted reindexing left is dropped all the same."""
    steps = case.drop_leftovers()
    freed = sum(index["bytes"] for index in case.leftovers)
    if steps:
        return Decision("cleanup", leftover_text(case), steps, predicted(freed, SHARED, seconds=0))
    return Decision("nothing", reason, [], predicted(0, "none", seconds=0))


def leftover_text(case: Case) -> str:
    return "%d index%s left by an interrupted REINDEX CONCURRENTLY" % (
        len(case.leftovers),
        " was" if len(case.leftovers) == 1 else "es were",
    )
