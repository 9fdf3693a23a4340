# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Purges, rewrites and vacuums with a real standby attached: it gets the same rows, and who suffers there is told."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from unittest import mock

import psycopg2
import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    throttle as _purge_throttle,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    walk as _purge_walk,
)
from integration.forks import Database, eventually
from integration.purging import Instance, slowly
from integration.rewriting import Subject, Writers, fork
from integration.standbys import Standby, standby
from integration.vacuuming import PURGE, Vacuum
from sandbox.local import LocalInstance


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    started = module_local_instance("v2.73.2", events=3000, superuser=False)
    for service in ("backend", "worker"):
        started.stop_service(service)
    with started.server.administrator() as administrator, administrator.cursor() as cursor:
        cursor.execute("grant pg_monitor to phase")  # who is no member does not see how far the replicas are
    return started


@pytest.fixture(scope="module")
def follower(instance: LocalInstance) -> Iterator[Standby]:
    more = {"hot_standby_feedback": "on", "wal_receiver_status_interval": "1", "max_standby_streaming_delay": "1s"}
    with standby(instance, **more) as started:
        yield started


@pytest.fixture
def subject(instance: LocalInstance) -> Subject:
    return fork(instance)


def same_rows(subject: Subject, follower: Standby) -> bool:
    follower.caught_up()
    there = Subject(subject.instance, subject.name)
    there.url = follower.url(subject.url)
    return there.rows() == subject.rows()


def test_a_standby_as_the_target_is_refused(subject: Subject, follower: Standby) -> None:
    follower.caught_up()
    there = Instance(follower.url(subject.url))
    error = there.refused("not_allowed", all_organisations=True)
    assert "standby" in error.message


def test_a_purge_waits_for_a_replica_that_applies_nothing_and_goes_on(subject: Subject, follower: Standby) -> None:
    """Also before the server itself shows a lag; and a check tells beforehand that there is a replica."""
    purges, kept = Instance(subject.url), subject.kept()
    told = " ".join(item["text"] for item in purges.purge(check=True, all_organisations=True)["plan"]["obstacles"])
    assert "1 replica will receive" in told
    follower.caught_up()
    follower.administrator("select pg_wal_replay_pause()")

    def resume() -> None:
        eventually(lambda: any("a replica is" in line for line in purges.told), 30)
        left = subject.sql("select count(*) from api_secretevent")
        time.sleep(0.5)
        assert subject.sql("select count(*) from api_secretevent") == left, "it did not wait"
        follower.administrator("select pg_wal_replay_resume()")

    with slowly(), mock.patch.object(_purge_throttle, "EVERY", 0.1), background(resume):
        done = purges.purge(all_organisations=True, strategy="delete", throttle={"replica_lag": "300ms"})
    assert done["stopped_by"] is None and done["paused"]["replica_lag"] > 0.5
    assert "Going on" in purges.told
    assert subject.kept() == kept == subject.rows() and same_rows(subject, follower)


@contextlib.contextmanager
def background(work: Callable[[], None]) -> Iterator[None]:
    """Beside; its error is the test's."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not failed, failed


@pytest.mark.parametrize("foreign_key", ["keep", "set_aside"])
def test_a_purge_arrives(subject: Subject, follower: Standby, foreign_key: str) -> None:
    kept = subject.kept()
    with mock.patch.object(_purge_walk, "WORTH_IT", 100):
        Instance(subject.url).purge(all_organisations=True, strategy="delete", foreign_key=foreign_key)
    assert subject.rows() == kept and same_rows(subject, follower)


def test_a_rewrite_beside_writers_and_readers_on_the_standby(subject: Subject, follower: Standby) -> None:
    """Short queries there always see all of the table, before or after; a warning tells what longer ones may see."""
    plan = subject.plan()
    assert plan["refused"] == [] and "1 replica will receive the copy" in plan["notes"][0]
    follower.caught_up()
    kept = "select count(*) from api_secretevent where event_type <> 'R'"
    ((least,),) = subject.sql(kept)
    seen: list[int] = []
    over = threading.Event()

    def read() -> None:
        there = Database(follower.url(subject.url))
        while not over.is_set():
            seen.append(there.sql(kept)[0][0])

    with background(read):
        try:
            result = subject.rewrite()
            with Writers(subject, 1) as writers:
                again = subject.rewrite()
        finally:
            over.set()
    assert (result["unfinished"], again["unfinished"]) == (None, None)
    writers.check()
    assert same_rows(subject, follower)
    assert len(seen) > 10 and min(seen) >= least - 50, (least, min(seen))  # the writer deletes and turns some


def test_a_long_query_on_the_standby(subject: Subject, follower: Standby) -> None:
    """It does not keep the rewrite from its end; the standby waits for it as long as it is set to, then cancels it."""
    kept = subject.kept()
    follower.caught_up()
    reader = psycopg2.connect(follower.url(subject.url))
    reader.set_session(isolation_level="REPEATABLE READ", readonly=True)
    with contextlib.closing(reader), reader.cursor() as cursor:
        cursor.execute("select count(*) from api_secretevent")
        result = subject.rewrite()
        assert result["unfinished"] is None and subject.rows() == kept
        follower.caught_up()
        with pytest.raises(psycopg2.OperationalError):  # of 57P01 or 40001, by where it is met
            cursor.execute("select count(*) from api_secretevent")
    assert same_rows(subject, follower)


def test_a_query_on_the_standby_that_keeps_the_dead_is_named(subject: Subject, follower: Standby) -> None:
    """By hot_standby_feedback: a vacuum cannot remove what is dead, and says for whom."""
    follower.caught_up()
    reader = psycopg2.connect(follower.url(subject.url))
    reader.set_session(isolation_level="REPEATABLE READ", readonly=True)
    with contextlib.closing(reader), reader.cursor() as cursor:
        cursor.execute("select count(*) from django_migrations")
        held = "select count(*) from pg_stat_replication where age(backend_xmin) > 0"
        subject.sql(PURGE)
        eventually(lambda: subject.sql(held) == [(1,)], 20)
        vacuum = Vacuum(subject)
        vacuum("plain")
        assert any("a query on replica" in text and "hot_standby_feedback" in text for text in vacuum.warned), (
            vacuum.warned
        )
    vacuum = Vacuum(subject)

    def cleaned() -> bool:
        vacuum("plain", force=True)
        return not vacuum.warned

    eventually(cleaned, 20)


def test_a_slot_that_nobody_reads_is_told_with_what_it_keeps(instance: LocalInstance, subject: Subject) -> None:
    with instance.server.administrator() as administrator, administrator.cursor() as cursor:
        cursor.execute("select pg_create_physical_replication_slot('forgotten', true)")
        try:
            subject.rewrite("false")
            plan = Instance(subject.url).purge(check=True, all_organisations=True)["plan"]
        finally:
            cursor.execute("select pg_drop_replication_slot('forgotten')")
    (told,) = [item["text"] for item in plan["obstacles"] if item["what"] == "replication_slot"]
    assert "forgotten" in told and "MB of WAL on the disk" in told and " 0 MB" not in told
