# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deleting rows and handing them over, in one transaction that commits once they are on the caller's disk.

A batch is one statement, ``COPY (with gone as (delete ...) select ...) TO STDOUT``, so that neither this process nor
the caller ever holds it whole. Each row comes as a line of JSON; the last line has the totals. Of what COPY's text
format escapes, JSON texts hold backslashes alone (PostgreSQL documentation, COPY, Text Format).
"""

# ruff: noqa: S608 - names are constants of this package

from __future__ import annotations

import hashlib
import json
import threading
import zlib
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ..._errors import NotTaken
from ..core.api import Deliveries
from ..core.rows import SETTINGS
from ..core.types import Cursor
from ..core.waiting import RETRIED
from .session import Session

GZIP = 31  # zlib's window bits for a gzip header and trailer
LEVEL = 3
LINES = 1 << 18  # bytes of rows that are compressed at once
PIECE = 1 << 17  # bytes that are sent at once
SAMPLES = 3  # rows by which the batch is known again
TOLD = ("table", "key", "time", "tables", "first", "last", "samples", "transaction")  # of the totals
TOTAL = b'{"total": '

# Text forms that do not depend on the role's settings. The transaction is idle while the caller's disk is waited for.
BEFORE = SETTINGS + "; set local idle_in_transaction_session_timeout = 0"

Totals = Dict[str, Any]


# After CTEs gone, and where the index finds the rows doomed. A batch without a row has totals all the same.
_ROWS = """select '{{"table": "{table}", "batch": "' || %(batch)s || '", "row": ' || {row}::text || '}}'
from {rows}"""
_TOTALS = """
select '{{"total": ' || json_build_object(
  'gone', (select count(*) from gone), 'doomed', {doomed}, 'moment', {moment},
  'table', '{table}', 'key', '{key}', 'time', '{time}',
  'tables', json_build_object({tables}), 'first', (select min(gone.{time}) from gone),
  'last', (select max(gone.{time}) from gone),
  'samples', array(select gone.{key}::text from gone limit {samples}), 'transaction', txid_current())::text || '}}'
"""


def selection(
    table: str,
    key: str,
    time: str,
    others: str = "",
    other: str = "",
    by_index: bool = False,
    without: Sequence[str] = (),
) -> str:
    """What follows ``with gone as (delete ... returning e.*)``: every row as a line, ``without`` some of its columns,
    those of the table ``other`` that the statement ``others`` returns too, and the totals.
    """
    row = "to_jsonb(gone) - array[%s]" % ", ".join("'%s'" % name for name in without) if without else "to_json(gone)"
    tables = "'%s', (select count(*) from gone)" % table
    text, rows = "", [_ROWS.format(table=table, rows="gone", row="(%s)" % row)]
    if others:
        text = ", others as (%s)" % others
    if other:
        tables += ", '%s', (select count(*) from others)" % other
        rows.append(_ROWS.format(table=other, rows="others", row="to_json(others)"))
    totals = _TOTALS.format(
        doomed="(select count(*) from doomed)" if by_index else "0",
        moment="(select max(moment)::text from doomed)" if by_index else "null",
        table=table,
        tables=tables,
        time=time,
        key=key,
        samples=SAMPLES,
    )
    return "%s\n%s" % (text, "\nunion all ".join([*rows, totals.strip()]))


class Stream:
    """Takes COPY's rows as they come, and hands them on as one gzip member."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._zip = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
        self._digest = hashlib.sha256()
        self._lines: List[bytes] = []
        self._waiting = 0
        self._ready = b""
        self._sent = 0
        self.rows = 0
        self.totals: Totals = {}

    def write(self, data: bytes) -> int:
        """One row of COPY, which psycopg2 never cuts or joins."""
        if data.startswith(TOTAL):
            self.totals = json.loads(data.replace(b"\\\\", b"\\"))["total"]
            return len(data)
        self.rows += 1
        self._lines.append(data)
        self._waiting += len(data)
        if self._waiting >= LINES:
            self._compress()
        return len(data)

    def _compress(self) -> None:
        self._ready += self._zip.compress(b"".join(self._lines).replace(b"\\\\", b"\\"))
        self._lines, self._waiting = [], 0
        self._send(PIECE)

    def _send(self, at_least: int) -> None:
        while len(self._ready) >= max(at_least, 1):
            piece, self._ready = self._ready[:PIECE], self._ready[PIECE:]
            self._digest.update(piece)
            self._deliveries.piece(self._sent, piece)
            self._sent += len(piece)

    def end(self) -> Dict[str, Any]:
        """Hand over what is left; ``bytes`` and ``sha256`` of all."""
        self._compress()
        self._ready += self._zip.flush()
        self._send(0)
        return {"bytes": self._sent, "sha256": self._digest.hexdigest()}


class Exporter:
    """Numbers the batches of a run, with the secrets' ``values`` in their rows or without; ``rows`` and ``bytes`` are
    what it handed over."""

    def __init__(self, deliveries: Deliveries, run: str, values: bool) -> None:
        self._deliveries = deliveries
        self._run = run
        self.values = values
        self._lock = threading.Lock()  # of a rewrite's two connections one hands over at a time
        self._open: List[str] = []  # batches without an outcome
        self._number = 0
        self.rows = 0
        self.bytes = 0

    def delete(self, session: Session, statement: str, values: Mapping[str, Any], first: str = "") -> Totals:
        """Run a statement that ends in a ``selection``, after settings for it, and commit it; its totals."""
        import psycopg2

        try:
            with session.transaction() as cursor:
                if first:
                    cursor.execute(first)
                totals = self.take(cursor, statement, values)
        except psycopg2.Error as error:
            if error.pgcode in RETRIED:  # of another error nobody knows what it left
                self.became("kept")
            raise
        self.became("deleted")
        return totals

    def became(self, state: str) -> None:
        """What became of the batches that were taken since the last time."""
        while self._open:
            self._deliveries.outcome(self._open.pop(0), state)

    def take(self, cursor: Cursor, statement: str, values: Mapping[str, Any], relation: Optional[int] = None) -> Totals:
        """Hand over what a statement that ends in a ``selection`` finds, as a batch, in a transaction that is begun.

        It goes with that transaction, or, where that is told, when another ``relation`` (oid) takes the table's place.
        """
        with self._lock:
            self._number += 1
            batch = "%s-%d" % (self._run, self._number)
            cursor.execute(BEFORE)
            if cursor.connection.server_version >= 170000:
                cursor.execute("set local transaction_timeout = 0")
            stream = Stream(self._deliveries)
            query = cursor.mogrify(statement, dict(values, batch=batch))
            cursor.copy_expert(b"copy (" + query + b") to stdout with (encoding 'UTF8')", stream)
            totals = stream.totals
            if not stream.rows:
                return totals
            facts: Totals = dict(stream.end(), batch=batch, rows=stream.rows, relation=relation)
            facts.update({name: totals[name] for name in TOLD})
            if stream.rows != sum(totals["tables"].values()):
                raise NotTaken("Batch %s has other rows than it was said to have." % batch, "Report this.")
            self._deliveries.settle(facts)
            self._open.append(batch)
            self.rows += stream.rows
            self.bytes += facts["bytes"]
            return totals
