# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Purging read events: ``plan`` says what would go and what stands in the way, ``apply`` deletes it.

Request of both: ``organisation`` or None for all, ``app_id`` or None, ``retain_days``, ``minimum_retain_days``,
``log_streams`` (respect, ignore), ``strategy`` (auto, delete, rewrite, stock), ``foreign_key`` (keep, set_aside),
``application`` (whether the operation runs where the application is), ``archive``: None, or the id of the run whose
rows the caller takes into an archive before they are deleted, ``read_events`` (whether they go; yes where it is not
said), ``other_logs`` (the days that stay, by the names of ``purge/other_logs_table``).
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

from ..._errors import NotTaken, PhaseError
from ..core.api import Context, Request, Result
from ..core.database import database_error, require_phase
from ..core.releases import release_of
from ..core.rows import identity
from ..rewrite.errors import RewriteRefused
from . import foreign_key
from . import other_logs as _retention
from . import rewrite as _purge_rewrite
from . import stock as _purge_stock
from . import tokens as _purge_tokens
from .count import NOTHING, after, count, count_rest, estimate, remaining, share, sizes
from .errors import NotAllowed, NotDelivered, StockUnsafe
from .export import Exporter
from .scope import EVENTS, Rule, Scope, check_layout, resolve
from .session import Session
from .strategy import by_index, choose, expected
from .streams import read_holds, summed
from .surroundings import look
from .throttle import Control, Throttle, rounded
from .walk import Walk
from .walk import facts as walk_facts
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


def plan(context: Context, request: Request) -> Result:
    """What would be deleted, how, and what stands in the way. Reads only, in a transaction that can do no more.

    Further request: ``count``, whether to count exactly, which reads the table once; else the planner estimates.

    Result: ``scope`` (``purge/scope``), ``eligible``, ``exact``, ``held_back``, ``log_streams``, ``months``,
    ``bytes``, ``before`` (``_purge_count.sizes``), ``strategy``, ``why``, ``path`` (blocks or index), ``path_why``,
    ``foreign_key`` (kept or set_aside), ``expected``, ``obstacles``, ``token_last_used``, ``recovery``, ``release``,
    ``rewrite`` (``_rewrite.plan``, where that was looked at), ``database`` (``_rows.identity``), ``other_logs``
    (``purge/other_logs``).
    """
    connection = context.connect("purge plan")
    try:
        require_phase(connection)
        server = read_server(connection)
        marker = foreign_key.marker(connection)
        others = [log.subject.table for log in _retention.asked(request)]
        obstacles = look(connection, others)
        with connection.cursor() as cursor:
            cursor.execute("begin isolation level repeatable read read only")
        result = _plan(context, connection, request, server, marker)
        with connection.cursor() as cursor:
            cursor.execute("commit")
        seen = {item["what"] for item in obstacles}
        # A stock purge is invisible between two of its batches: a second look may see it.
        result["obstacles"] = obstacles + [item for item in look(connection, others) if item["what"] not in seen]
        result["obstacles"] += _purge_rewrite.obstacles(result["rewrite"])
        return result
    finally:
        connection.close()


def read_server(connection: Any) -> Dict[str, Any]:
    """``server_version``, ``full_page_writes``, ``time_index`` (there is one by environment and time), ``user`` and
    ``release`` (of Phase). Raises NotAllowed for a standby."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_is_in_recovery()")
        if cursor.fetchone()[0]:
            raise NotAllowed("This server is a standby, which cannot be written.", "Name the primary server.")
        cursor.execute(_SERVER)
        server = dict(zip([column[0] for column in cursor.description], cursor.fetchone()))
        cursor.execute("select app, name from django_migrations")
        server["release"] = release_of(cursor.fetchall())
    return server


def _plan(context: Context, connection: Any, request: Request, server: Dict[str, Any], marker: Any) -> Result:
    layout = check_layout(connection, foreign_key_missing=marker is not None)
    scope = resolve(connection, request)
    if request["foreign_key"] == "set_aside" and not layout["owner"]:
        raise NotAllowed(
            "foreign_key=set_aside needs the owner of the tables, and %s is not." % server["user"],
            "Run it as that owner (DATABASE_USER), or with foreign_key=keep.",
        )
    other_logs = _retention.plan(context, connection, request, scope, server)
    wanted = request.get("read_events", True)
    strategy = request["strategy"] if wanted else "delete"
    holds = read_holds(connection, scope) if wanted else []
    rule = Rule(scope, holds if request["log_streams"] == "respect" else ())
    before = sizes(connection)
    exact = bool(request["count"] or rule.holds or not wanted)
    if not wanted:
        numbers = NOTHING
    elif exact:
        context.report("Counting in %d blocks of %s" % (before["blocks"], EVENTS))
        numbers = count(connection, scope, rule)
    else:
        numbers = {"eligible": estimate(connection, rule), "held_back": 0, "by_hold": [], "months": None}
    eligible = numbers["eligible"]
    facts = dict(
        server,
        application=request["application"],
        archive=bool(request.get("archive")),
        release_deletes_history=not releases_in_batches(server["release"])
        or (strategy == "stock" and request["application"] and not _purge_stock.inspect_command()),
        held=numbers["held_back"] > 0,
        eligible=eligible,
        total=before["rows"],
        share=share(eligible, before["rows"]),
        blocks=before["blocks"],
    )
    facts["rewrite"] = None
    if strategy in ("auto", "rewrite"):
        facts["rewrite"] = _purge_rewrite.examine(context, connection, facts["share"], marker is not None)
    choice = choose(strategy, facts)
    if choice.strategy is None:
        raise refusal(strategy, choice.against, facts["held"])
    index_why = by_index(facts)
    aside = request["foreign_key"] == "set_aside" and index_why is None and choice.strategy == "delete"
    column = _purge_tokens.has_column(connection)
    return {
        "scope": scope,
        "eligible": eligible,
        "exact": exact,
        "held_back": numbers["held_back"],
        "log_streams": summed(holds, numbers["by_hold"] if rule.holds else [0] * len(holds)),
        "streams_ignored": request["log_streams"] == "ignore",
        "months": numbers["months"],
        "bytes": round(eligible * before["table_bytes"] / max(before["rows"] or 0, eligible, 1)),
        "before": before,
        "strategy": choice.strategy,
        "why": choice.why,
        "path": "index" if index_why else "blocks",
        "path_why": index_why or "each block is visited once",
        "foreign_key": "set_aside" if aside else "kept",
        "expected": facts["rewrite"]["expected"]
        if choice.strategy == "rewrite"
        else expected(facts, index_why is not None, "set_aside" if aside else "kept"),
        "rewrite": facts["rewrite"],
        "token_last_used": {
            "kept_in_column": column,
            "tokens": _purge_tokens.affected(connection, rule, column) if wanted else [],
        },
        "recovery": {"constraint": marker["name"]} if marker else _purge_rewrite.left(connection),
        "release": server["release"],
        "triggers": layout["triggers"],
        "database": identity(connection),
        "read_events": wanted,
        "other_logs": other_logs,
    }


def releases_in_batches(release: str) -> bool:
    """Whether the stock command of that release deletes read events only: v2.73.0 and later."""
    numbers = [int(part) for part in release.lstrip("v").split(".") if part.isdecimal()]
    return numbers >= [2, 73]


def refusal(strategy: str, reasons: List[str], held: bool) -> PhaseError:
    """The error for a strategy that will not do, or for auto when none does."""
    text = "; ".join(reasons)
    if strategy == "rewrite":
        return RewriteRefused("strategy=rewrite is refused: %s." % text, "Use strategy=delete.")
    if strategy != "stock":
        return NotAllowed("No strategy can purge here: %s." % text, "Upgrade PostgreSQL or Phase.")
    kind = NotDelivered if held and len(reasons) == 1 else StockUnsafe
    return kind("strategy=stock is refused: %s." % text, "Use strategy=delete.")


def apply(context: Context, request: Request) -> Result:
    """Delete what the plan says, under the lock; first put right what an earlier run that was cut off left behind.

    Further request: ``plan`` (of ``plan``), ``host`` (the caller's), ``lock_timeout``, ``max_duration`` and
    ``transaction_time`` in seconds, ``throttle`` (``_purge_throttle.Throttle``).

    Result: ``deleted``, ``remaining``, ``remaining_exact``, ``stopped_by``, ``seconds``, ``rows_per_second``,
    ``batches``, ``paused``, ``recovered``, ``foreign_key``, ``tokens_kept``, ``after``, ``other_logs``. An error
    carries as much of it as was done.
    """
    import psycopg2

    done: Result = {"deleted": 0, "recovered": None, "tokens_kept": 0, "stopped_by": None}
    done.update(foreign_key={"state": "kept"}, other_logs={})
    place = Workplace(context, request["lock_timeout"], request["host"])
    try:
        if request.get("archive"):
            if context.deliveries is None:
                raise NotTaken("Nobody takes what shall be archived.", "Report this; archive_dest cannot be used here.")
            place.exporter = Exporter(context.deliveries, request["archive"])
        _apply(context, request, place, done)
        # A rewritten table has been analyzed; elsewhere the planner learns of the purge by the next vacuum.
        done["after"] = after(place.watcher, 0 if "rewrite" in done else done["deleted"])
        return done
    except psycopg2.Error as error:
        failure = database_error(error)
        failure.partial = done
        raise failure from error
    except PhaseError as error:
        error.partial = dict(done, **error.partial)
        raise
    finally:
        place.close()


def _apply(context: Context, request: Request, place: Workplace, done: Result) -> None:
    planned, session = request["plan"], place.session
    scope: Scope = planned["scope"]
    marker = foreign_key.marker(session.connection)
    check_layout(session.connection, foreign_key_missing=marker is not None)
    if marker is not None:
        context.report("Putting back the foreign key that a purge before had set aside")
        done["recovered"] = foreign_key.restore(context, session)
    recovered = _purge_rewrite.recover(context, needed=planned["strategy"] == "rewrite")
    done["recovered"] = done["recovered"] or recovered
    begun = context.clock()
    # First, since they are small: else a backlog of read events would take every night's time.
    paused = _retention.apply(context, request, place, done)
    if planned["exact"] and planned["eligible"] == 0:
        stopped = [one["stopped_by"] for one in done["other_logs"].values() if one["stopped_by"]]
        done.update(stopped_by=stopped[0] if stopped else None, paused=rounded(paused), batches=0)
        done.update(remaining=0, remaining_exact=True, seconds=round(context.clock() - begun, 2), rows_per_second=0)
        return
    # Read again under the lock: a stream's cursor moves on while its events wait, and never back.
    respected = request["log_streams"] == "respect"
    rule = Rule(scope, read_holds(session.connection, scope) if respected else ())
    column = _purge_tokens.has_column(session.connection)
    if column:
        tokens = _purge_tokens.affected(session.connection, rule, column)
        done["tokens_kept"] = _purge_tokens.keep(session, tokens) if tokens else 0
    limits = dict(request["throttle"])
    if planned["strategy"] == "rewrite":
        limits["lock_wait"] = 0  # whoever waits for its own lock, a vacuum say, would keep it waiting for ever
    throttle = Throttle(context, place.watcher, limits)
    control = Control(context, throttle, place.lock.confirm, request["max_duration"], context.clock() - begun)
    RUNNERS[planned["strategy"]](context, request, place, rule, control, done)
    for name, seconds in rounded(paused).items():
        done["paused"][name] = done["paused"].get(name, 0.0) + seconds


def _delete(context: Context, request: Request, place: Workplace, rule: Rule, control: Control, done: Result) -> None:
    """In small transactions, with the foreign key set aside where that is asked for."""
    import psycopg2

    planned, session = request["plan"], place.session
    walk = Walk(context, session, control, rule, request["transaction_time"], exporter=place.exporter)
    try:
        done["stopped_by"] = _run(context, session, planned, walk, done)
    except BaseException:  # which is what is told, whatever comes now
        try:
            _put_back(context, session, done)
        except (PhaseError, psycopg2.Error) as error:
            context.report("The next run puts the foreign key back: %s" % " ".join(str(error).split()))
        raise
    finally:
        done.update(walk_facts(walk, control))
    _put_back(context, session, done)
    count_rest(session, planned, walk, rule, done)


def _run(context: Context, session: Session, planned: Result, walk: Walk, done: Result) -> Any:
    if planned["path"] == "index":
        environments = [row["id"] for row in planned["scope"]["environments"]]
        return walk.run_by_index(environments, planned["eligible"])

    def set_aside() -> bool:
        gone = foreign_key.set_aside(context, session)
        done["foreign_key"] = {"state": "set_aside" if gone else "kept"}
        return gone

    return walk.run(planned["before"]["blocks"], set_aside if planned["foreign_key"] == "set_aside" else None)


def _put_back(context: Context, session: Session, done: Result) -> None:
    """The foreign key, where this run has set it aside."""
    if done["foreign_key"]["state"] == "set_aside":
        done["foreign_key"] = dict(foreign_key.restore(context, session) or {}, state="restored")


def _stock(context: Context, request: Request, place: Workplace, rule: Rule, control: Control, done: Result) -> None:
    """The application's command, organisation by organisation; the rows are counted before and after."""
    if not _purge_stock.inspect_command():
        reason = "the command of this image also deletes updates and deletions, the secrets' version history"
        raise refusal("stock", [reason], held=False)
    with place.session.transaction() as cursor:
        before = remaining(cursor, rule)
    done["stopped_by"] = by_command(context, request["plan"]["scope"], place.lock.confirm, control)
    with place.session.transaction() as cursor:
        left = remaining(cursor, rule)
    seconds = control.seconds()
    done.update(
        deleted=before - left,
        remaining=left,
        remaining_exact=True,
        seconds=round(seconds, 2),
        rows_per_second=round((before - left) / seconds) if seconds else 0,
        batches=0,
        paused={},
    )


def by_command(context: Context, scope: Dict[str, Any], confirm: Callable[[], None], control: Control) -> Optional[str]:
    """The application's command for one organisation after the other; what stopped it."""
    for organisation in scope["organisations"]:
        confirm()
        if control.over():  # the other logs may have taken all of the time
            return "max_duration"
        stopped = _purge_stock.run_command(context, organisation["name"], scope, control.deadline)
        if stopped:
            return stopped
    return None


# One for each entry of _purge_strategy.STRATEGIES.
RUNNERS: Dict[str, Callable[[Context, Request, Workplace, Rule, Control, Result], None]] = {
    "delete": _delete,
    "rewrite": _purge_rewrite.run,
    "stock": _stock,
}
