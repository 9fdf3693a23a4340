# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who stands in the way of a swap, looked up from a connection of its own.

A rewritten table has none of the versions that an older snapshot could see: whoever reads it first after the swap, with
a snapshot from before the copy, would find no row and no error (as after the table-rewriting forms of ALTER TABLE:
documentation, 13.6 Caveats). A snapshot shows as ``backend_xmin``, to everybody; whether it will be used again does not
show, so all of them count, each as (process, virtual transaction).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Sequence, Tuple

from ..core.monitor import wanted_mode
from ..core.words import people_seconds

Key = Tuple[int, str]  # process id (0 for a prepared transaction), virtual transaction

_SNAPSHOTS = """
select a.pid, v.virtualtransaction, coalesce(nullif(a.application_name, ''), 'a session without a name'),
       coalesce(a.state, 'hidden'), extract(epoch from clock_timestamp() - a.xact_start)::float8, 'a snapshot'
from pg_catalog.pg_stat_activity a
join pg_catalog.pg_locks v on v.pid = a.pid and v.locktype = 'virtualxid' and v.granted
where a.datname = current_database() and a.usesysid is not null and a.pid <> pg_backend_pid() and a.pid <> all(%(own)s)
  and (a.backend_xmin is not null or a.application_name = 'pg_dump')
  and (a.application_name = 'pg_dump' or not exists (
    select from pg_catalog.pg_locks w where w.pid = a.pid and not w.granted and w.relation = any(%(waited)s::oid[])))
"""

# Locks that the swap would have to wait for: any on the table and those that refer to it, writers' on the parents.
_LOCKS = """
select coalesce(l.pid, 0), l.virtualtransaction,
       coalesce(nullif(a.application_name, ''), case when l.pid is null then 'a prepared transaction'
                                                else 'a session without a name' end),
       coalesce(a.state, 'hidden'), extract(epoch from clock_timestamp() - a.xact_start)::float8, max(l.mode)
from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.granted and l.locktype = 'relation'
  and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
  and coalesce(l.pid, 0) <> all(%(own)s) and coalesce(l.pid, 0) <> pg_backend_pid()
  and (l.relation = any(%(tables)s::oid[])
       or l.relation = any(%(parents)s::oid[]) and l.mode not in ('AccessShareLock', 'RowShareLock'))
group by 1, 2, 3, 4, 5
"""

# Somebody who waits for the table in a mode that keeps all others queued behind.
_STRONG_WAITERS = """
select a.pid, coalesce(nullif(a.application_name, ''), 'a session without a name'), l.mode
from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid
where not l.granted and l.relation = any(%(tables)s::oid[]) and l.pid <> all(%(own)s) and a.usesysid is not null
  and a.datname = current_database()
  and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""


@dataclass(frozen=True)
class Somebody:
    key: Key
    text: str


class Watch:
    """``tables``: the table and those that refer to it; ``parents``: those it refers to; ``own``: our processes."""

    def __init__(self, connection: Any, tables: Sequence[int], parents: Sequence[int], own: Iterable[int]) -> None:
        self._connection = connection
        self._values: Dict[str, Any] = {
            "tables": list(tables),
            "parents": list(parents),
            "own": list(own),
        }

    def snapshots(self, waiting_for_us: bool) -> List[Somebody]:
        """Whoever has a snapshot; without those who wait for our lock if that is so: they take a new one after it.

        That is READ COMMITTED, which the application uses. pg_dump counts as long as its session is there.
        """
        waited = self._values["tables"] + self._values["parents"] if waiting_for_us else []
        return self._ask(_SNAPSHOTS, dict(self._values, waited=waited))

    def in_the_way(self) -> List[Somebody]:
        return self.snapshots(False) + self._ask(_LOCKS, self._values)

    def strong_waiter(self) -> str:
        """In words; empty when there is none."""
        with self._connection.cursor() as cursor:
            cursor.execute(_STRONG_WAITERS, self._values)
            row = cursor.fetchone()
        return "%s (pid %d) waits for %s on the table" % (row[1], row[0], wanted_mode(row[2])) if row else ""

    def _ask(self, query: str, values: Dict[str, Any]) -> List[Somebody]:
        with self._connection.cursor() as cursor:
            cursor.execute(query, values)
            return [somebody(*row) for row in cursor.fetchall()]


def somebody(pid: int, transaction: str, name: str, state: str, seconds: Any, what: str) -> Somebody:
    held = wanted_mode(what) if what.endswith("Lock") else what
    since = "" if seconds is None else ", open since " + people_seconds(seconds)
    return Somebody((pid, transaction), "%s (pid %d, %s%s) holds %s" % (name, pid, state, since, held))


def both(first: Iterable[Somebody], second: Iterable[Somebody]) -> List[Somebody]:
    """Those who were there at both looks."""
    known = {one.key for one in first}
    return [one for one in second if one.key in known]


def told(people: Iterable[Somebody]) -> str:
    texts = list(dict.fromkeys(one.text for one in people))
    return "; ".join(texts[:3]) + (" and %d more" % (len(texts) - 3) if len(texts) > 3 else "")
