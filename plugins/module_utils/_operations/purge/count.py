# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many rows a purge would delete: exact numbers by one pass over a table, or the planner's estimate of them."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple, TypedDict

from ..core.types import Connection, Cursor
from .log_table import Keep
from .rule import Rule
from .scope import EVENTS
from .session import Session
from .types import Environment, LogOutcome, LogPlan, Month, Reason, Sizes
from .walk import Walk

COUNTING = 20_000  # milliseconds for counting what is left after a stop; then it is an estimate

_SIZES = """
select c.reltuples::float8, pg_table_size(c.oid), pg_indexes_size(c.oid), pg_relation_size(c.oid),
       coalesce(s.n_dead_tup, 0), current_setting('block_size')::int
from pg_catalog.pg_class c left join pg_catalog.pg_stat_user_tables s on s.relid = c.oid where c.oid = %s::regclass
"""
# The first two columns group the rows, as far as that is asked for.
_COUNT = """
select {group}, count(*), count(*) filter (where {rule}){reasons} from {table} e where {base}
group by 1, 2 order by 1, 2
"""
_BY_MONTH = "e.environment_id, to_char(e.timestamp at time zone 'UTC', 'YYYY-MM')"
_LEFT = "select count(*) from {table} e where {rule}"
_PLAN = "explain (format json) select from {table} e where {rule}"


class Counted(TypedDict):
    """``groups``: eligible rows by (environment, month), where that was asked for."""

    eligible: int
    held_back: int
    kept: List[Reason]
    undelivered: List[Reason]
    groups: List[Tuple[str, str, int]]


def sizes(connection: Connection, table: str = EVENTS) -> Sizes:
    with connection.cursor() as cursor:
        cursor.execute(_SIZES, (table,))
        rows, heap_and_toast, indexes, heap, dead, block = cursor.fetchone()
    return {
        "rows": int(rows) if rows >= 0 else None,
        "table_bytes": heap_and_toast,
        "index_bytes": indexes,
        "dead_rows": dead,
        "blocks": heap // block,
    }


def count(connection: Connection, rule: Rule, table: str, by_month: bool = False) -> Counted:
    """Exact numbers in one pass, of the read events ``by_month``."""
    conditions = [keep.condition for keep in rule.keeps]
    conditions += ["%s and %s" % (rule.condition, keep.condition) for keep in rule.undelivered]
    text = _COUNT.format(
        group=_BY_MONTH if by_month else "'', ''",
        rule=rule.condition,
        reasons="".join(", count(*) filter (where %s)" % condition for condition in conditions),
        table=table,
        base=rule.base,
    )
    with connection.cursor() as cursor:
        cursor.execute(text, rule.values)
        found = cursor.fetchall()
    old, eligible, *by_reason = [sum(row[number] for row in found) for number in range(2, 4 + len(conditions))]
    return {
        "eligible": eligible,
        "held_back": old - eligible,
        "kept": reasons(rule.keeps, by_reason),
        "undelivered": reasons(rule.undelivered, by_reason[len(rule.keeps) :]),
        "groups": [(row[0], row[1], row[3]) for row in found if row[3]] if by_month else [],
    }


def reasons(keeps: Sequence[Keep], counts: Optional[Sequence[int]] = None) -> List[Reason]:
    """Those with rows; without ``counts``, all of them."""
    numbers: Sequence[Optional[int]] = [None] * len(keeps) if counts is None else counts
    found = [(keep, rows) for keep, rows in zip(keeps, numbers) if rows != 0]
    return [{"rows": rows, "why": keep.why, "stream": keep.stream or None} for keep, rows in found]


def months(groups: Sequence[Tuple[str, str, int]], environments: Sequence[Environment]) -> List[Month]:
    """Read events by environment and month, in the order in which people look for them."""
    places = {row["id"]: row for row in environments}
    found: List[Month] = [
        {
            "organisation": places[environment]["organisation"],
            "app": places[environment]["app"],
            "app_id": places[environment]["app_id"],
            "environment": places[environment]["name"],
            "environment_id": environment,
            "month": month,
            "rows": rows,
        }
        for environment, month, rows in groups
    ]
    return sorted(
        found, key=lambda row: (row["organisation"], row["app"], row["app_id"], row["environment"], row["month"])
    )


def part_of(eligible: int, before: Sizes) -> int:
    """The bytes of the table that these rows take."""
    return round(eligible * before["table_bytes"] / max(before["rows"] or 0, eligible, 1))


def remaining(cursor: Cursor, rule: Rule, from_block: int = 0, table: str = EVENTS) -> int:
    """How many rows of the rule are left, from a block of the table on."""
    condition = rule.condition
    if from_block:
        condition = "(%s) is true and e.ctid >= '(%d,0)'::tid" % (condition, from_block)
    cursor.execute(_LEFT.format(table=table, rule=condition), rule.values)
    return int(cursor.fetchone()[0])


def count_rest(session: Session, planned: LogPlan, walk: Walk, rule: Rule, outcome: LogOutcome) -> None:
    """``remaining`` after a walk: 0 after a complete one that skipped nothing, else counted where that is quick."""
    import psycopg2

    outcome.update({"remaining": 0, "exact": True})
    if outcome["stopped_by"] is None and not walk.skipped:
        return
    if planned["exact"] and outcome["stopped_by"] is not None:
        outcome["remaining"] = max(0, planned["eligible"] - outcome["deleted"])
        return
    try:
        with session.transaction(statement_timeout=COUNTING) as cursor:
            outcome["remaining"] = remaining(cursor, rule, 0 if walk.skipped else walk.block, walk.subject.table)
    except psycopg2.Error as error:
        if error.pgcode != "57014":
            raise
        outcome.update({"remaining": max(0, planned["eligible"] - outcome["deleted"]), "exact": False})


def estimate(connection: Connection, rule: Rule, table: str = EVENTS) -> int:
    """How many rows the planner expects the rule to match."""
    with connection.cursor() as cursor:
        cursor.execute(_PLAN.format(table=table, rule=rule.condition), rule.values)
        plan: List[Dict[str, Any]] = cursor.fetchone()[0]
        return int(plan[0]["Plan"]["Plan Rows"])


def share(rows: int, total: Optional[int]) -> Optional[float]:
    """The part of the table that goes, 0 to 1; None where the number of its rows is unknown."""
    return min(1.0, rows / total) if total else None


def after(connection: Connection, deleted: int, table: str = EVENTS) -> Sizes:
    """Sizes at the end. The number of rows is the planner's, which learns of the purge by the next vacuum."""
    found = sizes(connection, table)
    if found["rows"] is not None:
        found["rows"] = max(0, found["rows"] - deleted)
    return found
