# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Behind a pooler: settings that hold, and how many connections there are.

PgBouncer refuses the startup parameter ``options``, or drops it where told to ignore it, and in transaction mode a
plain SET would stay with a server connection that somebody else gets next. So each transaction sets its own: a
statement of its own gets SET LOCAL before it in the same simple query, which PostgreSQL runs as one transaction
(documentation, 55.2.2.1 Multiple Statements in a Simple Query), and BEGIN gets it after it.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping

from ..._errors import PhaseError

_BEGIN = re.compile(r"\s*(begin|start\s+transaction)\b", re.IGNORECASE)
# What PostgreSQL refuses to run together with other statements, or what ends a transaction.
_ALONE = re.compile(
    r"\s*(vacuum|analyze|reindex|cluster|repack|checkpoint|commit|rollback|end|abort|(create|drop)\s+database|alter\s+system"
    r"|create\s+(unique\s+)?index\s+concurrently|drop\s+index\s+concurrently|alter\s+table\s.*\sconcurrently)\b",
    re.IGNORECASE | re.DOTALL,
)
_SETTINGS = "select name, setting from pg_catalog.pg_settings where name = any(%s)"
_KEPT = "select current_setting('default_transaction_read_only') = 'on' and not pg_is_in_recovery()"
_READ_ONLY = re.compile(r"\bread\s+only\b", re.IGNORECASE)
REFUSED = "unsupported startup parameter"  # PgBouncer's words


def set_local(values: Mapping[str, str]) -> str:
    return "; ".join("set local %s = '%s'" % item for item in sorted(values.items()))


def limited(statement: str, values: Mapping[str, str]) -> str:
    """A statement that begins a transaction, with the settings for it. One that is to read only stays so."""
    begins = _BEGIN.match(statement)
    if begins and _READ_ONLY.search(statement):
        values = {name: value for name, value in values.items() if name != "transaction_read_only"}
    if begins:
        return "%s; %s" % (statement.rstrip().rstrip(";"), set_local(values))
    if _ALONE.match(statement):
        return statement
    return "%s; %s" % (set_local(values), statement)


def differing(connection: Any, values: Mapping[str, str]) -> Dict[str, str]:
    """Those of the wanted values that the session has not."""
    with connection.cursor() as cursor:
        cursor.execute(_SETTINGS, (list(values),))
        found = dict(cursor.fetchall())
    return {name: value for name, value in values.items() if found.get(name) != value}


def is_pooled(connection: Any) -> bool:
    """Whether its settings go with each transaction, since a pooler keeps none."""
    return connection.cursor_factory is not None


def at_once(connect: Callable[[str], Any], most: int, patience: float = 3.0) -> int:
    """How many connections to the server the pooler gives us at the same time, ``most`` at the most.

    Each is held by a transaction until all are there, or no other came for ``patience`` seconds.
    """
    import psycopg2

    had: List[bool] = []
    over = threading.Event()

    def one() -> None:
        with contextlib.suppress(psycopg2.Error, PhaseError):  # one that does not come does not count
            connection = connect("pool")
            with contextlib.closing(connection), held(connection):
                had.append(True)
                over.wait()

    threads = [threading.Thread(target=one, daemon=True) for _number in range(most)]
    for thread in threads:
        thread.start()
    found, since = 0, time.monotonic()
    while found < most and any(thread.is_alive() for thread in threads):
        if len(had) != found:
            found, since = len(had), time.monotonic()
        elif found and time.monotonic() - since > patience:
            break
        time.sleep(0.01)
    over.set()
    for thread in threads:
        thread.join(patience)
    return found


@contextlib.contextmanager
def held(connection: Any) -> Iterator[None]:
    """Hold a connection to the server by a transaction that takes no snapshot by itself: whoever needs it while
    writers queue up for a lock would get none from a pooler whose connections they have all taken."""
    with connection.cursor() as cursor:
        cursor.execute("begin isolation level read committed")
    try:
        yield
    finally:
        import psycopg2

        with contextlib.suppress(psycopg2.Error), connection.cursor() as cursor:
            cursor.execute("rollback")


def set_each_time(connection: Any, values: Mapping[str, str]) -> None:
    """Give every transaction of the connection its settings from now on."""
    import psycopg2.extensions

    with connection.cursor() as cursor:
        cursor.execute(_KEPT)
        if cursor.fetchone()[0]:  # default_transaction_read_only comes too late for the transaction that sets it
            values = dict(values, transaction_read_only="off")

    class Cursor(psycopg2.extensions.cursor):  # type: ignore[misc]
        def execute(self, query: Any, vars: Any = None) -> Any:  # noqa: A002 - psycopg2's name
            if self.connection.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE:
                text = query if isinstance(query, str) else query.as_string(self)
                query = limited(text, values)
            return super().execute(query, vars)

    connection.cursor_factory = Cursor
