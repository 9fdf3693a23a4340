# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking at tables, and running the steps that were decided on (``_vacuum/advice`` on the caller's side)."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

from ..._errors import LockHeld, PhaseError
from ..core.api import Context, Request, Result
from ..core.database import database_error, require_phase
from ..core.lock import Lock, holder_of, key_of, session_name
from ..core.pooler import at_once, is_pooled
from ..core.server import free_bytes
from ..rewrite import rewrite as _rewrite
from ..rewrite.catalog import EVENTS, Rewritable
from ..rewrite.errors import RewriteStopped
from ..rewrite.recovery import leftovers
from . import compact as _vacuum_compact
from . import facts as _vacuum_facts
from .errors import Unsuitable
from .run import Runner

KIND = "vacuum"
CONNECTIONS = 3  # in a transaction or a statement at the same time: its lock, the work, the watch
OTHERS = ("migrate", "purge", "rewrite")  # runs that a vacuum stays out of the way of
STATISTICS = 1.0  # seconds: before version 15 a collector gets them, and shows them up to half a second later


def survey(context: Context, request: Request) -> Result:
    """``server``, ``free_bytes`` (None: not to be seen), ``tables`` in the order of ``request["tables"]``, and
    ``running``, a sentence when another run is at work, and ``leftovers`` of a rewrite that was cut off (None: none).
    Reads only. Raises UnknownTable, NotAllowed, Unsuitable.
    """
    connection = context.connect("vacuum")
    try:
        require_phase(connection)
        server = _vacuum_facts.server(connection)
        if server["standby"]:
            raise Unsuitable("This server is a standby, which only follows.", "Connect to the primary server.")
        version = server["server_version_num"]
        room = at_once(context.connect, _rewrite.NEEDED + 1) if is_pooled(connection) else None
        server["connections"] = room
        tables = _vacuum_facts.tables(connection, request["tables"])
        for table in tables:
            _vacuum_facts.examine(connection, table, server["block_size"], version)
            table["rewrite"] = _rewrite.plan(connection, subject(table["name"]), filtered=False, connections=room)
        return {
            "server": server,
            "free_bytes": free_bytes(connection),
            "tables": tables,
            "running": running(connection),
            "leftovers": leftovers(connection),
        }
    finally:
        connection.close()


def subject(name: str) -> Rewritable:
    return EVENTS if name == EVENTS.table else Rewritable(name)


def running(connection: Any) -> Optional[str]:
    for kind in OTHERS + (KIND,):
        holder = holder_of(connection, key_of(kind))
        if holder is not None:
            return "%s: %s" % (kind, holder)
    return None


def apply(context: Context, request: Request) -> Result:
    """Run the steps of each of ``request["tables"]`` (name, quoted, steps): ``tables`` with ``name``, ``after``,
    ``done`` (statements), ``seconds``, ``compaction``, ``rewrite``; ``snapshots`` that are open at the end;
    ``stopped_by``.

    ``max_lock_wait`` and ``max_duration`` (0: none) in seconds; past the latter no further step begins.
    Raises LockHeld, LockTimeout, Skipped, RewriteBlocked, RewriteRefused, with what was done in ``partial``.
    """
    import psycopg2

    start = context.clock()
    deadline = start + request["max_duration"] if request["max_duration"] else None
    lock = Lock(context.connect("vacuum lock"), key_of(KIND), session_name(KIND, request["host"], request["run"]))
    runner = Runner(context, request["max_lock_wait"])
    result: Result = {"tables": [], "stopped_by": None, "snapshots": []}
    try:
        taken = lock.take()
        found = running(runner.work) if not taken else _others(runner.work)
        if found or not taken:
            raise LockHeld("Another run is at work in this database (%s)." % found, "Run it again when that has ended.")
        for table in request["tables"]:
            entry: Dict[str, Any] = {"name": table["name"], "done": [], "seconds": 0.0}
            entry.update(compaction=None, rewrite=None)
            result["tables"].append(entry)
            began = context.clock()
            try:
                result["stopped_by"] = _steps(context, runner, table, entry, request, deadline)
            finally:
                entry["seconds"] = round(context.clock() - began, 1)
                if not context.cancelled() and not runner.work.closed:
                    if entry["done"] and runner.work.server_version < 150000:
                        context.sleep(STATISTICS)
                    entry["after"] = _vacuum_facts.state(runner.work, table["quoted"])
            if result["stopped_by"]:
                break
        result["snapshots"] = _vacuum_facts.server(runner.work)["snapshots"]
        return result
    except PhaseError as error:
        error.partial = dict(result, **error.partial)
        raise
    except psycopg2.Error as error:
        failure = database_error(error)
        failure.partial = result
        raise failure from error
    finally:
        runner.close()
        lock.release()


def _others(connection: Any) -> Optional[str]:
    """Another kind of run that is at work."""
    for kind in OTHERS:
        holder = holder_of(connection, key_of(kind))
        if holder is not None:
            return "%s: %s" % (kind, holder)
    return None


def _compaction(
    context: Context,
    runner: Runner,
    step: Mapping[str, Any],
    entry: Dict[str, Any],
    request: Request,
    deadline: Optional[float],
) -> None:
    """Where others write much meanwhile the front fills up before its time: VACUUM finds it new room, a few times."""
    moved = 0
    for last in (False, False, True):
        outcome = _vacuum_compact.compact(context, step, request["max_lock_wait"], deadline)
        moved += outcome["moved"]
        entry["compaction"] = dict(outcome, moved=moved)
        if outcome["stopped_by"] != "no_room" or not outcome["moved"] or last:
            return
        runner.run(step["vacuum"], step["vacuum"])
        step = dict(step, target=max(step["target"], outcome["block"]))  # further down there was no room


def _steps(
    context: Context,
    runner: Runner,
    table: Mapping[str, Any],
    entry: Dict[str, Any],
    request: Request,
    deadline: Optional[float],
) -> Optional[str]:
    """Run the steps; why they stopped early, or None."""
    steps: List[Dict[str, Any]] = table["steps"]
    stopped: Optional[str] = None
    for number, step in enumerate(steps, 1):
        context.check_cancelled()
        late = deadline is not None and context.clock() >= deadline
        # What a compaction has moved so far comes back only with the VACUUM after it.
        if late and not (stopped and step["kind"] == "vacuum"):
            return "max_duration"
        context.report("%s" % step["statement"], table=table["name"], step=number, steps=len(steps))
        if step["kind"] == "compact":
            _compaction(context, runner, step, entry, request, deadline)
            stopped = "max_duration" if entry["compaction"]["stopped_by"] == "max_duration" else None
        elif step["kind"] == "rewrite":
            try:
                entry["rewrite"] = _rewrite.apply(
                    context,
                    subject(table["name"]),
                    over=lambda: deadline is not None and context.clock() >= deadline,
                    wait=request["max_lock_wait"],
                )
            except RewriteStopped as error:
                return error.reason
        else:
            runner.run(step["statement"], step["statement"], exclusive=step["kind"] == "full", table=table["quoted"])
            if stopped:
                return stopped
        entry["done"].append(step["statement"])
    return stopped
