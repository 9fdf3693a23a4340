# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""phase_purge_logs: check what is asked for, plan, delete, and say what happened."""

from __future__ import annotations

import contextlib
import re
import socket
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .._call.argspec import ArgumentSpec, duration, timeouts
from .._call.module import Call
from .._errors import BadOption, PhaseError
from .._operations.core.words import people_bytes
from .._operations.purge import operation as operations
from .._operations.purge.strategy import STRATEGIES
from . import others
from .archiving import Archiving, archiving

Facts = Dict[str, Any]

MOST_DAYS = 36500
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}

THROTTLE = {
    "replica_lag": {"default": "30s"},
    "lock_wait": {"default": "2s"},
    "wal_rate": {"default": "0"},
    "writer_latency": {"default": "0"},
    "autovacuum": {"type": "bool", "default": False},
    "free_disk": {"default": "0"},
}

SPEC = ArgumentSpec(
    {
        "organisation": {},
        "all_organisations": {"type": "bool", "default": False},
        "app_id": {},
        "read_events": {"type": "bool", "default": True},
        "retain_days": {"type": "int", "default": 30, "aliases": ["retain"]},
        "other_logs": others.OPTION,
        "minimum_retain_days": {"type": "int", "default": 0},
        "strategy": {"choices": ["auto"] + list(STRATEGIES), "default": "auto"},
        "foreign_key": {"choices": ["keep", "set_aside"], "default": "keep"},
        "log_streams": {"choices": ["respect", "ignore"], "default": "respect"},
        "max_duration": {"default": "0"},
        "transaction_time": {"default": "250ms"},
        "pause_file": {"type": "path"},
        "archive_dest": {"type": "path"},
        "throttle": {"type": "dict", "apply_defaults": True, "options": THROTTLE},
    }
)


def size(name: str, value: Any) -> int:
    """Bytes from ``5000000``, ``50MB``, ``2 GiB``; 0 is no limit."""
    match = re.match(r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]i?|)b?(?:/s)?\s*$", str(value).lower())
    if not match:
        raise BadOption("%s is not a size: %s" % (name, value), "Write bytes or a number with KB, MB, GB or GiB.")
    return int(float(match.group(1)) * _UNITS[match.group(2)])


def check_options(params: Mapping[str, Any]) -> None:
    """Refuse what cannot be meant before anything is connected to."""
    named = [name for name in ("organisation", "app_id") if params[name] is not None]
    if params["all_organisations"] and named:
        raise BadOption("all_organisations excludes %s." % " and ".join(named), "Say one of them.")
    if not params["all_organisations"] and not named:
        raise BadOption(
            "Nothing says whose events shall go.", "Name an organisation or an app_id, or set all_organisations=true."
        )
    for name in named:
        if not params[name].strip() or re.search("[\x00\ud800-\udfff]", params[name]):
            raise BadOption("%s is %r, which can be none." % (name, params[name]), "Name one, or leave it out.")
    for name in ("retain_days", "minimum_retain_days"):
        if not 0 <= params[name] <= MOST_DAYS:
            raise BadOption("%s is %d." % (name, params[name]), "It is a number of days from 0 to %d." % MOST_DAYS)
    others.check(params, MOST_DAYS)
    if params["strategy"] == "stock":
        given = [name for name in ("pause_file", "archive_dest") if params[name]]
        given += ["foreign_key"] if params["foreign_key"] != "keep" else []
        if given:
            raise BadOption("strategy=stock knows no %s." % " and no ".join(given), "Use strategy=delete for that.")


def request_of(params: Mapping[str, Any]) -> Facts:
    names = ["organisation", "app_id", "retain_days", "minimum_retain_days", "strategy", "foreign_key", "log_streams"]
    request = {name: params[name] for name in [*names, "read_events"]}
    return dict(request, other_logs=others.given(params), application=params["deployment"] != "database")


def apply_request(params: Mapping[str, Any]) -> Facts:
    limits = params["throttle"]
    times = {
        name: duration("throttle." + name, limits[name]) for name in ("replica_lag", "lock_wait", "writer_latency")
    }
    sizes = {name: size("throttle." + name, limits[name]) for name in ("wal_rate", "free_disk")}
    target = duration("transaction_time", params["transaction_time"])
    if not 0.01 <= target <= 60:
        raise BadOption("transaction_time is %s." % params["transaction_time"], "Choose from 10ms to 60s.")
    return {
        "host": socket.gethostname(),
        "lock_timeout": timeouts(params)["lock"],
        "max_duration": duration("max_duration", params["max_duration"]),
        "transaction_time": target,
        "throttle": dict(times, **sizes, autovacuum=limits["autovacuum"]),
    }


def run(call: Call) -> Facts:
    check_options(call.params)
    request, settings = request_of(call.params), apply_request(call.params)
    archive = archiving(call.params, call.target, call.report)
    request["archive"] = archive.run if archive else None
    # Counting reads the whole table once more: only for those who want to know beforehand.
    plan = call.target.run(operations.plan, dict(request, count=call.check or call.diff), call.report)
    result = shown(plan)
    if archive:
        archive.foresee(dict(plan, **others.archived(plan)), result)
    for text in warnings(plan):
        call.warn(text)
    if archive and not call.check:
        result["archive"] = archive.settle(plan)
    if archive:
        archive.check_room(dict(plan, **others.archived(plan)))
    if call.check:
        return result
    if plan["exact"] and not plan["eligible"] and not plan["recovery"] and not others.eligible(plan):
        result.update(changed=changed({}, result["archive"]), other_logs=others.untouched(plan))
        return dict(result, deleted=0, remaining=0, stopped_by=None, rows_per_second=0, after=plan["before"])
    try:
        done = carry_out(call, archive, dict(request, **settings, plan=plan))
    except PhaseError as error:
        partial = dict({"archive": result["archive"]}, **error.partial)
        partial["other_logs"] = others.finished(plan, partial.get("other_logs", {}))
        error.partial = dict(brief(result), **dict(partial, changed=changed(partial, partial["archive"])))
        raise
    result.update(done, changed=changed(done, done["archive"]), other_logs=others.finished(plan, done["other_logs"]))
    unfinished = done.get("rewrite", {}).get("unfinished")
    if unfinished:
        call.warn("What the rewrite replaced is tidied up by the next run: %s" % unfinished)
    result["eligible"] = done["deleted"] + done["remaining"]
    if not call.diff:
        result.pop("diff")
    return result


def carry_out(call: Call, archive: Optional[Archiving], request: Facts) -> Facts:
    """Apply the plan, and bring the archive to its end, whatever becomes of it."""
    if archive is None:
        return dict(call.target.run(operations.apply, request, call.report), archive=None)
    try:
        done = call.target.run(operations.apply, request, call.report, deliveries=archive.begin(request))
    except PhaseError as error:
        with contextlib.suppress(PhaseError):  # the next run does it; the first error is what is told
            error.partial["archive"] = archive.end()
        raise
    try:
        return dict(done, archive=archive.end())
    except PhaseError as error:
        error.partial = dict(done, **error.partial)
        raise


def changed(done: Mapping[str, Any], archive: Optional[Mapping[str, Any]] = None) -> bool:
    settled = archive and [one for one in archive["settled"] if not one.get("waiting")]
    gone = done.get("deleted") or others.deleted(done)
    return bool(gone or done.get("recovered") or done.get("tokens_kept") or settled)


def shown(plan: Facts) -> Facts:
    """The result of a run that does nothing, which is what check mode returns."""
    scope = plan["scope"]
    blocking = [item for item in plan["obstacles"] if plan["strategy"] in item["blocks"]]
    if plan["foreign_key"] == "set_aside":
        blocking += [item for item in plan["obstacles"] if "set_aside" in item["blocks"] and item not in blocking]
    after = dict(plan["before"])
    if plan["strategy"] == "rewrite":
        total = after["table_bytes"] + after["index_bytes"]
        part = plan["rewrite"]["expected"]["bytes_after"] / total if total else 1.0
        after.update({name: round(after[name] * part) for name in ("table_bytes", "index_bytes", "blocks")})
        after["dead_rows"] = 0
    else:
        after["dead_rows"] += plan["eligible"]
    if after["rows"] is not None:
        after["rows"] = max(0, after["rows"] - plan["eligible"])
    return {
        "changed": bool(plan["eligible"] or plan["recovery"] or others.eligible(plan)),
        "organisations": [row["name"] for row in scope["organisations"]],
        "cutoff": scope["cutoff"] if plan["read_events"] else None,
        "eligible": plan["eligible"],
        "held_back": plan["held_back"],
        "log_streams": plan["log_streams"],
        "strategy": plan["strategy"],
        "plan": {
            "exact": plan["exact"],
            "months": plan["months"],
            "bytes": plan["bytes"],
            "why": plan["why"],
            "path": plan["path"],
            "path_why": plan["path_why"],
            "foreign_key": plan["foreign_key"],
            "expected": plan["expected"],
            "obstacles": plan["obstacles"],
            "blocked_by": [item["text"] for item in blocking],
            "recovery": plan["recovery"],
            "rewrite": plan.get("rewrite"),
            "summary": summary(plan),
        },
        "token_last_used": plan["token_last_used"],
        "other_logs": others.shown(plan),
        "archive": None,
        "before": plan["before"],
        "after": after,
        "diff": difference(plan),
    }


def brief(result: Facts) -> Facts:
    """A failure returns the facts without the plan's bulk."""
    return {key: value for key, value in result.items() if key not in ("plan", "diff", "after")}


def summary(plan: Facts) -> List[str]:
    """Lines for people."""
    lines = events(plan) if plan["read_events"] else ["Read events stay."]
    for place, rows in by_environment(plan).items():
        lines.append("%s: %d" % (place, rows))
    if plan["held_back"]:
        lines.append("%d are held back for log streams." % plan["held_back"])
    lines += others.summary(plan)
    if plan["recovery"]:
        lines.append("First %s." % to_recover(plan["recovery"])[1])
    return lines + [item["text"] + "." for item in plan["obstacles"]]


def events(plan: Facts) -> List[str]:
    scope, about = plan["scope"], "" if plan["exact"] else "about "
    return [
        "%s%d read events before %s go (about %s), %s."
        % (about, plan["eligible"], scope["cutoff"][:19] + "Z", people_bytes(plan["bytes"]), plan["strategy"]),
        "Found by %s: %s. Expected: %.0f s, %s of WAL."
        % (plan["path"], plan["path_why"], plan["expected"]["seconds"], people_bytes(plan["expected"]["wal_bytes"])),
        space(plan),
    ]


def space(plan: Facts) -> str:
    if plan["strategy"] != "rewrite":
        return "The space becomes free for new rows after the next vacuum; the files do not shrink."
    rewrite = plan["rewrite"]
    return "The files shrink by about %s at once; until then about %s have to be free." % (
        people_bytes(rewrite["expected"]["returned_bytes"]),
        people_bytes(rewrite["space_bytes"]),
    )


def to_recover(recovery: Facts) -> Tuple[str, str]:
    """What an earlier run that was cut off left, as a line of the diff and as what is done about it."""
    if "constraint" in recovery:
        name = recovery["constraint"]
        return (
            "foreign key %s: set aside" % name,
            "foreign key %s is put back, which a purge that was cut off had set aside" % name,
        )
    place = recovery["place"]
    ends = "carried to its end" if recovery["swapped"] else "undone"
    return "rewrite of %s: cut off" % place, "the rewrite of %s that was cut off is %s" % (place, ends)


def by_environment(plan: Facts) -> Dict[str, int]:
    places: Dict[str, int] = {}
    for row in plan["months"] or ():
        place = "%s / %s / %s" % (row["organisation"], row["app"], row["environment"])
        places[place] = places.get(place, 0) + row["rows"]
    return places


def difference(plan: Facts) -> Dict[str, str]:
    """Read events before the cutoff by environment, before and after."""
    before = "".join("%s: %d\n" % item for item in by_environment(plan).items())
    if plan["recovery"]:
        before += to_recover(plan["recovery"])[0] + "\n"
    before += others.difference(plan)
    header = "read events before " + plan["scope"]["cutoff"] if plan["read_events"] else "other logs"
    constraint = (plan["recovery"] or {}).get("constraint")
    after = "foreign key %s: in place\n" % constraint if constraint else ""
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def warnings(plan: Facts) -> List[str]:
    found = []
    tokens = plan["token_last_used"]
    if tokens["tokens"] and not tokens["kept_in_column"]:
        names = ", ".join(
            "%s of %s (%s)" % (one["name"], one["account"], one["last_used"][:10]) for one in tokens["tokens"][:5]
        )
        more = " and %d more" % (len(tokens["tokens"]) - 5) if len(tokens["tokens"]) > 5 else ""
        found.append(
            "This release of Phase knows when a service-account token was last used from its events alone; "
            "afterwards it will not know any more for %s%s." % (names, more)
        )
    for stream in plan["log_streams"]:
        if stream["rows"]:
            found.append("Log stream %s holds back %d events: %s." % (stream["name"], stream["rows"], stream["why"]))
        elif plan["streams_ignored"]:
            found.append("Log stream %s is ignored: %s." % (stream["name"], stream["why"]))
    if plan["strategy"] == "rewrite":
        found += plan["rewrite"]["notes"]
    found += others.warnings(plan)
    if plan["triggers"]:
        found.append("Triggers will run for each row that goes: %s." % ", ".join(plan["triggers"]))
    return found
