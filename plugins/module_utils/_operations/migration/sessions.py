# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sessions in which somebody migrates: what they do, what they wait for, and ending them."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from ..core.api import Context, Request, Result
from .repair import WORKER

POLL = 0.2  # seconds
ENDING = 20.0  # seconds that a session may take to roll back

# wait_event_type and pg_blocking_pids: PostgreSQL documentation, 28.2.3 and 9.27; a build's progress: 28.4.4.
_SESSIONS = """
    select a.pid, coalesce(a.application_name, ''), coalesce(host(a.client_addr), ''), coalesce(a.state, ''),
           coalesce(a.wait_event_type, '') = 'Lock', extract(epoch from clock_timestamp() - a.state_change)::bigint,
           pg_blocking_pids(a.pid), p.index_relid::regclass::text
    from pg_stat_activity a left join pg_stat_progress_create_index p on p.pid = a.pid
    where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
      and (host(a.client_addr) = any(%s) or a.application_name like %s)
    order by a.pid
"""
# What Django's migrate may look like from elsewhere: it builds an index, touches its own table, holds or awaits a lock
# that goes with DDL (13.3.1: all modes above ROW EXCLUSIVE). A transaction that only reads or writes rows is none.
_OTHERS = """
    select a.pid, coalesce(a.application_name, ''), coalesce(host(a.client_addr), '')
    from pg_stat_activity a
    where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
      and a.application_name not like 'phase.console%%' and not coalesce(host(a.client_addr) = any(%s), false)
      and (exists (select from pg_stat_progress_create_index p where p.pid = a.pid)
        or exists (select from pg_locks l where l.pid = a.pid and l.locktype = 'relation'
                    and (l.relation = to_regclass('django_migrations')
                      or l.mode not in ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'))))
    order by a.pid
"""
_BLOCKERS = """
    select pid, coalesce(application_name, ''), coalesce(state, ''),
           extract(epoch from clock_timestamp() - xact_start)::bigint
    from pg_stat_activity where pid = any(%s) order by pid
"""


def look(context: Context, request: Request) -> Result:
    """``sessions`` from one of the ``addresses``, or of the collection's own migrating.

    [{"pid", "application", "client", "state", "waits" (for a lock), "seconds" (in that state), "index" (that it builds
    concurrently, or None), "own", "blocked_by": [{"pid", "application", "state", "seconds" (of its transaction)}]}]

    And the ``others``, sessions from elsewhere that may migrate: [{"pid", "application", "client"}].
    """
    connection = context.connect("migration sessions")
    try:
        addresses = list(request["addresses"])
        with connection.cursor() as cursor:
            cursor.execute(_OTHERS, (addresses,))
            others = [dict(zip(("pid", "application", "client"), row)) for row in cursor.fetchall()]
        return {"sessions": _sessions(connection, addresses), "others": others}
    finally:
        connection.close()


def _sessions(connection: Any, addresses: Sequence[str]) -> List[Dict[str, Any]]:
    names = ("pid", "application", "client", "state", "waits", "seconds", "blocked_by", "index")
    with connection.cursor() as cursor:
        cursor.execute(_SESSIONS, (list(addresses), WORKER + "%"))
        found = [dict(zip(names, row)) for row in cursor.fetchall()]
        for session in found:
            cursor.execute(_BLOCKERS, (session["blocked_by"],))
            blockers = [dict(zip(("pid", "application", "state", "seconds"), row)) for row in cursor.fetchall()]
            session.update(blocked_by=blockers, own=session["application"].startswith(WORKER))
    return found


def end(context: Context, request: Request) -> Result:
    """End those ``pids`` that still are sessions from the ``addresses`` of a container that was stopped.

    A session that waits for a lock does not notice that its client is gone. One that does not end in time is left to
    the server.
    """
    connection = context.connect("migration sessions")
    try:
        pids = [one["pid"] for one in _sessions(connection, request["addresses"]) if one["pid"] in request["pids"]]
        deadline = context.clock() + ENDING
        with connection.cursor() as cursor:
            cursor.execute("select pg_terminate_backend(pid) from unnest(%s) as pid", (pids,))
            while context.clock() < deadline:
                cursor.execute("select count(*) from pg_stat_activity where pid = any(%s)", (pids,))
                if cursor.fetchone()[0] == 0:
                    break
                context.sleep(POLL)
    finally:
        connection.close()
    return {"pids": pids}
