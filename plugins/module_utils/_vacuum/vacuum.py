# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""phase_vacuum: look at the tables, decide, run what was decided on, and compare what came of it with what was said."""

from __future__ import annotations

import os
import socket
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .._call.argspec import ArgumentSpec, duration
from .._call.module import Call
from .._errors import BadOption, DatabaseFailed, LockHeld, PhaseError
from .._operations.core.words import people_bytes
from .._operations.rewrite.errors import RewriteBlocked
from .._operations.rewrite.recovery import recover
from .._operations.vacuum import operation as operations
from .._operations.vacuum.errors import Unsuitable
from .advice import MODES, decide
from .case import FEW, STALE, Decision
from .repack import client_version, repack

Facts = Dict[str, Any]

EVENTS, TAGS = "api_secretevent", "api_secretevent_tags"
LONGEST_NAME = 63  # bytes: NAMEDATALEN - 1
KEPT = (
    "total_bytes",
    "table_bytes",
    "heap_bytes",
    "toast_bytes",
    "index_bytes",
    "live_rows",
    "dead_rows",
    "last_vacuum",
    "last_analyze",
)

SPEC = ArgumentSpec(
    {
        "mode": {"choices": list(MODES), "default": "auto"},
        "tables": {"type": "list", "elements": "str", "default": [EVENTS]},
        "max_lock_wait": {"default": "1m"},
        "max_duration": {"default": "0"},
        "confirm_full": {"type": "bool", "default": False},
        "free_space": {},
        "force": {"type": "bool", "default": False},
    }
)


def tables_of(given: Sequence[str]) -> List[str]:
    """The names, each once; with the events comes their table of tags. Raises BadOption for what can be no name."""
    names: List[str] = []
    for name in given:
        if not name.strip() or len(name.encode()) > LONGEST_NAME or not name.isprintable():
            raise BadOption(
                "tables has %r, which is no name of a table." % name[:80], "Name tables of Phase's database."
            )
        names += [one for one in ([name, TAGS] if name == EVENTS else [name]) if one not in names]
    if not names:
        raise BadOption("tables is empty.", "Name a table, or leave the option out for the audit log.")
    return names


def request_of(params: Mapping[str, Any]) -> Facts:
    if params["mode"] == "auto" and params["force"]:
        raise BadOption("force goes with a mode of its own: auto decides from the facts.", "Name the mode to force.")
    wait = duration("max_lock_wait", params["max_lock_wait"])
    if not wait:
        raise BadOption("max_lock_wait is 0.", "Say how long to wait for others at most, such as 1m.")
    return {
        "mode": params["mode"],
        "tables": tables_of(params["tables"]),
        "force": params["force"],
        "confirm_full": params["confirm_full"],
        "repack": None,
        "max_lock_wait": wait,
        "max_duration": duration("max_duration", params["max_duration"]),
    }


def run(call: Call) -> Facts:
    request = request_of(call.params)
    free = call.free_disk()
    seen, recovered = look(call, request)
    if free is None:
        free = seen["free_bytes"]
    if request["mode"] in ("auto", "repack") and seen["server"]["pg_repack"] and seen["server"]["superuser"]:
        request["repack"] = client_version(call.target)
    decisions = [decide(table, seen["server"], request, free) for table in seen["tables"]]
    if TAGS not in call.params["tables"]:
        decisions = [along(decision, table, seen, request, free) for decision, table in zip(decisions, seen["tables"])]
    result = planned(seen, decisions, free, recovered)
    for text in warnings(seen, decisions):
        call.warn(text)
    if recovered:
        call.warn("A rewrite of %s had been cut off; that is put right first." % recovered["name"])
    if call.check:
        for decision in decisions:
            if decision.refusal:
                call.warn("%s %s" % (decision.refusal.message, decision.refusal.next_step))
        return result
    raise_refusal(seen, decisions, result)
    if not result["statements"]:
        return result
    return carry_out(call, request, seen, decisions, result)


def look(call: Call, request: Mapping[str, Any]) -> Tuple[Facts, Optional[Facts]]:
    """The survey, and what a rewrite that was cut off has left; a real run puts that right and looks again."""
    wanted = {"tables": request["tables"]}
    seen = call.target.run(operations.survey, wanted, call.report)
    left = seen["leftovers"]
    if left is None or seen["running"] or call.check:
        return seen, left
    try:
        recovered = call.target.run(recover, {}, call.report)["recovered"]
    except PhaseError as error:  # by its kind, since it may come from the far end
        if error.kind not in (DatabaseFailed.kind, RewriteBlocked.kind) or request["mode"] == "rewrite":
            raise
        call.warn("What an interrupted rewrite left stays until it can be tidied up: %s" % error.message)
        return seen, None
    return call.target.run(operations.survey, wanted, call.report), recovered


def along(decision: Decision, table: Facts, seen: Facts, request: Mapping[str, Any], free: Optional[int]) -> Decision:
    """The table of tags, when nobody named it, is no reason to refuse what is asked for: it is vacuumed instead."""
    refusal = decision.refusal
    if table["name"] != TAGS or refusal is None or refusal.kind != Unsuitable.kind:
        return decision
    instead = decide(table, seen["server"], dict(request, mode="plain"), free)
    instead.warnings.append("%s It is looked after by plain VACUUM." % refusal.message)
    return instead


def carry_out(
    call: Call, request: Mapping[str, Any], seen: Facts, decisions: Sequence[Decision], result: Facts
) -> Facts:
    order: Facts = {
        "tables": [
            {
                "name": table["name"],
                "quoted": table["quoted"],
                "steps": [step for step in decision.steps if step["kind"] != "repack"],
            }
            for table, decision in zip(seen["tables"], decisions)
            if decision.steps
        ],
        "max_lock_wait": request["max_lock_wait"],
        "max_duration": request["max_duration"],
        "host": socket.gethostname(),
        "run": os.urandom(4).hex(),
    }
    repacked: Dict[str, List[str]] = {}
    try:
        for table, decision in zip(seen["tables"], decisions):
            for step in decision.steps:
                if step["kind"] == "repack":
                    repack(call.target, step, call.report)
                    repacked[table["name"]] = [step["statement"]]
        call.target.expect_long()
        done = with_repacked(call.target.run(operations.apply, order, call.report), repacked)
    except PhaseError as error:
        error.partial = finished(result, with_repacked(error.partial, repacked))
        error.partial.pop("diff", None)
        raise
    result = finished(result, done)
    for text in afterwards(result, done):
        call.warn(text)
    return result


def with_repacked(done: Facts, repacked: Mapping[str, List[str]]) -> Facts:
    """What was done beside the database comes first."""
    for entry in done.get("tables", []):
        entry["done"] = repacked.get(entry["name"], []) + entry["done"]
    return done


def raise_refusal(seen: Facts, decisions: Sequence[Decision], result: Facts) -> None:
    """What speaks against the run as a whole: nothing is begun when a part of it cannot be done."""
    refusals = [decision.refusal for decision in decisions if decision.refusal]
    if not refusals and seen["running"] and (result["statements"] or result["recovered"]):
        refusals = [
            LockHeld(
                "Another run is at work in this database (%s)." % seen["running"], "Run it again when that has ended."
            )
        ]
    if refusals:
        partial = {key: value for key, value in result.items() if key not in ("changed", "diff")}
        refusals[0].partial = dict(partial, changed=bool(result["recovered"]) and not seen["running"])
        raise refusals[0]


def planned(seen: Facts, decisions: Sequence[Decision], free: Optional[int], recovered: Optional[Facts]) -> Facts:
    """The result of check mode: everything but what really came of it."""
    entries = []
    for table, decision in zip(seen["tables"], decisions):
        before = {name: table["state"][name] for name in KEPT}
        entries.append(
            {
                "name": table["name"],
                "mode": decision.mode,
                "reason": decision.reason,
                "statements": decision.statements,
                "predicted": decision.predicted,
                "before": before,
                "after": foreseen(before, decision),
                "reclaimed_bytes": 0,
                "seconds": 0.0,
                "compaction": None,
                "rewrite": None,
            }
        )
    server = seen["server"]
    result = {
        "changed": bool(recovered) or any(decision.steps for decision in decisions),
        "recovered": recovered,
        "session": {
            name: server[name] for name in ("now", "user", "session_user", "database", "server_version", "superuser")
        },
        "free_bytes": free,
        "statements": [text for decision in decisions for text in decision.statements],
        "tables": entries,
        "stopped_by": None,
    }
    return dict(result, reason=reason(entries), diff=diff(entries))


def foreseen(before: Mapping[str, Any], decision: Decision) -> Facts:
    """``before`` as it should be afterwards. What is given back is not split: table and indexes stay unknown."""
    if not decision.steps:
        return dict(before)
    freed = decision.predicted["reclaimed_bytes"]
    cleaned = any(step["kind"] in ("vacuum", "full", "rewrite") for step in decision.steps)
    return {
        "total_bytes": before["total_bytes"] - freed,
        "live_rows": before["live_rows"],
        "dead_rows": 0 if cleaned else before["dead_rows"],
    }


def reason(entries: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join("%(name)s: %(mode)s, %(reason)s" % entry for entry in entries)


def diff(entries: Sequence[Mapping[str, Any]]) -> Dict[str, str]:
    """The sizes of the tables that are worked on."""

    def text(side: str) -> str:
        lines = [
            "%s: %d bytes, %d rows dead\n" % (entry["name"], entry[side]["total_bytes"], entry[side]["dead_rows"])
            for entry in entries
            if entry["statements"]
        ]
        return "".join(lines)

    return {"before": text("before"), "after": text("after"), "before_header": "tables", "after_header": "tables"}


def finished(result: Facts, done: Mapping[str, Any]) -> Facts:
    """The planned result with what was really done, also after a failure midway (``partial``)."""
    found = {entry["name"]: entry for entry in done.get("tables", [])}
    entries, statements = [], []
    for entry in result["tables"]:
        real = found.get(entry["name"])
        if real is None:
            entries.append(dict(entry, after=entry["before"], statements=[]))
            continue
        after = {name: real["after"][name] for name in KEPT} if real.get("after") else entry["before"]
        statements += real["done"]
        entries.append(
            dict(
                entry,
                statements=real["done"],
                after=after,
                reclaimed_bytes=entry["before"]["total_bytes"] - after["total_bytes"],
                seconds=real["seconds"],
                compaction=real["compaction"],
                rewrite=real["rewrite"],
            )
        )
    worked = bool(statements or result["recovered"]) or any(entry["compaction"] for entry in entries)
    return dict(
        result,
        changed=worked,
        statements=statements,
        tables=entries,
        stopped_by=done.get("stopped_by"),
        diff=diff(entries),
    )


def warnings(seen: Facts, decisions: Sequence[Decision]) -> List[str]:
    found = [text for decision in decisions for text in decision.warnings]
    user = seen["server"]["user"]
    strangers = sorted({table["owner"] for table in seen["tables"] if table["owner"] != user})
    if strangers:
        found.append(
            "This is %s, and not the application's own role: the tables belong to %s." % (user, ", ".join(strangers))
        )
    return found


def afterwards(result: Facts, done: Mapping[str, Any]) -> List[str]:
    """What a run could not do, and for whom."""
    found = []
    for entry in result["tables"]:
        after = entry["after"]
        vacuumed = any("VACUUM" in statement for statement in entry["statements"])
        if vacuumed and after["dead_rows"] > FEW + STALE * after["live_rows"]:
            keepers = "; ".join(one["text"] for one in done["snapshots"][:3]) or "a transaction that has ended since"
            found.append("%d dead rows of %s could not go: %s" % (after["dead_rows"], entry["name"], keepers))
        unfinished = (entry["rewrite"] or {}).get("unfinished")
        if unfinished:
            found.append("The rewrite of %s is in place; the next run tidies up: %s" % (entry["name"], unfinished))
        said, real = entry["predicted"]["reclaimed_bytes"], entry["reclaimed_bytes"]
        if entry["statements"] and not result["stopped_by"] and real < said / 2.0 and said - real > 8 << 20:
            found.append(
                "%s gave back %s instead of about %s; where others wrote meanwhile, run it again."
                % (entry["name"], people_bytes(max(0, real)), people_bytes(said))
            )
    return found
