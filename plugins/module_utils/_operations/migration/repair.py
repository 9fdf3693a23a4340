# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an interrupted migration left behind: sessions that still work, and indexes of concurrent builds.

Django runs a pending migration from its first operation, so every index that a pending non-atomic migration builds and
that exists already makes it fail: an INVALID one of the build that was cut off, and also a VALID one that was done
before it (Phase's 0112 builds three). A valid one is dropped as well and built again: the migration would not take it
over, and whether it is the very same index is for the migration to say, not for its name.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, List, Sequence

from ..core.api import Context
from ..core.monitor import Monitor
from ..core.words import identifier
from .errors import IndexBusy, LeftoverIndex
from .statement import SHARE_UPDATE
from .types import LeftoverFacts, PlannedIndex

WORKER = "phase.console migrating"  # application_name of the sessions in which manage.py migrate works
POLL = 0.5  # seconds
ENDING = 20.0  # seconds that a terminated session may take to roll back

_FOUND = """
select x.relname, n.nspname, coalesce(c.relname, ''), coalesce(i.indisvalid, true), x.oid::bigint,
       pg_relation_size(x.oid)
from pg_catalog.pg_class x
join pg_catalog.pg_namespace n on n.oid = x.relnamespace
left join pg_catalog.pg_index i on i.indexrelid = x.oid
left join pg_catalog.pg_class c on c.oid = i.indrelid
where x.relname = any(%s) and pg_catalog.pg_table_is_visible(x.oid)
order by x.relname
"""

_BUILDERS = """
select p.pid, coalesce(a.application_name, '') from pg_stat_progress_create_index p
join pg_stat_activity a on a.pid = p.pid where p.index_relid = %s and p.datname = current_database()
"""

_REMNANTS = """
select pid from pg_stat_activity
where application_name like %s and datname = current_database() and state <> 'idle' and pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Leftover:
    """An existing index that a pending concurrent build would collide with. Bytes; ``oid`` of the index."""

    index: str
    schema: str
    table: str
    valid: bool
    oid: int
    bytes: int
    migration: str

    def quoted(self) -> str:
        return ".".join(identifier(part) for part in (self.schema, self.index))

    def __str__(self) -> str:
        return "%s index %s on %s (%s)" % ("valid" if self.valid else "INVALID", self.index, self.table, self.migration)

    def facts(self) -> LeftoverFacts:
        return {
            "index": self.index,
            "table": self.table,
            "valid": self.valid,
            "bytes": self.bytes,
            "migration": self.migration,
        }


def leftovers(connection: Any, planned: Sequence[PlannedIndex]) -> List[Leftover]:
    """Existing relations named like the ``planned`` indexes [{"migration", "index", "table"}].

    Raises LeftoverIndex when the name belongs to something that no migration of Phase made, which is never dropped.
    """
    wanted = {item["index"]: item for item in planned}
    with connection.cursor() as cursor:
        cursor.execute(_FOUND, (list(wanted),))
        rows = cursor.fetchall()
    found = []
    for index, schema, table, valid, oid, size in rows:
        plan = wanted[index]
        if table != plan["table"]:
            raise LeftoverIndex(
                "%s makes an index %s on %s, and that name is taken by something else%s."
                % (plan["migration"], index, plan["table"], " on " + table if table else ""),
                "Rename it, then run this again.",
            )
        found.append(Leftover(index, schema, table, valid, oid, size, plan["migration"]))
    return found


def refuse(found: Sequence[Leftover]) -> LeftoverIndex:
    return LeftoverIndex(
        "An interrupted migration left behind: %s. Its next run would fail because they exist."
        % "; ".join(str(leftover) for leftover in found),
        "Set repair_indexes=true to drop them concurrently and go on with the migration.",
        partial={"leftover_indexes": [leftover.facts() for leftover in found]},
    )


def end_remnants(context: Context, connection: Any) -> None:
    """End the sessions of an earlier run. Under the migration lock that run is over, so nobody waits for them."""
    deadline = context.clock() + ENDING
    told = False
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_REMNANTS, (WORKER + "%",))
            pids = [row[0] for row in cursor.fetchall()]
            if not pids:
                return
            if not told:
                told = True
                context.report("Ending what is left of an interrupted run: pid %s." % ", ".join(map(str, pids)))
                cursor.execute("select pg_terminate_backend(pid) from unnest(%s) as pid", (pids,))
        if context.clock() > deadline:
            raise IndexBusy(
                "A session of an interrupted run does not end (pid %s)." % ", ".join(map(str, pids)),
                "Look at it in pg_stat_activity, then run this again.",
            )
        context.sleep(POLL)


def wait_for_builders(context: Context, connection: Any, found: Sequence[Leftover], wait: float) -> None:
    """Wait until nobody builds these indexes any more; raise IndexBusy after ``wait`` seconds.

    A session that is not ours may be somebody's running ``migrate``, so it is never ended here.
    """
    if connection.server_version < 120000:
        return
    started, told = context.clock(), False
    for leftover in found:
        while True:
            with connection.cursor() as cursor:
                cursor.execute(_BUILDERS, (leftover.oid,))
                builder = cursor.fetchone()
            if builder is None:
                break
            who = "pid %d (%s)" % (builder[0], builder[1] or "no application_name")
            if context.clock() - started >= wait:
                raise IndexBusy(
                    "Index %s is being built right now by %s." % (leftover.index, who),
                    "Wait for it; or, when its client is gone, end it with select pg_terminate_backend(%d)."
                    % builder[0],
                    partial={"leftover_indexes": [item.facts() for item in found]},
                )
            if not told:
                told = True
                context.report("Waiting for %s, which still builds index %s." % (who, leftover.index))
            context.sleep(POLL)


def drop(context: Context, monitor: Monitor, found: Sequence[Leftover]) -> List[LeftoverFacts]:
    """Drop the indexes concurrently, telling whom that waits for. Takes SHARE UPDATE EXCLUSIVE on the table each."""
    dropped: List[LeftoverFacts] = []
    for leftover in found:
        connection = context.connect("migrate repair")
        try:
            pid = connection.info.backend_pid
            unlimited(connection)
            context.report("Dropping %s concurrently." % leftover, lock=SHARE_UPDATE)
            worker = _Statement(connection, "drop index concurrently if exists " + leftover.quoted())
            worker.start()
            while worker.is_alive():
                monitor.look(pid, "Dropping index %s" % leftover.index)
                context.sleep(POLL)
            if worker.error is not None:
                raise worker.error
        finally:
            connection.close()
        dropped.append(leftover.facts())
    return dropped


def unlimited(connection: Any) -> None:
    """No timeouts in this session; one that is off already is not set, since a pooler would hand SET on to others."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select name from pg_settings where name in ('lock_timeout', 'statement_timeout') and setting <> '0'"
        )
        for (name,) in cursor.fetchall():
            cursor.execute("set %s = 0" % name)


class _Statement(threading.Thread):
    """One statement in a thread of its own; ``error`` is what it raised."""

    def __init__(self, connection: Any, sql: str) -> None:
        super().__init__(daemon=True)
        self._connection = connection
        self._sql = sql
        self.error: Any = None

    def run(self) -> None:
        import psycopg2

        try:
            with self._connection.cursor() as cursor:
                cursor.execute(self._sql)
        except psycopg2.Error as error:
            self.error = error
