# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Watches a session that migrates: whom it waits for, who waits for it, how far its index is.

Sources: pg_blocking_pids() (documentation, 9.27.1), pg_stat_activity, pg_locks, and since version 12
pg_stat_progress_create_index (28.4.2).
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

from .sessions import ANEW, Blocker, busy, prepared_before, wanted_mode
from .tokens import without_literals
from .words import people_seconds

QUIET = 5.0  # seconds before the same kind of news is told again
QUERY = 80  # characters of a query shown

_BLOCKERS = """
select a.pid, coalesce(a.application_name, ''), coalesce(a.state, 'hidden'),
       extract(epoch from clock_timestamp() - coalesce(a.xact_start, a.backend_start))::float8, coalesce(a.query, '')
from unnest(pg_blocking_pids(%s)) as b(pid) left join pg_stat_activity a on a.pid = b.pid
where a.pid is not null
order by a.xact_start nulls last
"""

_WANTED = """
select l.mode, coalesce(c.relname, l.locktype)
from pg_locks l left join pg_class c on c.oid = l.relation
where l.pid = %s and not l.granted
"""

_WAITERS = """
select count(*), coalesce(max(extract(epoch from clock_timestamp() - a.query_start)), 0)::float8
from pg_stat_activity a
where a.wait_event_type = 'Lock' and %s = any(pg_blocking_pids(a.pid))
"""

_INDEX = """
select coalesce(x.relname, ''), p.phase,
       coalesce(100.0 * p.blocks_done / nullif(p.blocks_total, 0),
                100.0 * p.tuples_done / nullif(p.tuples_total, 0))::float8,
       p.lockers_total - p.lockers_done
from pg_stat_progress_create_index p left join pg_class x on x.oid = p.index_relid
where p.pid = %s
"""


def prepared_blocker(one: Blocker) -> Dict[str, Any]:
    """A prepared transaction in the form of a session that blocks: no process, and no statement."""
    return {"pid": 0, "name": one.name, "state": one.state, "seconds": round(one.seconds or 0.0, 1), "query": ""}


def describe_blocker(blocker: Dict[str, Any]) -> str:
    """``pid 71 (psql, idle in transaction for 42 s, last statement: select ... where id = ?)``"""
    text = "pid %d (%s, %s for %s" % (
        blocker["pid"],
        blocker["name"] or "no application_name",
        blocker["state"],
        people_seconds(blocker["seconds"]),
    )
    return text + (", last statement: %s)" % blocker["query"] if blocker["query"] else ")")


class Monitor:
    """Looks at one session at a time on a connection of its own, and reports what is new."""

    def __init__(self, connection: Any, report: Callable[..., None], clock: Callable[[], float]) -> None:
        self._connection = connection
        self._report = report
        self._clock = clock
        self._blind = False
        self._told: Dict[str, float] = {}
        self._last: Dict[str, str] = {}
        self.blocked_by: List[Dict[str, Any]] = []  # of the last wait that was seen
        self.blocked_text = ""

    def forget(self) -> None:
        """A new attempt: what was seen before is no longer the reason."""
        self.blocked_by, self.blocked_text = [], ""

    def watch(self, name: str, what: str) -> None:
        """Look at the busy session of that name. Not being able to look is told once, and stops nothing."""
        import psycopg2

        if self._blind:
            return
        try:
            pid = busy(self._connection, name)
            if pid:
                self.look(pid, what)
        except psycopg2.Error as error:
            self._blind = True
            self._report("Who blocks whom cannot be told any more: %s" % " ".join(str(error).split()))

    def look(self, pid: int, what: str) -> None:
        """Look once at the session ``pid``, which works on ``what``."""
        with self._connection.cursor() as cursor:
            cursor.execute(ANEW)
            self._blockers(cursor, pid, what)
            self._waiters(cursor, pid, what)
            if self._connection.server_version >= 120000:
                self._index(cursor, pid, what)

    def _say(self, kind: str, text: str, key: Optional[str] = None, **counters: Any) -> None:
        now = self._clock()
        news = self._last.get(kind) != (key or text)
        if news or now - self._told.get(kind, -QUIET) >= QUIET:
            self._last[kind], self._told[kind] = key or text, now
            self._report(text, **counters)

    def _blockers(self, cursor: Any, pid: int, what: str) -> None:
        cursor.execute(_WANTED, (pid,))  # first: by the time of a later query, the wait may be over
        wanted = cursor.fetchone()
        if not wanted:
            return
        cursor.execute(_BLOCKERS, (pid,))
        names = ("pid", "name", "state", "seconds", "query")
        blockers = [dict(zip(names, row)) for row in cursor.fetchall()]
        transactions = prepared_before(self._connection, pid)
        if not blockers and not transactions:
            return
        for blocker in blockers:
            blocker["query"] = without_literals(blocker["query"], QUERY)
            blocker["seconds"] = round(blocker["seconds"], 1)
        mode, what_is_locked = wanted
        if what_is_locked in ("virtualxid", "transactionid"):
            lock = "older transactions to end"
        else:
            lock = "%s on %s" % (wanted_mode(mode), what_is_locked)
        self.blocked_by = blockers + [prepared_blocker(one) for one in transactions]
        texts = [describe_blocker(blocker) for blocker in blockers] + [str(one) for one in transactions]
        self.blocked_text = "%s, held back by %s" % (lock, "; ".join(texts))
        pids = [blocker["pid"] for blocker in blockers]
        self._say("blocked", "%s waits for %s" % (what, self.blocked_text), str(pids), blocked_by=pids)

    def _waiters(self, cursor: Any, pid: int, what: str) -> None:
        cursor.execute(_WAITERS, (pid,))
        count, longest = cursor.fetchone()
        if count:
            text = "%d session%s wait%s for %s, the longest since %s"
            words = (count, "" if count == 1 else "s", "s" if count == 1 else "", what, people_seconds(longest))
            self._say("waiters", text % words, "waiting", waiting_sessions=count)

    def _index(self, cursor: Any, pid: int, what: str) -> None:
        cursor.execute(_INDEX, (pid,))
        row = cursor.fetchone()
        if row:
            index, phase, percent, lockers = row
            text = "%s: index %s, %s" % (what, index, phase)
            counters: Dict[str, Any] = {} if percent is None else {"percent": round(percent, 1)}
            if percent is not None:
                text += " %.0f %%" % percent
            if lockers and phase.startswith("waiting"):
                text += ", %d to go" % lockers
            self._say("index", text, "%s %s" % (index, phase), **counters)
