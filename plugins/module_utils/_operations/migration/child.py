# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process in which the application's own ``manage.py migrate`` runs, with two things hooked in.

It tells when each migration starts and ends, and it sets the timeouts of each by its class. One invocation does them
all, because every ``migrate`` of Phase adds one more licence-check job to the scheduler.

An atomic migration gets ``lock_timeout`` and no other: if it expires, all is rolled back and it can be tried again. A
non-atomic one gets no timeout at all: what it did before stays, so a second try would stumble over it, and a timeout in
CREATE INDEX CONCURRENTLY leaves an INVALID index.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time
import traceback
from typing import Any, Dict, List, Optional

from ..core.api import Context, Request, Result

MARKER = "phase_console.direct"  # a setting that PGOPTIONS of this process carries
# Timeouts that a role or a database may have set, with the version that has them first: none ends a migration.
UNLIMITED = (
    ("lock_timeout", 0),
    ("statement_timeout", 0),
    ("idle_in_transaction_session_timeout", 0),
    ("idle_session_timeout", 140000),
    ("transaction_timeout", 170000),
)
CANCEL_POLL = 0.2  # seconds


def run(context: Context, request: Request) -> Result:
    """Request: ``lock_timeout`` of atomic migrations in milliseconds (0: none).

    Progress events: ``phase`` start (``migration``) and finish (``migration``, ``seconds``). Result: ``exit_code`` of
    the command; when it raised, ``sqlstate`` and ``error``.
    """
    from django.core.management.commands.migrate import Command

    session = _Session(context, request["lock_timeout"])
    shown = Command.migration_progress_callback

    def callback(command: Any, action: str, migration: Any = None, fake: bool = False) -> None:
        if action == "apply_start":
            session.start(migration)
        shown(command, action, migration, fake)
        if action == "apply_success":
            session.finish(migration)

    Command.migration_progress_callback = callback
    threading.Thread(target=session.cancel_when_asked, daemon=True).start()
    sys.path.insert(0, os.getcwd())
    sys.argv = ["manage.py", "migrate", "--no-input", "--no-color"]
    try:
        runpy.run_path("manage.py", run_name="__main__")
    except SystemExit as end:  # how Django ends on a CommandError
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        return {"exit_code": code, "sqlstate": None, "error": None}
    except Exception as error:  # the application's code may raise anything; its traceback is its output
        traceback.print_exc()
        return {
            "exit_code": 1,
            "sqlstate": sqlstate(error),
            "error": "%s: %s" % (type(error).__name__, " ".join(str(error).split())),
        }
    return {"exit_code": 0, "sqlstate": None, "error": None}


def sqlstate(error: Optional[BaseException]) -> Optional[str]:
    """The code of the driver's error behind Django's (``pgcode`` of psycopg2, ``sqlstate`` of psycopg)."""
    while error is not None:
        code = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)
        if code:
            return str(code)
        error = error.__cause__
    return None


class _Session:
    """Django's connection: its timeouts, and cancelling what it does."""

    def __init__(self, context: Context, lock_timeout: int) -> None:
        self._context = context
        self._lock_timeout = lock_timeout
        self._direct: Optional[bool] = None
        self._raw: Any = None
        self._started = 0.0
        self._local: List[str] = []

    def start(self, migration: Any) -> None:
        from django.db import connection

        connection.ensure_connection()
        self._raw = connection.connection
        if self._direct is None:
            self._direct = self._reached_us(connection)
            connection.execute_wrappers.append(self._before_first)
        settings = self._settings(connection, bool(migration.atomic))
        if self._direct:
            with connection.cursor() as cursor:
                for name, value in settings.items():
                    cursor.execute("SET %s = %s" % (name, value))
        elif migration.atomic:
            self._local = ["SET LOCAL %s = %s" % item for item in settings.items()]
        self._started = time.monotonic()
        self._context.report(str(migration), phase="start", migration=str(migration))

    def finish(self, migration: Any) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        self._context.report(str(migration), phase="finish", migration=str(migration), seconds=seconds)

    def cancel_when_asked(self) -> None:
        while not self._context.cancelled():
            time.sleep(CANCEL_POLL)
        if self._raw is not None and not self._raw.closed:
            self._raw.cancel()

    def _reached_us(self, connection: Any) -> bool:
        """Whether PGOPTIONS reached this session. PgBouncer drops it, and then SET would leak to other clients."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting(%s, true)", (MARKER,))
            return bool(cursor.fetchone()[0])

    def _settings(self, connection: Any, atomic: bool) -> Dict[str, int]:
        found = {name: 0 for name, since in UNLIMITED if connection.pg_version >= since}
        if atomic:
            found["lock_timeout"] = self._lock_timeout
        return found

    def _before_first(self, execute: Any, sql: Any, params: Any, many: bool, context: Dict[str, Any]) -> Any:
        """Behind a pooler: the timeouts of an atomic migration go with its transaction's first statement."""
        if self._local and context["connection"].in_atomic_block:
            settings, self._local = self._local, []
            with self._raw.cursor() as cursor:  # not the caller's, which may be a named one that declares a cursor
                for setting in settings:
                    cursor.execute(setting)
        return execute(sql, params, many, context)
