# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option other_logs of phase_purge_logs: what can be asked for, and how what became of it is shown."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

from .._errors import BadOption
from .._operations.core.words import people_bytes
from .._operations.purge.other_logs_table import LOGS

Facts = Dict[str, Any]

OPTION = {"type": "dict", "options": {name: {"type": "int"} for name in LOGS}}
SHOWN = ("table", "retain_days", "cutoff", "eligible", "held_back", "kept", "bytes", "before")


def given(params: Mapping[str, Any]) -> Dict[str, int]:
    """The days that stay, by name, of the logs that are asked for."""
    return {name: days for name, days in (params["other_logs"] or {}).items() if days is not None}


def check(params: Mapping[str, Any], most: int) -> None:
    """Refuse days that can be none, and a scope that a log knows nothing of."""
    names = given(params)
    for name, days in names.items():
        if not 0 <= days <= most:
            raise BadOption("other_logs.%s is %d." % (name, days), "It is a number of days from 0 to %d." % most)
    if not params["read_events"] and not names:
        raise BadOption("Nothing is left to purge without read events.", "Say in other_logs what goes.")
    without = [name for name in names if not LOGS[name].knows_apps]
    if params["app_id"] is not None and without:
        raise BadOption(
            "Rows of %s belong to no app, and app_id is given." % " and ".join(without),
            "Purge them by an organisation or by all_organisations, in a task of their own.",
        )
    without = [name for name in names if not LOGS[name].knows_organisations]
    if not params["all_organisations"] and without:
        raise BadOption(
            "Rows of %s belong to no organisation." % " and ".join(without), "Set all_organisations=true for them."
        )


def eligible(plan: Mapping[str, Any]) -> int:
    return sum(one["eligible"] for one in plan["other_logs"].values())


def archived(plan: Mapping[str, Any]) -> Facts:
    """``eligible`` and ``bytes`` of all that a run would write into an archive."""
    taken = [plan, *[one for name, one in plan["other_logs"].items() if LOGS[name].archived]]
    return {key: sum(one[key] for one in taken) for key in ("eligible", "bytes")}


def shown(plan: Mapping[str, Any]) -> Dict[str, Facts]:
    """What check mode returns: ``after`` is what is predicted."""
    found = {}
    for name, one in plan["other_logs"].items():
        found[name] = {key: one[key] for key in SHOWN}
        found[name]["after"] = after = dict(one["before"]) if one["before"] else None
        if after:
            after["dead_rows"] += one["eligible"]
            after["rows"] = None if after["rows"] is None else max(0, after["rows"] - one["eligible"])
    return found


def untouched(plan: Mapping[str, Any]) -> Dict[str, Facts]:
    """What a run returns that had nothing to do."""
    nothing: Facts = {"deleted": 0, "remaining": 0, "stopped_by": None}
    return {name: dict(one, **nothing, after=one["before"]) for name, one in shown(plan).items()}


def finished(plan: Mapping[str, Any], done: Mapping[str, Any]) -> Dict[str, Facts]:
    """What a run returns, also one that failed: of the logs it did not come to, what is still there."""
    found = {}
    for name, one in shown(plan).items():
        own = done.get(name) or {"deleted": 0, "remaining": one["eligible"], "stopped_by": None, "after": one["before"]}
        found[name] = dict(one, **own, eligible=own["deleted"] + own["remaining"])
    return found


def deleted(done: Mapping[str, Any]) -> int:
    return sum(one["deleted"] for one in done.get("other_logs", {}).values())


def summary(plan: Mapping[str, Any]) -> List[str]:
    """Lines for people."""
    lines = []
    for name, one in plan["other_logs"].items():
        if one["missing"]:
            continue
        words = "%s: %d rows from before %s go (about %s)" % (
            name,
            one["eligible"],
            one["cutoff"][:19] + "Z",
            people_bytes(one["bytes"]),
        )
        kept = ["%d stay, %s" % (row["rows"], row["why"]) for row in one["kept"]]
        lines.append("%s." % "; ".join([words, *kept]))
    return lines


def difference(plan: Mapping[str, Any]) -> str:
    """For the diff: the rows that go, by log."""
    return "".join(
        "%s before %s: %d\n" % (name, one["cutoff"], one["eligible"])
        for name, one in plan["other_logs"].items()
        if one["eligible"]
    )


def warnings(plan: Mapping[str, Any]) -> List[str]:
    found = []
    for name, one in plan["other_logs"].items():
        if one["missing"]:
            found.append("other_logs.%s has nothing to do: %s." % (name, one["missing"]))
        if one["triggers"]:
            found.append("Triggers of %s will run for each row: %s." % (one["table"], ", ".join(one["triggers"])))
    return found
