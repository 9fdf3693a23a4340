# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Purges that are cut off, held up, throttled, or run beside others: the next run ends right, and nothing is lost.

PHASE_CONSOLE_KILL_SECONDS lets the kill loop go on for longer than CI's eight seconds.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg2
import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import NotTaken, PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    foreign_key as _purge_foreign_key,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    throttle as _purge_throttle,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    walk as _purge_walk,
)
from integration import targets
from integration.forks import eventually
from integration.harness import Ansible, target
from integration.purging import Event, Instance, survivors
from sandbox.local import LocalInstance

KILL_SECONDS = float(os.environ.get("PHASE_CONSOLE_KILL_SECONDS", "8"))
ROWS = 4000
TAGS_WITHOUT_EVENTS = """
select count(*) from api_secretevent_tags t left join api_secretevent e on e.id = t.secretevent_id where e.id is null
"""


TAG_OF_NOBODY = """
insert into api_secretevent_tags (secretevent_id, secrettag_id) select 'nobody', min(id) from api_secrettag
"""


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    return module_local_instance("v2.73.2", superuser=False)


@pytest.fixture(scope="module")
def database(instance: LocalInstance) -> Instance:
    return Instance(instance.database_url)


@pytest.fixture
def full(database: Instance) -> Iterator[Filled]:
    """Many rows, of which five of six go."""
    filled = Filled(database)
    yield filled
    database.sql("comment on table api_secretevent_tags is null")
    assert database.lingering() == []


class Filled:
    """The table with known rows, and slow purges of it, so that something can happen meanwhile."""

    def __init__(self, database: Instance) -> None:
        self.database = database
        kinds = "RRRRRC"
        self.events = database.make(
            Event(kind=kinds[number % 6], environment=number, tags=number % 3 == 0) for number in range(ROWS)
        )
        database.sql("drop table if exists kept_events, kept_tags")
        database.sql("create table kept_events as select * from api_secretevent")
        database.sql("create table kept_tags as select * from api_secretevent_tags")
        self.kept = survivors(self.events, lambda event: event.kind == "R")

    def again(self) -> None:
        self.database.sql(
            "truncate api_secretevent_tags, api_secretevent; insert into api_secretevent select * from kept_events; "
            "insert into api_secretevent_tags overriding system value select * from kept_tags"
        )

    def purge(self, **options: Any) -> dict[str, Any]:
        """In steps of a block, with a look at the throttle and a little sleep at each."""
        gate = _purge_throttle.Control.gate

        def slow(control: Any) -> Any:
            time.sleep(0.004)
            return gate(control)

        with (
            mock.patch.multiple(_purge_walk, WORTH_IT=50, SMALLEST=1, LARGEST=1),
            mock.patch.object(_purge_throttle, "EVERY", 0.02),
            mock.patch.object(_purge_throttle.Control, "gate", slow),
        ):
            return self.database.purge(
                **{"all_organisations": True, "strategy": "delete", "foreign_key": "set_aside", **options}
            )

    def is_right(self) -> None:
        database = self.database
        assert database.ids() == self.kept
        assert set(database.tags()) == {event.id for event in self.events if event.tags and event.id in self.kept}
        assert [row[1:2] + row[3:] for row in database.foreign_key()] == [(True, None)]


# Cut off


def kill_client(instance: LocalInstance, process: Any) -> None:
    process.kill()


def end_sessions(instance: LocalInstance, process: Any) -> None:
    with instance.server.administrator() as administrator, administrator.cursor() as cursor:
        cursor.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'phase.console%'"
        )


def crash_server(instance: LocalInstance, process: Any) -> None:
    postmaster = int((instance.server.data / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    os.kill(postmaster, signal.SIGQUIT)
    eventually(lambda: not (instance.server.data / "postmaster.pid").exists(), 20)
    instance.server.stop()
    instance.server.start()


def silently(work: Callable[[], Any]) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with contextlib.suppress(PhaseError, psycopg2.Error):
        work()


def test_killed_at_any_moment(instance: LocalInstance, full: Filled) -> None:
    """kill -9 of the client, the end of its sessions, a crash of the server: the next run puts everything right."""
    begun = time.monotonic()
    full.purge()
    whole = time.monotonic() - begun
    full.is_right()
    dice = random.Random(20260101)
    rounds = 0
    start = time.monotonic()
    while time.monotonic() - start < KILL_SECONDS or rounds < 4:
        full.again()
        process = multiprocessing.get_context("fork").Process(target=silently, args=(full.purge,))
        process.start()
        how: Callable[[LocalInstance, Any], None] = dice.choice([kill_client, kill_client, end_sessions])
        if rounds == 0:
            how = kill_client
            eventually(lambda: full.database.foreign_key() == [], 20, poll=0.005)
        else:
            time.sleep(dice.uniform(0, whole))
        if rounds == 2:
            how = crash_server
        how(instance, process)
        process.join(30)
        eventually(lambda: full.database.sessions() == [], 20)
        assert full.kept <= full.database.ids(), "an event of the history is lost"
        assert rounds or full.database.foreign_key() == [], "the first kill did not meet the foreign key set aside"
        before = full.database.digest()
        assert bool(full.database.purge(check=True, all_organisations=True)["plan"]["recovery"]) == bool(
            full.database.sql(
                "select 1 where obj_description('api_secretevent_tags'::regclass, 'pg_class') is not null"
            )
        )
        assert full.database.digest() == before
        full.database.purge(all_organisations=True)
        full.is_right()
        assert full.database.purge(all_organisations=True)["changed"] is False
        rounds += 1


@pytest.mark.parametrize(
    ("after", "strategy"),
    [("drop", "auto"), ("add", "auto"), ("clean", "auto"), ("drop", "rewrite"), ("add", "rewrite")],
)
def test_cut_off_between_the_steps_of_the_foreign_key(full: Filled, after: str, strategy: str) -> None:
    """What each step leaves is known by the marker; a check tells it and changes nothing; any strategy puts it back."""
    database = full.database
    ((name, _valid, definition, _comment),) = database.foreign_key()
    database.sql("comment on table api_secretevent_tags is 'somebody''s own words'")

    class Cut(BaseException):
        """The end of the process, which no code turns into an error of its own."""

    def cut(*_arguments: Any) -> None:
        raise Cut

    with mock.patch.object(_purge_foreign_key, "restore", cut), pytest.raises(Cut):
        full.purge()
    database.sql(TAG_OF_NOBODY)
    if after != "drop":
        database.sql(f'alter table api_secretevent_tags add constraint "{name}" {definition} not valid')
    if after == "clean":
        database.sql(
            "delete from api_secretevent_tags t "
            "where not exists (select from api_secretevent e where e.id = t.secretevent_id)"
        )
    checked = database.purge(check=True, all_organisations=True, strategy=strategy)
    assert checked["changed"] and checked["plan"]["recovery"] == {"constraint": name} and checked["eligible"] == 0
    done = database.purge(all_organisations=True, strategy=strategy)
    assert done["recovered"]["constraint"] == name and done["recovered"]["orphan_tags"] == (after != "clean")
    assert database.foreign_key() == [(name, True, definition, "somebody's own words")]
    database.sql("comment on table api_secretevent_tags is null")
    full.is_right()


def test_a_key_that_cannot_be_put_back_hides_no_error(full: Filled) -> None:
    """What is told is what went wrong first, and that the key is away; the next run puts it back."""
    before, add = full.database.foreign_key(), _purge_walk.Progress.add

    def full_up(progress: Any, rows: int, done: float) -> None:
        add(progress, rows, done)
        if not full.database.foreign_key():
            raise NotTaken("There is no room.", "Make some.")

    with (
        mock.patch.object(_purge_walk.Progress, "add", full_up),
        mock.patch.object(_purge_foreign_key, "restore", side_effect=psycopg2.InterfaceError("it is closed")),
        pytest.raises(PhaseError, match="no room") as raised,
    ):
        full.purge()
    assert raised.value.partial["foreign_key"] == {"state": "set_aside"}
    assert "The next run restores the foreign key: it is closed" in full.database.told
    full.database.purge(all_organisations=True)
    assert full.database.foreign_key() == before
    full.is_right()


def test_a_tag_of_somebody_elses_while_the_key_is_away(full: Filled) -> None:
    restore = _purge_foreign_key.restore

    def late(context: Any, session: Any) -> Any:
        full.database.sql(TAG_OF_NOBODY)
        return restore(context, session)

    with mock.patch.object(_purge_foreign_key, "restore", late):
        assert full.purge()["foreign_key"]["orphan_tags"] == 1
    full.is_right()


@pytest.mark.parametrize("foreign_key", ["keep", "set_aside"])
def test_many_tags_are_looked_up(full: Filled, foreign_key: str) -> None:
    """Each batch has the planner look tags up by their index; the same goes."""
    look, found = _purge_walk.Walk._look, []

    def looked(walk: Any) -> None:
        look(walk)
        found.append(walk._first)

    with mock.patch.object(_purge_walk, "MANY", 0), mock.patch.object(_purge_walk.Walk, "_look", looked):
        full.purge(foreign_key=foreign_key)
    assert found == [_purge_walk.LOOKED_UP]
    full.is_right()


# Beside others


def test_beside_writers(full: Filled) -> None:
    """New events with tags, changed and deleted ones, tags for rows that go, rollbacks: what was committed is there."""
    database, stop, must, gone = full.database, threading.Event(), set(full.kept), set()
    reads = [event.id for event in full.events if event.kind == "R"]
    ((tag,),) = database.sql("select min(id) from api_secrettag")
    errors: list[str] = []

    def write() -> None:
        dice, number = random.Random(7), 0
        with contextlib.closing(database.connect(autocommit=False)) as connection, connection.cursor() as cursor:
            while not stop.is_set():
                number += 1
                new, old = f"new-{number}", dice.choice(reads)
                try:
                    cursor.execute(
                        "insert into api_secretevent select (jsonb_populate_record(e, jsonb_build_object("
                        "'id', %s, 'timestamp', now(), 'event_type', %s))).* from kept_events e limit 1",
                        (new, dice.choice("RC")),
                    )
                    cursor.execute(
                        "insert into api_secretevent_tags (secretevent_id, secrettag_id) values (%s, %s)", (new, tag)
                    )
                    if number % 3 == 0:
                        connection.rollback()
                        continue
                    changed = 0
                    if number % 3 == 1:
                        cursor.execute("update api_secretevent set event_type = 'U' where id = %s", (old,))
                        changed = cursor.rowcount
                    else:
                        cursor.execute(
                            "insert into api_secretevent_tags (secretevent_id, secrettag_id) select id, %s from "
                            "api_secretevent where id = %s and not exists (select from api_secretevent_tags where "
                            "secretevent_id = %s)",
                            (tag, old, old),
                        )
                    connection.commit()
                    must.add(new)
                    if changed:
                        must.add(old)
                except psycopg2.errors.ForeignKeyViolation:
                    connection.rollback()  # the event it was for has just gone
                except psycopg2.Error as error:
                    connection.rollback()
                    errors.append(str(error))

    for foreign_key in ("keep", "set_aside"):
        full.again()
        must = set(full.kept)
        stop.clear()
        writer = threading.Thread(target=write)
        writer.start()
        try:
            done = full.purge(foreign_key=foreign_key)
        finally:
            stop.set()
            writer.join()
        assert errors == [] and done["deleted"] > 1000
        database.purge(all_organisations=True)
        assert database.ids() - gone == must
        assert database.sql(TAGS_WITHOUT_EVENTS) == [(0,)]
        assert [row[1:2] + row[3:] for row in database.foreign_key()] == [(True, None)]


def test_a_row_that_somebody_has_locked(full: Filled) -> None:
    locked = next(event.id for event in full.events if event.kind == "R")
    with contextlib.closing(full.database.connect(autocommit=False)) as other, other.cursor() as cursor:
        cursor.execute("select from api_secretevent where id = %s for key share", (locked,))
        done = full.database.purge(all_organisations=True, timeouts={"lock": "200ms"})
        assert (done["remaining"], done["stopped_by"]) == (1, None)
        assert full.database.ids() == full.kept | {locked}
    assert full.database.purge(all_organisations=True)["deleted"] == 1


def test_a_table_that_somebody_has_locked(full: Filled) -> None:
    """It waits, says for whom, and stops at its deadline; what is left is counted."""
    expected = ROWS - len(full.kept)
    with contextlib.closing(full.database.connect(autocommit=False)) as other, other.cursor() as cursor:
        cursor.execute("lock table api_secretevent in share mode")
        checked = full.database.purge(check=True, all_organisations=True)
        assert "holds SHARE on api_secretevent" in checked["plan"]["blocked_by"][0] and checked["eligible"] == expected
        done = full.database.purge(all_organisations=True, timeouts={"lock": "100ms"}, max_duration="1s")
        assert (done["stopped_by"], done["deleted"], done["remaining"]) == ("max_duration", 0, expected)
        assert any("the test" in line and "waits for a lock" in line for line in full.database.told)
    assert full.database.purge(all_organisations=True)["deleted"] == expected


def test_what_goes_on_beside_is_told(instance: LocalInstance, full: Filled) -> None:
    with instance.server.administrator() as administrator, administrator.cursor() as cursor:
        cursor.execute("select pg_create_physical_replication_slot('forgotten', true)")
        dump = psycopg2.connect(full.database.url, application_name="pg_dump")
        theirs = full.database.connect(autocommit=False)
        try:
            dump.cursor().execute("select count(*) from api_secretevent")
            theirs.cursor().execute("DELETE FROM api_secretevent_tags WHERE secretevent_id IN ('nobody')")
            checked = full.database.purge(check=True, all_organisations=True, foreign_key="set_aside")
        finally:
            dump.close()
            cursor.execute("select pg_drop_replication_slot('forgotten')")
            theirs.close()
    found = {item["what"]: item["text"] for item in checked["plan"]["obstacles"]}
    assert set(found) >= {"pg_dump", "replication_slot", "stock_purge"} and "forgotten" in found["replication_slot"]
    assert [text for text in checked["plan"]["blocked_by"] if "dump" in text]


def test_a_dump_keeps_the_foreign_key_in_place(full: Filled) -> None:
    """Who cannot set it aside goes on with it."""
    with full.database.reading("api_secretevent"), mock.patch.object(_purge_foreign_key, "PATIENCE", 0.3):
        done = full.purge()
    assert done["foreign_key"]["state"] == "kept" and "held by" in done["foreign_key"]["why"]
    assert any("The foreign key stays, so" in line for line in full.database.told)
    full.is_right()


def as_administrator(instance: LocalInstance, statement: str) -> None:
    with instance.server.administrator() as administrator, administrator.cursor() as cursor:
        cursor.execute(statement)


# Control


def test_a_deadline_and_a_second_run(full: Filled) -> None:
    done = full.purge(max_duration="150ms", transaction_time=0.01, foreign_key="keep")
    expected = ROWS - len(full.kept)
    assert done["stopped_by"] == "max_duration" and 0 < done["deleted"] < expected
    assert done["deleted"] + done["remaining"] == expected == done["eligible"]
    again = full.database.purge(all_organisations=True)
    assert again["deleted"] == done["remaining"] and again["stopped_by"] is None
    full.is_right()


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        ("wal_rate", "1", "of WAL a second"),
        ("writer_latency", "0.001ms", "a small commit takes"),
        ("free_disk", "1000TB", "free on the server's disk"),
    ],
)
def test_throttles(instance: LocalInstance, full: Filled, limit: str, value: str, words: str) -> None:
    as_administrator(instance, "grant pg_read_all_settings to phase")  # who may know where the data are sees the disk
    done = full.purge(throttle={limit: value}, max_duration="1s", foreign_key="keep")
    as_administrator(instance, "revoke pg_read_all_settings from phase")
    assert limit in done["paused"] and any(line.startswith("Paused: ") and words in line for line in full.database.told)


def test_others_that_wait_for_locks_slow_it_down(full: Filled) -> None:
    with contextlib.closing(full.database.connect(autocommit=False)) as holder, holder.cursor() as cursor:
        cursor.execute("lock table api_secret in access exclusive mode")
        waiter = threading.Thread(target=full.database.sql, args=("select count(*) from api_secret",))
        waiter.start()
        eventually(lambda: full.database.sql("select 1 from pg_stat_activity where wait_event_type = 'Lock'"), 5)
        done = full.purge(throttle={"lock_wait": "1ms"}, max_duration="700ms", foreign_key="keep")
        holder.rollback()
        waiter.join()
    assert done["stopped_by"] == "max_duration" and done["paused"]["lock_wait"] > 0.1


def test_pause_one_at_a_time_and_the_end_of_the_caller(
    ansible: Ansible, instance: LocalInstance, full: Filled, tmp_path: Path
) -> None:
    """Through the far end of a local target: the pause file, a second purge meanwhile, and kill -9 of Ansible."""
    pause = tmp_path / "pause"
    pause.touch()
    options = {**target(instance), "all_organisations": True, "pause_file": str(pause), "throttle": {"wal_rate": "1"}}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"phase.console.phase_purge_logs": options}]}]
    run = ansible.popen_playbook(play)
    run.wait_for_output("Paused: ")
    with pytest.raises(PhaseError) as second:
        full.database.purge(all_organisations=True)
    assert second.value.kind == "lock_held" and "phase.console purge" in second.value.message
    checked = full.database.purge(check=True, all_organisations=True)
    assert "a purge is running" in checked["plan"]["blocked_by"][0]
    run.wait_for_output("the pause file is there")
    targets.kill(run)
    targets.until(lambda: targets.ours(instance) == 0, 10)
    pause.unlink()
    assert ansible.module("phase_purge_logs", {**options, "throttle": {}})["stopped_by"] is None
    full.is_right()
