# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What comes after a swap, and what puts right a rewrite that was cut off.

The swap's transaction makes the schema of the replaced table: where it exists, the rewrite is carried to its end; where
only the work schema exists, all of it is dropped and the table is as it was. A rewrite is never resumed: the log of
changes is unlogged, so a crash of the server empties it. Every step may have been done before.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any, Dict, List, Optional

from ..core.api import Context, Request, Result
from ..core.lock import Lock, holder_of, key_of, session_name
from ..core.sessions import holder_text
from ..core.waiting import CALM_LOCK, DDL_LOCK, calm, patiently
from .catalog import MARK, OLD, TRIGGER, WORK
from .errors import RewriteBlocked
from .session import NAME, RewriteSession, RewriteSessions
from .sql import orphans

KEY = key_of("rewrite")
PATIENCE = 60.0  # seconds that tidying up waits for locks
GONE = 10.0  # seconds for a server process to end

_SCHEMAS = """
select n.nspname::text, obj_description(n.oid, 'pg_namespace') from pg_catalog.pg_namespace n
where n.nspname in (%s, %s)
"""

# Only busy ones: behind a pooler an idle server connection still bears the name of its last client.
_LEFT_BEHIND = """
select a.pid from pg_catalog.pg_stat_activity a
where a.application_name like %s and a.datname = current_database()
  and a.usename = current_user and a.pid <> pg_backend_pid() and a.state <> 'idle'
"""

_UNVALIDATED = """
select format('%%I.%%I', n.nspname, c.relname), format('%%I', k.conname),
       k.confrelid = to_regclass(%(place)s), format('%%I', a.attname), format('%%I', f.attname)
from pg_catalog.pg_constraint k
join pg_catalog.pg_class c on c.oid = k.conrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_attribute a on (a.attrelid, a.attnum) = (k.conrelid, k.conkey[1])
join pg_catalog.pg_attribute f on (f.attrelid, f.attnum) = (k.confrelid, k.confkey[1])
where k.contype = 'f' and not k.convalidated and to_regclass(%(place)s) in (k.conrelid, k.confrelid)
order by 3 desc, 2
"""

_TRIGGER = "select exists (select from pg_catalog.pg_trigger where tgrelid = to_regclass(%s) and tgname = %s)"

_FOREIGN_KEYS = """
select format('%%I', k.conname), k.confrelid::regclass::text from pg_catalog.pg_constraint k
where k.contype = 'f' and k.conrelid = to_regclass(%s) order by 1
"""


def leftovers(connection: Any) -> Optional[Dict[str, Any]]:
    """What a rewrite that was cut off left: ``place`` and ``name`` (as SQL), ``who``, and whether it had ``swapped``.

    None when there is nothing. Schemas of that name without our comment are nobody's leftovers.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SCHEMAS, (WORK, OLD))
        found = {name: comment for name, comment in cursor.fetchall() if (comment or "").startswith(MARK)}
    if not found:
        return None
    mark = json.loads(next(iter(found.values()))[len(MARK) :])
    return dict(mark, swapped=OLD in found)


def take_lock(context: Context) -> Lock:
    """One rewrite, or recovery of one, at a time in a database. Raises RewriteBlocked."""
    connection = context.connect(NAME + " lock")
    lock = Lock(connection, KEY, session_name("rewriting", socket.gethostname(), str(os.getpid())))
    if lock.take():
        return lock
    holder = holder_of(connection, KEY)
    lock.release()
    raise RewriteBlocked(
        "Another rewrite works on this database: %s." % (holder or "one that has just ended"),
        "Let it end, then run this again.",
    )


def recover(context: Context, request: Request) -> Result:
    """Put right what was left, whatever it is. Request: ``patience`` in seconds (optional).

    Result: ``recovered``: None, or what ``leftovers`` said with ``orphans``, the rows deleted for having lost theirs.
    Raises RewriteBlocked when a lock did not come; then the next run does the rest.
    """
    lock = take_lock(context)
    try:
        return {"recovered": put_right(context, request.get("patience", PATIENCE))}
    finally:
        lock.release()


def find_leftovers(context: Context, request: Request) -> Result:
    """``leftovers``, for check mode."""
    connection = context.connect("plan " + NAME)
    try:
        return {"leftovers": leftovers(connection)}
    finally:
        connection.close()


def put_right(context: Context, patience: float) -> Optional[Dict[str, Any]]:
    """As ``recover``, for a caller that holds the lock and has no other connection of a rewrite open."""
    sessions = RewriteSessions(context.connect, "recovery")
    try:
        session = sessions[0]
        left = leftovers(session.connection)
        if left is None:
            return None
        end_left_behind(context, session)
        left = leftovers(session.connection)  # the commit of a swap may have been on its way
        if left is None:
            return None
        if left["swapped"]:
            left["orphans"] = aftermath(context, session, left["place"], left["name"], patience)
        else:
            roll_back(context, session, left["place"], left["name"], patience)
        return left
    finally:
        sessions.close()


def end_left_behind(context: Context, session: RewriteSession) -> None:
    """End server processes whose client was killed: a busy one can outlive it. We hold the lock, so nobody's else."""
    deadline = context.clock() + GONE
    while context.clock() < deadline:
        with session.connection.cursor() as cursor:
            cursor.execute(_LEFT_BEHIND, ("phase.console %s %%" % NAME,))
            pids = [row[0] for row in cursor.fetchall()]
            if not pids:
                return
            cursor.execute("select pg_terminate_backend(pid) from unnest(%s) as pid", (pids,))
        context.sleep(0.1)
    raise RewriteBlocked(
        "Server processes of an earlier rewrite do not end (pid %s)." % ", ".join(map(str, pids)),
        "End them, then run this again.",
    )


class Steps:
    """Transactions that wait for their locks, one after the other."""

    def __init__(self, context: Context, session: RewriteSession, patience: float) -> None:
        self._context = context
        self._session = session
        self._deadline = context.clock() + patience

    def run(self, what: str, statements: str, *tables: str, lock_timeout: int = CALM_LOCK) -> int:
        """How many rows the last statement concerned. ``tables`` are those whose locks are waited for."""
        rows: List[int] = []
        patiently(
            lambda: rows.append(self._session.run(statements, lock_timeout)),
            self._context,
            max(self._deadline - self._context.clock(), 1.0),
            lambda: holder_text(self._session.connection, tables),
            what,
            blocked=RewriteBlocked,
        )
        return rows[0]


def roll_back(context: Context, session: RewriteSession, place: str, name: str, patience: float) -> None:
    """The table as it was. The copy goes first, for it takes the room; then the trigger is disabled, so that it costs
    nothing any more, for dropping it has to wait for readers too.
    """
    steps = Steps(context, session, patience)
    steps.run("Dropping the copy", "drop table if exists %s.%s" % (WORK, name))
    with session.connection.cursor() as cursor:
        cursor.execute(_TRIGGER, (place, TRIGGER))
        there = cursor.fetchone()[0]
    drop = drop_work()
    if there:
        disable = "%s; alter table only %s disable trigger %s" % (calm(place), place, TRIGGER)
        steps.run("Disabling the trigger", disable, place)
        drop = "%s; drop trigger %s on %s; %s" % (calm(place), TRIGGER, place, drop)
    steps.run("Dropping the trigger", drop, place)


def drop_work() -> str:
    things = ["function if exists %s.note()", "function if exists %s.catch_up(int)"]
    things += ["table if exists %s.changed", "schema if exists %s"]
    return "; ".join("drop " + thing % WORK for thing in things)


def aftermath(context: Context, session: RewriteSession, place: str, name: str, patience: float) -> int:
    """From the swap to the end: rows that lost theirs, valid foreign keys, nothing of the replaced table.

    Returns how many rows of tables that refer to it were deleted. Dropping the replaced table whole would take ACCESS
    EXCLUSIVE on all its parents at once, which deadlocks with the application: its foreign keys go one by one.
    """
    steps = Steps(context, session, patience)
    deleted = 0
    with session.connection.cursor() as cursor:
        cursor.execute(_UNVALIDATED, {"place": place})
        unvalidated = cursor.fetchall()
    for table, constraint, incoming, column, key in unvalidated:
        if incoming:
            statement = orphans(place, key, table, column)
            deleted += steps.run("Deleting rows of %s that lost theirs" % table, statement, table)
        statement = "alter table only %s validate constraint %s" % (table, constraint)
        steps.run("Validating %s" % constraint, statement, table)
    replaced = "%s.%s" % (OLD, name)
    with session.connection.cursor() as cursor:
        cursor.execute(_FOREIGN_KEYS, (replaced,))
        keys = cursor.fetchall()
    for constraint, parent in keys:
        statement = "alter table only %s drop constraint %s" % (replaced, constraint)
        what = "Dropping the replaced table's foreign key %s" % constraint
        steps.run(what, statement, parent, lock_timeout=DDL_LOCK)
    statement = "drop table if exists %s; %s; drop schema %s" % (replaced, drop_work(), OLD)
    steps.run("Dropping the replaced table", statement)
    return deleted
