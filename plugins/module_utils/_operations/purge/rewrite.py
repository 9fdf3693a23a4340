# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A purge by the online rewrite: the events that stay are copied, and the copy takes the table's place."""

# ruff: noqa: S608 - names are the catalog's, quoted by the server

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

from ..core.api import Context, Result
from ..core.pooler import at_once, is_pooled
from ..core.types import Connection, Cursor
from ..rewrite import recovery as _rewrite_recovery
from ..rewrite import rewrite as _rewrite
from ..rewrite.catalog import EVENTS, Table
from ..rewrite.copy import Export
from ..rewrite.errors import RewriteBlocked, RewriteStopped
from ..rewrite.types import RewritePlan
from .export import Exporter, selection
from .log_table import READS
from .rule import Rule
from .surroundings import finding
from .throttle import Control
from .types import READ_EVENTS, ApplyRequest, Finding, Outcome
from .workplace import Workplace


def examine(
    context: Context, planning: Connection, share_gone: Optional[float], unfinished: bool, free: Optional[int]
) -> RewritePlan:
    """``_rewrite.plan`` for the events, of which a part goes (0 to 1; None where that is not known).

    ``planning`` is the connection of the plan, whose snapshot is nobody's obstacle. ``unfinished``, ``free``: as
    there.
    """
    with planning.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        own = [cursor.fetchone()[0]]
    connection = context.connect("purge plan rewrite")
    try:
        room = None
        if is_pooled(connection):  # planning has one
            room = at_once(context.connect, _rewrite.NEEDED + 1 - len(own)) + len(own)
        kept = 1.0 - (share_gone or 0.0)
        return _rewrite.plan(connection, EVENTS, kept, own=own, unfinished=unfinished, free=free, connections=room)
    finally:
        connection.close()


def obstacles(found: Optional[RewritePlan]) -> List[Finding]:
    """What ``examine`` found, as the plan's obstacles."""
    if not found or not found["waits_for"]:
        return []
    return [finding("rewrite", "a rewrite would wait at its swap for %s" % found["waits_for"], "rewrite")]


def left(connection: Connection) -> Optional[Dict[str, Any]]:
    """What an interrupted rewrite left, for the plan."""
    return _rewrite_recovery.leftovers(connection)


def recover(context: Context, needed: bool) -> Optional[Dict[str, Any]]:
    """Repair what an interrupted rewrite left. Where others' locks prevent that and it is not ``needed``, the next run
    does it: a purge that deletes works beside it.
    """
    import psycopg2

    connection = context.connect("purge look")
    try:
        left = _rewrite_recovery.leftovers(connection)
    finally:
        connection.close()
    if left is None:
        return None
    context.report("Repairing what an interrupted rewrite left")
    try:
        found: Optional[Dict[str, Any]] = _rewrite_recovery.recover(context, {})["recovered"]
        return found
    except (RewriteBlocked, psycopg2.Error) as error:  # an event trigger may forbid to drop what is left
        if needed:
            raise
        context.report("That has to wait for the next run: %s" % " ".join(str(error).split()))
        return None


def exporting(exporter: Exporter, goes: str) -> Export:
    """Hands over the rows of a range for which ``goes`` is true, with those that refer to them."""
    ((follower, column),) = EVENTS.followers
    without = () if exporter.values else READS.subject.values

    def export(cursor: Cursor, table: Table, where: str) -> int:
        (place,) = table.followers
        others = "select t.* from only %s t where t.%s in (select id from gone)" % (place, column)
        text = (
            "with gone as materialized (select e.* from only {place} e where {where} and ({goes}) is true){rest}"
        ).format(
            place=table.place,
            where=where,
            goes=goes.replace("%", "%%"),
            rest=selection(EVENTS.table, "id", "timestamp", others, follower, without=without),
        )
        return int(exporter.take(cursor, text, {}, relation=table.oid)["gone"])

    return export


def complete(connection: Connection, rule: Rule) -> str:
    """The rule with its values in it, as a condition that can stand in a function."""
    with connection.cursor() as cursor:
        return cursor.mogrify(rule.condition, rule.values).decode()


def run(context: Context, request: ApplyRequest, place: Workplace, rule: Rule, control: Control, done: Outcome) -> None:
    """As the other strategies of ``purge/operation``. Stopped before the swap, nothing is deleted."""

    def watched(look: Callable[[], None]) -> None:
        control.look = look

    outcome = done["logs"][READ_EVENTS]
    try:
        condition = complete(place.session.connection, rule)
        export = exporting(place.exporter, condition) if place.exporter else None
        result = _rewrite.apply(context, EVENTS, condition, control.gate, control.over, watched=watched, export=export)
        if place.exporter:
            place.exporter.became("deleted")
    except RewriteStopped as error:
        if place.exporter:
            place.exporter.became("kept")
        outcome["stopped_by"] = error.reason
    else:
        outcome.update({"deleted": result["deleted"], "remaining": 0, "exact": True})
        done["rewrite"] = shown(result)


def shown(result: Result) -> Dict[str, Any]:
    """What a rewrite adds to the outcome of every strategy."""
    names: List[str] = ["kept", "orphans", "attempts", "held_seconds", "seconds", "unfinished"]
    return {name: result[name] for name in names}
