# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""What phase_purge_logs deletes and what it leaves, on a real server at five releases."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integration.forks import Database
from integration.harness import Ansible, target
from integration.purging import Event, Instance, survivors
from psycopg2 import sql
from sandbox import facts
from sandbox.local import LocalInstance
from tools.pages import blocks, guide

LEVELS = facts.LEVELS
NEWEST = LEVELS[-1]
HOSTILE = ["O'Hara; drop table api_secret; --", '"Öffis" \\ %s %(name)s {{ 7 * 7 }}', "ﷺ" * 64, "--retain"]


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    """An owner's rights and no more."""
    return module_local_instance(NEWEST, events=2000, superuser=False)


@pytest.fixture(scope="module")
def databases(instance: LocalInstance) -> Callable[[str], Instance]:
    """A database of each release on one server, made when first asked for."""
    made: dict[str, Instance] = {}

    def at(version: str) -> Instance:
        if version not in made:
            name = version.replace(".", "_")
            with instance.server.administrator() as administrator, administrator.cursor() as cursor:
                cursor.execute(f"create database {name} owner phase")
            for command in (("migrate", "--verbosity", "0"), ("seed", "--events", "0")):
                instance.manage(*command, version=version, environment={"DATABASE_NAME": name})
            made[version] = Instance(instance.database_url.rpartition("/")[0] + "/" + name)
        return made[version]

    return at


@pytest.fixture
def newest(databases: Callable[[str], Instance]) -> Instance:
    return databases(NEWEST)


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, databases: Callable[[str], Instance]) -> Instance:
    return databases(request.param)


EVENTS = st.lists(
    st.builds(
        Event,
        kind=st.sampled_from("RRRCUDr"),
        days=st.sampled_from([0.0, 6.9, 7.1, 29.9, 30.1, 200.0, 5000.0]),
        environment=st.integers(0, 6),
        tags=st.integers(0, 3),
        token=st.booleans(),
    ),
    max_size=40,
)
# organisation, app (its place in the list of environments), or neither for all
SCOPES = st.sampled_from(
    [("SpaceX", None), ("Contoso", None), ("Initech", None), (None, 0), ("SpaceX", 3), (None, None)]
)
WAYS = st.sampled_from([("blocks", "kept"), ("blocks", "set_aside"), ("index", "kept")])


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(events=EVENTS, scope=SCOPES, days=st.sampled_from([0, 7, 30, 365]), way=WAYS)
def test_the_rule_and_nothing_but_the_rule(
    level: Instance, events: list[Event], scope: tuple[Any, Any], days: int, way: tuple[str, str]
) -> None:
    """Whatever is in the table, whichever way: the survivors are those of the documented rule, tags included."""
    organisation, app = scope
    rows = level.environments
    app_id = rows[app][1] if app is not None else None
    level.make(events)

    def goes(event: Event) -> bool:
        _environment, own_app, _organisation, name = rows[event.environment % len(rows)]
        here = organisation in (None, name) and app_id in (None, own_app)
        return event.kind == "R" and event.days >= days and here

    done = level.by(*way, organisation=organisation, app_id=app_id, retain_days=days)
    kept = survivors(events, goes)
    assert level.ids() == kept
    assert set(level.tags()) == {event.id for event in events if event.tags and event.id in kept}
    assert (done["deleted"], done["remaining"]) == (len(events) - len(kept), 0)
    assert [row[1:2] + row[3:] for row in level.foreign_key()] == [(True, None)]


def test_every_kind_of_row_that_must_stay(level: Instance) -> None:
    """The module's own way, check mode first; the tables of history and of everything else are as before."""
    traps = [
        *[Event(kind=kind, days=days, tags=1) for kind in "CUD" for days in (1, 31, 4000)],
        Event(kind="r"),
        Event(kind=""),
        Event(days=29.99, tags=1),
        Event(days=-1),
        *[
            Event(environment=place, tags=1)
            for place in range(len(level.environments))
            if level.environments[place][3] != "SpaceX"
        ],
    ]
    spacex = [place for place, row in enumerate(level.environments) if row[3] == "SpaceX"]
    bait = [Event(environment=place, tags=place % 2) for place in spacex for _copy in range(5)]
    level.make(bait + traps)
    others = rest(level)
    before = level.digest()
    checked = level.purge(check=True)
    assert (checked["eligible"], checked["changed"], level.digest() == before) == (len(bait), True, True)
    assert sum(row["rows"] for row in checked["plan"]["months"]) == len(bait)
    done = level.purge()
    assert level.ids() == {event.id for event in traps}
    assert (done["deleted"], done["remaining"], done["eligible"], done["changed"]) == (len(bait), 0, len(bait), True)
    again = level.purge()
    assert (again["changed"], again["deleted"], again["eligible"]) == (False, 0, 0)
    assert rest(level) == others


def rest(database: Database) -> list[Any]:
    """All other tables, to the byte."""
    names = [row[0] for row in database.sql("select tablename from pg_tables where schemaname = 'public' order by 1")]
    names = [name for name in names if name not in ("api_secretevent", "api_secretevent_tags")]
    digest = sql.SQL("select {}, md5(coalesce(string_agg(t::text, ',' order by t::text), '')) from {} t")
    queries = [digest.format(sql.Literal(name), sql.Identifier(name)) for name in names]
    return database.sql(sql.SQL(" union all ").join(queries))


def test_names(newest: Instance) -> None:
    """Quotes, other scripts, 64 characters, what looks like an option or a placeholder; capitals count."""
    newest.sql("create table if not exists kept_organisation as select id, name from api_organisation")
    events = newest.make([Event(environment=place) for place in range(7)])
    try:
        for name in HOSTILE:
            newest.sql("update api_organisation set name = %s where name = 'Contoso'", name)
            assert newest.purge(check=True, organisation=name)["eligible"] == 2
            assert "Contoso" in newest.refused("organisation_missing", organisation="Contoso").message
            newest.sql("update api_organisation set name = 'Contoso' where name = %s", name)
        error = newest.refused("organisation_missing", organisation="spacex")
        assert 'Did you mean "SpaceX"? Names count to the letter.' in error.next_step
        newest.refused("unknown_app", app_id="nobody")
        contoso = next(row[1] for row in newest.environments if row[3] == "Contoso")
        assert "another organisation" in newest.refused("unknown_app", organisation="SpaceX", app_id=contoso).message
        assert newest.purge(app_id=contoso)["deleted"] == 2
    finally:
        newest.sql("update api_organisation o set name = k.name from kept_organisation k where k.id = o.id")
        newest.sql("drop table kept_organisation")
    assert len(newest.ids()) == len(events) - 2


def test_an_organisation_without_apps(newest: Instance) -> None:
    newest.make([Event()])
    assert newest.purge(organisation="Initech")["changed"] is False and len(newest.ids()) == 1


@pytest.mark.parametrize(
    ("change", "back"),
    [
        ("alter table api_secretevent rename timestamp to at", "alter table api_secretevent rename at to timestamp"),
        (
            "create table report (event text references api_secretevent)",
            "drop table report",
        ),
        (
            "create rule keep as on delete to api_secretevent do instead nothing",
            "drop rule keep on api_secretevent",
        ),
        (
            "alter table api_secretevent enable row level security",
            "alter table api_secretevent disable row level security",
        ),
        ("create table part () inherits (api_secretevent)", "drop table part"),
    ],
)
def test_an_unknown_layout_is_refused(newest: Instance, change: str, back: str) -> None:
    newest.make([Event()])
    newest.sql(change)
    try:
        newest.refused("unknown_layout")
    finally:
        newest.sql(back)


def test_a_role_that_may_not(newest: Instance, instance: LocalInstance) -> None:
    """Another role than the owner may purge when it may delete, but not set the foreign key aside."""
    with instance.server.administrator(NEWEST.replace(".", "_")) as administrator, administrator.cursor() as cursor:
        cursor.execute(
            "create role reader login password 'read'; grant select on all tables in schema public to reader"
        )
        newest.make([Event(), Event(kind="C", tags=1)])
        address = newest.url.partition("@")[2]
        reader = Instance(f"postgresql://reader:read@{address}")
        assert "may not read" in reader.refused("not_allowed").message
        cursor.execute("grant delete on api_secretevent, api_secretevent_tags to reader")
        assert "owner" in reader.refused("not_allowed", foreign_key="set_aside").message
        cursor.execute("grant update on api_serviceaccounttoken to reader")
        assert reader.purge()["deleted"] == 1
        cursor.execute("drop owned by reader; drop role reader")


# What else must not be lost


def test_a_floor(newest: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    newest.make([Event()])
    assert "at least 90 days" in newest.refused("retain_too_short", minimum_retain_days=90, retain_days=89).message
    monkeypatch.setenv("PHASE_CONSOLE_MINIMUM_RETAIN_DAYS", "365")
    assert "365" in newest.refused("retain_too_short", minimum_retain_days=0, retain_days=30).message
    assert newest.purge(retain_days=365)["deleted"] == 0


STREAM = (
    "insert into api_logstream (id, name, provider, sources, options, max_attempts, is_active, health, paused_reason, "
    "cursors, last_failure_reason, created_at, updated_at, deleted_at, organisation_id) select %s, %s, 'datadog', %s, "
    "'{}', 5, %s, 'healthy', '', jsonb_strip_nulls(jsonb_build_object('secrets', %s::jsonb)), '', "
    "now() - %s * interval '1 day', now(), %s::timestamptz, id from api_organisation where name = 'SpaceX'"
)
FAILED = (
    "insert into api_logstreamdeliveryevent (id, source, status, event_count, payload_bytes, attempts, cursor_from, "
    "cursor_to, created_at, stream_id, cursor_from_id, cursor_to_id) values ('failed', 'secrets', %s, 1, 1, 5, "
    "now() - interval '%s days', now() - interval '%s days', now(), %s, '', '')"
)


@pytest.fixture
def streaming(newest: Instance) -> Any:
    yield newest
    newest.sql("delete from api_logstreamdeliveryevent; delete from api_logstream")


def cursor_at(database: Database, days: float, event: str = "") -> str:
    ((text,),) = database.sql(
        "select jsonb_build_object('ts', now() - %s * interval '1 day', 'id', %s::text)::text", days, event
    )
    return str(text)


def test_nothing_undelivered_goes(streaming: Instance) -> None:
    old, newer = [Event(days=200) for _one in range(5)], [Event(days=100) for _one in range(3)]
    other = Event(days=100, environment=next(n for n, row in enumerate(streaming.environments) if row[3] == "Contoso"))
    events = streaming.make([*old, *newer, other])
    streaming.sql(STREAM, "s1", "datadog", '["secrets"]', False, cursor_at(streaming, 150), 300, None)
    streaming.sql(STREAM, "s2", "audit", '["org_audit"]', True, None, 300, None)
    streaming.sql(STREAM, "s3", "gone", '["secrets"]', True, None, 300, "2026-01-01")
    options = {"all_organisations": True, "log_streams": "respect_all"}
    checked = streaming.purge(check=True, **options)
    assert (checked["eligible"], checked["held_back"]) == (6, 3)
    (kept,) = checked["logs"]["read_events"]["kept"]
    assert (kept["stream"], kept["rows"]) == ("s1", 3) and "paused" in kept["why"]
    assert streaming.warned[0].startswith("3 older read events are held back: log stream datadog has not delivered")
    done = streaming.purge(**options)
    assert (done["deleted"], done["held_back"], done["remaining"]) == (6, 3, 0)
    assert streaming.ids() == {event.id for event in newer}
    assert streaming.purge(**options)["changed"] is False
    ignored = streaming.purge(log_streams="ignore")
    assert ignored["deleted"] == 3 and "were not delivered by log stream datadog" in streaming.warned[0]
    assert len(events) == 9


@pytest.mark.parametrize("provider", ["datadog", "an adapter of a later release"])
def test_only_what_can_still_be_delivered_is_held(streaming: Instance, provider: str) -> None:
    """Datadog's adapter skips what is older than 17 h 20 min, whether the stream is paused, late or has failed. Of an
    adapter that is not known everything may be deliverable."""
    known = provider == "datadog"
    hours = {"fresh": 2, "late": 17, "too late": 18, "old": 240}
    streaming.make(Event(days=age / 24, id=name) for name, age in hours.items())
    streaming.sql(STREAM, "s1", "datadog", '["secrets"]', False, cursor_at(streaming, 30), 300, None)
    streaming.sql(FAILED, "failed", 20, 0, "s1")
    streaming.sql("update api_logstream set provider = %s", provider)
    checked = streaming.purge(check=True, retain_days=0)
    reads = checked["logs"]["read_events"]
    assert (reads["eligible"], reads["held_back"]) == ((2, 2) if known else (0, 4))
    assert [one["rows"] for one in reads["undelivered"]] == ([2, 2] if known else [])
    assert any("were not delivered by log stream datadog" in line for line in checked["summary"]) == known
    everything = streaming.purge(check=True, retain_days=0, log_streams="respect_all")["logs"]["read_events"]
    assert (everything["eligible"], everything["held_back"], everything["undelivered"]) == (0, 4, [])
    ignored = streaming.purge(check=True, retain_days=0, log_streams="ignore")["logs"]["read_events"]
    assert (ignored["eligible"], ignored["kept"], [one["rows"] for one in ignored["undelivered"]]) == (4, [], [4, 4])
    streaming.purge(retain_days=0)
    assert streaming.ids() == ({"fresh", "late"} if known else set(hours))
    assert streaming.purge(retain_days=0)["changed"] is False


def test_a_stream_that_was_paused_for_days_stops_no_purge(streaming: Instance) -> None:
    """The plain case of the default: nothing that is 30 days old can be delivered, so nothing needs counting."""
    streaming.make([Event(days=100), Event(days=31), Event(days=29)])
    streaming.sql(STREAM, "s1", "datadog", '["secrets"]', False, cursor_at(streaming, 60), 300, None)
    checked = streaming.purge(check=True)
    assert (checked["eligible"], checked["held_back"]) == (2, 0)
    done = streaming.purge()
    assert done["deleted"] == 2 and not any(line.startswith("Counting") for line in streaming.told)
    assert "Some of the read events to delete were not delivered by log stream datadog" in streaming.warned[0]


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_a_failed_delivery_and_the_event_at_the_cursor(streaming: Instance, status: str) -> None:
    """What a failed delivery covers stays; of two events of one moment their ids decide which is after the cursor."""
    streaming.make([Event(days=200), Event(days=150), Event(days=100, id="a"), Event(days=100, id="b")])
    streaming.sql("update api_secretevent set timestamp = date_trunc('day', timestamp) where id in ('a', 'b')")
    ((moment,),) = streaming.sql(
        "select jsonb_build_object('ts', max(timestamp), 'id', 'a')::text from api_secretevent"
    )
    streaming.sql(STREAM, "s1", "datadog", '["secrets"]', True, moment, 300, None)
    streaming.sql(FAILED, status, 151, 149, "s1")
    assert streaming.purge(log_streams="respect_all")["deleted"] == 2
    ((left, days),) = streaming.sql("select count(*), max(now() - timestamp)::text from api_secretevent")
    assert left == 2 and days.startswith("150 days") and "b" in streaming.ids()
    streaming.sql("update api_logstreamdeliveryevent set resolved_at = now()")
    assert streaming.purge(log_streams="respect_all")["deleted"] == 1


def test_a_cursor_nobody_can_read(streaming: Instance) -> None:
    streaming.make([Event(days=4000)])
    streaming.sql(STREAM, "s1", "datadog", '["secrets"]', True, '{"ts": "soon", "id": ""}', 1, None)
    assert streaming.purge(log_streams="respect_all")["held_back"] == 1 and len(streaming.ids()) == 1


@pytest.mark.parametrize("version", [LEVELS[0], NEWEST])
def test_the_last_use_of_a_token(databases: Callable[[str], Instance], version: str) -> None:
    """Where only a read event tells it, it is kept in its column, or told where there is none."""
    database = databases(version)
    database.make([Event(days=50, token=True), Event(days=90, token=True)])
    column = version == NEWEST
    if column:
        database.sql("update api_serviceaccounttoken set last_used_at = null")
    checked = database.purge(check=True, all_organisations=True)["token_last_used"]
    assert (len(checked["tokens"]), checked["kept_in_column"]) == (1, column)
    done = database.purge(all_organisations=True)
    assert (done["deleted"], done["tokens_kept"]) == (2, int(column))
    if column:
        ((age,),) = database.sql("select max(now() - last_used_at)::text from api_serviceaccounttoken")
        assert age.startswith("50 days") and database.warned == []
    else:
        assert "no last use" in database.warned[0]


# The application's own command


def test_it_deletes_what_the_applications_command_deletes(instance: LocalInstance) -> None:
    with instance.server.administrator() as administrator, administrator.cursor() as cursor:
        cursor.execute("create database stock template phase owner phase")
    theirs = Instance(instance.database_url.rpartition("/")[0] + "/stock")
    ours = Instance(instance.database_url)
    before = ours.ids()
    instance.manage("purge_app_logs", "SpaceX", "--retain", "60", environment={"DATABASE_NAME": "stock"})
    here = {**target(instance), "env_file": str(instance.env_file)}
    assert ours.purge(retain_days=60, **here)["deleted"] == len(before - theirs.ids()) > 100
    assert theirs.ids() == ours.ids()


# As a user runs it


def test_through_ansible(ansible: Ansible, instance: LocalInstance, tmp_path: Path) -> None:
    """Check mode with a diff changes nothing, the run does what it said, and the second run nothing more."""
    database = Instance(instance.database_url)
    options = {**target(instance), "organisation": "Contoso", "retain_days": 45, "foreign_key": "set_aside"}
    before = database.digest()
    checked = ansible.module("phase_purge_logs", options, check=True, diff=True)
    assert database.digest() == before and database.foreign_key()[0][1:] == (True, database.foreign_key()[0][2], None)
    assert checked["changed"] and f": {checked['eligible']}" not in checked["diff"]["after"]
    done = ansible.module("phase_purge_logs", options)
    assert done["changed"] and done["deleted"] == checked["eligible"] > 0
    reads = done["logs"]["read_events"]
    assert reads["after"]["table_bytes"] == reads["before"]["table_bytes"]
    assert ansible.module("phase_purge_logs", options)["changed"] is False


def test_the_commands_of_the_page(ansible: Ansible, instance: LocalInstance) -> None:
    """The ad-hoc examples of the guide "purge", word for word; only where the instance is comes from here."""
    lines = "".join(blocks(guide("purge"), "bash")).splitlines()
    commands = [line for line in lines if line.startswith("ansible localhost -m ")]
    assert len(commands) >= 3
    where = " ".join(f"{name}={value}" for name, value in target(instance).items())
    for command in commands:
        words = shlex.split(command)
        words[words.index("-a") + 1] += " " + where
        env = ansible.environment({"ANSIBLE_INVENTORY": str(ansible.folder / "inventory")})
        done = subprocess.run(words, cwd="/", env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert '"eligible": ' in done.stdout
    ((left,),) = instance.sql(
        "select count(*) from api_secretevent where event_type = 'R' and timestamp < now() - interval '91 days'"
    )
    assert left == 0
