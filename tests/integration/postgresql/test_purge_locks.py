# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Locks that somebody holds for long: purges wait, say for whom, and end right; nobody queues up behind them meanwhile.

PHASE_CONSOLE_LOCK_SECONDS lets the locks be held for longer than CI's four seconds: minutes, by hand.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    foreign_key as _purge_foreign_key,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    walk as _purge_walk,
)
from integration.forks import Beside, eventually
from integration.purging import Instance, slowly
from integration.rewriting import Subject, fork, in_background
from sandbox.local import LocalInstance

HOLD = float(os.environ.get("PHASE_CONSOLE_LOCK_SECONDS", "4"))
READ = "select count(*) from api_secretevent"
WRITE = (
    "with e as (insert into api_secretevent select (jsonb_populate_record(k, jsonb_build_object('id', %s::text, "
    "'timestamp', now(), 'event_type', 'C'))).* from spare k returning id) insert into api_secretevent_tags "
    "(secretevent_id, secrettag_id) select e.id, (select min(id) from api_secrettag) from e"
)
DELETE = {"strategy": "delete"}
ASIDE = {"strategy": "delete", "foreign_key": "set_aside"}
REWRITE = {"strategy": "rewrite"}


@dataclass
class Case:
    """What another session does and keeps open, while which purge works.

    ``blocks``: the application waits for it by itself. ``waits``: the purge does; else it passes over a row.
    ``refused``: the purge cannot even look, so it says so before anything is touched.
    """

    does: str
    purge: dict[str, Any]
    blocks: bool = False
    waits: bool = True
    refused: bool = False
    longest: float = field(default=0.0, compare=False)


CASES = {
    "delete, table locked": Case("lock table api_secretevent in access exclusive mode", DELETE, True, False, True),
    "delete, tags locked": Case("lock table api_secretevent_tags in share row exclusive mode", DELETE, blocks=True),
    "delete, row locked": Case("select from api_secretevent where id = %(old)s for update", DELETE, waits=False),
    "set aside, read": Case(READ, ASIDE),
    "set aside, written": Case("update api_secretevent set path = path where id = %(kept)s", ASIDE),
    "set aside, table locked": Case("lock table api_secretevent in share row exclusive mode", ASIDE, blocks=True),
    "rewrite, read": Case(READ, REWRITE),
    "rewrite, written": Case("update api_secretevent set path = path where id = %(kept)s", REWRITE),
    "rewrite, row locked": Case("select from api_secretevent where id = %(old)s for update", REWRITE),
    "rewrite, table locked": Case("lock table api_secretevent in access exclusive mode", REWRITE, True, False, True),
    "rewrite, parent locked": Case("lock table api_environment in share row exclusive mode", REWRITE),
}


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    started = module_local_instance("v2.73.2", events=3000, superuser=False)
    for service in ("backend", "worker"):
        started.stop_service(service)
    return started


class Writer(Beside):
    """The application: inserts an event with a tag now and then, and remembers how long it waited at most."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self._subject = subject
        self.longest, self.written = 0.0, set[str]()

    def _run(self) -> None:
        with contextlib.closing(self._subject.connect()) as connection, connection.cursor() as cursor:
            number = 0
            while not self._over.wait(0.05):
                number += 1
                begun = time.monotonic()
                cursor.execute(WRITE, (f"new-{number}",))
                self.longest = max(self.longest, time.monotonic() - begun)
                self.written.add(f"new-{number}")


@contextlib.contextmanager
def held(subject: Subject, statement: str, met: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """A session that does something and stays in its transaction, whatever goes on beside it: for HOLD seconds, and
    until the purge has met it or is over."""
    names = {}
    for name, condition in (("old", subject.goes), ("kept", f"({subject.goes}) is not true")):
        ((names[name],),) = subject.sql(f"select min(id) from api_secretevent e where {condition}")  # noqa: S608
    over = threading.Event()
    with contextlib.closing(subject.connect(autocommit=False)) as holder:
        holder.cursor().execute(statement, names)

        def hold() -> None:
            until = time.monotonic() + HOLD
            while time.monotonic() < until or not (met() or over.is_set()):
                time.sleep(0.05)
            holder.rollback()

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def has_waited(purges: Instance) -> bool:
    """For the lock itself, or until the application no longer waits for it."""
    reasons = ("the test (pid", "locks did not come", "waiting for locks")
    return any(reason in line for reason in reasons for line in purges.told)


def outcome(subject: Subject, case: Case) -> str:
    """Empty, or what was not as it should be."""
    kept, purges, every = subject.kept(), Instance(subject.url), subject.rows()
    subject.sql("create table spare as select * from api_secretevent limit 1")
    done: dict[str, Any] = {"stopped_by": None, "remaining": 0}
    refused = ""
    with Writer(subject) as writer, held(subject, case.does, lambda: case.waits and has_waited(purges)):
        begun = time.monotonic()
        try:
            done = purges.purge(all_organisations=True, timeouts={"lock": "500ms"}, **case.purge)
        except PhaseError as error:
            refused = f"{error.kind}: {error}"
        seconds = time.monotonic() - begun
    case.longest = writer.longest
    rows = subject.rows("not starts_with(e.id, 'new-')")
    expected = every if case.refused else kept
    wrong = {
        f"refused: {refused}": bool(refused) != case.refused,
        "it did not wait": case.waits
        and not (seconds > 0.8 * min(HOLD, _purge_foreign_key.PATIENCE) and has_waited(purges)),
        "it waited": not case.waits and seconds > HOLD * 0.8 and HOLD > 60,
        f"{done['remaining']} rows remain": done["remaining"] != (0 if case.waits or refused else 1),
        "other rows are left": len(set(rows) - set(expected)) > (1 if not case.waits else 0),
        "rows are lost": set(expected) - set(rows),
        "a row has changed": any(rows[name] != digest for name, digest in kept.items() if name in rows),
        "a write is lost": not writer.written <= {row[0] for row in subject.sql("select id from api_secretevent")},
        f"a writer waited {writer.longest:.1f} s": not case.blocks and writer.longest > 2,
        f"{done['stopped_by']} stopped it": done["stopped_by"],
        "something is left of it": subject.leftovers() or subject.lingering(),
    }
    text = "; ".join(text for text, is_so in wrong.items() if is_so)
    return f"{text} {purges.told[-3:]}" if text else ""


def test_locks_held_for_long(instance: LocalInstance) -> None:
    """All at once, each in a database of its own."""
    subjects = {name: fork(instance) for name in CASES}
    with mock.patch.object(_purge_walk, "WORTH_IT", 0), ThreadPoolExecutor(len(CASES)) as pool:
        outcomes = {name: pool.submit(outcome, subjects[name], case) for name, case in CASES.items()}
        wrong = {name: found.result() for name, found in outcomes.items()}
    print({name: f"{case.longest:.2f}" for name, case in CASES.items()})
    assert {name: text for name, text in wrong.items() if text} == {}


def test_a_tag_that_is_locked_while_the_key_is_away(instance: LocalInstance) -> None:
    """Events go nevertheless; the tag goes once it is free, before the key is valid again."""
    subject = fork(instance)
    kept, purges = subject.kept(), Instance(subject.url)
    options = {**ASIDE, "timeouts": {"lock": "300ms"}}
    last = f"""select t.id from api_secretevent_tags t join api_secretevent e on e.id = t.secretevent_id
        where {subject.goes} order by e.ctid desc limit 1"""  # noqa: S608
    with (
        mock.patch.object(_purge_walk, "WORTH_IT", 0),
        slowly(),
        in_background(lambda: purges.purge(all_organisations=True, **options)) as done,
        contextlib.closing(subject.connect(autocommit=False)) as holder,
    ):
        eventually(lambda: purges.foreign_key() == [], 20, 0.01)
        holder.cursor().execute("select from api_secretevent_tags where id = %s for update", subject.sql(last)[0])
        eventually(lambda: not subject.sql(f"select from api_secretevent e where {subject.goes}"), 60)
        eventually(lambda: any("tags without an event waits for a lock" in line for line in purges.told), 20)
    assert (done[0]["remaining"], done[0]["stopped_by"]) == (0, None)
    assert done[0]["foreign_key"]["state"] == "restored" and done[0]["foreign_key"]["orphan_tags"] >= 1
    assert subject.rows() == kept and not subject.lingering()


def test_a_table_that_is_locked_while_rows_go(instance: LocalInstance) -> None:
    """In the midst of a purge: it waits, and goes on where it was."""
    subject = fork(instance)
    kept, purges = subject.kept(), Instance(subject.url)
    ((every,),) = subject.sql(READ)
    with (
        slowly(),
        in_background(lambda: purges.purge(all_organisations=True, timeouts={"lock": "500ms"}, **DELETE)) as done,
    ):
        eventually(lambda: subject.sql(READ)[0][0] < every - 100, 20, 0.01)
        with held(subject, "lock table api_secretevent in access exclusive mode"):
            eventually(lambda: any("waits for a lock, held by the test (pid" in line for line in purges.told), 20)
    assert (done[0]["remaining"], done[0]["stopped_by"]) == (0, None)
    assert subject.rows() == kept and not subject.lingering()
