# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is in the way: other sessions and prepared transactions, their locks and their snapshots.

Sources: pg_stat_activity, pg_locks, pg_prepared_xacts (documentation, 28.2.3, 54.12, 54.16). Every session's name and
process are shown to every role, its state and its times only to members of its role and of pg_read_all_stats. Texts of
queries are left out: they can hold ciphertext.
"""

# ruff: noqa: S608 - constants of this file

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from .words import people_seconds

Key = Tuple[int, str]  # process id (0 for a prepared transaction), virtual transaction

OURS = "phase.console%"  # how the names of this collection's own sessions begin
# Modes that a DELETE has to wait for: all that conflict with ROW EXCLUSIVE (documentation, 13.3.1).
BEFORE_WRITERS = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")

# Of an activity ``a`` or a prepared transaction ``p``, and a virtual transaction and what it has as well.
_BLOCKER = """
coalesce(a.pid, 0) as pid, {transaction} as transaction, coalesce(p.gid, a.application_name, '') as name,
case when p.gid is not null then 'prepared' else coalesce(a.state, 'hidden') end as state,
extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::float8 as seconds,
to_char(coalesce(a.xact_start, p.prepared) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as since,
{what} as what, coalesce(a.usename, p.owner)::text as owner, coalesce(a.datname, p.database)::text as database
"""
# The locks of a prepared transaction have no process; that on its own transaction id says which one it is.
_LOCKS = """
from pg_catalog.pg_locks l
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
left join pg_catalog.pg_locks x on l.pid is null and x.pid is null and x.locktype = 'transactionid' and x.granted
  and x.virtualtransaction = l.virtualtransaction
left join pg_catalog.pg_prepared_xacts p on p.transaction = x.transactionid
where l.granted and l.pid is distinct from pg_backend_pid() """
_ON_TABLES = (
    _LOCKS
    + """and l.locktype = 'relation'
  and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
"""
)
_NO_PREPARED = "left join pg_catalog.pg_prepared_xacts p on false"

_HOLDERS = "select %s %s" % (
    _BLOCKER.format(transaction="l.virtualtransaction", what="max(l.mode)"),
    _ON_TABLES
    + """
  and l.relation in (select to_regclass(name) from unnest(%(tables)s::text[]) as name)
  and (%(modes)s::text[] is null or l.mode = any(%(modes)s))
  and (%(ours)s or coalesce(a.application_name, '') not like 'phase.console%%')
group by a.pid, l.virtualtransaction, p.gid, a.application_name, a.state, a.xact_start, p.prepared, a.usename, p.owner,
  a.datname, p.database
order by coalesce(a.xact_start, p.prepared) nulls last""",
)

# Locks that a swap would have to wait for: any on the tables, writers' on the parents.
_IN_THE_WAY = "select %s %s" % (
    _BLOCKER.format(transaction="l.virtualtransaction", what="max(l.mode)"),
    _ON_TABLES
    + """
  and coalesce(l.pid, 0) <> all(%(own)s)
  and (l.relation = any(%(tables)s::oid[])
       or l.relation = any(%(parents)s::oid[]) and l.mode not in ('AccessShareLock', 'RowShareLock'))
group by a.pid, l.virtualtransaction, p.gid, a.application_name, a.state, a.xact_start, p.prepared, a.usename, p.owner,
  a.datname, p.database""",
)

_SNAPSHOTS = "select %s %s" % (
    _BLOCKER.format(transaction="v.virtualtransaction", what="'a snapshot'"),
    """
from pg_catalog.pg_stat_activity a
join pg_catalog.pg_locks v on v.pid = a.pid and v.locktype = 'virtualxid' and v.granted """
    + _NO_PREPARED
    + """
where a.datname = current_database() and a.usesysid is not null and a.pid <> pg_backend_pid() and a.pid <> all(%(own)s)
  and (a.backend_xmin is not null or a.application_name = 'pg_dump')
  and (a.application_name = 'pg_dump' or not exists (
    select from pg_catalog.pg_locks w
    where w.pid = a.pid and not w.granted and w.relation = any(%(waited)s::oid[])))""",
)

# Somebody who waits for the tables in a mode that keeps all others queued behind.
_STRONG_WAITERS = "select %s %s" % (
    _BLOCKER.format(transaction="l.virtualtransaction", what="l.mode"),
    """
from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid """
    + _NO_PREPARED
    + """
where not l.granted and l.relation = any(%(tables)s::oid[]) and l.pid <> all(%(own)s) and a.usesysid is not null
  and a.datname = current_database() and l.mode = any(%(modes)s)""",
)

_TRANSACTIONS = "select %s %s" % (
    _BLOCKER.format(
        transaction="''",
        what="""case when exists (
       select from pg_catalog.pg_locks l where l.pid = a.pid and l.granted and l.relation in (
       select to_regclass(name) from unnest(%(tables)s::text[]) as name)) then 'a lock' else '' end""",
    ),
    "from pg_catalog.pg_stat_activity a "
    + _NO_PREPARED
    + """
where a.datname = current_database() and a.pid <> pg_backend_pid() and a.xact_start is not null
  and a.backend_type = 'client backend' and a.application_name not like 'phase.console%%'
order by a.xact_start""",
)

_PREPARED = "select %s %s" % (
    _BLOCKER.format(transaction="p.transaction::text", what="''"),
    """
from pg_catalog.pg_prepared_xacts p left join pg_catalog.pg_stat_activity a on false
where p.database = current_database() order by p.prepared""",
)

# Whoever has a snapshot or a transaction id keeps rows that died since from being removed (documentation, 24.1.2).
# A lock that this collection holds in an idle transaction has neither.
_KEEPERS = "select %s %s" % (
    _BLOCKER.format(transaction="''", what="'a snapshot'"),
    "from pg_catalog.pg_stat_activity a "
    + _NO_PREPARED
    + """
where a.datname = current_database() and a.pid <> pg_backend_pid() and a.xact_start is not null
  and (a.backend_xmin is not null or a.backend_xid is not null) and a.backend_type = 'client backend'
order by a.xact_start""",
)

# Prepared transactions that hold what the session ``pid`` waits for. pg_blocking_pids names them as process 0.
_PREPARED_BEFORE = "select distinct %s %s" % (
    _BLOCKER.format(transaction="l.virtualtransaction", what="l.mode"),
    _LOCKS
    + """and p.gid is not null and exists (
    select from pg_catalog.pg_locks w where w.pid = %(pid)s and not w.granted
      and (w.locktype, w.database, w.relation, w.page, w.tuple, w.virtualxid, w.transactionid)
        is not distinct from
          (l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid, l.transactionid))""",
)

# Within a transaction the server shows the activity as it was at the first look (documentation, 28.2.2).
ANEW = "select pg_catalog.pg_stat_clear_snapshot(); "

_WAITING = """
select count(*), coalesce(max(extract(epoch from clock_timestamp() - query_start)), 0)::float8
from pg_catalog.pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
  and state = 'active' and query_start < clock_timestamp() - %s * interval '1 second'
"""
_BUSY = """
select pid from pg_catalog.pg_stat_activity
where application_name = %s and state <> 'idle' and backend_type = 'client backend' order by query_start desc limit 1
"""
_WAITS = "select exists (select from pg_catalog.pg_locks where pid = %s and not granted)"


def wanted_mode(mode: str) -> str:
    """``AccessExclusiveLock`` as ``ACCESS EXCLUSIVE``."""
    words = mode[: -len("Lock")] if mode.endswith("Lock") else mode
    return "".join(" " + c if c.isupper() and at else c for at, c in enumerate(words)).upper()


@dataclass(frozen=True)
class Blocker:
    """A session, or a prepared transaction (``pid`` 0, ``state`` prepared, ``name`` its gid), of somebody else.

    ``seconds`` and ``since`` (UTC, ISO 8601) are those of its transaction, None where they cannot be seen. ``what`` is
    the mode of a lock as in pg_locks, or ``a snapshot``.
    """

    pid: int
    transaction: str
    name: str
    state: str
    seconds: Optional[float]
    since: Optional[str]
    what: str
    owner: Optional[str] = None
    database: Optional[str] = None

    @property
    def key(self) -> Key:
        return self.pid, self.transaction

    def __str__(self) -> str:
        since = "" if self.seconds is None else "open for " + people_seconds(self.seconds)
        if self.state == "prepared":
            gid = "'%s'" % self.name.replace("'", "''")
            how = "ROLLBACK PREPARED %s in database %s ends it" % (gid, self.database)
            return "the prepared transaction %s of %s (%s; %s)" % (gid, self.owner, since, how)
        parts = ["pid %d" % self.pid, self.state] + [since] * bool(since)
        return "%s (%s)" % (self.name or "a session without a name", ", ".join(parts))

    @property
    def text(self) -> str:
        """With what it holds."""
        return "%s holds %s" % (self, wanted_mode(self.what) if self.what.endswith("Lock") else self.what)

    def facts(self) -> Dict[str, Any]:
        """Plain data, with ``text``: who it is."""
        return dict(asdict(self), text=str(self))


def _ask(connection: Any, query: str, values: Any = None) -> List[Blocker]:
    with connection.cursor() as cursor:
        cursor.execute(ANEW + query, values)
        return [Blocker(*row) for row in cursor.fetchall()]


# On tables by name


def holders(
    connection: Any, tables: Sequence[str], modes: Optional[Sequence[str]] = None, ours: bool = False
) -> List[Blocker]:
    """Who else holds a lock (in one of the modes) on one of the tables, the longest first.

    ``ours``: also this collection's own sessions.
    """
    return _ask(connection, _HOLDERS, {"tables": list(tables), "modes": list(modes) if modes else None, "ours": ours})


def holder_text(connection: Any, tables: Sequence[str]) -> str:
    """Who else holds a lock on one of the tables for the longest time, in words."""
    found = holders(connection, tables) or holders(connection, tables, ours=True)
    return str(found[0]) if found else "a session that has ended meanwhile"


def transactions(connection: Any, tables: Sequence[str]) -> List[Blocker]:
    """Others' open transactions, the oldest first; ``what`` is ``a lock`` for those that hold one on the tables."""
    return _ask(connection, _TRANSACTIONS, {"tables": list(tables)})


def prepared(connection: Any) -> List[Blocker]:
    """The prepared transactions of this database, the oldest first."""
    return _ask(connection, _PREPARED)


def keepers(connection: Any) -> List[Blocker]:
    """Who in this database keeps dead rows from being removed, the oldest first."""
    found = _ask(connection, _KEEPERS) + prepared(connection)
    return sorted(found, key=lambda one: one.since or "")


# On tables by oid, for a swap. A snapshot shows as ``backend_xmin``, to everybody; whether it will be used again does
# not show, so all of them count.


def snapshots(connection: Any, own: Sequence[int], waited: Sequence[int] = ()) -> List[Blocker]:
    """Whoever has a snapshot in this database, without those who wait for a lock on one of the tables ``waited``.

    pg_dump counts as long as its session is there.
    """
    return _ask(connection, _SNAPSHOTS, {"own": list(own), "waited": list(waited)})


def in_the_way(connection: Any, tables: Sequence[int], parents: Sequence[int], own: Sequence[int]) -> List[Blocker]:
    """Who holds any lock on the tables, or a writer's on the parents."""
    return _ask(connection, _IN_THE_WAY, {"tables": list(tables), "parents": list(parents), "own": list(own)})


def strong_waiters(connection: Any, tables: Sequence[int], own: Sequence[int]) -> List[Blocker]:
    """Who waits for one of the tables in a mode behind which writers queue up."""
    values = {"tables": list(tables), "own": list(own), "modes": list(BEFORE_WRITERS)}
    return _ask(connection, _STRONG_WAITERS, values)


# On one session


def prepared_before(connection: Any, pid: int) -> List[Blocker]:
    """The prepared transactions that hold what a session waits for."""
    return _ask(connection, _PREPARED_BEFORE, {"pid": pid})


def busy(connection: Any, name: str) -> Optional[int]:
    """The process of the busy session of that application_name; a pooler tells its clients numbers of its own."""
    with connection.cursor() as cursor:
        cursor.execute(ANEW + _BUSY, (name,))
        row = cursor.fetchone()
    return int(row[0]) if row else None


def waits(connection: Any, pid: int) -> bool:
    """Whether the session waits for a lock."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITS, (pid,))
        return bool(cursor.fetchone()[0])


def waiting(connection: Any, longer: float) -> Tuple[int, float]:
    """How many sessions of this database wait for a lock for longer than that, and the longest wait, in seconds."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, (longer,))
        count, longest = cursor.fetchone()
    return int(count), float(longest)


# Sets of them


def both(first: Iterable[Blocker], second: Iterable[Blocker]) -> List[Blocker]:
    """Those who were there at both looks."""
    known = {one.key for one in first}
    return [one for one in second if one.key in known]


def told(blockers: Iterable[Blocker]) -> str:
    """The first three with what they hold, and how many more there are."""
    texts = list(dict.fromkeys(one.text for one in blockers))
    return "; ".join(texts[:3]) + (" and %d more" % (len(texts) - 3) if len(texts) > 3 else "")
