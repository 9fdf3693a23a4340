# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Migrating Phase's database: ``plan`` says what would be done, ``apply`` does it. Both run in the target image.

The plan comes from the image's own migrations against the ledger; ``apply`` starts the application's own
``manage.py migrate`` once, and only when something is pending.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any, Dict, List, Optional, Sequence

from ..._errors import Cancelled, LockTimeout
from ..core.api import Context, Request, Result
from ..core.database import require_phase, supports_check_interval
from ..core.django import with_django
from ..core.monitor import Monitor
from ..core.releases import release_of
from ..core.secrets import masker, secret_values
from . import catalog, packages, repair
from . import django as django_side
from . import graph as graph_of
from .errors import DatabaseAhead, LedgerMoved, MigrationFailed
from .lock import MigrationLock, acquire, session_name
from .plan import Walk
from .runner import RETRIED, Attempt, Runner, child_environment, pause
from .types import ApplyRequest, Entry, MigrationPlan, PlannedIndex


def plan(context: Context, request: Request) -> MigrationPlan:
    """What is pending and what it would do. Changes nothing.

    Result: ``pending`` (names in the order they run), ``plan`` (``types.Entry``), ``unknown``,
    ``inconsistent`` [{"migration", "dependency"}], ``conflicts`` {app: leaves}, ``duplicates`` [{"name", "ids"}],
    ``from_leaves``, ``to_leaves``, ``from_release``, ``to_release`` (newest release whose migrations are all there),
    ``known`` (all names that the image has), ``leftover_indexes``, ``server_version``.

    With unknown, inconsistent or conflicting migrations ``pending`` and ``plan`` stay empty: there is nothing to go by.
    Request: ``packages`` says whether to compare the Python's packages with the checkout's. Raises PackagesDiffer.
    """
    if request["packages"]:
        packages.check(os.getcwd(), sys.executable)
    connection = context.connect("migrate plan")
    try:
        require_phase(connection)
        rows = catalog.ledger(connection)
        return with_django(lambda: _plan(context, connection, rows))
    finally:
        connection.close()


def _plan(context: Context, connection: Any, rows: Sequence[Any]) -> MigrationPlan:
    context.report("Reading the image's migrations and the ledger.")
    with django_side.django_errors():
        executor, graph, pending = django_side.load()
    applied = [(app, name) for number, app, name in rows]
    unknown = graph_of.unknown(graph, applied)
    inconsistent = graph_of.inconsistent(graph, applied)
    result: MigrationPlan = {
        "pending": [],
        "plan": [],
        "unknown": graph_of.dotted(unknown),
        "inconsistent": [{"migration": "%s.%s" % key, "dependency": "%s.%s" % parent} for key, parent in inconsistent],
        "conflicts": graph.conflicts,
        "duplicates": graph_of.duplicates(rows),
        "from_leaves": graph_of.dotted(graph_of.leaves(graph, applied)),
        "to_leaves": graph_of.dotted(graph_of.leaves(graph, graph.parents)),
        "from_release": release_of(applied),
        "to_release": release_of(graph.parents),
        "known": graph_of.dotted(graph_of.known(graph)),
        "leftover_indexes": [],
        "server_version": connection.server_version,
    }
    if unknown or inconsistent or graph.conflicts or not pending:
        return result
    context.report("Reading what %d pending migrations do to the tables." % len(pending), pending=len(pending))
    facts = catalog.read(connection)
    catalog.measure(connection, facts["tables"])
    walk = Walk(facts)
    with django_side.django_errors():
        django_side.walk_plan(executor, pending, walk)
    result["plan"] = walk.entries
    result["pending"] = [entry["name"] for entry in walk.entries]
    found = repair.leftovers(connection, planned_indexes(walk.entries))
    result["leftover_indexes"] = [leftover.facts() for leftover in found]
    return result


def planned_indexes(entries: Sequence[Entry]) -> List[PlannedIndex]:
    """Indexes that a non-atomic migration builds, and would find in its way: [{"migration", "index", "table"}]."""
    return [
        {"migration": entry["name"], **item}
        for entry in entries
        if not entry["atomic"]
        for item in entry["concurrent_indexes"]
    ]


def apply(context: Context, request: ApplyRequest) -> Result:
    """Migrate, under the lock. To be run detached: it goes on when its caller dies, and can be joined then.

    Request: ``host`` and ``run`` name the caller; ``pending``, ``known``, ``non_atomic`` (names) and ``indexes``
    (``planned_indexes``) come from the plan; ``image`` is for messages, ``lock_timeout`` seconds per lock, ``retries``
    after lock timeouts, ``wait_for_lock`` seconds, ``repair_indexes``.

    Result: ``applied`` [{"name", "seconds"}] (seconds None where a joined run did it), ``applied_elsewhere`` (names,
    by a run that this one waited for), ``joined``, ``retries``, ``repaired_indexes``, ``post_migrate_failed`` (None, or
    exit code and output of a migrate that failed after it had applied everything), ``blocked_by`` of the last wait.
    """
    watcher = context.connect("migrate monitor")
    lock = MigrationLock(context.connect("migrate"), session_name(request["host"], request["run"]))
    try:
        before = catalog.applied_names(catalog.ledger(watcher))
        joined = acquire(context, lock, watcher, request["wait_for_lock"])
        return _Application(context, request, lock, watcher, before, joined).run()
    finally:
        lock.release()
        watcher.close()


def _marking(context: Context, lock: MigrationLock) -> Context:
    """The context, with a ``sleep`` that marks the lock as soon as the caller is lost."""

    def sleep(seconds: float) -> None:
        if context.caller_lost():
            lock.mark_orphaned()
        context.sleep(seconds)

    return replace(context, sleep=sleep)


class _Application:
    """One ``apply`` that holds the lock."""

    def __init__(
        self,
        context: Context,
        request: ApplyRequest,
        lock: MigrationLock,
        watcher: Any,
        before: List[str],
        joined: bool,
    ) -> None:
        self._context = _marking(context, lock)
        self._request = request
        self._watcher = watcher
        self._before = set(before)
        self._seconds: Dict[str, float] = {}
        self._mask = masker(secret_values(os.environ))
        self._monitor = Monitor(watcher, context.report, context.clock)
        self._result: Result = {
            "applied": [],
            "applied_elsewhere": [],
            "joined": joined,
            "retries": 0,
            "repaired_indexes": [],
            "post_migrate_failed": None,
            "blocked_by": [],
        }

    def run(self) -> Result:
        pending = self._pending()
        if not self._result["joined"]:
            waited = self._ledger()
            self._result["applied_elsewhere"] = [name for name in waited if name not in self._before]
            self._before.update(waited)
        if not pending:
            self._context.report("Nothing is pending any more.")
            return self._finished()
        try:
            self._clear_the_way(pending)
            attempt = self._try(pending)
        except Cancelled as error:
            raise Cancelled(error.message, error.next_step, partial=self._finished()) from error
        return self._judge(attempt)

    def _ledger(self) -> List[str]:
        if self._watcher.closed:  # it broke while the child worked; what it did is worth another connection
            self._watcher = self._context.connect("migrate monitor")
        return catalog.applied_names(catalog.ledger(self._watcher))

    def _pending(self) -> List[str]:
        """What the plan has and the ledger has not, read under the lock."""
        applied = set(self._ledger())
        unknown = sorted(applied - set(self._request["known"]))
        if unknown:
            raise DatabaseAhead(unknown, self._request["image"], {"unknown": unknown})
        return [name for name in self._request["pending"] if name not in applied]

    def _finished(self) -> Result:
        """The result so far, from the ledger: what this run applied, and one that it joined."""
        new = [name for name in self._ledger() if name not in self._before]
        applied = [{"name": name, "seconds": self._seconds.get(name)} for name in new]
        return dict(self._result, applied=applied, blocked_by=self._monitor.blocked_by or self._result["blocked_by"])

    def _clear_the_way(self, pending: List[str]) -> None:
        """End what an interrupted run left at work, and deal with the indexes it left."""
        context, wait = self._context, self._request["wait_for_lock"]
        repair.end_remnants(context, self._watcher)
        planned = [item for item in self._request["indexes"] if item["migration"] in pending]
        found = repair.leftovers(self._watcher, planned)
        if not found:
            return
        repair.wait_for_builders(context, self._watcher, found, wait)
        found = repair.leftovers(self._watcher, planned)
        if found and not self._request["repair_indexes"]:
            raise repair.refuse(found)
        self._result["repaired_indexes"] = repair.drop(context, self._monitor, found)

    def _try(self, pending: List[str]) -> Attempt:
        """Attempts, until one ends otherwise than by a lock timeout or the tries are used up."""
        lock_timeout = round(self._request["lock_timeout"] * 1000)
        check = supports_check_interval(self._watcher)
        environment = child_environment(os.environ, lock_timeout, check, self._request["run"])
        runner = Runner(self._context, self._monitor, environment, self._mask)
        number = 1
        while True:
            attempt = runner.attempt(lock_timeout, pending)
            self._seconds.update(attempt.seconds)
            again = attempt.sqlstate in RETRIED and self._is_atomic(attempt.failed)
            if not again or number > self._request["retries"]:
                return attempt
            self._result["retries"] = number
            self._result["blocked_by"] = self._monitor.blocked_by or self._result["blocked_by"]
            wait = pause(number)
            why = "a deadlock" if attempt.sqlstate == "40P01" else "no lock within timeouts.lock"
            blocked = ": " + self._monitor.blocked_text if self._monitor.blocked_text else ""
            text = "%s: %s%s. Try %d of %d in %.0f s." % (
                attempt.failed,
                why,
                blocked,
                number + 1,
                self._request["retries"] + 1,
                wait,
            )
            self._context.report(text, retries=number)
            self._context.sleep(wait)
            number += 1
            pending = self._pending()

    def _is_atomic(self, name: Optional[str]) -> bool:
        return name not in self._request["non_atomic"]

    def _judge(self, attempt: Attempt) -> Result:
        """Success, success with a failure after it, or the failure: the ledger says which."""
        result = self._finished()
        missing = self._pending()
        if not missing and attempt.exit_code == 0:
            return result
        if not missing:
            result["post_migrate_failed"] = {"exit_code": attempt.exit_code, "output": attempt.output[-10:]}
            return result
        partial = dict(
            result, failed_migration=attempt.failed or missing[0], output=attempt.output, still_pending=missing
        )
        done = "%d of %d migrations were applied" % (len(result["applied"]), len(self._request["pending"]))
        if attempt.sqlstate in RETRIED and self._is_atomic(attempt.failed):
            blocked = " " + self._monitor.blocked_text + "." if self._monitor.blocked_text else ""
            raise LockTimeout(
                "%s did not get its lock in %d tries.%s %s."
                % (attempt.failed, self._result["retries"] + 1, blocked and " It waited for" + blocked, done),
                "End what holds it back, or raise timeouts.lock or lock_retries, then run this again.",
                partial=partial,
            )
        if attempt.exit_code == 0:
            raise LedgerMoved(
                "migrate ended well, and %s is not in the ledger." % missing[0],
                "Look whether something else changes django_migrations, then run this again.",
                partial=partial,
            )
        raise MigrationFailed(
            "%s failed%s. %s." % (partial["failed_migration"], _reason(attempt), done),
            self._way_out(attempt),
            partial=partial,
        )

    def _way_out(self, attempt: Attempt) -> str:
        if attempt.failed is None:
            return "It failed before its first migration: see output for the reason, then run this again."
        if self._is_atomic(attempt.failed):
            return "It was rolled back. Solve what output tells, then run this again: it goes on from there."
        return (
            "It is not atomic, so part of it may stay: solve what output tells, then run this again with "
            "repair_indexes=true, which drops half-built indexes first."
        )


def _reason(attempt: Attempt) -> str:
    if attempt.error:
        return ": " + attempt.error
    return " with exit code %d%s" % (attempt.exit_code or 0, ": " + attempt.output[-1] if attempt.output else "")
