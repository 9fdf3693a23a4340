# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What to do about a table, why, and what it will cost. Pure: facts in, a decision out.

A way of giving space back while everybody works on is an entry in ONLINE; auto takes the first that nothing speaks
against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Optional

from .._errors import LockHeld
from .._operations.core.words import people_bytes
from .case import AUTO_WORTH, Case, Decision, Facts, nothing, predicted, share_text, too_little
from .modes import against_compact, analyze, compact, full, plain, reindex, repack, rewrite, unusable_repack

# Ways of giving a table's space back while everybody works on, the best first


@dataclass(frozen=True)
class Way:
    name: str
    against: Callable[[Case], List[str]]
    decide: Callable[[Case], Decision]


def against_rewrite(case: Case) -> List[str]:
    """What the engine itself refuses, no room for a copy, and snapshots that the swap would wait for."""
    lacking, old = case.lacks_room(case.after), case.old_snapshot()
    found = case.uncopiable() + ([lacking] if lacking else [])
    return found + (["it would wait for %s" % old] if old else [])


def against_repack(case: Case) -> List[str]:
    lacking, old = case.lacks_room(case.after), case.old_snapshot()
    found = unusable_repack(case) + ([lacking] if lacking else [])
    return found + (["it would wait for %s" % old] if old else [])


def compact_for_long(case: Case) -> List[str]:
    old = case.old_snapshot()
    return against_compact(case) + (["%s keeps the space from coming back" % old] if old else [])


ONLINE: List[Way] = [
    Way("rewrite", against_rewrite, rewrite),
    Way("repack", against_repack, repack),
    Way("compact", compact_for_long, compact),
]


def auto(case: Case) -> Decision:
    share, least = AUTO_WORTH["table"]
    bloated = case.bloated(*AUTO_WORTH["reindex"])
    table_bytes = case.state["table_bytes"]
    against: List[str] = []
    decision: Optional[Decision] = None
    end = 0 if case.held_back() else case.empty_end() * case.block  # plain VACUUM gives that back by itself
    if case.table_freed - end >= max(least, share * (table_bytes - end)):
        for way in ONLINE:
            reasons = way.against(case)
            if not reasons:
                decision = way.decide(case)
                if decision.mode != "nothing":
                    break
                decision = None
            else:
                against.append("%s: %s" % (way.name, "; ".join(reasons)))
    elif case.table_freed - end >= share * (table_bytes - end) > 0:
        decision = plain(case)
        decision.reason += "; " + too_little(case.table_freed - end, table_bytes, (share, least))
    if decision is None:
        decision = plain(case)
        if against:
            decision = only_full(case, decision, against)
    if bloated and decision.mode in ("nothing", "cleanup", "plain", "compact"):
        decision = with_reindex(case, decision, bloated)
    if decision.mode == "nothing" and case.analyze_reasons():
        decision = analyze(case)
    return decision


def only_full(case: Case, decision: Decision, against: List[str]) -> Decision:
    """What can be done now, with the word that the space comes back only in a window."""
    online = ""
    if case.version >= 190000:
        # Feature matrix of PostgreSQL 19: REPACK (CONCURRENTLY) works without blocking reads or writes.
        online = " PostgreSQL 19 itself can do it online: REPACK (CONCURRENTLY) %s." % case.name
    decision.warnings.append(
        "%s of %s (%s) would come back, but only with mode=full in a window: %s.%s"
        % (
            people_bytes(case.freed),
            case.table["name"],
            share_text(case.freed, case.state["total_bytes"]),
            "; ".join(against),
            online,
        )
    )
    return decision


def with_reindex(case: Case, decision: Decision, bloated: List[Facts]) -> Decision:
    """Both: first the table, so that the indexes are built over what is left."""
    more = reindex(case, bloated)
    if more.refusal:
        largest = max(case.guess["index_bytes"][index["name"]] for index in bloated)
        words = (len(bloated), people_bytes(more.predicted["reclaimed_bytes"]), case.lacks_room(largest))
        decision.warnings.append("%d indexes are bloated by %s and stay so: %s." % words)
        return decision
    if decision.mode in ("nothing", "cleanup"):
        more.warnings = decision.warnings + more.warnings
        return more
    freed = sum(case.index_freed(index) for index in bloated)
    first = decision.predicted
    return Decision(
        decision.mode,
        "%s; %s" % (decision.reason, more.reason),
        decision.steps + case.reindex(bloated),
        dict(
            predicted(
                first["reclaimed_bytes"] + freed,
                first["lock"],
                max(first["needed_bytes"], more.predicted["needed_bytes"]),
                seconds=(first["seconds"] or 0) + (more.predicted["seconds"] or 0),
            )
        ),
        decision.warnings,
        decision.refusal,
    )


MODES: Dict[str, Callable[[Case], Decision]] = {
    "auto": auto,
    "analyze": analyze,
    "plain": plain,
    "reindex": reindex,
    "rewrite": rewrite,
    "repack": repack,
    "compact": compact,
    "full": full,
}


def decide(table: Facts, server: Facts, request: Facts, free: Optional[int]) -> Decision:
    """What to do with a table of ``_vacuum_facts.examine``, asked for by ``request`` (see Case)."""
    case = Case(table, server, request, free)
    working = [row for row in table["busy"] if row["what"] != "vacuums it"]
    if working:
        who = "pid %d %s" % (working[0]["pid"], working[0]["what"])
        decision = nothing(case, "%s: nothing is done until that has ended" % who)
        decision = Decision(
            "nothing", decision.reason if not case.leftovers else who, [], predicted(0, "none", seconds=0)
        )
        decision.refusal = LockHeld(
            "Somebody else is at work on %s: %s." % (table["name"], who), "Run it again when that has ended."
        )
        return decision
    decision = MODES[request["mode"]](case)
    broken = [index["name"] for index in table["indexes"] if not index["valid"] and index not in case.leftovers]
    if broken:
        decision.warnings.append(
            "%s of %s is invalid and no leftover of a reindexing; phase_migrate can repair it."
            % (", ".join(broken), table["name"])
        )
    return decision
