# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The other logs of phase_purge_logs: what goes of each and what stays, on a real server at five releases."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
import yaml
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    throttle as _purge_throttle,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    walk as _purge_walk,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integration.forks import eventually
from integration.harness import Ansible, target
from integration.purging import Event, Instance
from integration.retaining import CREDENTIALS, ENDED, LEASES, TABLES, Row, World
from psycopg2 import sql
from sandbox import facts
from sandbox.local import LocalInstance
from tools.pages import blocks, guide

LEVELS = facts.LEVELS
NEWEST = LEVELS[-1]
KNOWS_APPS = ("sync_events", "lease_events", "rotation_events")
PLACES = 7


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    """An owner's rights and no more."""
    return module_local_instance(NEWEST, events=0, superuser=False)


@pytest.fixture(scope="module")
def worlds(instance: LocalInstance) -> Callable[[str], World]:
    """A database of each release on one server, made when first asked for."""
    made: dict[str, World] = {NEWEST: World(Instance(instance.database_url))}

    def at(version: str) -> World:
        if version not in made:
            name = version.replace(".", "_")
            with instance.server.administrator() as administrator, administrator.cursor() as cursor:
                cursor.execute(f"create database {name} owner phase")
            for command in (("migrate", "--verbosity", "0"), ("seed", "--events", "0")):
                instance.manage(*command, version=version, environment={"DATABASE_NAME": name})
            made[version] = World(Instance(instance.database_url.rpartition("/")[0] + "/" + name))
        return made[version]

    return at


@pytest.fixture(params=[LEVELS[0], LEVELS[2], NEWEST])
def level(request: pytest.FixtureRequest, worlds: Callable[[str], World]) -> World:
    """The oldest, the first with leases, and the newest, which has all."""
    return worlds(request.param)


@pytest.fixture
def newest(worlds: Callable[[str], World]) -> World:
    return worlds(NEWEST)


def every(database: Instance) -> list[Any]:
    """All tables, to the byte."""
    names = [row[0] for row in database.sql("select tablename from pg_tables where schemaname = 'public' order by 1")]
    digest = sql.SQL("select {}, md5(coalesce(string_agg(t::text, ',' order by t::text), '')) from {} t")
    queries = [digest.format(sql.Literal(name), sql.Identifier(name)) for name in names]
    return database.sql(sql.SQL(" union all ").join(queries))


DAYS = st.sampled_from([None, 0.0, 6.9, 7.1, 29.9, 30.1, 5000.0])
PLACE = st.integers(0, PLACES - 1)


def row(log: str, **more: Any) -> st.SearchStrategy[Row]:
    return st.builds(
        Row, log=st.just(log), place=PLACE, days=more.pop("days", DAYS.filter(lambda days: days is not None)), **more
    )


ROWS = st.lists(
    st.one_of(
        row("audit_events"),
        row("scim_events"),
        row("sync_events", days=DAYS, kind=st.sampled_from([*ENDED, "queued", "in_progress"])),
        row("lease_events", kind=st.sampled_from(LEASES)),
        row(
            "rotation_events",
            kind=st.sampled_from([None, *CREDENTIALS]),
            event=st.sampled_from(["config_created", "orphaned_credential", "rotated", "revoke_failed"]),
            dead=st.booleans(),
        ),
        row(
            "delivery_events",
            days=DAYS,
            kind=st.sampled_from(["completed", "failed", "skipped"]),
            resolved=st.booleans(),
            dead=st.booleans(),
            source=st.sampled_from(["secrets", "org_audit", ""]),
            retries=st.none() | st.integers(0, 30),
        ),
        row("sessions"),
    ),
    max_size=60,
)
SCOPES = st.sampled_from(
    [("SpaceX", None), ("Contoso", None), ("Initech", None), (None, 0), (None, None), (None, None)]
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(rows=ROWS, scope=SCOPES, retain=st.lists(st.sampled_from([None, 0, 7, 30]), min_size=7, max_size=7))
def test_the_rule_and_nothing_but_the_rule(
    level: World, rows: list[Row], scope: tuple[Any, Any], retain: list[int | None]
) -> None:
    """Whatever is in the tables: a check tells what goes and changes nothing, the run deletes that, and no more."""
    organisation, place = scope
    database = level.database
    app = database.environments[place][1] if place is not None else None
    rows = level.make(rows)
    asked = {name: days for name, days in zip(TABLES, retain, strict=True) if days is not None and name in level.logs}
    if app:
        asked = {name: days for name, days in asked.items() if name in KNOWS_APPS}
    if organisation:
        asked.pop("sessions", None)
    asked = asked or {"sync_events": 7}
    options = {"read_events": False, "other_logs": asked, "organisation": organisation, "app_id": app}
    options["all_organisations"] = not (organisation or app)
    goes = {one.id for one in rows if one.log in asked and level.goes(one, rows, asked[one.log], organisation, app)}
    wanted = {name: sum(one.log == name and one.id in goes for one in rows) for name in asked}
    before = every(database)

    checked = database.purge(check=True, diff=True, **options)
    assert {name: one["eligible"] for name, one in checked["logs"].items()} == wanted
    assert checked["changed"] == bool(goes) == bool(checked["diff"]["before"])
    assert every(database) == before and database.warned == []
    for name, one in checked["logs"].items():
        old = [row for row in rows if row.log == name and row.days is not None and row.days >= asked[name]]
        assert one["held_back"] <= len(old) - wanted[name] and (one["held_back"] == 0) == (one["kept"] == [])

    with mock.patch.multiple(_purge_walk, SMALLEST=1, LARGEST=1):
        done = database.purge(**options)
    assert level.ids() == {one.id for one in rows} - goes
    told = {name: (one["deleted"], one["remaining"], one["stopped_by"]) for name, one in done["logs"].items()}
    assert told == {name: (count, 0, None) for name, count in wanted.items()}
    assert done["changed"] == bool(goes) and done["deleted"] == done["eligible"] == len(goes)
    if "delivery_events" in level.logs:
        origins = {one.id: rows[one.retries].id for one in rows if one.retries is not None and one.retries < len(rows)}
        for key, origin in database.sql("select id, retried_from_id from api_logstreamdeliveryevent"):
            other = next((one for one in rows if one.id == origins.get(key)), None)
            there = other is not None and other.log == "delivery_events" and other.id not in goes
            assert origin == (origins[key] if there else None)
    assert database.purge(**options)["changed"] is False


def test_an_older_release_has_fewer(worlds: Callable[[str], World]) -> None:
    """A table that came later is told, and the others are purged; one that should be there is an error."""
    old = worlds(LEVELS[0])
    old.make([Row("sync_events", kind="failed", days=days) for days in (10, 100)])
    done = old.database.purge(all_organisations=True, other_logs={"audit_events": 30, "sync_events": 30})
    (warning,) = old.database.warned
    assert "other_logs.audit_events has nothing to do: " in warning and "it came with v2.69.0" in warning
    assert (done["logs"]["audit_events"]["deleted"], done["logs"]["sync_events"]["deleted"]) == (0, 1)
    new = worlds(NEWEST).database
    new.sql("alter table api_scimevent rename to elsewhere")
    try:
        assert "no table api_scimevent" in new.refused("unknown_layout", other_logs={"scim_events": 1}).message
    finally:
        new.sql("alter table elsewhere rename to api_scimevent")


@pytest.mark.parametrize(
    ("log", "change", "back"),
    [
        ("audit_events", "create table part () inherits (api_auditevent)", "drop table part"),
        ("scim_events", "create table t (e text references api_scimevent)", "drop table t"),
        ("delivery_events", "create table t (e text references api_logstreamdeliveryevent)", "drop table t"),
        (
            "rotation_events",
            "alter table api_rotatingsecretcredential rename status to state",
            "alter table api_rotatingsecretcredential rename state to status",
        ),
        (
            "lease_events",
            "create rule keep as on delete to api_dynamicsecretleaseevent do instead nothing",
            "drop rule keep on api_dynamicsecretleaseevent",
        ),
    ],
)
def test_an_unknown_layout_is_refused_before_anything_goes(newest: World, log: str, change: str, back: str) -> None:
    rows = newest.make([Row("sync_events", kind="failed", days=days) for days in (10, 100)])
    newest.database.make([Event()])
    newest.database.sql(change)
    try:
        newest.database.refused("unknown_layout", other_logs={"sync_events": 1, log: 1})
        assert newest.ids() == {row.id for row in rows}
    finally:
        newest.database.sql(back)


def test_days_and_scopes_that_cannot_be_meant(newest: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A floor counts for every log but for sessions; no log is purged by what its rows do not know."""
    newest.make([Row(log, kind="completed") for log in ("audit_events", "delivery_events", "sessions")])
    refused, app = newest.database.refused, newest.database.environments[0][1]
    everything = {"all_organisations": True, "minimum_retain_days": 90, "retain_days": 90}
    error = refused("retain_too_short", **everything, other_logs={"audit_events": 89, "scim_events": 90})
    assert "audit_events would keep 89 days, and at least 90 days" in error.message
    monkeypatch.setenv("PHASE_CONSOLE_MINIMUM_RETAIN_DAYS", "365")
    refused("retain_too_short", read_events=False, all_organisations=True, other_logs={"delivery_events": 364})
    done = newest.database.purge(read_events=False, all_organisations=True, other_logs={"sessions": 1})
    assert done["logs"]["sessions"]["deleted"] == 1 and len(newest.ids()) == 2
    monkeypatch.delenv("PHASE_CONSOLE_MINIMUM_RETAIN_DAYS")
    assert "no app" in refused("bad_option", app_id=app, other_logs={"audit_events": 1, "sync_events": 1}).message
    assert "no organisation" in refused("bad_option", other_logs={"sessions": 1}).message
    for days in (-1, 40000):
        refused("bad_option", other_logs={"audit_events": days})
    refused("bad_option", read_events=False)


def test_a_role_that_may_not(newest: World, instance: LocalInstance) -> None:
    with instance.server.administrator("phase") as administrator, administrator.cursor() as cursor:
        cursor.execute(
            "create role reader login password 'read'; grant select on all tables in schema public to reader"
        )
        cursor.execute("grant delete on api_secretevent, api_secretevent_tags, api_logstreamdeliveryevent to reader")
        try:
            rows = newest.make([Row("delivery_events", kind="completed")])
            reader = Instance(f"postgresql://reader:read@{newest.database.url.partition('@')[2]}")
            for log in ("audit_events", "delivery_events"):
                assert "may not" in reader.refused("not_allowed", other_logs={log: 1}).message
            assert newest.ids() == {row.id for row in rows}
        finally:
            cursor.execute("drop owned by reader; drop role reader")


STREAM = (
    "insert into api_logstream (id, name, provider, sources, options, max_attempts, is_active, health, paused_reason, "
    "cursors, last_failure_reason, created_at, updated_at, organisation_id) select 's', 'datadog', 'datadog', "
    "%s, '{}', 5, true, 'healthy', '', jsonb_build_object(%s, jsonb_build_object('ts', now() - "
    "interval '150 days', 'id', '')), '', now(), now(), id from api_organisation where name = 'SpaceX'"
)
FAILED = (
    "insert into api_logstreamdeliveryevent (id, source, status, event_count, payload_bytes, attempts, cursor_from, "
    "cursor_to, created_at, stream_id, cursor_from_id, cursor_to_id) values ('0', %s, 'failed', 1, 1, 5, "
    "now() - interval '201 days', now() - interval '199 days', now(), 's', '', '')"
)


def test_no_audit_event_goes_that_a_stream_has_not_delivered(newest: World) -> None:
    """The cursor of its own source counts, and so does a failed delivery of that source; other streams do not."""
    database = newest.database
    contoso = next(n for n, row in enumerate(database.environments) if row[3] == "Contoso")
    spacex = next(n for n, row in enumerate(database.environments) if row[3] == "SpaceX")
    ages = (300.0, 200.0, 100.0, 50.0)
    rows = newest.make([Row("audit_events", days=days, place=place) for days in ages for place in (spacex, contoso)])
    options = {"read_events": False, "all_organisations": True, "other_logs": {"audit_events": 90}}
    options["log_streams"] = "respect_all"
    database.sql(STREAM, '["secrets"]', "secrets")
    assert database.purge(check=True, **options)["logs"]["audit_events"]["eligible"] == 6
    database.sql("delete from api_logstream")
    database.sql(STREAM, '["secrets", "org_audit"]', "org_audit")
    database.sql(FAILED, "org_audit")
    checked = database.purge(check=True, **options)["logs"]["audit_events"]
    assert (checked["eligible"], checked["held_back"]) == (4, 2)
    assert [one["rows"] for one in checked["kept"]] == [1, 1]
    assert all("log stream datadog has not delivered them" in one["why"] for one in checked["kept"])
    assert database.purge(**options)["logs"]["audit_events"]["deleted"] == 4
    left = {row.id for row in rows if row.days == 50 or (row.place == spacex and row.days in (100, 200))}
    assert newest.ids() - {"0"} == left
    database.sql("update api_logstream set sources = '[\"secrets\"]'")  # what failed counts all the same
    assert [one["rows"] for one in database.purge(check=True, **options)["logs"]["audit_events"]["kept"]] == [1]
    database.sql('update api_logstream set sources = \'["secrets", "org_audit"]\'')
    assert database.purge(**options)["changed"] is False
    options["log_streams"] = "respect_deliverable"  # which events of these ages are no longer
    checked = database.purge(check=True, **options)["logs"]["audit_events"]
    assert (checked["eligible"], checked["held_back"]) == (2, 0)
    assert sum(one["rows"] for one in checked["undelivered"]) == 2
    options["log_streams"] = "ignore"
    assert database.purge(check=True, **options)["logs"]["audit_events"] == {**checked, "cutoff": mock.ANY}
    assert database.purge(**options)["logs"]["audit_events"]["deleted"] == 2


# Cut off, held up, stopped


@contextlib.contextmanager
def slowly(late: int = -1) -> Iterator[None]:
    """In steps of a block, with a little sleep before each; before one of them until the time is over."""
    gate, steps = _purge_throttle.Control.gate, itertools.count()

    def slow(control: Any) -> Any:
        time.sleep(0.03)
        if next(steps) == late:
            eventually(control.over)
        return gate(control)

    with (
        mock.patch.multiple(_purge_walk, SMALLEST=1, LARGEST=1),
        mock.patch.object(_purge_throttle.Control, "gate", slow),
    ):
        yield


MANY = {"audit_events": 30, "delivery_events": 30, "sessions": 30}


def many(world: World) -> tuple[list[Row], set[str]]:
    """A lot of rows, of which every third stays; and an origin of a retry far away from it."""
    rows = world.make(
        Row(log, days=100.0 if number % 3 else 10.0, kind="completed", retries=3 * (number // 2))
        for number in range(600)
        for log in MANY
    )
    return rows, {row.id for row in rows if row.days == 10.0}


def test_killed_and_taken_up(newest: World) -> None:
    """kill -9, early and late: nothing is lost that stays, and the next run ends right."""
    rows, stay = many(newest)
    options = {"read_events": False, "all_organisations": True, "other_logs": MANY}

    def work() -> None:
        with slowly(), contextlib.suppress(PhaseError):
            newest.database.purge(**options)

    for part in (0.9, 0.5):
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        eventually(lambda part=part: len(newest.ids()) < len(stay) + part * (len(rows) - len(stay)), poll=0.01)
        process.kill()
        process.join(30)
        eventually(lambda: newest.database.sessions() == [])
        assert stay < newest.ids() < {row.id for row in rows}
    newest.database.purge(**options)
    assert newest.ids() == stay
    assert newest.database.purge(**options)["changed"] is False


def test_retries_far_from_what_they_retried(newest: World) -> None:
    """They are written anew when that goes, behind the walk or beyond its end, and go in the same run."""
    log = {"delivery_events": 30}
    rows = newest.make(
        Row("delivery_events", days=100.0 if number % 3 else 10.0, kind="completed", retries=number // 2)
        for number in range(300)
    )
    newest.database.sql(
        "update api_logstreamdeliveryevent set meta = jsonb_build_object('a', "
        "(select string_agg(md5(id || n::text), '') from generate_series(1, 40) n))"
    )
    newest.database.sql("vacuum full api_logstreamdeliveryevent")
    with slowly():
        done = newest.database.purge(read_events=False, all_organisations=True, other_logs=log)
    found = done["logs"]["delivery_events"]
    assert (found["deleted"], found["remaining"]) == (found["eligible"], 0) == (200, 0)
    assert newest.ids() == {row.id for row in rows if row.days == 10.0}


def test_time_is_up(newest: World) -> None:
    """The limit is one for all: what was not come to is told as remaining, and the read events wait as well."""
    _rows, stay = many(newest)
    events = newest.database.make([Event() for _one in range(20)])
    options = {"all_organisations": True, "other_logs": MANY}
    with slowly(late=3):
        done = newest.database.purge(**options, max_duration="1s")
    reads, first, *_middle, last = done["logs"].values()
    assert (first["stopped_by"], last["stopped_by"], done["stopped_by"]) == ("max_duration",) * 3
    assert 0 < first["deleted"] < 400 and (last["deleted"], last["remaining"]) == (0, 400)
    assert (reads["deleted"], reads["remaining"]) == (0, len(events))
    assert done["remaining"] - len(events) == len(newest.ids()) - len(stay)
    done = newest.database.purge(**options)
    assert newest.ids() == stay and done["logs"]["read_events"]["deleted"] == len(events)


def test_time_is_up_without_the_read_events(newest: World) -> None:
    many(newest)
    with slowly(late=3):
        done = newest.database.purge(read_events=False, all_organisations=True, other_logs=MANY, max_duration="1s")
    assert done["stopped_by"] == "max_duration" and done["seconds"] > 0


def test_a_row_that_somebody_holds_is_passed_over(newest: World) -> None:
    rows = newest.make([Row("audit_events") for _one in range(10)])
    options = {"read_events": False, "all_organisations": True, "other_logs": {"audit_events": 30}}
    with contextlib.closing(newest.database.connect(autocommit=False)) as connection, connection.cursor() as cursor:
        cursor.execute("select from api_auditevent where id = %s for update", (rows[0].id,))
        done = newest.database.purge(**options, timeouts={"lock": "200ms"})
    assert (done["logs"]["audit_events"]["deleted"], done["logs"]["audit_events"]["remaining"]) == (9, 1)
    assert newest.ids() == {rows[0].id}
    assert newest.database.purge(**options)["logs"]["audit_events"]["deleted"] == 1


# As a user runs it


def test_the_example_of_the_page(ansible: Ansible, instance: LocalInstance, newest: World) -> None:
    """The guide "purge", word for word; only where the instance is comes from here."""
    section = guide("purge").partition("The other logs\n")[2]
    tasks = yaml.safe_load(blocks(section, "yaml")[0])
    ended = {"sync_events": "completed", "delivery_events": "completed", "lease_events": "revoked"}
    rows = newest.make(Row(log, days=days, kind=ended.get(log)) for log in newest.logs for days in (1000.0, -1.0))
    assert len(newest.database.make([Event(days=1000.0)])) == 1
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "module_defaults": {"group/phase.console.phase": target(instance)},
            "tasks": tasks,
        }
    ]
    before = every(newest.database)
    checked = ansible.playbook(play, check=True)
    assert checked.changed and every(newest.database) == before
    first, second = ansible.playbook(play), ansible.playbook(play)
    assert newest.ids() == {row.id for row in rows if row.days < 0}
    assert newest.database.ids() != set(), "the example says that read events stay"
    assert (first.changed, second.changed) == (checked.changed, 0)
