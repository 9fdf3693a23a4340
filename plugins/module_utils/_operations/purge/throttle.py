# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a purge has to wait, and for how long it may go on."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ..core.api import Context
from ..core.server import free_bytes
from ..core.sessions import waiting
from ..core.types import Connection, Cursor
from ..core.words import people_bytes
from .scope import EVENTS

Reason = Tuple[str, str]  # the limit's name, and the finding in words
EVERY = 1.0  # seconds between two looks
TELL = 5.0  # seconds between two reports of the same pause

# ``replay_lag`` is the delay of the last WAL that was applied: it stands still while a replica applies nothing
# (documentation, 28.2.4 pg_stat_replication). So the oldest position is compared with our own looks as well. A logical
# subscriber is no replica: it need not acknowledge what has nothing for it.
_LAG = """
select count(*), count(replay_lsn), coalesce(max(extract(epoch from replay_lag)), 0)::float8,
       pg_wal_lsn_diff(min(replay_lsn), '0/0')::float8, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8
from pg_catalog.pg_stat_replication where state is distinct from 'backup' and pid not in (
  select active_pid from pg_catalog.pg_replication_slots where slot_type = 'logical' and active_pid is not null
)
"""
_VACUUM = """
select pid, phase from pg_catalog.pg_stat_progress_vacuum
where relid = any(%s::text[]::regclass[]) and datname = current_database()
"""
_WAL = "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8"
# A transaction that writes a few bytes of WAL and nothing else: its COMMIT takes as long as any writer's.
_PROBE = "select pg_logical_emit_message(true, 'phase.console', '')"


class Throttle:
    """The limits, 0 for none: ``replica_lag``, ``writer_latency``, ``lock_wait`` in seconds, ``wal_rate`` in bytes a
    second, ``free_disk`` in bytes, ``autovacuum`` (wait while one works on the tables)."""

    def __init__(
        self, context: Context, connection: Connection, limits: Mapping[str, Any], tables: Sequence[str] = (EVENTS,)
    ) -> None:
        self._context = context
        self._connection = connection
        self._limits = limits
        self._tables = list(tables)
        self._wal: Optional[Tuple[float, float]] = None
        self._written: List[Tuple[float, float]] = []  # (clock, position) that not every replica has applied yet
        self._blind: List[str] = []
        self._checks: Dict[str, Callable[[Cursor, Any], Optional[str]]] = {
            "replica_lag": self._replica_lag,
            "wal_rate": self._wal_rate,
            "writer_latency": self._writer_latency,
            "lock_wait": self._lock_wait,
            "autovacuum": self._autovacuum,
            "free_disk": self._free_disk,
        }

    def reasons(self) -> List[Reason]:
        """Every limit that is exceeded now."""
        found = []
        with self._connection.cursor() as cursor:
            for name, check in self._checks.items():
                limit = self._limits.get(name)
                text = check(cursor, limit) if limit else None
                if text:
                    found.append((name, text))
        return found

    def _cannot(self, name: str, why: str) -> None:
        if name not in self._blind:
            self._blind.append(name)
            self._context.report("%s cannot be watched: %s" % (name, why))

    def _replica_lag(self, cursor: Cursor, limit: float) -> Optional[str]:
        cursor.execute(_LAG)
        replicas, seen, seconds, applied, position = cursor.fetchone()
        if replicas and not seen:
            self._cannot("replica_lag", "only a member of pg_monitor sees how far the replicas are")
        if seen:
            now = self._context.clock()
            self._written = [one for one in self._written if one[1] > applied] + [(now, position)]
            seconds = max(seconds, now - self._written[0][0])
        return "a replica is %.1f s behind" % seconds if seconds > limit else None

    def _wal_rate(self, cursor: Cursor, limit: float) -> Optional[str]:
        cursor.execute(_WAL)
        now, position = self._context.clock(), cursor.fetchone()[0]
        before, self._wal = self._wal, (now, position)
        if before is None or now <= before[0]:
            return None
        rate = (position - before[1]) / (now - before[0])
        return "%s of WAL a second" % people_bytes(rate) if rate > limit else None

    def _writer_latency(self, cursor: Cursor, limit: float) -> Optional[str]:
        begun = self._context.clock()
        cursor.execute(_PROBE)
        seconds = self._context.clock() - begun
        return "a small commit takes %.0f ms" % (seconds * 1000) if seconds > limit else None

    def _lock_wait(self, cursor: Cursor, limit: float) -> Optional[str]:
        count, longest = waiting(self._connection, limit)
        return "%d session%s waiting for locks, up to %.1f s" % (count, "s"[: count > 1], longest) if count else None

    def _autovacuum(self, cursor: Cursor, limit: bool) -> Optional[str]:
        cursor.execute(_VACUUM, (self._tables,))
        row = cursor.fetchone()
        return "a vacuum works on the table (pid %d, %s)" % tuple(row) if row else None

    def _free_disk(self, cursor: Cursor, limit: float) -> Optional[str]:
        free = free_bytes(self._connection)
        if free is None:
            self._cannot("free_disk", "the server's disk cannot be seen from here")
            return None
        return "%s are free on the server's disk" % people_bytes(free) if free < limit else None


class Control:
    """Between two batches: wait while there is a reason, and say when it is over.

    ``max_duration`` in seconds, 0 for no limit, of which ``spent`` have gone before; ``deadline`` on the context's
    clock, or None.
    """

    def __init__(
        self,
        context: Context,
        throttle: Throttle,
        confirm: Callable[[], None],
        max_duration: float,
        spent: float = 0.0,
    ) -> None:
        self._context = context
        self._throttle = throttle
        self._confirm = confirm
        self._started = context.clock()
        self.deadline = self._started + max_duration - spent if max_duration else None
        self._looked = float("-inf")
        self.paused: Dict[str, float] = {}  # seconds by reason
        self.look: Callable[[], None] = lambda: None  # called each second of a pause; may raise

    def seconds(self) -> float:
        return self._context.clock() - self._started

    def working(self) -> float:
        """Seconds without the pauses."""
        return self.seconds() - sum(self.paused.values())

    def over(self) -> bool:
        return self.deadline is not None and self._context.clock() >= self.deadline

    def rounded(self) -> Dict[str, float]:
        """Pauses as results have them."""
        return {name: round(seconds, 1) for name, seconds in self.paused.items()}

    def gate(self) -> Optional[str]:
        """None to go on, or what stops the run. Raises Cancelled, and psycopg2's error when the lock was lost."""
        told, last = float("-inf"), ""
        while True:
            self._context.check_cancelled()
            if self.over():
                return "max_duration"
            reasons = self._reasons()
            if not reasons:
                if last:
                    self._context.report("Going on", throttle="none")
                return None
            begun = self._context.clock()
            text = "; ".join(reason[1] for reason in reasons)
            name = ",".join(reason[0] for reason in reasons)
            if name != last or begun - told >= TELL:
                self._context.report("Paused: " + text, throttle=name)
                told, last = begun, name
            self._context.sleep(EVERY)
            self.look()
            self.paused[name] = self.paused.get(name, 0.0) + self._context.clock() - begun

    def _reasons(self) -> List[Reason]:
        if self._context.paused():
            return [("pause_file", "the pause file is there")]
        now = self._context.clock()
        if now - self._looked < EVERY * 0.9:
            return []
        self._looked = now
        self._confirm()
        return self._throttle.reasons()
