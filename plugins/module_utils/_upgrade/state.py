# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The course of an upgrade, as data: which state follows which, and who may go on with it.

The state is one JSON object in a file on the managed host::

    {"format": 1, "run": "20261121T010203Z", "phase": "backup" | "migrate" | "rollout" | "verify" | "done",
     "target": {"backend": "phasehq/backend:v2.73.2", ...}, "owner": {"host", "pid", "born"},
     "started": unix seconds, "updated": unix seconds, "times": {phase: [begun, ended or null]}, "notes": {...},
     "paused": {phase: seconds between a run that was interrupted and the one that goes on}}

``owner`` is the ansible-playbook process that drives the run. All functions are pure; the clock comes in as ``now``.
"""

from __future__ import annotations

import copy
import json
import os
import time
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .._call.argspec import ArgumentSpec
from .._call.files import about, locked, write_private
from .._call.module import Call
from .._errors import PhaseError

State = Dict[str, Any]
PHASES = ("backup", "migrate", "rollout", "verify", "done")
# A run of another controller cannot be seen from here; one that wrote within this time is taken for alive.
FRESH = 120


SPEC = ArgumentSpec(
    {
        "path": {"type": "path", "required": True},
        "action": {"type": "str", "choices": ["read", "begin", "note", "release", "abandon"], "default": "read"},
        "upgrade_target": {"type": "dict", "default": {}},
        "owner": {"type": "dict"},
        "owner_gone": {"type": "bool", "default": False},
        "phase": {"type": "str", "choices": ["backup", "migrate", "rollout", "verify", "done"]},
        "notes": {"type": "dict", "default": {}},
    },
    required_if=[("action", action, ["owner"]) for action in ("begin", "note", "release", "abandon")],
)


class OtherTarget(PhaseError):
    """An upgrade to another version has begun and not ended."""

    kind = "other_target"


class UpgradeRunning(PhaseError):
    """Another run of the upgrade is at work."""

    kind = "upgrade_running"


class StateUnreadable(PhaseError):
    """The file with the state of the upgrade cannot be read."""

    kind = "state_unreadable"


def midway(state: Optional[State]) -> bool:
    """Whether an upgrade was begun and not finished."""
    return bool(state) and state is not None and state["phase"] != "done"


def touched(state: Optional[State]) -> bool:
    """Whether an unfinished upgrade may have changed the instance: before ``migrate`` it has only read."""
    return midway(state) and state is not None and state["phase"] != "backup"


def describe_target(target: Mapping[str, Any]) -> str:
    """A target in words: its images, or the folder of its release."""
    return ", ".join(sorted({str(value) for value in target.values()}))


def _ago(seconds: float) -> str:
    return "%d s ago" % seconds if seconds < 120 else "%d min ago" % (seconds // 60)


def check_owner(state: Optional[State], owner: Mapping[str, Any], gone: bool, now: float) -> None:
    """Raise UpgradeRunning when another live run drives this upgrade.

    ``gone`` says that the recorded process is known to be over; that can be known on its own controller only.
    """
    if state is None or not midway(state) or state["owner"] in ({}, dict(owner)) or gone:
        return
    other = state["owner"]
    idle = now - state["updated"]
    if other["host"] != owner["host"] and idle > FRESH:
        return
    raise UpgradeRunning(
        "Another run (process %s on %s) is upgrading this instance to %s; it reached phase %s %s."
        % (other["pid"], other["host"], describe_target(state["target"]), state["phase"], _ago(idle)),
        "Let it finish. If it is dead, run again %s: the upgrade goes on where it stopped."
        % ("in %d s" % (FRESH - idle + 1) if other["host"] != owner["host"] else "once that process has ended"),
    )


def check_target(state: Optional[State], target: Mapping[str, Any]) -> None:
    """Raise OtherTarget when an upgrade to something else stopped after it may have changed the database."""
    if state is None or not touched(state) or state["target"] == dict(target):
        return
    raise OtherTarget(
        "An upgrade to %s stopped midway, in phase %s; this run asks for %s."
        % (describe_target(state["target"]), state["phase"], describe_target(target)),
        "Finish it first: run again with that target. Or set phase_upgrade_abandon=true to forget it: migrations that "
        "were applied stay, for they are one-way, and only a restore of the backup%s brings the old tables back."
        % (" " + state["notes"]["backup"]["path"] if state["notes"].get("backup") else ""),
    )


def begin(
    state: Optional[State], target: Mapping[str, Any], owner: Mapping[str, Any], notes: Mapping[str, Any], now: float
) -> Tuple[State, bool]:
    """The state of a new run, or the stopped one with a new owner; and whether it goes on from before."""
    if state is not None and midway(state) and state["target"] == dict(target):
        resumed = copy.deepcopy(state)
        paused = resumed.setdefault("paused", {})
        phase = resumed["phase"]
        paused[phase] = paused.get(phase, 0.0) + max(0.0, now - state["updated"])
        resumed.update(owner=dict(owner), updated=now)
        return resumed, True
    fresh: State = {
        "format": 1,
        "run": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)),
        "phase": "backup",
        "target": dict(target),
        "owner": dict(owner),
        "started": now,
        "updated": now,
        "times": {"backup": [now, None]},
        "notes": dict(notes),
    }
    return fresh, False


def note(
    state: Optional[State], owner: Mapping[str, Any], phase: Optional[str], notes: Mapping[str, Any], now: float
) -> State:
    """The state with further notes, moved to ``phase``. It never goes back: a later phase has been reached before.

    Raises UpgradeRunning when the run has another owner by now.
    """
    if state is None or not midway(state) or state["owner"] != dict(owner):
        raise UpgradeRunning(
            "This run no longer drives the upgrade: another one took it over, finished it or cleared its state.",
            "Look at the other run. What this one has done is in the database and in the containers.",
        )
    moved = copy.deepcopy(state)
    moved["notes"].update(notes)
    moved["updated"] = now
    if phase is not None and PHASES.index(phase) > PHASES.index(state["phase"]):
        moved["times"][state["phase"]][1] = now
        moved["phase"] = phase
        if phase != "done":
            moved["times"][phase] = [now, None]
    return moved


def release(state: Optional[State], owner: Mapping[str, Any]) -> Optional[State]:
    """The state without its owner, when that is this run: a run that failed is in nobody's way."""
    if state is None or not midway(state) or state["owner"] != dict(owner):
        return state
    return dict(state, owner={})


def durations(state: State) -> List[Tuple[str, float]]:
    """Seconds spent in each phase that ended, without the pauses between runs."""
    paused = state.get("paused") or {}
    return [
        (phase, round(state["times"][phase][1] - state["times"][phase][0] - paused.get(phase, 0.0), 1))
        for phase in PHASES
        if phase in state["times"] and state["times"][phase][1] is not None
    ]


def load(path: str) -> Optional[State]:
    """The state in a file; None when there is none. Raises StateUnreadable for anything else than a state."""
    try:
        with about(path), open(path, encoding="utf-8") as file:
            state = json.load(file)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StateUnreadable("%s is not JSON: %s" % (path, error), "Look at it, then move it away.") from error
    if not isinstance(state, dict) or state.get("format") != 1 or state.get("phase") not in PHASES:
        raise StateUnreadable(
            "%s is not a state of this version of the collection." % path,
            "Finish that upgrade with the version that began it, or move the file away.",
        )
    return state


def save(path: str, state: Optional[State]) -> None:
    """Write the state, or remove its file."""
    if state is not None:
        write_private(path, json.dumps(state, indent=2, sort_keys=True).encode() + b"\n")
    elif os.path.exists(path):
        os.unlink(path)


def step(state: Optional[State], params: Mapping[str, Any], now: float) -> Tuple[Optional[State], bool]:
    """What one call of the module makes of the state, and whether that goes on with a run from before.

    ``params``: ``action`` (read, begin, note, release, abandon), ``upgrade_target``, ``owner``, ``owner_gone``,
    ``phase``, ``notes``.
    """
    action, owner = params["action"], params["owner"]
    if action == "read":
        return state, False
    if action == "release":
        return release(state, owner), False
    if action == "note":
        return note(state, owner, params["phase"], params["notes"], now), False
    check_owner(state, owner, params["owner_gone"], now)
    if action == "abandon":
        return (None if midway(state) else state), False
    check_target(state, params["upgrade_target"])
    return begin(state, params["upgrade_target"], owner, params["notes"], now)


def run_step(params: Mapping[str, Any], check: bool, now: float) -> Dict[str, Any]:
    """Read the file, take the step, write the file, all under its lock: the module's result."""
    path = os.path.expanduser(params["path"])
    before = load(path)
    if check or params["action"] == "read":
        after, resumed = step(before, params, now)
    else:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        with locked(path + ".lock"):
            before = load(path)
            after, resumed = step(before, params, now)
            if after != before:
                save(path, after)
    texts = ["" if s is None else json.dumps(s, indent=2, sort_keys=True) + "\n" for s in (before, after)]
    return {
        "changed": after != before,
        "state": after or {},
        "midway": midway(after),
        "resumed": resumed,
        "diff": {"before": texts[0], "after": texts[1], "before_header": path, "after_header": path},
    }


def run(call: Call) -> Dict[str, Any]:
    """The module's result."""
    return run_step(call.params, call.check, call.now())
