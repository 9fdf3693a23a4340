# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Purging logs: ``plan`` says what would be deleted and what is in the way, ``apply`` deletes it.

Requests, plan and outcome are those of ``purge/types``.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, TypedDict, cast

from ..._errors import NotAllowed, NotTaken, PhaseError
from ..core.api import Context
from ..core.database import database_error, require_phase
from ..core.releases import release_of
from ..core.rows import identity
from ..core.types import Connection
from ..rewrite.errors import RewriteRefused
from . import foreign_key, tokens
from . import rewrite as _purge_rewrite
from .count import after, count_rest, months, share, sizes
from .export import Exporter
from .log_table import LOGS, OTHERS, READS
from .logs import Checked, check_floor, check_others, delete_others, plan_log, rule_of, untouched
from .rule import Rule
from .scope import Layout, check_layout, resolve
from .session import Session
from .strategy import PER_ROW, Facts, by_index, choose, expected, foreign_key_of
from .surroundings import look
from .throttle import Control, Throttle
from .types import READ_EVENTS, ApplyRequest, LogPlan, Outcome, Plan, PlanRequest, Recovery, Way
from .walk import WORTH_IT, Walk
from .workplace import Workplace

_SERVER = """
select current_setting('server_version_num')::int as server_version,
       current_setting('full_page_writes')::bool as full_page_writes, current_user::text as "user",
       exists (select from pg_catalog.pg_index i join pg_catalog.pg_attribute a
               on (a.attrelid, a.attnum) = (i.indrelid, i.indkey[0])
               join pg_catalog.pg_attribute b on (b.attrelid, b.attnum) = (i.indrelid, i.indkey[1])
               where i.indrelid = 'api_secretevent'::regclass and i.indisvalid and i.indpred is null
                 and a.attname = 'environment_id' and b.attname = 'timestamp') as time_index
"""


class Server(TypedDict):
    """``time_index``: there is an index by environment and time. ``release`` is Phase's."""

    server_version: int
    full_page_writes: bool
    user: str
    time_index: bool
    release: str


def plan(context: Context, request: PlanRequest) -> Plan:
    """What would be deleted, how, and what is in the way. Reads only, in a transaction that can do no more."""
    connection = context.connect("purge plan")
    try:
        require_phase(connection)
        server = read_server(connection)
        marker = foreign_key.marker(connection)
        others = [log.subject.table for name, log in OTHERS.items() if name in request["retain"]]
        obstacles = look(connection, others)
        must_check = must_check_of(connection, request)
        with connection.cursor() as cursor:
            cursor.execute("begin isolation level repeatable read read only")
        result = _plan(context, connection, request, server, marker, must_check)
        with connection.cursor() as cursor:
            cursor.execute("commit")
        seen = {item["what"] for item in obstacles}
        # The application's own purge is invisible between two of its batches: a second look may see it.
        result["obstacles"] = obstacles + [item for item in look(connection, others) if item["what"] not in seen]
        result["obstacles"] += _purge_rewrite.obstacles(result["way"]["rewrite"])
        return result
    finally:
        connection.close()


def read_server(connection: Connection) -> Server:
    """Raises NotAllowed for a standby."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_is_in_recovery()")
        if cursor.fetchone()[0]:
            raise NotAllowed("This server is a standby, which cannot be written.", "Name the primary server.")
        cursor.execute(_SERVER)
        names = [column[0] for column in cursor.description or ()]
        server: Dict[str, Any] = dict(zip(names, cursor.fetchone()))
        cursor.execute("select app, name from django_migrations")
        return cast(Server, dict(server, release=release_of(cursor.fetchall())))


def _plan(
    context: Context,
    connection: Connection,
    request: PlanRequest,
    server: Server,
    marker: Optional[foreign_key.Marker],
    must_check: Optional[str],
) -> Plan:
    layout = check_layout(connection, foreign_key_missing=marker is not None)
    check_floor(request["retain"], request["minimum_retain_days"])
    scope = resolve(connection, request)
    check_owner(request, layout, server)
    found = check_others(connection, request["retain"], server["server_version"], server["release"])
    found[READ_EVENTS] = Checked(layout["triggers"])
    rule, counted = None, None
    logs: Dict[str, LogPlan] = {}
    for name, log in LOGS.items():
        if name in request["retain"]:
            logs[name], log_rule, log_count = plan_log(context, connection, log, scope, request, found[name])
            if log is READS:
                rule, counted = log_rule, log_count
    column = tokens.has_column(connection)
    return {
        "scope": scope,
        "logs": logs,
        "way": _way(
            context, connection, request, server, logs.get(READ_EVENTS), marker is not None, must_check, layout["owner"]
        ),
        "months": months(counted["groups"], scope["environments"]) if counted else None,
        "log_streams": request["log_streams"],
        "token_last_used": {
            "kept_in_column": column,
            "tokens": tokens.affected(connection, rule, column) if rule else [],
        },
        "obstacles": [],
        "recovery": _recovery(connection, marker),
        "release": server["release"],
        "database": identity(connection),
    }


def must_check_of(connection: Connection, request: PlanRequest) -> Optional[str]:
    """Why transactions have to check the foreign key of the tags; asked outside a transaction."""
    if request["foreign_key"] != "auto" or READ_EVENTS not in request["retain"]:
        return "it was not asked for"
    if request["archive"] is not None:
        return "an archive takes the tags by the statement that deletes their events"
    return foreign_key.must_check(connection)


def check_owner(request: PlanRequest, layout: Layout, server: Server) -> None:
    if request["foreign_key"] == "set_aside" and not layout["owner"]:
        raise NotAllowed(
            "foreign_key=set_aside needs the owner of the tables, and %s is not." % server["user"],
            "Run it as that owner (DATABASE_USER), or with foreign_key=keep.",
        )


def _recovery(connection: Connection, marker: Optional[foreign_key.Marker]) -> Optional[Recovery]:
    if marker is not None:
        return {"constraint": marker["name"]}
    return cast(Optional[Recovery], _purge_rewrite.left(connection))


def _way(
    context: Context,
    connection: Connection,
    request: PlanRequest,
    server: Server,
    planned: Optional[LogPlan],
    unfinished: bool,
    must_check: Optional[str],
    owner: bool,
) -> Way:
    """How the read events are deleted. Raises RewriteRefused and NotAllowed."""
    before = planned["before"] if planned and planned["before"] else sizes(connection)
    eligible = planned["eligible"] if planned else 0
    strategy = request["strategy"] if planned else "delete"
    part = share(eligible, before["rows"])
    rewrite = None
    if strategy in ("auto", "rewrite"):
        rewrite = _purge_rewrite.examine(context, connection, part, unfinished, request["free_bytes"])
    facts = Facts(
        server_version=server["server_version"],
        time_index=server["time_index"],
        full_page_writes=server["full_page_writes"],
        eligible=eligible,
        total=before["rows"],
        share=part,
        blocks=before["blocks"],
        rewrite=rewrite,
    )
    choice = choose(strategy, facts)
    if choice.strategy is None:
        raise refusal(strategy, choice.against)
    index_why = by_index(facts)
    key, key_why = foreign_key_of(request["foreign_key"], choice.strategy, must_check, owner, facts)
    costs = expected(facts, index_why is not None, key)
    if choice.strategy == "rewrite" and rewrite is not None:
        costs = rewrite["expected"]
    return {
        "strategy": choice.strategy,
        "why": choice.why,
        "path": "index" if index_why else "blocks",
        "path_why": index_why or "each block is visited once",
        "foreign_key": key,
        "foreign_key_why": key_why,
        "seconds": {name: expected(facts, index_why is not None, name)["seconds"] for name in PER_ROW},
        "expected": costs,
        "rewrite": rewrite,
    }


def refusal(strategy: str, reasons: List[str]) -> PhaseError:
    """The error for a strategy that cannot work, or for auto when none can."""
    text = "; ".join(reasons)
    if strategy == "rewrite":
        return RewriteRefused("strategy=rewrite is refused: %s." % text, "Use strategy=delete.")
    return NotAllowed("No strategy can purge here: %s." % text, "Upgrade PostgreSQL or Phase.")


def apply(context: Context, request: ApplyRequest) -> Outcome:
    """Delete what the plan says, under the lock; first repair what an interrupted run left.

    An error carries as much of the outcome as was done.
    """
    import psycopg2

    done: Outcome = {
        "logs": {name: untouched(planned) for name, planned in request["plan"]["logs"].items()},
        "seconds": 0.0,
        "rows_per_second": 0,
        "batches": 0,
        "paused": {},
        "recovered": None,
        "foreign_key": {"state": "kept", "why": request["plan"]["way"]["foreign_key_why"]},
        "tokens_kept": 0,
        "rewrite": None,
    }
    place = Workplace(context, request["lock_timeout"], request["host"])
    try:
        if request["archive"] is not None:
            if context.deliveries is None:
                raise NotTaken("This call takes no rows for an archive.", "Report this, and leave archive_dest out.")
            place.exporter = Exporter(context.deliveries, request["archive"], request["archive_values"])
        _apply(context, request, place, done)
        return done
    except psycopg2.Error as error:
        failure = database_error(error)
        failure.partial = dict(done)
        raise failure from error
    except PhaseError as error:
        error.partial = dict(done, **error.partial)
        raise
    finally:
        place.close()


def _apply(context: Context, request: ApplyRequest, place: Workplace, done: Outcome) -> None:
    plan, session = request["plan"], place.session
    marker = foreign_key.marker(session.connection)
    check_layout(session.connection, foreign_key_missing=marker is not None)
    if marker is not None:
        context.report("Restoring the foreign key that an interrupted purge dropped")
        done["recovered"] = cast(Optional[Dict[str, Any]], foreign_key.restore(context, session))
    recovered = _purge_rewrite.recover(context, needed=plan["way"]["strategy"] == "rewrite")
    done["recovered"] = done["recovered"] or recovered
    begun = context.clock()
    try:
        # First, since they are small: else a backlog of read events would take every night's time.
        delete_others(context, request, place, done)
        planned = plan["logs"].get(READ_EVENTS)
        if planned is not None and (planned["eligible"] or not planned["exact"]):
            _purge_reads(context, request, place, planned, done, context.clock() - begun)
    finally:
        seconds = context.clock() - begun
        done["seconds"] = round(seconds, 2)
        deleted = sum(outcome["deleted"] for outcome in done["logs"].values())
        done["rows_per_second"] = round(deleted / seconds) if seconds > 0 else 0


def _purge_reads(
    context: Context, request: ApplyRequest, place: Workplace, planned: LogPlan, done: Outcome, spent: float
) -> None:
    """The read events; ``spent`` seconds of ``max_duration`` have passed."""
    plan, session = request["plan"], place.session
    # Read again under the lock: a stream's cursor moves on while its events wait, and never back.
    rule = rule_of(session.connection, READS, plan["scope"], planned["cutoff"], request["log_streams"])
    if tokens.has_column(session.connection):
        affected = tokens.affected(session.connection, rule, True)
        done["tokens_kept"] = tokens.keep(session, affected) if affected else 0
    limits = request["throttle"].copy()
    if plan["way"]["strategy"] == "rewrite":
        limits["lock_wait"] = 0  # a session that waits for the rewrite's own lock, a vacuum say, would stop it for ever
    throttle = Throttle(context, place.watcher, limits)
    control = Control(context, throttle, place.lock.confirm, request["max_duration"], spent)
    outcome = done["logs"][READ_EVENTS]
    try:
        RUNNERS[plan["way"]["strategy"]](context, request, place, rule, control, done)
    finally:
        for name, seconds in control.rounded().items():
            done["paused"][name] = done["paused"].get(name, 0.0) + seconds
    # A rewritten table has been analyzed; elsewhere the planner learns of the purge by the next vacuum.
    outcome["after"] = after(place.watcher, 0 if done["rewrite"] else outcome["deleted"])


def _delete(
    context: Context, request: ApplyRequest, place: Workplace, rule: Rule, control: Control, done: Outcome
) -> None:
    """In small transactions, with the foreign key dropped meanwhile where that is planned."""
    import psycopg2

    session, outcome = place.session, done["logs"][READ_EVENTS]
    walk = Walk(context, session, control, rule, request["transaction_time"], READS.subject, place.exporter)
    try:
        outcome["stopped_by"] = _walk(context, session, request["plan"], walk, done)
    except BaseException:  # this is the error to raise, whatever happens now
        try:
            _put_back(context, session, done)
        except (PhaseError, psycopg2.Error) as error:
            context.report("The next run restores the foreign key: %s" % " ".join(str(error).split()))
        raise
    finally:
        deleted = walk.progress.deleted
        planned = request["plan"]["logs"][READ_EVENTS]
        outcome.update({"deleted": deleted, "remaining": max(0, planned["eligible"] - deleted), "exact": False})
        done["batches"] = walk.progress.batches
    _put_back(context, session, done)
    count_rest(session, planned, walk, rule, outcome)


def _walk(context: Context, session: Session, plan: Plan, walk: Walk, done: Outcome) -> Optional[str]:
    planned, way = plan["logs"][READ_EVENTS], plan["way"]
    if way["path"] == "index":
        return walk.run_by_index([row["id"] for row in plan["scope"]["environments"]], planned["eligible"])
    blocks = planned["before"]["blocks"] if planned["before"] else 0
    if way["foreign_key"] == "unchecked":
        why = foreign_key.must_check(session.connection)  # a trigger may have come meanwhile
        done["foreign_key"] = {"state": "kept" if why else "unchecked", "why": why or way["foreign_key_why"]}
        return walk.run(blocks, unchecked=why is None)
    if way["foreign_key"] != "set_aside":
        return walk.run(blocks)
    done["foreign_key"] = {"state": "kept", "why": "fewer than %d events were deleted" % WORTH_IT}

    def set_aside() -> bool:
        held = foreign_key.set_aside(context, session)
        done["foreign_key"] = {"state": "kept", "why": held} if held else {"state": "set_aside"}
        return held is None

    return walk.run(blocks, set_aside)


def _put_back(context: Context, session: Session, done: Outcome) -> None:
    """Restore the foreign key, where this run has dropped it."""
    if done["foreign_key"]["state"] == "set_aside":
        restored = foreign_key.restore(context, session)
        done["foreign_key"] = {"state": "restored"}
        if restored:
            done["foreign_key"].update({"constraint": restored["constraint"], "orphan_tags": restored["orphan_tags"]})


# One for each entry of STRATEGIES.
RUNNERS: Dict[str, Callable[[Context, ApplyRequest, Workplace, Rule, Control, Outcome], None]] = {
    "delete": _delete,
    "rewrite": _purge_rewrite.run,
}
