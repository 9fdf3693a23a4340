# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What became of batches that were archived by a run that was cut off."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ._api import Context, Request, Result

PATIENCE = 20.0  # seconds for a transaction that is still open to end
LOOK = 0.5

INVALID_PARAMETER = "22023"  # of txid_status, for a transaction of the future: the database is a copy from before it


def states(context: Context, request: Request) -> Result:
    """Request: ``batches`` [{batch, table, key, samples, transaction}].

    Result: ``states`` by batch: ``deleted`` or ``kept``, or None while its transaction is still open. A batch is one
    transaction, so any sample that is still there says that all of it was kept. The server process of a client that was
    killed may still be about to commit: hence the look at the transaction before.
    """
    connection = context.connect("purge archive")
    try:
        begun = context.clock()
        found: Dict[str, Optional[str]] = {}
        for batch in request["batches"]:
            while open_still(connection, batch["transaction"]) and context.clock() - begun < PATIENCE:
                context.report("Waiting for the transaction of batch %s to end" % batch["batch"])
                context.sleep(LOOK)
            found[batch["batch"]] = None
            if not open_still(connection, batch["transaction"]):
                found[batch["batch"]] = "kept" if there(connection, batch) else "deleted"
        return {"states": found}
    finally:
        connection.close()


def open_still(connection: Any, transaction: int) -> bool:
    """Whether it is in progress; of one that ended long ago the server knows nothing any more."""
    import psycopg2

    with connection.cursor() as cursor:
        try:
            cursor.execute("select txid_status(%s)", (transaction,))
        except psycopg2.Error as error:
            if error.pgcode != INVALID_PARAMETER:
                raise
            return False
        return bool(cursor.fetchone()[0] == "in progress")


def there(connection: Any, batch: Dict[str, Any]) -> bool:
    from psycopg2 import sql

    samples: List[str] = batch["samples"]
    query = sql.SQL("select exists (select from {} where {} in %s)").format(
        sql.Identifier(batch["table"]), sql.Identifier(batch["key"])
    )
    with connection.cursor() as cursor:
        # Literals without a type take that of the column.
        cursor.execute(query, (tuple(samples),))
        return bool(cursor.fetchone()[0])
