# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""phase_vacuum on real bloat, as the tables' owner and no more: what was said against what came of it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import psycopg2
import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.core import database as _database
from ansible_collections.phase.console.plugins.module_utils._operations.core.pooler import set_each_time
from ansible_collections.phase.console.plugins.module_utils._operations.core.settings import each_time
from ansible_collections.phase.console.plugins.module_utils._operations.vacuum.errors import Skipped
from ansible_collections.phase.console.plugins.module_utils._operations.vacuum.run import Runner
from integration.forks import Fork, eventually
from integration.harness import Ansible, Run
from integration.rewriting import ROWS, STATE, Subject
from integration.vacuuming import PURGE, Vacuum, entry
from sandbox.local import LocalInstance

MB = 1 << 20
EVENTS = 20_000
COUNTED = "select relname, n_dead_tup, vacuum_count, analyze_count from pg_stat_user_tables order by 1"
COPY = "insert into api_secretevent (id, {0}) select %s, {0} from api_secretevent where id = %s"
ORPHANS = """
select count(*) from api_secretevent_tags t
where not exists (select from api_secretevent e where e.id = t.secretevent_id)
"""
SIZES = (
    "select c.relname, pg_relation_size(c.oid), pg_relation_filenode(c.oid) from pg_class c "
    "where c.relkind in ('r', 'i') and c.relnamespace = 'public'::regnamespace order by 1"
)
TOTAL = "select pg_total_relation_size('api_secretevent')"
DEAD = "select n_dead_tup from pg_stat_user_tables where relname = 'api_secretevent'"
LEFTOVERS = "select indexrelid::regclass::text from pg_index where not indisvalid order by 1"
HOSTILE = 'we"ird.; drop table api_app --%s {{ 7 }}'


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    """An owner's rights and no more, after a purge by hand."""
    started = module_local_instance("v2.73.2", events=EVENTS, superuser=False)
    for service in ("worker", "backend"):
        started.stop_service(service)
    started.sql(PURGE)
    return started


@pytest.fixture
def purged(instance: LocalInstance) -> Iterator[Fork]:
    database = Fork(instance)
    yield database
    database.drop()


def content(database: Fork) -> list[Any]:
    return database.sql(ROWS.format(where="true"))


# Each mode, on bloat


@pytest.mark.parametrize("mode", ["auto", "rewrite", "full", "compact", "reindex"])
def test_it_gives_back_what_it_said(purged: Fork, mode: str) -> None:
    vacuum = Vacuum(purged)
    rows, state, sizes = content(purged), purged.sql(STATE), purged.sql(SIZES)
    counted = purged.sql(COUNTED)

    checked = vacuum(mode, check=True)
    assert purged.sql(SIZES) == sizes and content(purged) == rows
    assert counted == purged.sql(COUNTED)

    ((before,),) = purged.sql(TOTAL)
    made = vacuum(mode)
    ((after,),) = purged.sql(TOTAL)
    done, said = entry(made), entry(checked)
    assert checked["changed"] and made["changed"] and vacuum.warned == []
    assert [text.split(" --")[0] for text in said["statements"]] == [
        text.split(" --")[0] for text in done["statements"]
    ]
    assert done["before"]["total_bytes"] == before and done["after"]["total_bytes"] == after
    assert done["reclaimed_bytes"] == before - after > MB
    assert done["predicted"]["reclaimed_bytes"] == pytest.approx(before - after, rel=0.1)
    assert said["predicted"]["reclaimed_bytes"] == pytest.approx(before - after, rel=0.1)
    assert done["mode"] == ("rewrite" if mode == "auto" else mode)

    assert content(purged) == rows and purged.sql(STATE) == state
    again = vacuum(mode)
    assert entry(again)["mode"] == "nothing" and entry(again)["statements"] == [], again["reason"]
    if mode != "auto":  # which may still have the table of tags to look after
        assert not again["changed"]


def test_auto_comes_to_rest(purged: Fork) -> None:
    vacuum = Vacuum(purged)
    vacuum()
    assert not vacuum()["changed"]
    assert vacuum()["reason"].startswith("api_secretevent: nothing")


def test_plain_cleans_up_and_cuts_off_the_end(purged: Fork) -> None:
    vacuum = Vacuum(purged)
    vacuum("plain")
    assert not vacuum("plain")["changed"]
    purged.sql("delete from api_secretevent_tags; delete from api_secretevent where ctid >= '(1000,0)'")
    eventually(lambda: purged.sql(DEAD)[0][0] > 1000)
    made = vacuum("plain")
    assert entry(made)["reclaimed_bytes"] == pytest.approx(entry(made)["predicted"]["reclaimed_bytes"], abs=64 * 8192)
    assert entry(made)["reclaimed_bytes"] > 5 * MB and entry(made)["after"]["dead_rows"] == 0
    assert purged.sql(DEAD) == [(0,)] and not vacuum("plain")["changed"]


def test_analyze_when_much_has_changed(purged: Fork) -> None:
    vacuum = Vacuum(purged)
    assert vacuum("analyze")["statements"][0] == "ANALYZE public.api_secretevent"
    assert not vacuum("analyze")["changed"]
    purged.sql("update api_secretevent set comment = 'another'")
    eventually(lambda: purged.sql(DEAD)[0][0] > 1000)
    assert vacuum("analyze")["changed"] and not vacuum("analyze")["changed"]


def test_without_room_auto_compacts(purged: Fork) -> None:
    vacuum = Vacuum(purged)
    made = vacuum(free_space=0)
    assert entry(made)["mode"] == "compact" and entry(made)["reclaimed_bytes"] > 8 * MB
    assert any("stay so" in text for text in vacuum.warned)


# Others at work


def test_compacting_loses_nothing_of_those_who_write(purged: Fork) -> None:
    """Updates of the very rows that move, inserts, deletions and tags, all the while."""
    vacuum = Vacuum(purged)
    last = [row[0] for row in purged.sql("select id from api_secretevent order by ctid desc limit 40")]
    (template,) = purged.sql("select id from api_secretevent order by ctid limit 1")[0]
    (tag,) = purged.sql("select id from api_secrettag limit 1")[0]
    purged.sql("update api_secretevent set version = 0 where id = any(%s)", last)
    columns = purged.sql(
        "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute "
        "where attrelid = 'api_secretevent'::regclass and attnum > 0 and not attisdropped and attname <> 'id'"
    )[0][0]
    over, failures, counted, waits = threading.Event(), [], dict.fromkeys(last, 0), [0.0]
    inserted: list[str] = []

    def write(number: int) -> None:
        try:
            with contextlib.closing(purged.connect()) as connection, connection.cursor() as cursor:
                turn = number
                while not over.is_set():
                    began = time.monotonic()
                    turn += 2
                    one = last[turn % 36]
                    cursor.execute("update api_secretevent set version = version + 1 where id = %s", (one,))
                    counted[one] += cursor.rowcount
                    name = f"made-{number}-{turn}"
                    cursor.execute(COPY.format(columns), (name, template))
                    cursor.execute(
                        "insert into api_secretevent_tags (secretevent_id, secrettag_id) values (%s, %s)", (name, tag)
                    )
                    inserted.append(name)
                    waits[0] = max(waits[0], time.monotonic() - began)
                    time.sleep(0.01)
        except psycopg2.Error as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(inserted) > 4)
        purged.sql("delete from api_secretevent_tags where secretevent_id = any(%s)", last[36:])
        made = vacuum("compact")
        purged.sql("delete from api_secretevent where id = any(%s)", last[36:])
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == [] and waits[0] < 5
    assert entry(made)["reclaimed_bytes"] > 6 * MB, (entry(made), vacuum.warned)
    versions = dict(purged.sql("select id, version from api_secretevent where id = any(%s)", last))
    assert versions == {one: counted[one] for one in last[:36]}
    found = purged.sql("select id from api_secretevent where id like 'made-%%' order by 1", *[])
    assert [row[0] for row in found] == sorted(inserted)
    assert purged.sql(ORPHANS) == [(0,)]


def test_a_snapshot_keeps_the_dead_and_is_named(purged: Fork) -> None:
    vacuum = Vacuum(purged)
    vacuum("plain")
    with purged.snapshot():
        purged.sql("delete from api_secretevent_tags; delete from api_secretevent where ctid >= '(1000,0)'")
        eventually(lambda: purged.sql(DEAD)[0][0] > 1000)
        vacuum("plain")
        assert any("could not go: the test (pid" in text for text in vacuum.warned)
        again = vacuum("plain")
        assert entry(again)["statements"] == [] and "are kept by the test (pid" in entry(again)["reason"]
    assert entry(vacuum("plain"))["after"]["dead_rows"] == 0


def settle_as_pooled(connection: Any, limits: Any) -> None:
    set_each_time(connection, each_time(limits, connection.server_version))


@pytest.mark.parametrize("pooled", [False, True])
def test_full_makes_nobody_queue_for_long(purged: Fork, pooled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader holds the table; others read on, and the message names who held it."""
    if pooled:  # as behind PgBouncer: no setting stays with the session
        monkeypatch.setattr(_database, "settle", settle_as_pooled)
    sizes, longest, over = purged.sql(SIZES), [0.0], threading.Event()

    def read() -> None:
        with contextlib.closing(purged.connect()) as connection, connection.cursor() as cursor:
            while not over.is_set():
                began = time.monotonic()
                cursor.execute("select 1 from api_secretevent limit 1")
                longest[0] = max(longest[0], time.monotonic() - began)
                time.sleep(0.01)

    thread = threading.Thread(target=read)
    with purged.reading("api_secretevent"):
        thread.start()
        refused = Vacuum(purged).refused("full", max_lock_wait="2s")
        over.set()
        thread.join()
    assert refused.kind == "lock_timeout" and "the test" in refused.message, refused.message
    assert longest[0] < 1 and purged.sql(SIZES) == sizes and refused.partial["changed"] is False
    assert purged.lingering() == []


def test_reindexing_gives_up_on_an_old_transaction_and_the_next_run_cleans_up(purged: Fork) -> None:
    vacuum = Vacuum(purged)
    with purged.snapshot():
        refused = vacuum.refused("reindex", max_lock_wait="300ms")
    assert refused.kind == "lock_timeout"
    left = purged.sql(LEFTOVERS)
    assert len(left) == 1 and "_ccnew" in left[0][0]
    made = vacuum()
    assert made["statements"][0] == f"DROP INDEX CONCURRENTLY IF EXISTS public.{left[0][0]}"
    assert entry(made)["mode"] == "rewrite" and purged.sql(LEFTOVERS) == []


def test_one_run_at_a_time(purged: Fork) -> None:
    vacuum = Vacuum(purged)
    with purged.snapshot():
        first = threading.Thread(target=lambda: vacuum("reindex", tables=["api_secretevent"]))
        first.start()
        eventually(purged.building)
        refused = Vacuum(purged).refused("compact")
        assert refused.kind == "lock_held", refused.message
    first.join()
    assert purged.sql(LEFTOVERS) == []


# Cut off


def start(ansible: Ansible, database: Fork, **options: Any) -> Run:
    task = {"phase.console.phase_vacuum": database.options(free_space="50GB", **options)}
    return ansible.popen_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}])


def kill(run: Run, database: Fork) -> None:
    """kill -9 of Ansible and of the far end."""
    far_ends = []
    for process in psutil.Process(run.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if "phase_console" in " ".join(process.cmdline()):
                far_ends.append(process.pid)
    run.kill(everything=True)
    for pid in far_ends:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: database.sessions() == [], 20)


def test_reindexing_killed(ansible: Ansible, purged: Fork) -> None:
    rows, state = content(purged), purged.sql(STATE)
    with purged.snapshot():
        run = start(ansible, purged, mode="reindex")
        run.wait_until(lambda: bool(purged.building()))
        kill(run, purged)
    assert len(purged.sql(LEFTOVERS)) == 1
    vacuum = Vacuum(purged)
    assert vacuum(check=True)["statements"][0].startswith("DROP INDEX CONCURRENTLY")
    assert vacuum("reindex")["changed"] and purged.sql(LEFTOVERS) == []
    assert (content(purged), purged.sql(STATE)) == (rows, state)


def test_compacting_killed(ansible: Ansible, purged: Fork) -> None:
    """Midway, in a transaction that waits for the lock of a row."""
    rows, state = content(purged), purged.sql(STATE)
    (middle,) = purged.sql("select id from api_secretevent where ctid >= '(1500,0)' order by ctid limit 1")[0]
    with contextlib.closing(purged.connect(autocommit=False)) as holder, holder.cursor() as cursor:
        cursor.execute("select from api_secretevent where id = %s for update", (middle,))
        run = start(ansible, purged, mode="compact")
        waits = "select count(*) from pg_stat_activity where application_name = 'phase.console vacuum compact' "
        run.wait_until(lambda: purged.sql(waits + "and wait_event_type = 'Lock'") == [(1,)], poll=0.02)
        kill(run, purged)
    assert (content(purged), purged.sql(STATE)) == (rows, state)
    assert entry(Vacuum(purged)("compact"))["reclaimed_bytes"] > 6 * MB
    assert (content(purged), purged.sql(STATE)) == (rows, state)


def test_a_rewrite_killed_is_put_right_by_any_mode(ansible: Ansible, purged: Fork) -> None:
    rows, state = content(purged), purged.sql(STATE)
    with purged.reading("api_secretevent"):
        run = start(ansible, purged, mode="rewrite")
        run.wait_until(lambda: "rewrite" in str(purged.sql("select nspname from pg_namespace")), poll=0.05)
        kill(run, purged)
    vacuum = Vacuum(purged)
    assert vacuum("analyze", check=True)["recovered"]["name"] == "api_secretevent"
    assert vacuum("plain")["recovered"] and vacuum("plain")["recovered"] is None
    assert (content(purged), purged.sql(STATE)) == (rows, state)


def test_out_of_time_is_gone_on_with(purged: Fork) -> None:
    vacuum, rows = Vacuum(purged), content(purged)
    stopped = vacuum("compact", max_duration="50ms")
    assert stopped["stopped_by"] == "max_duration" and content(purged) == rows
    finished = vacuum("compact")
    assert finished["stopped_by"] is None and entry(finished)["after"]["heap_bytes"] < 5 * MB
    assert content(purged) == rows


# Refused


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"confirm_full": False}, "not_confirmed", "about 1 s"),
        ({"free_space": MB}, "no_space", "it needs"),
        ({"tables": ["api_nosuch"]}, "unknown_table", "'api_nosuch'"),
        ({"tables": [HOSTILE]}, "unknown_table", "drop table"),
        ({"tables": ["public.api_app"]}, "unknown_table", "public.api_app"),
        ({"tables": ["pg_class"]}, "unknown_table", "pg_class"),
        ({"tables": ["a_view"]}, "unknown_table", "a_view is a view,"),
        ({"tables": ["parted"]}, "unknown_table", "parted is partitioned,"),
    ],
)
def test_refused_with_nothing_changed(purged: Fork, options: dict[str, Any], kind: str, said: str) -> None:
    purged.sql("create view a_view as select 1 as one; create table parted (id int) partition by range (id)")
    sizes = purged.sql(SIZES)
    refused = Vacuum(purged).refused("full", **options)
    assert refused.kind == kind and said in refused.message
    assert purged.sql(SIZES) == sizes


def test_a_hostile_name_that_exists_is_only_a_name(purged: Fork) -> None:
    quoted = '"%s"' % HOSTILE.replace('"', '""')
    statements = (
        "create table {0} (id int primary key, text text)",
        "insert into {0} select n, repeat('x', 500) from generate_series(1, 20000) n",
        "delete from {0} where id %% 10 > 0",
    )
    for statement in statements:
        purged.sql(statement.format(quoted).replace("%%", "%"))
    vacuum = Vacuum(purged)
    for mode in ("compact", "reindex", "full", "plain", "analyze"):
        vacuum(mode, tables=[HOSTILE], force=True)
    assert vacuum("full", tables=[HOSTILE])["changed"] is False
    assert purged.sql("select count(*) from api_app") != [(0,)]


def test_a_role_that_does_not_own_the_tables_is_refused(instance: LocalInstance, purged: Fork) -> None:
    with instance.server.administrator(purged.name) as connection, connection.cursor() as cursor:
        cursor.execute("create role stranger login password 'of a stranger'")
        cursor.execute("grant select, update, delete on all tables in schema public to stranger")
    url = purged.url.replace(purged.url.split("//")[1].split("@")[0], "stranger:of%20a%20stranger")
    for mode in ("auto", "plain"):
        refused = Vacuum(purged, database_url=url).refused(mode)
        assert refused.kind == "not_allowed" and "belongs to phase" in refused.message
    stranger = Subject(instance, purged.name)
    stranger.url = url
    runner = Runner(stranger.context(), 1.0)  # as where the owner changes after the plan
    with contextlib.closing(runner), pytest.raises(Skipped):
        runner.run("vacuum api_secretevent", "vacuum", table="public.api_secretevent")
    if purged.sql("show server_version_num") >= [("170000",)]:
        with instance.server.administrator(purged.name) as connection, connection.cursor() as cursor:
            cursor.execute("grant maintain on api_secretevent, api_secretevent_tags to stranger")
        by_stranger = Vacuum(purged, database_url=url)
        assert by_stranger("plain")["changed"]
        assert by_stranger.warned == [
            "This is stranger, and not the application's own role: the tables belong to phase."
        ]
    with instance.server.administrator(purged.name) as connection, connection.cursor() as cursor:
        cursor.execute("drop owned by stranger; drop role stranger")


def test_a_superuser_is_told_that_it_is_not_the_application(instance: LocalInstance, purged: Fork) -> None:
    url = f"postgresql://postgres@/{purged.name}?host={instance.server.home}&port={instance.postgres_port}"
    vacuum = Vacuum(purged, database_url=url)
    assert vacuum("plain")["session"]["user"] == "postgres"
    assert vacuum.warned == ["This is postgres, and not the application's own role: the tables belong to phase."]


# Through Ansible


def test_through_ansible(ansible: Ansible, purged: Fork) -> None:
    tasks = [
        {"phase.console.phase_vacuum": purged.options(mode="reindex", free_space="50GB"), "check_mode": True},
        {"phase.console.phase_vacuum": purged.options(mode="reindex", free_space="50GB")},
        {"phase.console.phase_vacuum": purged.options(mode="reindex", free_space="50GB")},
        {"phase.console.phase_vacuum": purged.options(mode="full", force=True, free_space="50GB")},
    ]
    run = ansible.playbook(
        [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}], diff=True, expect_failure=True
    )
    checked, made, again, refused = run.results("phase_vacuum")
    assert (checked["changed"], made["changed"], again["changed"]) == (True, True, False)
    assert checked["statements"] == made["statements"] and made["session"]["user"] == "phase"
    assert "rows dead" in made["diff"]["before"] and again["diff"]["before"] == again["diff"]["after"] == ""
    line = "phase.console phase_vacuum: [localhost] REINDEX INDEX CONCURRENTLY public.api_secretevent_pkey"
    assert line in run.stdout
    assert refused["error"]["kind"] == "not_confirmed" and refused["tables"][0]["predicted"]["stall_seconds"] >= 0


def test_the_playbook(ansible: Ansible, purged: Fork) -> None:
    variables = {
        "phase_hosts": "localhost",
        "phase_target": purged.options(),
        "phase_log_retention_reclaim_free_space": "50GB",
        "phase_log_retention_reclaim_tables": "api_secretevent",
    }
    sizes = purged.sql(SIZES)
    checked = ansible.playbook("reclaim_space", variables, check=True)
    assert purged.sql(SIZES) == sizes and checked.custom["phase_reclaim_space"]["check"] is True
    made = ansible.playbook("reclaim_space", variables)
    handed_on = made.custom["phase_reclaim_space"]
    assert handed_on["reclaimed_bytes"] == pytest.approx(handed_on["predicted_bytes"], rel=0.1)
    assert "api_secretevent: rewrite, " in made.stdout and "were expected back" in made.stdout


def test_the_oldest_release_as_well(instance: LocalInstance) -> None:
    """Where the table of tags and some indexes are not there yet."""
    with instance.server.administrator() as administrator, administrator.cursor() as cursor:
        cursor.execute("create database oldest owner phase")
    for command in (("migrate", "--verbosity", "0"), ("seed", "--events", "2000")):
        instance.manage(*command, version="v2.37.2", environment={"DATABASE_NAME": "oldest"})
    oldest = Fork.__new__(Fork)
    oldest.instance, oldest.name = instance, "oldest"
    oldest.url = instance.database_url.rpartition("/")[0] + "/oldest"
    rows = content(oldest)
    for mode in ("plain", "compact", "rewrite", "full", "reindex", "analyze"):
        assert Vacuum(oldest)(mode, force=True)["changed"]
    assert content(oldest) == rows
