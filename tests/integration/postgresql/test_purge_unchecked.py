# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Purges that leave out the check of the foreign key, beside a session that tags an event at each step of them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import psycopg2
import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.purge import operation as _purge_operation
from ansible_collections.phase.console.plugins.module_utils._operations.purge import walk as _purge_walk
from integration.purging import Event, Instance
from sandbox import facts
from sandbox.local import LocalInstance

TAG = "insert into api_secretevent_tags (secretevent_id, secrettag_id) select %s, min(id) from api_secrettag"
ORPHANS = "select * from api_secretevent_tags where secretevent_id not in (select id from api_secretevent)"
DELETE = {"strategy": "delete", "foreign_key": "auto"}


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    """The application's role is a superuser, as in the stock Compose file."""
    return module_local_instance(facts.LEVELS[-1], events=2000)


@pytest.fixture
def database(instance: LocalInstance) -> Iterator[Instance]:
    subject = Instance(instance.database_url)
    yield subject
    assert subject.sql(ORPHANS) == [] and subject.lingering() == []
    assert [row[1:2] + row[3:] for row in subject.foreign_key()] == [(True, None)]


@pytest.fixture
def tagger(database: Instance) -> Iterator[Any]:
    """A session that has begun a transaction."""
    with contextlib.closing(database.connect(autocommit=False)) as connection, connection.cursor() as cursor:
        yield cursor


class Purge:
    """A purge in the background; ``between`` is called in its first transaction, when the events are deleted."""

    def __init__(self, database: Instance, between: Callable[[], None] = lambda: None) -> None:
        self.done: dict[str, Any] = {}
        delete_others = _purge_walk.Walk._delete_others
        steps = [between]

        def stepped(walk: Any, cursor: Any) -> None:
            if steps:
                steps.pop()()
            delete_others(walk, cursor)

        def work() -> None:
            with mock.patch.object(_purge_walk.Walk, "_delete_others", stepped):
                self.done.update(database.purge(**DELETE, timeouts={"lock": "30s"}))

        self._thread = threading.Thread(target=work)
        self._thread.start()

    def ended(self) -> dict[str, Any]:
        self._thread.join(60)
        assert not self._thread.is_alive() and self.done["foreign_key"]["state"] == "unchecked"
        return self.done


def until_waiting(database: Instance, name: str) -> None:
    query = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and application_name like %s"
    for _try in range(600):
        if database.sql(query, name):
            return
        time.sleep(0.05)
    raise AssertionError(f"{name} waits for no lock")


def test_it_is_the_default_of_a_superuser(database: Instance) -> None:
    """And all goes as it should: rows, tags of both kinds, a second run."""
    database.make([*[Event(tags=number % 3) for number in range(300)], Event(kind="C", tags=2), Event(days=1, tags=1)])
    before = database.digest()
    checked = database.purge(check=True, strategy="delete")
    assert checked["plan"]["foreign_key"] == "unchecked" and database.digest() == before
    assert set(checked["plan"]["seconds"]) == {"kept", "set_aside", "unchecked"}
    with mock.patch.multiple(_purge_walk, SMALLEST=1, LARGEST=1):
        done = database.purge(all_organisations=True, strategy="delete")
    assert done["deleted"] == 300 and done["foreign_key"]["state"] == "unchecked"
    assert len(database.ids()) == 2 and len(database.tags()) == 3
    assert database.purge(all_organisations=True)["changed"] is False
    assert database.sql("show session_replication_role") == [("origin",)]


def test_a_tag_before_it(database: Instance) -> None:
    (event,) = database.make([Event()])
    database.sql(TAG, event.id)
    assert Purge(database).ended()["deleted"] == 1 and database.tags() == []


def test_a_tag_that_is_committed_while_it_waits(database: Instance, tagger: Any) -> None:
    """The tagger's check holds the event; the purge waits, and deletes the tag that its first snapshot did not see."""
    (event,) = database.make([Event()])
    tagger.execute(TAG, (event.id,))
    tagger.execute("set constraints all immediate")
    purge = Purge(database)
    until_waiting(database, "phase.console purge%")
    tagger.connection.commit()
    assert purge.ended()["deleted"] == 1 and database.tags() == []


def test_a_tag_whose_check_comes_after_it(database: Instance, tagger: Any) -> None:
    """Inserted before the purge, checked by a COMMIT after it: refused, as without the purge's shortcut."""
    (event,) = database.make([Event()])
    tagger.execute(TAG, (event.id,))
    assert Purge(database).ended()["deleted"] == 1
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        tagger.connection.commit()


@pytest.mark.parametrize("inserted", ["before", "between"])
def test_a_tag_whose_check_meets_it_halfway(database: Instance, tagger: Any, inserted: str) -> None:
    """When the events are deleted and the purge has not committed, the check waits for it, and then refuses the tag."""
    (event,) = database.make([Event()])
    refused: list[Any] = []

    def check() -> None:
        try:
            if inserted == "between":
                tagger.execute(TAG, (event.id,))
            tagger.execute("set constraints all immediate")
        except psycopg2.Error as error:
            refused.append(error.pgcode)

    checking = threading.Thread(target=check)

    def between() -> None:
        checking.start()
        until_waiting(database, "the test")

    if inserted == "before":
        tagger.execute(TAG, (event.id,))
    assert Purge(database, between).ended()["deleted"] == 1
    checking.join(30)
    assert refused == ["23503"]


def test_a_tag_after_it(database: Instance, tagger: Any) -> None:
    (event,) = database.make([Event()])
    assert Purge(database).ended()["deleted"] == 1
    tagger.execute(TAG, (event.id,))
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        tagger.connection.commit()


TRIGGER = (
    "create function nothing() returns trigger language plpgsql as 'begin return old; end'; "
    "create trigger watch after delete on api_secretevent_tags for each row execute function nothing()"
)
HANGING = [
    (
        TRIGGER,
        "drop function nothing() cascade",
        "trigger watch",
    ),
    ("create table note (tag bigint references api_secretevent_tags)", "drop table note", "of note"),
]


@pytest.mark.parametrize(("change", "back", "why"), HANGING)
def test_where_something_else_hangs_on_the_tables_it_is_checked(
    database: Instance, change: str, back: str, why: str
) -> None:
    database.make([Event(tags=1), Event(tags=1)])
    checked = database.purge(check=True, **DELETE)["plan"]
    assert checked["foreign_key"] == "unchecked"
    database.sql(change)
    try:
        plan = database.purge(check=True, **DELETE)["plan"]
        assert plan["foreign_key"] == "kept" and why in plan["foreign_key_why"]
        done = database.purge(**DELETE)
        assert done["foreign_key"]["state"] == "kept" and done["deleted"] == 2 and database.tags() == []
    finally:
        database.sql(back)


def test_a_trigger_that_came_since_the_plan_fires(database: Instance) -> None:
    change, back, why = HANGING[0]
    database.make([Event(tags=1)])
    walk = _purge_operation._walk

    def late(*arguments: Any) -> Any:
        database.sql(change)
        return walk(*arguments)

    try:
        with mock.patch.object(_purge_operation, "_walk", late):
            done = database.purge(**DELETE)
        assert done["foreign_key"]["state"] == "kept" and why in done["foreign_key"]["why"] and done["deleted"] == 1
    finally:
        database.sql(back)


def test_who_may_not_is_checked(instance: LocalInstance, database: Instance) -> None:
    """An owner without the right, and with it by a grant (PostgreSQL 15), and an operator who forbids it."""
    with instance.server.administrator() as administrator, administrator.cursor() as cursor:
        cursor.execute("alter role phase nosuperuser")
        try:
            database.make([Event(tags=1), Event(tags=1)])
            plan = database.purge(check=True, **DELETE)["plan"]
            assert plan["foreign_key"] == "kept" and "session_replication_role" in plan["foreign_key_why"]
            assert database.purge(**DELETE)["foreign_key"]["state"] == "kept"
            database.make([Event(tags=1)])
            if administrator.server_version >= 150000:
                cursor.execute("grant set on parameter session_replication_role to phase")
                assert database.purge(**DELETE)["foreign_key"]["state"] == "unchecked"
                cursor.execute("revoke set on parameter session_replication_role from phase")
        finally:
            cursor.execute("alter role phase superuser")
    database.make([Event(tags=1)])
    assert database.purge(strategy="delete", foreign_key="keep")["foreign_key"]["state"] == "kept"
    assert database.tags() == []
