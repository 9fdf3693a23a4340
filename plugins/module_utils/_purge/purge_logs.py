# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""phase_purge_logs: check the options, plan, and delete."""

from __future__ import annotations

import contextlib
import re
import socket
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .._call.argspec import ArgumentSpec, duration, size, timeouts
from .._call.module import Call
from .._errors import BadOption, PhaseError
from .._operations.purge import operation as operations
from .._operations.purge.log_table import LOGS, OTHERS
from .._operations.purge.rule import IGNORE, RESPECT_ALL, RESPECT_DELIVERABLE
from .._operations.purge.strategy import STRATEGIES
from .._operations.purge.types import READ_EVENTS, ApplyRequest, Limits, Outcome, Plan, PlanRequest
from .archiving import Archiving, archiving
from .result import difference, failed, nothing, pending, planned_way, predicted, result, warnings

Facts = Dict[str, Any]

MOST_DAYS = 36500
TRANSACTION_TIME = 0.25  # seconds that a deleting transaction should take; the number of rows follows from it

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
        "other_logs": {"type": "dict", "options": {name: {"type": "int"} for name in OTHERS}},
        "minimum_retain_days": {"type": "int", "default": 0},
        "strategy": {"choices": ["auto", *STRATEGIES], "default": "auto"},
        "foreign_key": {"choices": ["auto", "keep", "set_aside"], "default": "auto"},
        "free_space": {},
        "log_streams": {"choices": [RESPECT_DELIVERABLE, RESPECT_ALL, IGNORE], "default": RESPECT_DELIVERABLE},
        "max_duration": {"default": "0"},
        "pause_file": {"type": "path"},
        "archive_dest": {"type": "path"},
        "archive_values": {"type": "bool", "default": False},
        "throttle": {"type": "dict", "apply_defaults": True, "options": THROTTLE},
    }
)


# Options


def retain_of(params: Mapping[str, Any]) -> Dict[str, int]:
    """The days to keep, by log; a log that is not in it stays as it is."""
    days = {READ_EVENTS: params["retain_days"]} if params["read_events"] else {}
    days.update({name: days for name, days in (params["other_logs"] or {}).items() if days is not None})
    return days


def check_options(params: Mapping[str, Any]) -> None:
    """Refuse what cannot be meant before anything is connected to."""
    named = [name for name in ("organisation", "app_id") if params[name] is not None]
    if params["all_organisations"] and named:
        raise BadOption("all_organisations excludes %s." % " and ".join(named), "Give one of them.")
    if not params["all_organisations"] and not named:
        raise BadOption(
            "No organisation is named whose events are to be deleted.",
            "Name an organisation or an app_id, or set all_organisations=true.",
        )
    for name in named:
        if not params[name].strip() or re.search("[\x00\ud800-\udfff]", params[name]):
            raise BadOption("%s is %r, which cannot be." % (name, params[name]), "Give a real one, or leave it out.")
    for name in ("retain_days", "minimum_retain_days"):
        check_days(name, params[name])
    check_logs(params, [name for name in retain_of(params) if name != READ_EVENTS])


def check_days(name: str, days: int) -> None:
    if not 0 <= days <= MOST_DAYS:
        raise BadOption("%s is %d." % (name, days), "Give a number of days from 0 to %d." % MOST_DAYS)


def check_logs(params: Mapping[str, Any], others: List[str]) -> None:
    """Refuse days out of range, and a scope that a log cannot be limited to."""
    for name in others:
        check_days("other_logs." + name, params["other_logs"][name])
    if not params["read_events"] and not others:
        raise BadOption("Without read events there is nothing to purge.", "Name the logs to purge in other_logs.")
    without = [name for name in others if not LOGS[name].knows_apps]
    if params["app_id"] is not None and without:
        raise BadOption(
            "Rows of %s belong to no app, and app_id is given." % " and ".join(without),
            "Purge them by an organisation or by all_organisations, in a task of their own.",
        )
    without = [name for name in others if not LOGS[name].knows_organisations]
    if not params["all_organisations"] and without:
        raise BadOption(
            "Rows of %s belong to no organisation." % " and ".join(without), "Set all_organisations=true for them."
        )


def request_of(params: Mapping[str, Any], count: bool, archive: Optional[str], free: Optional[int]) -> PlanRequest:
    return {
        "organisation": params["organisation"],
        "app_id": params["app_id"],
        "retain": retain_of(params),
        "minimum_retain_days": params["minimum_retain_days"],
        "strategy": params["strategy"],
        "foreign_key": params["foreign_key"],
        "log_streams": params["log_streams"],
        "archive": archive,
        "archive_values": params["archive_values"],
        "count": count,
        "free_bytes": free,
    }


def limits_of(throttle: Mapping[str, Any]) -> Limits:
    return {
        "replica_lag": duration("throttle.replica_lag", throttle["replica_lag"]),
        "lock_wait": duration("throttle.lock_wait", throttle["lock_wait"]),
        "writer_latency": duration("throttle.writer_latency", throttle["writer_latency"]),
        "wal_rate": size("throttle.wal_rate", throttle["wal_rate"]),
        "free_disk": size("throttle.free_disk", throttle["free_disk"]),
        "autovacuum": throttle["autovacuum"],
    }


def order_of(params: Mapping[str, Any], request: PlanRequest, limits: Limits, plan: Plan) -> ApplyRequest:
    return {
        **request,
        "plan": plan,
        "host": socket.gethostname(),
        "lock_timeout": timeouts(params)["lock"],
        "max_duration": duration("max_duration", params["max_duration"]),
        "transaction_time": TRANSACTION_TIME,
        "throttle": limits,
    }


# The run


def run(call: Call) -> Facts:
    check_options(call.params)
    limits = limits_of(call.params["throttle"])
    duration("max_duration", call.params["max_duration"])
    archive = archiving(call.params, call.target, call.report)
    # Counting reads the whole table once more: only for those who want to know beforehand.
    free = call.free_disk() if call.params["strategy"] != "delete" and call.params["read_events"] else None
    request = request_of(call.params, call.check or call.diff, archive.run if archive else None, free)
    plan = call.run(operations.plan, request)
    for text in warnings(plan):
        call.warn(text)
    if call.check:
        foreseen = archive.foresee(plan) if archive else None
        if archive:
            archive.check_room(plan)
        return predicted(plan, foreseen)
    settled = archive.settle(plan) if archive else None
    if archive:
        archive.check_room(plan)
    if not pending(plan):
        return finished(call, plan, nothing(plan), settled)
    try:
        done, archived = carry_out(call, archive, order_of(call.params, request, limits, plan))
    except PhaseError as error:
        error.partial = failed(plan, error.partial, settled)
        raise
    unfinished = (done["rewrite"] or {}).get("unfinished")
    if unfinished:
        call.warn("The next run removes what the rewrite has replaced: %s" % unfinished)
    return finished(call, plan, done, archived)


def carry_out(call: Call, archive: Optional[Archiving], order: ApplyRequest) -> Tuple[Outcome, Optional[Facts]]:
    """Apply the plan, and complete the archive, even where that fails."""
    call.target.expect_long()
    if archive is None:
        return call.run(operations.apply, order), None
    try:
        done = call.run(operations.apply, order, deliveries=archive.begin(order))
    except PhaseError as error:
        with contextlib.suppress(PhaseError):  # the next run completes it; the first error is the one to raise
            error.partial["archive"] = archive.end()
        raise
    try:
        return done, archive.end()
    except PhaseError as error:
        error.partial = dict(done, **error.partial)
        raise


def finished(call: Call, plan: Plan, done: Outcome, archive: Optional[Facts]) -> Facts:
    found = dict(result(plan, done, archive), plan=planned_way(plan))
    return dict(found, diff=difference(plan, [])) if call.diff else found
