# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modes of phase_vacuum, each a pure function from a table's case to a decision: when it is due, what it costs."""

from __future__ import annotations

from typing import List, Optional

from .._errors import NoSpace
from .._operations.core.words import identifier, people_bytes, people_rows, people_seconds
from .._operations.rewrite.rewrite import FIXED, PER_BYTE_KEPT, PER_BYTE_READ
from .._operations.vacuum.errors import NotConfirmed, Unsuitable
from .._operations.vacuum.operation import CONNECTIONS
from .case import (
    ALONE,
    CUT,
    DEPENDS,
    MOVED,
    READ,
    ROWS,
    SHARED,
    SWAPPED,
    WINDOW,
    WORTH,
    WRITTEN,
    Case,
    Decision,
    Facts,
    nothing,
    predicted,
    share_text,
    too_little,
)
from .repack import arguments


def analyze(case: Case) -> Decision:
    reasons = case.analyze_reasons() or (["forced"] if case.request["force"] else [])
    if not reasons:
        return nothing(case, "its statistics are fresh")
    step = {"kind": "analyze", "statement": "ANALYZE %s" % case.name}
    return Decision("analyze", reasons[0], [step], predicted(0, SHARED, seconds=None))


def plain(case: Case) -> Decision:
    reasons = case.vacuum_reasons() or (["forced"] if case.request["force"] else [])
    held = case.held_back()
    if not reasons:
        text = "nothing in it is dead"
        if held and case.state["dead_rows"]:
            text = "its %s dead are kept by %s" % (people_rows(case.state["dead_rows"]), held)
        return nothing(case, text)
    freed = 0 if held else case.empty_end() * case.block
    seconds = case.state["total_bytes"] / READ
    decision = Decision("plain", "; ".join(reasons), case.drop_leftovers() + [case.vacuum()])
    decision.predicted = predicted(freed, SHARED + (CUT if freed else ""), seconds=seconds)
    return decision


def reindex(case: Case, indexes: Optional[List[Facts]] = None) -> Decision:
    chosen = case.bloated(*WORTH["reindex"]) if indexes is None else indexes
    if case.request["force"] and indexes is None:
        chosen = sorted(
            (index for index in case.table["indexes"] if index["valid"]), key=lambda index: int(index["bytes"])
        )
    if not chosen:
        return nothing(case, "no index of it is bloated")
    freed = sum(case.index_freed(index) for index in chosen)
    largest = max(case.guess["index_bytes"][index["name"]] for index in chosen)
    size = sum(index["bytes"] for index in chosen)
    reason = "%s of %d index%s would be given back" % (
        people_bytes(freed),
        len(chosen),
        "" if len(chosen) == 1 else "es",
    )
    decision = Decision("reindex", reason, case.drop_leftovers() + case.reindex(chosen))
    seconds = len(chosen) * case.state["table_bytes"] / READ + (size - freed) / WRITTEN
    freed += sum(index["bytes"] for index in case.leftovers)
    decision.predicted = predicted(freed, SHARED, case.room(largest), seconds=seconds)
    lacking = case.lacks_room(largest)
    if lacking:
        decision.refusal = NoSpace(
            "The indexes of %s cannot be built anew: %s." % (case.table["name"], lacking),
            "Say with free_space how much disk is free on the server, or free some.",
        )
    return decision


def full(case: Case) -> Decision:
    if not case.worth(case.freed, case.state["total_bytes"], "full"):
        return nothing(case, too_little(case.freed, case.state["total_bytes"], WORTH["full"]))
    stall = case.state["table_bytes"] / READ + case.after / WRITTEN
    reason = "%s of it would be given back; meanwhile all who read or write it wait, about %s %s" % (
        share_text(case.freed, case.state["total_bytes"]),
        people_seconds(max(1, stall)),
        DEPENDS,
    )
    # FULL leaves no visibility map and does not reset the count of dead rows, so a quick plain VACUUM follows.
    rewrite = {"kind": "full", "statement": "VACUUM (FULL, ANALYZE) %s" % case.name}
    decision = Decision("full", reason, case.drop_leftovers() + [rewrite, case.vacuum(analyze=False)])
    decision.predicted = predicted(case.freed, ALONE, case.room(case.after), stall, stall + case.after / READ)
    lacking, connections = case.lacks_room(case.after), case.server["connections"]
    if lacking:
        decision.refusal = no_space(case, lacking)
    elif connections is not None and connections <= CONNECTIONS:
        decision.refusal = Unsuitable(
            "The pooler gives only %d connections at the same time; mode=full needs %d and one for the application: "
            "else nobody could end it when it waits." % (connections, CONNECTIONS),
            "Raise default_pool_size or pool_size, or name the server itself.",
        )
    elif not case.request["confirm_full"]:
        decision.refusal = NotConfirmed(
            "VACUUM FULL of %s would keep everybody out of it for about %s %s, and give back %s."
            % (case.table["name"], people_seconds(max(1, stall)), DEPENDS, people_bytes(case.freed)),
            "Set confirm_full=true in a window where Phase may stand still, or use mode=auto.",
        )
    return decision


def rewrite(case: Case) -> Decision:
    if not case.worth(case.freed, case.state["total_bytes"], "rewrite"):
        return nothing(case, too_little(case.freed, case.state["total_bytes"], WORTH["rewrite"]))
    reason = "%s of it would be given back by a copy that takes its place" % (
        share_text(case.freed, case.state["total_bytes"])
    )
    step = {
        "kind": "rewrite",
        "statement": "-- copy %s, build its %d indexes, catch up, swap, drop the old table"
        % (case.name, len(case.table["indexes"]) - len(case.leftovers)),
    }
    decision = Decision("rewrite", reason, case.drop_leftovers() + [step, case.vacuum()])
    seconds = FIXED + case.state["heap_bytes"] * PER_BYTE_READ + case.after * PER_BYTE_KEPT
    decision.predicted = predicted(case.freed, SWAPPED, case.room(case.after), seconds=seconds)
    lacking = case.lacks_room(case.after)
    refused = case.uncopiable()
    if refused:
        decision.refusal = Unsuitable(
            "%s cannot be rewritten: %s." % (case.table["name"], "; ".join(refused)),
            "Use mode=compact, plain or full.",
        )
    elif lacking:
        decision.refusal = no_space(case, lacking)
    return decision


def repack(case: Case) -> Decision:
    if not case.worth(case.freed, case.state["total_bytes"], "rewrite"):
        return nothing(case, too_little(case.freed, case.state["total_bytes"], WORTH["rewrite"]))
    reason = "%s of it would be given back by pg_repack" % share_text(case.freed, case.state["total_bytes"])
    argv = arguments(case.name, case.request["max_lock_wait"])
    step = {"kind": "repack", "statement": " ".join(argv), "argv": argv}
    decision = Decision("repack", reason, [step, case.vacuum()])
    seconds = FIXED + case.state["heap_bytes"] * PER_BYTE_READ + case.after * PER_BYTE_KEPT
    decision.predicted = predicted(case.freed, SWAPPED, case.room(case.after), seconds=seconds)
    against, lacking = unusable_repack(case), case.lacks_room(case.after)
    if against:
        decision.refusal = Unsuitable("pg_repack cannot be used: %s." % "; ".join(against), "Use mode=rewrite.")
    elif lacking:
        decision.refusal = no_space(case, lacking)
    return decision


def unusable_repack(case: Case) -> List[str]:
    extension, client = case.server["pg_repack"], case.request["repack"]
    if not extension:
        return ["its extension is not in this database"]
    if not case.server["superuser"]:
        return ["the role is no superuser"]
    if not client:
        return ["its program is not where the database's tools are"]
    if client != extension:
        return ["its program is of version %s and its extension of %s" % (client, extension)]
    if case.leftovers:
        return ["an interrupted reindexing left invalid indexes, which any other mode drops first"]
    return []


def compact(case: Case) -> Decision:
    against = against_compact(case)
    heap = case.state["heap_bytes"]
    target = compact_target(case)
    freed = max(0, heap - target * case.block)
    if not case.worth(freed, heap, "compact"):
        return nothing(case, too_little(freed, heap, WORTH["compact"]))
    moved = case.rows * max(0, case.blocks - target) / max(1, case.blocks)
    reason = "%s of it would be given back without a copy, by moving about %s" % (
        share_text(freed, heap),
        people_rows(int(moved)),
    )
    column = identifier(case.table["column"])
    move = (
        "UPDATE ONLY",
        case.name,
        "AS t SET",
        column,
        "= t." + column,
        "WHERE t.ctid >= '(LOW,0)' AND t.ctid < '(HIGH,0)'",
    )
    step = {
        "kind": "compact",
        "statement": "%s -- in small transactions, from block %d down to %d" % (" ".join(move), case.blocks, target),
        "table": case.name,
        "column": case.table["column"],
        "blocks": case.blocks,
        "target": target,
        "window": WINDOW,
        "vacuum": case.vacuum(analyze=False)["statement"],
    }
    # The first VACUUM tells where there is room at the front, the last cuts off the end.
    decision = Decision("compact", reason, case.drop_leftovers() + [case.vacuum(analyze=False), step, case.vacuum()])
    seconds = 2 * case.state["total_bytes"] / READ + moved / MOVED
    decision.predicted = predicted(freed, ROWS, case.room(0), seconds=seconds)
    if against:
        decision.refusal = Unsuitable(
            "%s cannot be compacted: %s." % (case.table["name"], "; ".join(against)), "Use mode=plain or full."
        )
    old = case.old_snapshot()
    if old:
        decision.warnings.append("The space comes back only after %s has ended, and with another run." % old)
    return decision


def compact_target(case: Case) -> int:
    """Blocks that hold all rows, with a little air: rows fill gaps less well than new blocks."""
    heap = case.state["heap_bytes"]
    living = case.guess["table_bytes"] * (heap / float(case.state["table_bytes"] or 1))
    return int(min(case.blocks, 1.04 * living / case.block + 16))


def against_compact(case: Case) -> List[str]:
    table = case.table
    found = []
    if case.version < 140000:
        found.append(
            "PostgreSQL %d cannot find the rows of a block without reading the table" % (case.version // 10000)
        )
    if table["triggers"]:
        found.append("its trigger %s would fire for rows that only move" % ", ".join(table["triggers"]))
    found += ["it has %s" % name.replace("_", " ") for name in ("rules", "row_security") if table[name]]
    if table["inherited"]:
        found.append("other tables inherit from it")
    if not table["owned"]:
        found.append("the role does not own it")
    return found


def no_space(case: Case, lacking: str) -> NoSpace:
    return NoSpace(
        "%s cannot be written anew: %s." % (case.table["name"], lacking),
        "Free some disk, or use mode=compact, which needs none.",
    )
