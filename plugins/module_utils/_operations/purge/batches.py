# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What became of the batches that an interrupted run archived.

Where that is in doubt a batch counts as deleted: a row that was archived twice is found as a duplicate.
"""

from __future__ import annotations

import contextlib
import socket
from functools import partial
from typing import Callable, Dict, Optional

from ..core.api import Context
from ..core.lock import Lock, session_name
from ..core.types import Connection
from ..core.waiting import RETRIED
from .surroundings import KEY
from .types import BatchQuestion, States, StatesRequest

PATIENCE = 20.0  # seconds for a run to let go of the lock, and for a transaction that is still open to end
LOOK = 0.5


def states(context: Context, request: StatesRequest) -> States:
    """What became of each batch. The far end of a caller that was killed may still be about to commit, so this waits
    for its lock and its transaction."""
    found: Dict[str, Optional[str]] = {batch["batch"]: None for batch in request["batches"]}
    connection = context.connect("purge archive")
    lock = Lock(context.connect("purge archive lock"), KEY, session_name("purge", socket.gethostname(), "archive"))
    try:
        deadline = context.clock() + PATIENCE
        if not patient(context, lock.take, deadline, "Waiting for a purge to end, to see what became of its archive"):
            return {"states": found}
        for batch in request["batches"]:
            told = "Waiting for the transaction of batch %s to end" % batch["batch"]
            if patient(context, partial(decided, connection, batch), deadline, told):
                found[batch["batch"]] = state(connection, batch)
        return {"states": found}
    finally:
        lock.release()
        connection.close()


def patient(context: Context, done: Callable[[], bool], deadline: float, told: str) -> bool:
    while not done():
        if context.clock() >= deadline:
            return False
        context.report(told)
        context.sleep(LOOK)
    return True


def decided(connection: Connection, batch: BatchQuestion) -> bool:
    """Whether the transaction that decides on the batch has ended."""
    if not batch["relation"]:
        return outcome(connection, batch["transaction"]) != "in progress"
    import psycopg2
    from psycopg2 import sql

    with connection.cursor() as cursor:
        try:
            # A swap whose commit is on its way holds the table.
            cursor.execute("begin; set local lock_timeout = '200ms'")
            cursor.execute(sql.SQL("select from {} limit 0").format(sql.Identifier(batch["table"])))
            return True
        except psycopg2.Error as error:
            if error.pgcode not in RETRIED:
                raise
            return False
        finally:
            cursor.execute("rollback")


def state(connection: Connection, batch: BatchQuestion) -> str:
    """``kept`` if the batch is known to be still in the database. A rewrite put another relation in the table's place;
    rows that were changed during it stayed, so they tell nothing.
    """
    if batch["relation"]:
        with connection.cursor() as cursor:
            cursor.execute("select to_regclass(%s)::oid::bigint", (batch["table"],))
            return "kept" if cursor.fetchone()[0] == batch["relation"] else "deleted"
    committed = outcome(connection, batch["transaction"]) == "committed"
    return "deleted" if committed or not all_there(connection, batch) else "kept"


def outcome(connection: Connection, transaction: int) -> Optional[str]:
    """``committed``, ``aborted``, ``in progress``; None for one of which the server knows nothing any more, or nothing
    yet: the database is a copy from before it."""
    import psycopg2

    with connection.cursor() as cursor, contextlib.suppress(psycopg2.errors.InvalidParameterValue):
        cursor.execute("select txid_status(%s)", (transaction,))
        found: Optional[str] = cursor.fetchone()[0]
        return found
    return None


def all_there(connection: Connection, batch: BatchQuestion) -> bool:
    from psycopg2 import sql

    query = sql.SQL("select count(*) from {} where {} in %s").format(
        sql.Identifier(batch["table"]), sql.Identifier(batch["key"])
    )
    with connection.cursor() as cursor:
        # Literals without a type take that of the column.
        cursor.execute(query, (tuple(batch["samples"]),))
        return bool(cursor.fetchone()[0] == len(batch["samples"]))
