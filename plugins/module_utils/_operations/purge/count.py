# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a purge would delete: exact numbers by one pass over the table, or the planner's estimate of them."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from .scope import EVENTS, Condition, Rule, Scope

Connection = Any
COUNTING = 20_000  # milliseconds for counting what is left after a stop; then it is an estimate
NOTHING: Dict[str, Any] = {"eligible": 0, "held_back": 0, "by_hold": [], "months": []}

_SIZES = """
select c.reltuples::float8, pg_table_size(c.oid), pg_indexes_size(c.oid), pg_relation_size(c.oid),
       coalesce(s.n_dead_tup, 0), current_setting('block_size')::int
from pg_catalog.pg_class c left join pg_catalog.pg_stat_user_tables s on s.relid = c.oid where c.oid = %s::regclass
"""


_MONTHS = """
select e.environment_id, to_char(e.timestamp at time zone 'UTC', 'YYYY-MM'), count(*), {columns}
from api_secretevent e where {rule} group by 1, 2 order by 1, 2
"""
_LEFT = "select count(*) from {table} e where {rule}"
_PLAN = "explain (format json) select from {table} e where {rule}"


def sizes(connection: Connection, table: str = EVENTS) -> Dict[str, Any]:
    """``rows`` (estimate, None when never analyzed), ``table_bytes``, ``index_bytes``, ``dead_rows``, ``blocks``."""
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


def count(connection: Connection, scope: Scope, rule: Rule) -> Dict[str, Any]:
    """Exact numbers in one pass: ``eligible``, ``held_back``, ``by_hold`` (rows per hold) and ``months``
    [{organisation, app, app_id, environment, environment_id, month, rows}].
    """
    held = "".join(", count(*) filter (where %s)" % hold for hold in rule.holds)
    allowed = "count(*) filter (where not (%s))" % " or ".join(rule.holds) if rule.holds else "count(*)"
    with connection.cursor() as cursor:
        cursor.execute(_MONTHS.format(columns=allowed + held, rule=rule.base), rule.values)
        found = cursor.fetchall()
    names = {row["id"]: row for row in scope["environments"]}
    months: List[Dict[str, Any]] = []
    for environment, month, _everything, rows, *_by_hold in found:
        if rows:
            place = names[environment]
            months.append(
                {
                    "organisation": place["organisation"],
                    "app": place["app"],
                    "app_id": place["app_id"],
                    "environment": place["name"],
                    "environment_id": environment,
                    "month": month,
                    "rows": rows,
                }
            )
    months.sort(key=lambda row: (row["organisation"], row["app"], row["app_id"], row["environment"], row["month"]))
    eligible = sum(row[3] for row in found)
    return {
        "eligible": eligible,
        "held_back": sum(row[2] for row in found) - eligible,
        "by_hold": [sum(row[4 + number] for row in found) for number in range(len(rule.holds))],
        "months": months,
    }


def remaining(cursor: Any, rule: Condition, from_block: int = 0, table: str = EVENTS) -> int:
    """How many rows of the rule are left, from a block of the table on."""
    condition = rule.condition
    if from_block:
        condition = "(%s) is true and e.ctid >= '(%d,0)'::tid" % (condition, from_block)
    cursor.execute(_LEFT.format(table=table, rule=condition), rule.values)
    return int(cursor.fetchone()[0])


def count_rest(session: Any, planned: Dict[str, Any], walk: Any, rule: Condition, done: Dict[str, Any]) -> None:
    """``remaining`` after a walk: nothing after a whole one that passed over nothing, else counted as long as that is
    quick."""
    import psycopg2

    done.update(remaining=0, remaining_exact=True)
    if done["stopped_by"] is None and not walk.skipped:
        return
    if planned["exact"] and done["stopped_by"] is not None:
        done["remaining"] = max(0, planned["eligible"] - done["deleted"])
        return
    try:
        with session.transaction(statement_timeout=COUNTING) as cursor:
            done["remaining"] = remaining(cursor, rule, 0 if walk.skipped else walk.block, walk.subject.table)
    except psycopg2.Error as error:
        if error.pgcode != "57014":
            raise
        done.update(remaining=max(0, planned["eligible"] - done["deleted"]), remaining_exact=False)


def estimate(connection: Connection, rule: Condition, table: str = EVENTS) -> int:
    """How many rows the planner expects the rule to match."""
    with connection.cursor() as cursor:
        cursor.execute(_PLAN.format(table=table, rule=rule.condition), rule.values)
        return int(cursor.fetchone()[0][0]["Plan"]["Plan Rows"])


def share(rows: Optional[int], total: Optional[int]) -> Optional[float]:
    """The part of the table that goes, 0 to 1; None where it is not known how many rows there are."""
    if rows is None or not total:
        return None
    return min(1.0, rows / total)


def after(connection: Any, deleted: int, table: str = EVENTS) -> Dict[str, Any]:
    """Sizes at the end. The number of rows is the planner's, which learns of the purge by the next vacuum."""
    found = sizes(connection, table)
    if found["rows"] is not None:
        found["rows"] = max(0, found["rows"] - deleted)
    return found
