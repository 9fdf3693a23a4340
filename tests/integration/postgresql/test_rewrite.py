# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The online rewrite on a real server, as an owner without further rights: what it keeps, what it refuses, whom it
waits for, and what is left when it is killed.
"""

# ruff: noqa: S608 - statements of tests, on databases of their own

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.rewrite import rewrite as _rewrite
from integration.forks import Beside, eventually
from integration.purging import Instance
from integration.rewriting import STATE, Subject, Writers, fork, in_background, killed
from sandbox import facts, processes
from sandbox.local import LocalInstance
from sandbox.postgresql import programs

NEXT = ("v2.66.0",) if not os.environ.get("PHASE_REWRITE_KILLS") else facts.LEVELS[:-1]
"""The levels whose next migrations run on what was rewritten."""

KILLS = int(os.environ.get("PHASE_REWRITE_KILLS") or 16)
"""How many times the client is killed; some hundreds find what a few do not."""


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    started = module_local_instance("v2.73.2", events=3000, superuser=False)
    for service in ("backend", "worker"):
        started.stop_service(service)
    return started


@pytest.fixture(scope="module")
def shared(instance: LocalInstance) -> Subject:
    """For tests that leave the events as they were."""
    return fork(instance)


@pytest.fixture
def subject(instance: LocalInstance) -> Subject:
    return fork(instance)


@pytest.fixture(scope="module")
def levels(instance: LocalInstance) -> Callable[[str], Subject]:
    """A database of each release on the one server."""

    def at(version: str) -> Subject:
        name = version.replace(".", "_")
        with instance.server.administrator() as administrator, administrator.cursor() as cursor:
            cursor.execute(f"create database {name} owner phase")
        for command in (("migrate", "--verbosity", "0"), ("seed", "--events", "400")):
            instance.manage(*command, version=version, environment={"DATABASE_NAME": name})
        return Subject(instance, name)

    return at


@contextlib.contextmanager
def unchanged(subject: Subject) -> Iterator[None]:
    """Nothing of the two tables, of the catalog, or of what is running is other than before."""
    before = subject.rows(), subject.catalog()
    yield
    assert (subject.rows(), subject.catalog()) == before
    assert subject.leftovers() is None
    assert not subject.lingering()


# What is kept


def test_keeps_what_the_rule_keeps_and_gives_the_space_back(subject: Subject) -> None:
    kept, catalog = subject.kept(), subject.catalog()
    before = subject.sql("select count(*) from api_secretevent")[0][0]
    size = subject.sql("select pg_total_relation_size('api_secretevent')")[0][0]
    result = subject.rewrite()
    assert subject.rows() == kept
    assert subject.catalog() == catalog
    after = subject.sql("select count(*) from api_secretevent")[0][0]
    assert (result["kept"], result["deleted"]) == (after, before - after)
    assert result["orphans"] > 0
    assert result["unfinished"] is None
    assert subject.sql("select pg_total_relation_size('api_secretevent')")[0][0] < size / 2
    assert subject.leftovers() is None
    assert not subject.lingering()


def test_carries_over_what_somebody_added(subject: Subject) -> None:
    subject.administrator("drop role if exists reader", "create role reader", "create schema elsewhere")
    for statement in (
        "grant select, insert on api_secretevent to reader with grant option",
        "alter default privileges grant all on tables to reader",
        "comment on table api_secretevent is 'It''s the log \\ $$ %s'",
        "comment on column api_secretevent.path is 'where'",
        "comment on index secret_logs_env_idx is 'by environment'",
        "comment on constraint api_secretevent_pkey on api_secretevent is 'key'",
        "comment on constraint api_secretevent_secret_id_738a0205_fk_api_secret_id on api_secretevent is 'secret'",
        "alter table api_secretevent alter path set statistics 7, alter key set (n_distinct = 5)",
        "alter table api_secretevent alter value set storage external",
        "alter table api_secretevent set (fillfactor = 90, toast.autovacuum_enabled = false)",
        'alter table api_secretevent add constraint "Odd check" check (version >= 0)',
        "alter table api_secretevent add constraint pair unique (id, version) deferrable initially deferred",
        "alter table api_secretevent add column note text not null default 'a%b' || 'c'",
        "alter table api_secretevent add column twice integer generated always as (version * 2) stored",
        "alter table api_secretevent add column gone text",
        "alter table api_secretevent drop column gone",
        'create index "A "" name" on api_secretevent (lower(path) desc nulls last) include (key) where version > 1',
        "create index with_words on api_secretevent using hash (path)",
        "alter table api_secretevent cluster on secret_logs_env_idx",
    ):
        subject.sql(statement)
    kept, catalog = subject.kept(), subject.catalog()
    for fragment in (
        "Odd check",
        "SET STATISTICS 7",
        "WITH GRANT OPTION",
        "fillfactor",
        "INITIALLY DEFERRED",
        "CLUSTER",
    ):
        assert any(fragment in str(row[2]) for row in catalog)
    subject.rewrite()
    assert subject.rows() == kept
    assert subject.catalog() == catalog
    options = "select attoptions from pg_attribute where attrelid = 'api_secretevent'::regclass and attname = 'key'"
    assert subject.sql(options) == [(["n_distinct=5"],)]


# PostgreSQL 15.20 and 17.12 keep the first of them on every column.
OF_THE_SERVER = """
set allow_system_table_mods = on;
update pg_attribute set attoptions = coalesce(attoptions, '{}') || array['pg_attver=' || attnum, 'pg_later=x']
where attrelid = 'api_secretevent'::regclass and attnum > 0 and not attisdropped;
update pg_class set reloptions = '{pg_later=1}' where oid = 'api_secretevent'::regclass
"""


def test_what_the_server_keeps_in_the_catalog_for_itself(subject: Subject) -> None:
    subject.sql("alter table api_secretevent alter key set (n_distinct = 5)")
    subject.administrator(OF_THE_SERVER)
    kept = subject.kept()
    assert subject.plan()["refused"] == []
    subject.rewrite()
    assert subject.rows() == kept
    options = "select attoptions from pg_attribute where attrelid = 'api_secretevent'::regclass and attname = 'key'"
    assert "n_distinct=5" in subject.sql(options)[0][0]


def test_writers_go_on(subject: Subject) -> None:
    """Twice with all that a writer can do, and with readers who would see a swap that came too early."""
    with Writers(subject) as writers, Snapshots(subject) as snapshots:
        catalog = subject.sql(STATE)
        for goes in ("", None, ""):
            begun = writers.done
            subject.rewrite(goes)
            eventually(lambda begun=begun: writers.done > begun + 20, 60)
    assert subject.sql(STATE) == catalog
    writers.check()
    assert snapshots.wrong == []
    assert snapshots.looks > 20
    assert writers.longest < 5.0, "a writer waited"  # the lock is held for 0.15 s; a busy machine adds to that


class Snapshots(Beside):
    """A reader whose snapshot is some time older than its look at the events."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self._subject = subject
        self.looks, self.wrong = 0, []

    def _run(self) -> None:
        chance = random.Random(5)
        pair = "select (select count(*) from api_secretevent where event_type <> 'R'), "
        pair += "(select count(*) from mirror where event_type <> 'R')"
        with contextlib.closing(self._subject.connect(autocommit=False)) as connection:
            connection.set_session(isolation_level="REPEATABLE READ")
            while not self._over.is_set():
                with connection.cursor() as cursor:
                    cursor.execute("select")
                    time.sleep(chance.random() * 0.03)
                    cursor.execute(pair)
                    events, mirror = cursor.fetchone()
                connection.rollback()
                self.looks += 1
                if events != mirror:
                    self.wrong.append((events, mirror))


@pytest.mark.parametrize("version", facts.LEVELS)
def test_every_schema_level_and_its_next_migrations(
    levels: Callable[[str], Subject], instance: LocalInstance, version: str
) -> None:
    subject = levels(version)
    kept, catalog = subject.kept(), subject.catalog()
    subject.rewrite()
    assert subject.rows() == kept
    assert subject.catalog() == catalog
    if version not in NEXT:
        return
    instance.manage("migrate", "--verbosity", "0", version=facts.NEWEST, environment={"DATABASE_NAME": subject.name})
    wanted = {line for line in fork(instance).dump() if line.strip().startswith(("ADD CONSTRAINT", "CREATE "))}
    found = {line for line in subject.dump() if line.strip().startswith(("ADD CONSTRAINT", "CREATE "))}
    assert found == wanted
    assert subject.sql("select count(*) from api_secretevent")[0][0] > 0


# What is refused

SYSTEM_TABLES = "set allow_system_table_mods = on;"
M = "where relname = 'm'"
PATH = "attrelid = 'api_secretevent'::regclass and attname = 'path'"

REFUSED = {
    "a view": ("create view v as select id from api_secretevent", "drop view v", "view public.v depends"),
    "a materialized view": (
        "create materialized view v as select count(*) from api_secretevent",
        "drop materialized view v",
        "view public.v depends",
    ),
    "row security": (
        "alter table api_secretevent enable row level security",
        "alter table api_secretevent disable row level security",
        "row security",
    ),
    "a policy": (
        "create policy p on api_secretevent using (true)",
        "drop policy p on api_secretevent",
        "policy p on table public.api_secretevent depends",
    ),
    "a rule": (
        "create rule r as on delete to api_secretevent do also select 1",
        "drop rule r on api_secretevent",
        "rule r",
    ),
    "a function over its rows": (
        "create function f(e api_secretevent) returns text language sql as 'select e.id'",
        "drop function f(api_secretevent)",
        "function public.f(public.api_secretevent) depends",
    ),
    "a function with a parsed body": (
        "create function f() returns bigint begin atomic select count(*) from api_secretevent; end",
        "drop function f()",
        "function public.f() depends",
    ),
    "a trigger": (
        "create trigger t after delete on api_secretevent execute function suppress_redundant_updates_trigger()",
        "drop trigger t on api_secretevent",
        "trigger t on table public.api_secretevent depends",
    ),
    "another table that refers to it": (
        "create table more (event text references api_secretevent)",
        "drop table more",
        "more.event refers to it",
    ),
    "extended statistics": (
        "create statistics s on event_type, environment_id from api_secretevent",
        "drop statistics s",
        "statistics object public.s depends",
    ),
    "a column's privileges": (
        "grant select (id) on api_secretevent to public",
        "revoke select (id) on api_secretevent from public",
        "column id has privileges",
    ),
    "an unknown option of a column": (
        f"{SYSTEM_TABLES} update pg_attribute set attoptions = '{{later=1}}' where {PATH}",
        f"{SYSTEM_TABLES} update pg_attribute set attoptions = null where {PATH}",
        "column path has the option later, which is not known",
    ),
    "an unknown storage parameter": (
        f"{SYSTEM_TABLES} update pg_class set reloptions = '{{later=1}}' where oid = 'api_secretevent'::regclass",
        f"{SYSTEM_TABLES} update pg_class set reloptions = null where oid = 'api_secretevent'::regclass",
        "storage parameter later, which is not known",
    ),
    "a relation of an unknown kind that depends on it": (
        f"create view m as select 1 as n from api_secretevent; {SYSTEM_TABLES} update pg_class set relkind = 'Z' {M}",
        f"{SYSTEM_TABLES} update pg_class set relkind = 'v' {M}; drop view m",
        "m depends on it",
    ),
    "a replica identity": (
        "alter table api_secretevent replica identity full",
        "alter table api_secretevent replica identity default",
        "replica identity",
    ),
    "an heir": (
        "create table heir () inherits (api_secretevent)",
        "drop table heir; analyze api_secretevent",
        "no plain table",
    ),
    "a constraint that was never validated": (
        "alter table api_secretevent add constraint c check (version > -9) not valid",
        "alter table api_secretevent drop constraint c",
        "the constraint c was never validated",
    ),
    "an exclusion constraint": (
        "alter table api_secretevent add constraint c exclude using hash (id with =)",
        "alter table api_secretevent drop constraint c",
        "the constraint c is of a kind",
    ),
    "a publication": (
        "create publication p for table api_secretevent",
        "drop publication p",
        "publication p depends",
    ),
    "a publication of all tables": ("create publication p for all tables", "drop publication p", "publication p pub"),
    "a publication of the schema": (
        "create publication p for tables in schema public",
        "drop publication p",
        "publication p publishes",
    ),
    "no right to make a schema": (
        "alter database {name} owner to postgres; grant usage, create on schema public to phase",
        "alter database {name} owner to phase",
        "grant create on database",
    ),
    "another owner": (
        "alter table api_secretevent owner to postgres; grant all on api_secretevent to phase",
        "revoke all on api_secretevent from phase; alter table api_secretevent owner to phase",
        "belongs to postgres",
    ),
    "an owner without a privilege": (
        "revoke truncate on api_secretevent from phase",
        "grant truncate on api_secretevent to phase",
        "the role phase has not the privilege truncate",
    ),
    "a schema of that name": (
        "create schema phase_console_replaced",
        "drop schema phase_console_replaced",
        "schema phase_console_replaced is there",
    ),
    "a row type in another table": (
        "create table more (event api_secretevent)",
        "drop table more",
        "table public.more depends",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_what_a_copy_would_lose(shared: Subject, case: str) -> None:
    make, unmake, words = (text.replace("{name}", shared.name) for text in REFUSED[case])
    if "tables in schema" in make and shared.sql("show server_version_num") < [("150000",)]:
        pytest.skip("PostgreSQL before version 15 has no publications of a schema")
    shared.administrator(make)
    before = shared.rows(), shared.sql(STATE)
    try:
        assert any(words in reason for reason in shared.plan()["refused"]), shared.plan()["refused"]
        with pytest.raises(PhaseError) as failure:
            shared.rewrite()
        assert words in failure.value.message
        assert failure.value.kind == "rewrite_refused"
        assert (shared.rows(), shared.sql(STATE)) == before
        assert not shared.lingering()
    finally:
        shared.administrator(unmake)
    assert shared.plan()["refused"] == []


# What is waited for


def test_an_older_snapshot_is_waited_for_and_named(subject: Subject) -> None:
    """Its transaction, which has not touched the events yet, would find the new table empty."""
    kept = subject.kept()
    every = subject.sql("select count(*) from api_secretevent")
    with subject.snapshot() as older:
        with unchanged(subject), pytest.raises(PhaseError) as failure:
            subject.rewrite(wait=1)
        assert failure.value.kind == "rewrite_blocked"
        assert "the test (pid" in failure.value.message
        assert "a snapshot" in failure.value.message
        assert "the test" in subject.plan()["waits_for"]
        with in_background(subject.rewrite) as outcome:
            eventually(lambda: any("swap waits" in line for line in subject.told), 10)
            with older.cursor() as cursor:
                cursor.execute("select count(*) from api_secretevent")
                assert cursor.fetchall() == every
            older.rollback()
    assert outcome[0]["unfinished"] is None
    assert subject.rows() == kept


def test_a_reader_keeps_its_lock_and_writers_go_on(subject: Subject) -> None:
    with Writers(subject, 1) as writers:
        with (
            subject.reading("api_secretevent"),
            mock.patch.object(_rewrite, "SHORT_PATIENCE", 0.5),
            in_background(lambda: subject.rewrite(wait=1.5)) as outcome,
        ):
            pass
        assert isinstance(outcome[0], PhaseError), outcome
        assert "the test" in outcome[0].message
        longest = writers.longest
    assert longest < 1.0
    writers.check()
    # Dropping the trigger had to wait for the reader as well; it does nothing any more.
    enabled = "select tgenabled from pg_trigger where tgname = 'phase_console_changed'"
    assert subject.sql(enabled) == [("D",)]
    assert subject.rewrite()["recovered"]["swapped"] is False
    assert subject.sql(enabled) == []


def test_a_dump_that_runs_gets_everything(subject: Subject) -> None:
    """pg_dump, held up by a reader that does not read."""
    command = [programs() / "pg_dump", "--data-only", "--table=api_secretevent", subject.url]
    every = subject.sql("select count(*) from api_secretevent")[0][0]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dump:
        query = "select 1 from pg_stat_activity where application_name = 'pg_dump' and query like 'COPY %'"
        eventually(lambda: subject.sql(query), 20)
        with in_background(subject.rewrite) as outcome:
            eventually(lambda: any("pg_dump" in line for line in subject.told), 20)
            lines = dump.communicate()[0].splitlines()
    assert dump.returncode == 0
    begin = next(number for number, line in enumerate(lines) if line.startswith("COPY "))
    assert lines.index("\\.") - begin - 1 == every
    assert outcome[0]["unfinished"] is None


def test_gives_way_to_whoever_alters_the_table(subject: Subject) -> None:
    """An ALTER TABLE that waits for the rewrite has the application's statements queued behind it."""
    with contextlib.closing(subject.connect()) as other, other.cursor() as cursor:

        def alter() -> None:
            cursor.execute("alter table api_secretevent add column extra text")

        begun = threading.Event()

        def gate() -> None:
            if not begun.is_set() and subject.sql("select 1 from pg_locks where mode = 'ShareUpdateExclusiveLock'"):
                begun.set()
            if begun.is_set():
                time.sleep(0.3)

        with in_background(lambda: subject.rewrite(gate=gate)) as outcome:
            assert begun.wait(30)
            alter()
    assert outcome[0].kind == "rewrite_blocked", outcome
    assert subject.leftovers() is None
    assert subject.rewrite()["unfinished"] is None
    assert subject.sql("select count(extra) from api_secretevent") == [(0,)]


def test_gives_way_during_a_pause(subject: Subject) -> None:
    """Whatever the pause is for: the transaction that waits for the table must not wait for its end."""
    looks: list[Callable[[], None]] = []
    paused = threading.Event()

    def gate() -> None:
        while looks:
            paused.set()
            time.sleep(0.05)
            for look in looks[-1:]:
                look()

    with in_background(lambda: subject.rewrite(gate=gate, watched=looks.append)) as outcome:
        try:
            assert paused.wait(30)
            subject.sql("set lock_timeout = '20s'; alter table api_secretevent add column extra text")
        finally:
            looks.clear()
    assert outcome[0].kind == "rewrite_blocked", outcome
    assert "waits for ACCESS EXCLUSIVE" in outcome[0].message
    assert subject.leftovers() is None


@pytest.mark.parametrize("how", ["gate", "over", "cancelled"])
def test_a_stop_before_the_swap_leaves_nothing(shared: Subject, how: str) -> None:
    """At each place where the rewrite looks whether it may go on."""
    for place in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89):
        looks = itertools.count(1)
        reached = threading.Event()

        def stop(place: int = place, looks: Any = looks, reached: threading.Event = reached) -> bool:
            if next(looks) >= place:
                reached.set()
            return reached.is_set()

        options: dict[str, Any] = {
            "gate": {"gate": lambda stop=stop: "max_duration" if stop() else None},
            "over": {"over": stop},
            "cancelled": {"context": shared.context(cancelled=stop)},
        }[how]
        rows = shared.rows()
        state = shared.sql(STATE)
        try:
            # All rows are kept, so that the next turn finds them.
            shared.rewrite("false", **options)
        except PhaseError as error:
            assert error.kind == ("cancelled" if how == "cancelled" else "rewrite_stopped"), error
        assert (shared.rows(), shared.sql(STATE)) == (rows, state)
        assert shared.leftovers() is None
        if not reached.is_set():
            break
    assert place > 3


# What is left when it dies


def restore(subject: Subject) -> None:
    """Put back what was purged."""
    subject.sql("insert into api_secretevent select * from stash on conflict do nothing")
    subject.sql(
        "insert into api_secretevent_tags overriding system value select * from stash_tags on conflict do nothing"
    )


@pytest.fixture
def mortal(instance: LocalInstance) -> Subject:
    subject = fork(instance)
    subject.sql("delete from api_secretevent_tags where md5(secretevent_id) > '5'")
    subject.sql("delete from api_secretevent where md5(id) > '5'")
    subject.sql("create table stash as table api_secretevent")
    subject.sql("create table stash_tags as table api_secretevent_tags")
    return subject


def check_after_death(subject: Subject, every: dict[str, str], kept: dict[str, str], state: Any) -> str:
    """Recovery ends in one of the two states that are right; a second one finds nothing to do."""
    left = subject.leftovers()
    recovered = subject.recover()
    assert (recovered is None) <= (left is None)
    assert subject.recover() is None
    assert subject.leftovers() is None
    rows = subject.rows()
    assert rows in (every, kept)
    assert subject.sql("select count(*) from api_secretevent_tags") == [(sum(key.startswith("tag ") for key in rows),)]
    assert subject.sql(STATE) == state
    if recovered is not None:
        assert rows == (kept if recovered["swapped"] else every)
    eventually(lambda: not subject.sessions(), 10, 0.02)
    return "nothing" if recovered is None else "forward" if recovered["swapped"] else "back"


def test_killed_at_any_statement(mortal: Subject) -> None:
    """Before a statement, and some time into it; in CI at some places, with more kills at all of them."""
    every, kept, state = mortal.rows(), mortal.kept(), mortal.sql(STATE)
    last = next(number for number in itertools.count(40, 10) if not killed(mortal, number) or restore(mortal))
    assert mortal.rows() == kept
    restore(mortal)
    chance = random.Random(os.environ.get("PHASE_REWRITE_SEED") or 1)
    seen: dict[str, int] = {}
    places = [1 + number * last // KILLS for number in range(KILLS)] if last > KILLS else range(1, last)
    for number, place in enumerate(itertools.islice(itertools.cycle(places), KILLS)):
        delay = None if number % 2 == 0 else chance.choice((0.0, 0.001, 0.004, 0.02))
        killed(mortal, place if number < last else chance.randint(1, last), delay)
        outcome = check_after_death(mortal, every, kept, state)
        seen[outcome] = seen.get(outcome, 0) + 1
        restore(mortal)
    print(seen)
    assert {"back", "forward"} <= set(seen)


def test_the_next_run_recovers_by_itself(mortal: Subject) -> None:
    kept = mortal.kept()
    place = next(number for number in itertools.count(30) if killed(mortal, number) and mortal.leftovers())
    assert place
    result = mortal.rewrite()
    assert result["recovered"]["swapped"] is False
    assert mortal.rows() == kept
    assert mortal.leftovers() is None


@pytest.mark.parametrize("strategy", ["delete", "rewrite"])
def test_the_next_purge_recovers_first(mortal: Subject, strategy: str) -> None:
    """By the module, whatever it is asked to do; check mode only tells it."""
    purges = Instance(mortal.url)
    assert killed(mortal, 0, message="is in place") and mortal.leftovers()["swapped"]
    checked = purges.purge(check=True, strategy=strategy, all_organisations=True, retain_days=30)
    assert checked["changed"] and checked["plan"]["recovery"]["swapped"] and mortal.leftovers()
    done = purges.purge(strategy=strategy, all_organisations=True, retain_days=30)
    assert done["changed"] and done["recovered"]["swapped"] and not mortal.leftovers()
    again = purges.purge(strategy=strategy, all_organisations=True, retain_days=30)
    assert (again["changed"], again.get("recovered")) == (False, None)


def test_the_server_crashes(mortal: Subject, instance: LocalInstance) -> None:
    """Immediate shutdown, as by kill -9 of all its processes: the log of changes is empty afterwards."""
    every, kept, state = mortal.rows(), mortal.kept(), mortal.sql(STATE)
    seen = set()
    for message in ("Copying", "Building", "is in place"):
        crashed = threading.Event()

        def report(text: str, message: str = message, crashed: threading.Event = crashed, **counters: Any) -> None:
            if message in text and not crashed.is_set():
                crashed.set()
                process = processes.find(instance.server.note)
                assert process is not None
                process.send_signal(signal.SIGQUIT)
                processes.gone(instance.server.note, 10)

        with pytest.raises(Exception):  # noqa: B017 - whichever statement met it
            mortal.rewrite(context=mortal.context(report=report))
        assert crashed.is_set()
        instance.server.start()
        seen.add(check_after_death(mortal, every, kept, state))
        restore(mortal)
    assert seen == {"back", "forward"}


def test_only_one_rewrite_at_a_time(shared: Subject) -> None:
    started, go_on = threading.Event(), threading.Event()

    def gate() -> None:
        started.set()
        go_on.wait(10)

    with in_background(lambda: shared.rewrite("false", gate=gate)) as outcome:
        assert started.wait(10)
        for work in (shared.rewrite, shared.recover):
            with pytest.raises(PhaseError) as failure:
                work()
            assert "Another rewrite" in failure.value.message
        go_on.set()
    assert outcome[0]["deleted"] == 0
