# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The logs of a purge (``purge/log_table``): the plan of each, and deleting from those that have no strategies."""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..._errors import NotAllowed
from ..core.api import Context
from ..core.types import Connection
from .count import Counted, after, count, count_rest, estimate, part_of, reasons, sizes
from .errors import RetainTooShort
from .log_table import LOGS, OTHERS, READS, Log, came_with
from .rule import Rule
from .scope import FLOOR, column_problems, cutoff_of, floor, layout_refused, read_layout, table_problems
from .streams import holds_of
from .throttle import Control, Throttle
from .types import ApplyRequest, LogOutcome, LogPlan, Outcome, PlanRequest, Scope
from .walk import Walk
from .workplace import Workplace

OLDEST = 140000  # server_version_num of the first that scans a range of TIDs


class Checked(NamedTuple):
    """``missing``: why this release of Phase has no such table."""

    triggers: List[str]
    missing: Optional[str] = None


def check_floor(retain: Mapping[str, int], minimum: int) -> None:
    least = floor(minimum)
    short = [name for name, days in retain.items() if days < least and LOGS[name].has_floor]
    if short:
        raise RetainTooShort(
            "%s, and at least %d days have to be kept here."
            % (" and ".join("%s would keep %d days" % (name, retain[name]) for name in short), least),
            "Raise them; the minimum is set by minimum_retain_days or by %s of the backend." % FLOOR,
        )


def check_others(connection: Connection, retain: Mapping[str, int], version: int, release: str) -> Dict[str, Checked]:
    """Check every log but the read events, before the first is counted. Raises UnknownLayout and NotAllowed."""
    logs = [log for name, log in OTHERS.items() if name in retain]
    if logs and version < OLDEST:
        raise NotAllowed("PostgreSQL before version 14 cannot walk a table by blocks.", "Leave other_logs out.")
    return {log.name: check_log(connection, log, release) for log in logs}


def check_log(connection: Connection, log: Log, release: str) -> Checked:
    table = log.subject.table
    found, facts, incoming = read_layout(connection, log.reads, (table,), table)
    if table not in found and not came_with(log, release):
        return Checked([], "Phase %s has no table %s; it came with %s" % (release, table, log.since))
    problems = column_problems(log.reads, found) + table_problems(facts)
    for name, other, definition in incoming:
        if other != table or definition.replace(" NOT VALID", "") != log.own_key:
            problems.append("%s is referred to by %s of %s" % (table, name, other))
    if problems:
        raise layout_refused(problems)
    if not facts[table]["deletes"] or (log.subject.others and not facts[table]["updates"]):
        raise NotAllowed(
            "This role may not read %s and delete there." % table,
            "Run it as the role that owns Phase's tables (DATABASE_USER).",
        )
    return Checked(facts[table]["triggers"])


def rule_of(connection: Connection, log: Log, scope: Scope, cutoff: str, respect: str) -> Rule:
    """The rule as it is now, with the ids that it remembers and what log streams have not delivered."""
    remembered = {}
    with connection.cursor() as cursor:
        for name, query in log.remembered.items():
            cursor.execute(query, {"cutoff": cutoff})
            remembered[name] = [str(row[0]) for row in cursor.fetchall()]
    organisations = [row["id"] for row in scope["organisations"]]
    holds = holds_of(connection, log.source, organisations, cutoff) if log.source else []
    return Rule(log, scope, cutoff, remembered, holds, respect)


def plan_log(
    context: Context, connection: Connection, log: Log, scope: Scope, request: PlanRequest, checked: Checked
) -> Tuple[LogPlan, Optional[Rule], Optional[Counted]]:
    """The plan of a log, its rule, and what was counted. The read events are counted where that is asked for, or where
    a log stream holds some of them back; the other logs always are."""
    days, table = request["retain"][log.name], log.subject.table
    with connection.cursor() as cursor:
        cutoff = cutoff_of(cursor, days)
    planned: LogPlan = {
        "name": log.name,
        "table": table,
        "retain_days": days,
        "cutoff": cutoff,
        "eligible": 0,
        "exact": True,
        "held_back": 0,
        "kept": [],
        "undelivered": [],
        "bytes": 0,
        "before": None,
        "triggers": checked.triggers,
        "missing": checked.missing,
    }
    if checked.missing:
        return planned, None, None
    rule = rule_of(connection, log, scope, cutoff, request["log_streams"])
    before = sizes(connection, table)
    counted = None
    if log is not READS or request["count"] or rule.keeps:
        context.report("Counting in %d blocks of %s" % (before["blocks"], table))
        counted = count(connection, rule, table, by_month=log is READS)
        planned["eligible"], planned["held_back"] = counted["eligible"], counted["held_back"]
        planned["kept"], planned["undelivered"] = counted["kept"], counted["undelivered"]
    else:
        planned["eligible"], planned["exact"] = estimate(connection, rule, table), False
        planned["undelivered"] = reasons(rule.undelivered)
    planned["before"], planned["bytes"] = before, part_of(planned["eligible"], before)
    return planned, rule, counted


def untouched(planned: LogPlan) -> LogOutcome:
    """The outcome of a log from which nothing was deleted."""
    return {
        "deleted": 0,
        "remaining": planned["eligible"],
        "exact": planned["exact"],
        "stopped_by": None,
        "after": planned["before"],
    }


def delete_others(context: Context, request: ApplyRequest, place: Workplace, done: Outcome) -> None:
    """Delete what the plan has of all logs but the read events, log by log."""
    planned = request["plan"]["logs"]
    logs = [log for name, log in OTHERS.items() if name in planned and planned[name]["eligible"]]
    if not logs:
        return
    throttle = Throttle(context, place.watcher, request["throttle"], [log.subject.table for log in logs])
    control = Control(context, throttle, place.lock.confirm, request["max_duration"])
    try:
        for log in logs:
            _delete_log(context, request, place, control, log, done["logs"][log.name])
    finally:
        done["paused"] = control.rounded()


def _delete_log(
    context: Context, request: ApplyRequest, place: Workplace, control: Control, log: Log, outcome: LogOutcome
) -> None:
    plan, session, table = request["plan"], place.session, log.subject.table
    planned = plan["logs"][log.name]
    check_log(session.connection, log, plan["release"])
    # Read again under the lock: a stream's cursor moves on while its events wait, and never back.
    rule = rule_of(session.connection, log, plan["scope"], planned["cutoff"], request["log_streams"])
    exporter = place.exporter if log.archived else None
    deleted, more = 0, True
    while more:
        walk = Walk(context, session, control, rule, request["transaction_time"], log.subject, exporter)
        try:
            outcome["stopped_by"] = walk.run(sizes(place.watcher, table)["blocks"])
        finally:
            deleted += walk.progress.deleted
            outcome.update({"deleted": deleted, "remaining": max(0, planned["eligible"] - deleted)})
        # Rows that referred to those that were deleted have been written anew, perhaps behind the walk.
        more = bool(log.subject.others and walk.progress.deleted and outcome["stopped_by"] is None)
    count_rest(session, planned, walk, rule, outcome)
    outcome["after"] = after(place.watcher, deleted, table)


def stopped_by(outcomes: Sequence[LogOutcome]) -> Optional[str]:
    return next((one["stopped_by"] for one in outcomes if one["stopped_by"]), None)
