# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Purging the other logs (``purge/other_logs_table``), as a part of a purge: in its plan, under its lock, by its walk.

A log that is asked for: ``table``, ``retain_days``, ``cutoff``, ``eligible`` and ``held_back`` rows, ``kept`` (of those
held back: ``rows``, ``why``), ``bytes``, ``before`` (``_purge_count.sizes``), ``triggers``. One that this release does
not have yet: ``missing``, in words, and no rows.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

from ..core.api import Context, Request, Result
from .count import after, count_rest, sizes
from .errors import NotAllowed, RetainTooShort
from .other_logs_table import LOGS, Log, LogRule, came_with
from .scope import FLOOR, Scope, column_problems, cutoff_of, floor, layout_refused, read_layout, table_problems
from .streams import holds_of
from .throttle import Control, Throttle
from .walk import Walk
from .workplace import Workplace

OLDEST = 140000  # server_version_num of the first that scans a range of TIDs
COUNT = "select count(*), count(*) filter (where {base}), count(*) filter (where {rule}){kept} from {table} e"


def asked(request: Request) -> List[Log]:
    """The logs of a request, in the order in which they are purged."""
    return [log for log in LOGS.values() if (request.get("other_logs") or {}).get(log.name) is not None]


def plan(context: Context, connection: Any, request: Request, scope: Scope, server: Mapping[str, Any]) -> Result:
    """Each log that is asked for. All are checked before the first is counted; raises as ``purge/scope`` does."""
    logs = asked(request)
    check_floor(logs, request)
    if logs and server["server_version"] < OLDEST:
        raise NotAllowed("PostgreSQL before version 14 cannot walk a table by blocks.", "Leave other_logs out.")
    found = {log.name: check_log(connection, log, server["release"]) for log in logs}
    planned: Result = {}
    for log in logs:
        days = request["other_logs"][log.name]
        with connection.cursor() as cursor:
            cutoff = cutoff_of(cursor, days)
        one = {"table": log.subject.table, "retain_days": days, "cutoff": cutoff}
        if found[log.name]["missing"]:
            nothing: Result = {"eligible": 0, "held_back": 0, "kept": [], "bytes": 0, "before": None}
            planned[log.name] = dict(one, **nothing, **found[log.name])
            continue
        context.report("Counting in %s" % log.subject.table)
        rule = rule_of(connection, log, scope, cutoff, request)
        planned[log.name] = dict(one, **count(connection, log.subject.table, rule), **found[log.name])
    return planned


def check_floor(logs: Sequence[Log], request: Request) -> None:
    least = floor(request)
    short = [log.name for log in logs if log.has_floor and request["other_logs"][log.name] < least]
    if short:
        raise RetainTooShort(
            "other_logs keeps %s for fewer days than the %d that have to be kept here." % (" and ".join(short), least),
            "Raise them; the minimum is set by minimum_retain_days or by %s of the backend." % FLOOR,
        )


def check_log(connection: Any, log: Log, release: str) -> Dict[str, Any]:
    """Raise UnknownLayout or NotAllowed unless the rule fits the table; ``triggers``, and ``missing`` where this
    release of Phase has no such table yet."""
    table = log.subject.table
    found, facts, incoming = read_layout(connection, log.reads, (table,), table)
    if table not in found and not came_with(log, release):
        return {"triggers": [], "missing": "this release of Phase has no %s yet, %s brought it" % (table, log.since)}
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
    return {"triggers": facts[table]["triggers"], "missing": None}


def rule_of(connection: Any, log: Log, scope: Scope, cutoff: str, request: Request) -> LogRule:
    """The rule as it is now, with what is remembered and what streams have not delivered."""
    remembered = {}
    with connection.cursor() as cursor:
        for name, query in log.remembered.items():
            cursor.execute(query, {"cutoff": cutoff})
            remembered[name] = [row[0] for row in cursor.fetchall()]
    holds: List[Dict[str, Any]] = []
    if log.source and request["log_streams"] == "respect":
        holds = holds_of(connection, log.source, [row["id"] for row in scope["organisations"]], cutoff)
    return LogRule(log, scope, cutoff, remembered, holds)


def count(connection: Any, table: str, rule: LogRule) -> Result:
    """Exact numbers, in one pass over the table."""
    kept = "".join(", count(*) filter (where %s and (%s))" % (rule.base, keep.condition) for keep in rule.keeps)
    with connection.cursor() as cursor:
        cursor.execute(COUNT.format(base=rule.base, rule=rule.condition, kept=kept, table=table), rule.values)
        total, old, eligible, *by_keep = cursor.fetchone()
    before = sizes(connection, table)
    return {
        "eligible": eligible,
        "held_back": old - eligible,
        "kept": [{"rows": rows, "why": keep.why} for rows, keep in zip(by_keep, rule.keeps) if rows],
        "bytes": round(eligible * before["table_bytes"] / max(total, 1)),
        "before": before,
    }


def apply(context: Context, request: Request, place: Workplace, done: Result) -> Dict[str, float]:
    """Delete what the plan has, log by log, into ``done["other_logs"]``; the seconds of pauses by throttle."""
    planned = request["plan"].get("other_logs") or {}
    done["other_logs"] = {
        name: {"deleted": 0, "remaining": one["eligible"], "stopped_by": None, "after": one["before"]}
        for name, one in planned.items()
    }
    logs = [log for log in asked(request) if planned[log.name]["eligible"]]
    if not logs:
        return {}
    throttle = Throttle(context, place.watcher, request["throttle"], [log.subject.table for log in logs])
    control = Control(context, throttle, place.lock.confirm, request["max_duration"])
    for log in logs:
        _purge(context, request, place, control, log, done["other_logs"][log.name])
    return control.paused


def _purge(context: Context, request: Request, place: Workplace, control: Control, log: Log, done: Result) -> None:
    planned, session = request["plan"]["other_logs"][log.name], place.session
    check_log(session.connection, log, request["plan"]["release"])
    # Read again under the lock: a stream's cursor moves on while its events wait, and never back.
    rule = rule_of(session.connection, log, request["plan"]["scope"], planned["cutoff"], request)
    exporter, table = place.exporter if log.archived else None, log.subject.table
    deleted, more = 0, True
    while more:
        walk = Walk(context, session, control, rule, request["transaction_time"], log.subject, exporter)
        try:
            done["stopped_by"] = walk.run(sizes(place.watcher, table)["blocks"])
        finally:
            deleted += walk.progress.deleted
            done.update(deleted=deleted, remaining=max(0, planned["eligible"] - deleted))
        # Rows that referred to those that went have been written anew, perhaps behind the walk.
        more = bool(log.subject.others and walk.progress.deleted and done["stopped_by"] is None)
    count_rest(session, dict(planned, exact=True), walk, rule, done)
    done["after"] = after(place.watcher, deleted, table)
