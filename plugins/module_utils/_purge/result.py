# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What phase_purge_logs returns: the result of a plan, of a run and of a failure, with words for people. Pure."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple, cast

from .._operations.core.words import people_bytes
from .._operations.purge.logs import stopped_by, untouched
from .._operations.purge.types import READ_EVENTS, LogOutcome, LogPlan, Outcome, Plan, Recovery, Sizes

Facts = Dict[str, Any]


def pending(plan: Plan) -> bool:
    """Whether there is, or may be, something to do."""
    return bool(plan["recovery"]) or any(one["eligible"] or not one["exact"] for one in plan["logs"].values())


def nothing(plan: Plan) -> Outcome:
    """The outcome of a run that found nothing to do."""
    return {
        "logs": {name: untouched(planned) for name, planned in plan["logs"].items()},
        "seconds": 0.0,
        "rows_per_second": 0,
        "batches": 0,
        "paused": {},
        "recovered": None,
        "foreign_key": {"state": "kept", "why": plan["way"]["foreign_key_why"]},
        "tokens_kept": 0,
        "rewrite": None,
    }


def facts(plan: Plan, done: Optional[Outcome], archive: Optional[Facts]) -> Facts:
    """What every result has."""
    logs = {name: shown(planned, done and done["logs"][name], plan) for name, planned in plan["logs"].items()}
    return {
        "organisations": [row["name"] for row in plan["scope"]["organisations"]],
        "strategy": plan["way"]["strategy"],
        "logs": logs,
        "eligible": sum(one["eligible"] for one in logs.values()),
        "held_back": sum(one["held_back"] for one in logs.values()),
        "token_last_used": plan["token_last_used"],
        "archive": archive,
        "summary": summary(plan, done, archive),
    }


def shown(planned: LogPlan, outcome: Optional[LogOutcome], plan: Plan) -> Facts:
    """A log: its plan, and its outcome where there is one; else ``after`` is predicted."""
    found: Facts = {
        "table": planned["table"],
        "retain_days": planned["retain_days"],
        "cutoff": planned["cutoff"],
        "eligible": planned["eligible"],
        "held_back": planned["held_back"],
        "kept": planned["kept"],
        "undelivered": planned["undelivered"],
        "bytes": planned["bytes"],
        "before": planned["before"],
    }
    if outcome is None:
        return dict(found, after=sizes_after(planned, plan))
    return dict(found, **outcome, eligible=outcome["deleted"] + outcome["remaining"])


def sizes_after(planned: LogPlan, plan: Plan) -> Optional[Sizes]:
    """What is predicted of the table."""
    if planned["before"] is None:
        return None
    after, way = planned["before"].copy(), plan["way"]
    if planned["name"] == READ_EVENTS and way["strategy"] == "rewrite" and way["rewrite"]:
        total = after["table_bytes"] + after["index_bytes"]
        part = way["rewrite"]["expected"]["bytes_after"] / total if total else 1.0
        after["table_bytes"] = round(after["table_bytes"] * part)
        after["index_bytes"] = round(after["index_bytes"] * part)
        after["blocks"] = round(after["blocks"] * part)
        after["dead_rows"] = 0
    else:
        after["dead_rows"] += planned["eligible"]
    if after["rows"] is not None:
        after["rows"] = max(0, after["rows"] - planned["eligible"])
    return after


def predicted(plan: Plan, archive: Optional[Facts] = None) -> Facts:
    """What check mode returns."""
    settles = [entry["path"] for entry in archive["settled"]] if archive else []
    changed = bool(plan["recovery"] or settles or any(one["eligible"] for one in plan["logs"].values()))
    return dict(facts(plan, None, archive), changed=changed, plan=planned_way(plan), diff=difference(plan, settles))


def result(plan: Plan, done: Outcome, archive: Optional[Facts] = None) -> Facts:
    """What a run returns."""
    outcomes = list(done["logs"].values())
    return dict(
        facts(plan, done, archive),
        changed=changed(done, archive),
        deleted=sum(one["deleted"] for one in outcomes),
        remaining=sum(one["remaining"] for one in outcomes),
        stopped_by=stopped_by(outcomes),
        **{name: value for name, value in done.items() if name != "logs"},
    )


def failed(plan: Plan, partial: Mapping[str, Any], settled: Optional[Facts]) -> Facts:
    """What a failure returns: the outcome as far as it is known, without the bulk of the plan."""
    archive = partial.get("archive", settled)
    more = {name: value for name, value in partial.items() if name not in nothing(plan)}
    if "logs" not in partial:  # the far end was lost, or it never began
        return dict(facts(plan, None, archive), changed=changed(None, archive), **dict(more, archive=archive))
    done = cast(Outcome, {name: partial.get(name, value) for name, value in nothing(plan).items()})
    return dict(result(plan, done, archive), **dict(more, archive=archive))


def changed(done: Optional[Outcome], archive: Optional[Facts]) -> bool:
    settled = archive and [one for one in archive["settled"] if not one.get("waiting")]
    deleted = done and any(one["deleted"] for one in done["logs"].values())
    return bool(settled or deleted or (done and (done["recovered"] or done["tokens_kept"])))


def planned_way(plan: Plan) -> Facts:
    """The plan as results have it."""
    way = plan["way"]
    blocking = [item for item in plan["obstacles"] if way["strategy"] in item["blocks"]]
    if way["foreign_key"] == "set_aside":
        blocking += [item for item in plan["obstacles"] if "set_aside" in item["blocks"] and item not in blocking]
    return {
        "exact": all(one["exact"] for one in plan["logs"].values()),
        "months": plan["months"],
        "why": way["why"],
        "path": way["path"],
        "path_why": way["path_why"],
        "foreign_key": way["foreign_key"],
        "foreign_key_why": way["foreign_key_why"],
        "seconds": way["seconds"],
        "expected": way["expected"],
        "obstacles": plan["obstacles"],
        "blocked_by": [item["text"] for item in blocking],
        "recovery": plan["recovery"],
        "rewrite": way["rewrite"],
    }


# Words


def summary(plan: Plan, done: Optional[Outcome] = None, archive: Optional[Facts] = None) -> List[str]:
    """Lines for people: of a plan, or of what was ``done``."""
    lines: List[str] = []
    for name, planned in plan["logs"].items():
        if planned["missing"]:
            continue
        lines.append(would_delete(planned, plan) if done is None else did_delete(planned, done["logs"][name]))
        lines += ["%s stay: %s." % (older(one["rows"], planned), one["why"]) for one in planned["kept"]]
        if done is None:
            lines += undelivered(planned)
    if done is None:
        lines += foreseen(plan)
    if archive and archive["path"] and done is not None:
        lines.append(
            "%d rows, tags included, are archived in %s (%s)."
            % (archive["rows"], archive["path"], people_bytes(archive["bytes"]))
        )
    elif archive and archive["path"]:
        lines.append("Would archive them in %s first." % archive["path"])
    settled = [one["path"] for one in (archive or {}).get("settled", []) if one["path"]]
    if settled:
        words = "Would complete" if done is None else "Completed"
        lines.append("%s the archives of interrupted runs: %s." % (words, ", ".join(settled)))
    return lines


def label(planned: LogPlan) -> str:
    return planned["name"].replace("_", " ")


def older(rows: Optional[int], planned: LogPlan) -> str:
    return "%s older %s" % ("Some" if rows is None else rows, label(planned))


def moment(planned: LogPlan) -> str:
    return planned["cutoff"][:19] + "Z"


def would_delete(planned: LogPlan, plan: Plan) -> str:
    text = "Would delete %s%d %s older than %s (about %s)." % (
        "" if planned["exact"] else "about ",
        planned["eligible"],
        label(planned),
        moment(planned),
        people_bytes(planned["bytes"]),
    )
    if planned["name"] != READ_EVENTS:
        return text
    way = plan["way"]
    found = "by rewriting the table" if way["strategy"] == "rewrite" else "block by block"
    found = "by index, since %s" % way["path_why"] if way["path"] == "index" and way["strategy"] != "rewrite" else found
    return "%s Strategy: %s, %s." % (text, way["strategy"], found)


def did_delete(planned: LogPlan, outcome: LogOutcome) -> str:
    text = "Deleted %s %s older than %s" % (outcome["deleted"] or "no", label(planned), moment(planned))
    if not outcome["remaining"]:
        return text + "."
    why = "stopped by %s" % outcome["stopped_by"] if outcome["stopped_by"] else "others had locked them"
    return "%s; %d remain for the next run (%s)." % (text, outcome["remaining"], why)


def undelivered(planned: LogPlan) -> List[str]:
    """Of log streams that have not delivered rows which are deleted nevertheless."""
    return [
        "%s of the %s to delete were not delivered by %s."
        % ("Some" if one["rows"] is None else one["rows"], label(planned), one["why"])
        for one in planned["undelivered"]
    ]


def foreseen(plan: Plan) -> List[str]:
    lines = []
    if READ_EVENTS in plan["logs"]:
        costs = plan["way"]["expected"]
        lines = [
            "Takes about %.0f s and writes about %s of WAL." % (costs["seconds"], people_bytes(costs["wal_bytes"])),
            space(plan),
        ]
    lines += ["%s: %d" % item for item in by_environment(plan).items()]
    if plan["recovery"]:
        lines.append("First %s." % to_recover(plan["recovery"])[1])
    return lines + [item["text"] + "." for item in plan["obstacles"]]


def space(plan: Plan) -> str:
    rewrite = plan["way"]["rewrite"]
    if plan["way"]["strategy"] != "rewrite" or rewrite is None:
        return "The space becomes free for new rows after the next vacuum; the files do not shrink."
    return "The files shrink by about %s at once; until then about %s have to be free." % (
        people_bytes(rewrite["expected"]["returned_bytes"]),
        people_bytes(rewrite["space_bytes"]),
    )


def to_recover(recovery: Recovery) -> Tuple[str, str]:
    """What an interrupted run left, as a line of the diff and as what is done about it."""
    if "constraint" in recovery:
        name = recovery["constraint"]
        return "foreign key %s: dropped" % name, "restores foreign key %s, which an interrupted purge dropped" % name
    place = recovery["place"]
    verb = "finishes" if recovery["swapped"] else "undoes"
    return "rewrite of %s: interrupted" % place, "%s the interrupted rewrite of %s" % (verb, place)


def by_environment(plan: Plan) -> Dict[str, int]:
    places: Dict[str, int] = {}
    for row in plan["months"] or ():
        place = "%s / %s / %s" % (row["organisation"], row["app"], row["environment"])
        places[place] = places.get(place, 0) + row["rows"]
    return places


def difference(plan: Plan, settles: List[str]) -> Dict[str, str]:
    """Rows before the cutoffs, of the read events by environment, before and after; ``settles`` are archives."""
    before = "".join("%s: %d\n" % item for item in by_environment(plan).items())
    after = ""
    if plan["recovery"]:
        before += to_recover(plan["recovery"])[0] + "\n"
        if "constraint" in plan["recovery"]:
            after += "foreign key %s: in place\n" % plan["recovery"]["constraint"]
    for name, planned in plan["logs"].items():
        if name != READ_EVENTS and planned["eligible"]:
            before += "%s before %s: %d\n" % (name, planned["cutoff"], planned["eligible"])
    for path in settles:
        before += "archive %s: interrupted\n" % path
        after += "archive %s: complete\n" % path
    reads = plan["logs"].get(READ_EVENTS)
    header = "read events before " + reads["cutoff"] if reads else "other logs"
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def warnings(plan: Plan) -> List[str]:
    found = token_warnings(plan)
    for name, planned in plan["logs"].items():
        if planned["missing"]:
            found.append("other_logs.%s has nothing to do: %s." % (name, planned["missing"]))
        if planned["triggers"]:
            words = (", ".join(planned["triggers"]), planned["table"])
            found.append("Triggers run for each deleted row: %s of %s." % words)
        held = [one for one in planned["kept"] if one["stream"]]
        found += ["%s are held back: %s." % (older(one["rows"], planned), one["why"]) for one in held]
        found += undelivered(planned)
    way = plan["way"]
    return found + list(way["rewrite"]["notes"] if way["strategy"] == "rewrite" and way["rewrite"] else [])


def token_warnings(plan: Plan) -> List[str]:
    tokens = plan["token_last_used"]
    if not tokens["tokens"] or tokens["kept_in_column"]:
        return []
    names = ", ".join(
        "%s of %s (%s)" % (one["name"], one["account"], one["last_used"][:10]) for one in tokens["tokens"][:5]
    )
    more = " and %d more" % (len(tokens["tokens"]) - 5) if len(tokens["tokens"]) > 5 else ""
    return [
        "Phase will show no last use any more for %s%s: this release finds it in the events that are deleted."
        % (names, more)
    ]
