# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Timeouts that hold behind a pooler.

PgBouncer refuses the startup parameter ``options``, or drops it where told to ignore it, and in transaction mode a
plain SET would stay with a server connection that somebody else gets next. So each transaction sets its own: a
statement of its own gets SET LOCAL before it in the same simple query, which PostgreSQL runs as one transaction
(documentation, 55.2.2.1 Multiple Statements in a Simple Query), and BEGIN gets it after it.
"""

from __future__ import annotations

import re
from typing import Any, Mapping

_BEGIN = re.compile(r"\s*(begin|start\s+transaction)\b", re.IGNORECASE)
# What PostgreSQL refuses to run together with other statements, or what ends a transaction.
_ALONE = re.compile(
    r"\s*(vacuum|analyze|reindex|cluster|repack|checkpoint|commit|rollback|end|abort|(create|drop)\s+database|alter\s+system"
    r"|create\s+(unique\s+)?index\s+concurrently|drop\s+index\s+concurrently|alter\s+table\s.*\sconcurrently)\b",
    re.IGNORECASE | re.DOTALL,
)
_MILLISECONDS = """
select round(extract(epoch from current_setting(name)::interval) * 1000)::bigint
from unnest(%s) with ordinality as setting (name, place) order by place
"""
REFUSED = "unsupported startup parameter"  # PgBouncer's words


def set_local(limits: Mapping[str, int]) -> str:
    return "; ".join("set local %s = %d" % item for item in sorted(limits.items()))


def limited(statement: str, limits: Mapping[str, int]) -> str:
    """A statement that begins a transaction, with the timeouts (milliseconds by setting) for it."""
    if _BEGIN.match(statement):
        return "%s; %s" % (statement.rstrip().rstrip(";"), set_local(limits))
    if _ALONE.match(statement):
        return statement
    return "%s; %s" % (set_local(limits), statement)


def settings_hold(connection: Any, limits: Mapping[str, int]) -> bool:
    """Whether the session has the timeouts that its startup parameters asked for."""
    names = sorted(limits)
    with connection.cursor() as cursor:
        cursor.execute(_MILLISECONDS, (names,))
        return [row[0] for row in cursor.fetchall()] == [limits[name] for name in names]


def set_each_time(connection: Any, limits: Mapping[str, int]) -> None:
    """Give every transaction of the connection its timeouts from now on."""
    import psycopg2.extensions

    class Cursor(psycopg2.extensions.cursor):  # type: ignore[misc]
        def execute(self, query: Any, vars: Any = None) -> Any:  # noqa: A002 - psycopg2's name
            if self.connection.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE:
                text = query if isinstance(query, str) else query.as_string(self)
                query = limited(text, limits)
            return super().execute(query, vars)

    connection.cursor_factory = Cursor
