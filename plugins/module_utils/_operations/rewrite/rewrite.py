# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The online filtered rewrite: a copy of the rows that stay takes the place of the table, which goes with its space.

Readers and writers go on but for a moment at the swap. It needs no more than the tables' owner with the right to create
a schema. What the phases are and why they come in this order: ``rewrite/sql`` (statements), ``rewrite/copy``,
``rewrite/swap``, ``rewrite/recovery`` (the end, and what puts right a run that was cut off).
"""

from __future__ import annotations

import socket
from typing import Any, Callable, Dict, List, Optional, Sequence

from ..._errors import PhaseError
from ..core.api import Context, Result
from ..core.server import free_bytes
from ..core.sessions import holder_text, told
from ..core.waiting import CALM_LOCK, patiently
from ..core.words import people_bytes
from .catalog import Rewritable, Table, find, obstacles, read
from .copy import Copied, Copy, Export, Gate
from .errors import RewriteBlocked, RewriteRefused, RewriteStopped
from .recovery import PATIENCE, leftovers, put_right, take_lock
from .session import RewriteSession, RewriteSessions
from .sql import guard, guard_copy, work_schema
from .swap import LOCKS, Swap
from .types import RewritePlan
from .watch import Watch

WAIT = 600.0  # seconds that the swap may have to wait for others
DISK_FULL = "53100"
NEEDED = 5  # connections in a transaction at the swap: this lock and the caller's, guard, last changes, watch
SHORT_PATIENCE = 5.0  # seconds for the locks to tidy up after a run that failed
# Measured on two cores with the table in memory, so what is said is "about".
PER_BYTE_READ, PER_BYTE_KEPT, FIXED = 0.6e-9, 14e-9, 1.0  # seconds

_SIZES = """
select pg_relation_size(%(oid)s), pg_table_size(%(oid)s), pg_indexes_size(%(oid)s),
       (select count(*) from pg_catalog.pg_stat_replication), pg_is_in_recovery()
"""


def plan(
    connection: Any,
    subject: Rewritable,
    share_kept: float = 1.0,
    filtered: bool = True,
    own: Sequence[int] = (),
    unfinished: bool = False,
    free: Optional[int] = None,
    connections: Optional[int] = None,
) -> RewritePlan:
    """What a rewrite would do and what stands in its way. Reads only, on a connection outside any transaction.

    ``share_kept`` is the part of the rows that stays, 0 to 1; ``own`` are the caller's own server processes.
    ``unfinished``: the caller will put back a foreign key first that a purge had set aside. ``free``: bytes free on
    the server's disk; None asks the host of this process, which may be the server's. ``connections``: how many a
    pooler gives at the same time; None without one.

    Result: ``refused`` (reasons, in words), ``waits_for`` (sessions that the swap would wait for now, in words),
    ``notes``, ``space_bytes`` (that have to be free for a while: the copy and its WAL), ``free_bytes`` (None where it
    cannot be seen), ``expected`` (``seconds``, ``wal_bytes``, ``bytes_after``, ``returned_bytes``), ``leftovers``.
    """
    left = leftovers(connection)
    with connection.cursor() as cursor:
        cursor.execute("begin isolation level repeatable read read only")
        try:
            oid = find(cursor, subject.table)
            refused = obstacles(
                cursor, oid, subject if filtered else None, unfinished or bool(left and left["swapped"])
            )
            related: List[int] = []
            try:
                table = read(cursor, oid)
                related = oids(cursor, table.followers)
            except RewriteRefused as error:
                refused.append(error.message.rstrip("."))
            cursor.execute(_SIZES, {"oid": oid})
            heap, whole, indexes, replicas, standby = cursor.fetchone()
        finally:
            cursor.execute("rollback")
    if standby:
        refused.append("this server is a standby")
    after = round((whole + indexes) * share_kept)
    if connections is not None and connections <= NEEDED:
        refused.append(
            "the pooler gives only %d connections at the same time, and it needs %d and one for the application (raise "
            "default_pool_size or pool_size, or name the server itself)" % (connections, NEEDED)
        )
    free = free_bytes(connection) if free is None else free
    if free is not None and free < 2 * after:
        refused.append(
            "%s have to be free on the server's disk, and %s are" % (people_bytes(2 * after), people_bytes(free))
        )
    watch = Watch(connection, [oid] + related, [], own)
    waits = told(watch.in_the_way())
    return {
        "refused": refused,
        "waits_for": waits,
        "notes": notes(replicas),
        "space_bytes": 2 * after,
        "free_bytes": free,
        "expected": {
            "seconds": round(FIXED + heap * PER_BYTE_READ + after * PER_BYTE_KEPT, 1),
            "wal_bytes": round(after * 1.05),
            "bytes_after": after,
            "returned_bytes": whole + indexes - after,
        },
        "leftovers": left,
    }


def notes(replicas: int) -> List[str]:
    if not replicas:
        return []
    return [
        "%d replica%s will receive the copy as WAL; a transaction there that began before the swap and reads the table "
        "after it may find it empty, or be cancelled" % (replicas, "s"[: replicas > 1])
    ]


def oids(cursor: Any, places: List[str]) -> List[int]:
    cursor.execute("select array(select to_regclass(p)::oid::bigint from unnest(%s::text[]) p)", (places,))
    return list(cursor.fetchone()[0])


def apply(
    context: Context,
    subject: Rewritable,
    goes: Optional[str] = None,
    gate: Callable[[], Optional[str]] = lambda: None,
    over: Callable[[], bool] = lambda: False,
    wait: float = WAIT,
    watched: Callable[[Callable[[], None]], None] = lambda look: None,
    export: Optional[Export] = None,
) -> Result:
    """Rewrite the table without the rows for which ``goes`` is true, a complete SQL condition on the table as ``e``.

    ``gate`` and ``over``: see ``Gate``. ``wait``: seconds for others to get out of the way, before the copy and at the
    swap. ``watched`` is given, once there is something to watch, what ``gate`` has to call about once a second while it
    keeps the rewrite waiting: that ends the rewrite when somebody needs the table more. Rows of ``subject.followers``
    that lose theirs are deleted after the swap. ``export`` takes what leaves, as it was when the copy was made; then
    rows that are changed or come later stay, so that nothing goes that was not taken.

    Result: ``kept``, ``deleted``, ``orphans`` (rows of followers), ``recovered`` (what an earlier run had left),
    ``seconds`` by phase, ``rounds``, ``attempts``, ``held_seconds`` (for which writers waited at the swap),
    ``unfinished``: None, or what is left for the next run to tidy up, in words. Raises RewriteRefused, RewriteBlocked,
    RewriteStopped and Cancelled, after which the table is as it was.
    """
    import psycopg2

    lock = take_lock(context)
    try:
        recovered = put_right(context, PATIENCE)
        run = Run(context, subject, goes, Gate(gate, over), wait, watched, export)
        try:
            result = run.to_the_swap()
        except (PhaseError, psycopg2.Error) as error:
            run.close()
            _tidy(context)
            if getattr(error, "pgcode", None) == DISK_FULL:
                raise RewriteRefused(
                    "The server's disk has no room for the copy: %s" % " ".join(str(error).split()),
                    "Nothing was changed. Make room, or use another strategy.",
                ) from error
            if getattr(error, "pgcode", None) in LOCKS:
                raise RewriteBlocked(
                    "A lock that the rewrite needs did not come in time: %s" % " ".join(str(error).split()),
                    "Run it again; phase_info with gather_subset=activity shows who holds locks.",
                ) from error
            raise
        run.close()
        result.update(recovered=recovered, unfinished=None)
        begun = context.clock()
        try:
            finished = put_right(context, PATIENCE)
            result["orphans"] = finished["orphans"] if finished else 0
        except (RewriteBlocked, psycopg2.Error) as error:  # the rows have gone, whatever comes now
            result["unfinished"] = " ".join(str(error).split())
        result["seconds"]["aftermath"] = round(context.clock() - begun, 3)
        return result
    finally:
        lock.release()


def _tidy(context: Context) -> None:
    """Put right what a failed run left. What cannot be now, the next run does; the first error is what is told."""
    import psycopg2

    try:
        put_right(context, SHORT_PATIENCE)
    except (PhaseError, psycopg2.Error) as error:
        context.report("What the rewrite left is tidied up by the next run: %s" % " ".join(str(error).split()))


class Run:
    """One rewrite up to its swap."""

    def __init__(
        self,
        context: Context,
        subject: Rewritable,
        goes: Optional[str],
        gate: Gate,
        wait: float,
        watched: Callable[[Callable[[], None]], None],
        export: Optional[Export],
    ) -> None:
        self._context = context
        self._subject = subject
        self._goes = goes
        self._gate = gate
        self._wait = wait
        self._watched = watched
        self._export = export
        self._who = "%s, %s" % (socket.gethostname(), "filtered" if goes is not None else "all rows")
        self._sessions = RewriteSessions(context.connect, "watch", "guard", "copy", "index")
        self._seconds: Dict[str, float] = {}
        self._since = context.clock()

    def close(self) -> None:
        self._sessions.close()

    def _lap(self, phase: str) -> None:
        now = self._context.clock()
        self._seconds[phase] = round(now - self._since, 3)
        self._since = now

    def to_the_swap(self) -> Result:
        context = self._context
        table = self._prepare()
        self._lap("prepare")
        table, watch = self._guard(table)
        copy = Copy(context, table, self._goes, self._gate, watch.strong_waiter, self._export)
        self._watched(copy.give_way)
        worker = self._sessions[2]
        context.report("Copying the rows of %s that stay" % table.name)
        copied: Copied = copy.rows([worker, self._sessions[3]])
        self._lap("copy")
        context.report("Building %d indexes over %d rows" % (len(table.indexes), copied.kept))
        copy.indexes([worker, self._sessions[3]])
        self._lap("indexes")
        copy.finish(worker)
        with self._sessions[1].connection.cursor() as cursor:
            cursor.execute(guard_copy(table))
        rounds = copy.rounds(worker)
        self._lap("catch_up")
        swap = Swap(context, table, self._sessions[1], worker, watch, copy)
        swap.run(self._who, self._wait)
        self._lap("swap")
        context.report("The rewritten table is in place", held_seconds=round(swap.held, 3))
        return {
            "kept": copied.kept,
            "deleted": copied.left_out,
            "orphans": 0,
            "seconds": self._seconds,
            "rounds": rounds,
            "attempts": swap.attempts,
            "held_seconds": round(swap.held, 3),
        }

    def _examine(self, cursor: Any, oid: int) -> Table:
        table = read(cursor, oid)
        refused = obstacles(cursor, oid, self._subject if self._goes is not None else None)
        if refused:
            raise RewriteRefused(
                "%s cannot be rewritten: %s." % (self._subject.table, "; ".join(refused)), "Use another strategy."
            )
        return table

    def _prepare(self) -> Table:
        """The work schema and the trigger. Making the trigger waits out writers, so nothing can slip past the log."""
        session = self._sessions[2]
        found: List[Table] = []

        def work() -> None:
            with session.connection.cursor() as cursor:
                oid = find(cursor, self._subject.table)
            with session.transaction(lock_timeout=CALM_LOCK) as cursor:
                found[:] = [self._examine(cursor, oid)]
                goes_later = self._goes if self._export is None else None
                cursor.execute(work_schema(found[0], goes_later, self._who))

        self._patiently(work, session, [self._subject.table])
        return found[0]

    def _patiently(self, work: Callable[[], None], session: RewriteSession, tables: List[str]) -> None:
        def who() -> str:
            return holder_text(session.connection, tables)

        if not patiently(work, self._context, self._wait, who, "The rewrite", self._gate.over, blocked=RewriteBlocked):
            raise RewriteStopped("max_duration")
        self._gate.pass_through()

    def _guard(self, table: Table) -> Any:
        """Take the guard's lock, and look again: what was read before it may have changed since."""
        session = self._sessions[1]
        self._until_locked(table)
        with session.connection.cursor() as cursor:
            again = self._examine(cursor, table.oid)
            if (again.place, again.columns, again.key) != (table.place, table.columns, table.key):
                raise RewriteRefused("The table was changed just now.", "Run it again.")
            cursor.execute("select pg_backend_pid()")
            pid = cursor.fetchone()[0]
            watch = Watch(
                self._sessions[0].connection,
                [table.oid] + oids(cursor, again.followers),
                oids(cursor, again.parents),
                [pid],
            )
        return again, watch

    def _until_locked(self, table: Table) -> None:
        import psycopg2

        session = self._sessions[1]

        def work() -> None:
            cursor = session.begin(lock_timeout=CALM_LOCK)
            try:
                cursor.execute(guard(table))
            except psycopg2.Error:
                session.end("rollback")
                raise

        self._patiently(work, session, [table.place] + table.followers)
