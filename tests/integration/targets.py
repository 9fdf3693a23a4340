# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases that hold for every target, written once; the tiers' test files run them against theirs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from integration.harness import Ansible, Run

Options = Mapping[str, Any]


def info(ansible: Ansible, options: Options, subset: str = "all") -> dict[str, Any]:
    result = ansible.module("phase_info", {**options, "gather_subset": [subset]})
    assert result["changed"] is False
    return dict(result["phase"])


def refused(ansible: Ansible, options: Options, kind: str) -> str:
    """The failure has this kind and a next step; no traceback reached the user. Returns its message."""
    result = ansible.module("phase_info", options, expect_failure=True)
    assert result["error"]["kind"] == kind, result["msg"]
    assert result["error"]["next_step"].endswith(".")
    assert result["msg"].endswith(result["error"]["next_step"])
    assert "Traceback" not in result["msg"] and "Traceback" not in result.get("exception", "")
    return str(result["msg"])


@contextlib.contextmanager
def locked(database_url: str, table: str = "django_migrations", mode: str = "access exclusive") -> Iterator[None]:
    """Another session holds the table, so that an operation has to wait."""
    connection = psycopg2.connect(database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"lock table {table} in {mode} mode")
        yield
    finally:
        connection.close()


def ours(instance: Any) -> int:
    """Sessions of this collection in the database."""
    ((count,),) = instance.sql("select count(*) from pg_stat_activity where application_name like 'phase.console%%'")
    return int(count)


def until(reached: Callable[[], bool], seconds: float) -> float:
    """Wait for it; the seconds it took. Fails when it takes longer."""
    start = time.monotonic()
    while not reached():
        assert time.monotonic() - start < seconds, f"not within {seconds} s"
        time.sleep(0.1)
    return time.monotonic() - start


def kill(run: Run) -> None:
    """kill -9 of Ansible and of all that it started here, but for the far end of a local target."""
    for process in psutil.Process(run.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if "phase_console" not in " ".join(process.cmdline()):
                process.kill()
    run.kill()


def ends_when_the_caller_dies(ansible: Ansible, instance: Any, options: Options) -> None:
    """kill -9 of Ansible and of the module: the far end, waiting in a statement, is gone within 10 seconds."""
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [
                {"phase.console.phase_info": {**options, "timeouts": {"lock": "0"}, "gather_subset": ["migrations"]}}
            ],
        }
    ]
    with locked(instance.database_url):
        run = ansible.popen_playbook(play)
        run.wait_until(lambda: ours(instance) == 1)
        kill(run)
        until(lambda: ours(instance) == 0, 10)


def a_lock_is_not_waited_for_without_end(ansible: Ansible, instance: Any, options: Options) -> None:
    with locked(instance.database_url):
        message = refused(
            ansible, {**options, "timeouts": {"lock": "500ms"}, "gather_subset": ["migrations"]}, "database_error"
        )
    assert "timeouts.lock" in message and "activity" in message


def rows_are_changed_and_put_back(ansible: Ansible, instance: Any, options: Options, folder: Path) -> None:
    """A change beside the database, its snapshot on the host of the task, and back to the byte."""
    instance.sql(
        "insert into api_networkaccesspolicy (id, name, allowed_ips, is_global, created_at, updated_at, "
        "organisation_id) select 'p1', 'Office', '', true, now(), now(), id from api_organisation where name = 'SpaceX'"
    )
    stored = "select t::text from api_networkaccesspolicy t"
    before = instance.sql(stored)
    given = {**options, "organisation": "SpaceX", "snapshot_dir": str(folder), "reason": "a test of O'Brien's"}
    change = {**given, "state": "allowed", "allow": ["192.0.2.1"]}
    assert ansible.module("phase_network_policy", change, check=True)["changed"] and instance.sql(stored) == before
    made = ansible.module("phase_network_policy", change)
    assert made["policies"][0]["entries"] == ["192.0.2.1"]
    assert Path(made["snapshot"]).parent == folder and instance.sql(stored) != before
    ansible.module("phase_network_policy", {**given, "state": "restored", "snapshot": made["snapshot"]})
    assert instance.sql(stored) == before
    assert instance.sql("select count(*) from api_auditevent where resource_id = 'p1'") == [(2,)]
    instance.sql("delete from api_networkaccesspolicy")
    instance.sql("delete from api_auditevent")


def a_lockout_by_sso_ends_at_once(ansible: Ansible, instance: Any, options: Options, folder: Path) -> None:
    """The backend's own decision in redis is cleared where it can be asked; the tables go back to the byte."""
    instance.sql("update api_organisation set require_sso = true where name = 'SpaceX'")
    stored = "select o::text from api_organisation o union all select p::text from api_organisationssoprovider p"
    before = sorted(instance.sql(stored))
    given = {**options, "organisation": "SpaceX", "snapshot_dir": str(folder), "reason": "a test of O'Brien's"}
    change = {**given, "state": "providers_deleted", "confirm": "SpaceX"}
    checked = ansible.module("phase_sso", change, check=True)
    assert checked["changed"] and sorted(instance.sql(stored)) == before
    made = ansible.module("phase_sso", change)
    alone = options["deployment"] == "database"
    assert made["sso"]["providers"] == [] and made["cache"]["seconds"] == (60 if alone else 0)
    assert ("backend_unseen" in {item["finding"] for item in made["doctor"]["findings"]}) == alone
    assert made["doctor_before"]["findings"][0]["finding"] == "enforcement"
    ansible.module(
        "phase_sso", {**options, "state": "restored", "snapshot": made["snapshot"], "snapshot_dir": str(folder)}
    )
    assert sorted(instance.sql(stored)) == before
    instance.sql("update api_organisation set require_sso = false")
    instance.sql("delete from api_auditevent")


OLD_EVENTS = """
insert into api_secretevent (id, key, key_digest, value, version, comment, event_type, environment_id, secret_id,
  timestamp, path, type)
select kind || s.id, s.key, s.key_digest, s.value, 1, '', kind, s.environment_id, s.id, now() - interval '50 days', '/',
  'secret'
from api_secret s cross join unnest(array['R', 'C']) as kind
"""


def old_reads_go(ansible: Ansible, instance: Any, options: Options) -> None:
    """Counted by a check, deleted beside the database, and nothing is left to the second run."""
    instance.sql(OLD_EVENTS)
    ((secrets,),) = instance.sql("select count(*) from api_secret")
    given = {**options, "all_organisations": True, "foreign_key": "set_aside"}
    checked = ansible.module("phase_purge_logs", given, check=True)
    assert checked["changed"] and checked["eligible"] == secrets
    done = ansible.module("phase_purge_logs", given)
    assert (done["deleted"], done["remaining"], done["stopped_by"]) == (secrets, 0, None)
    old = "select distinct event_type from api_secretevent where timestamp < now() - interval '31 days'"
    assert instance.sql(old) == [("C",)]
    assert ansible.module("phase_purge_logs", given)["changed"] is False
    instance.sql("delete from api_secretevent where timestamp < now() - interval '31 days'")


MORE_OLD_EVENTS = """
insert into api_secretevent (id, key, key_digest, value, version, comment, event_type, environment_id, secret_id,
  timestamp, path, type)
select 'kill-' || number, s.key, s.key_digest, repeat('x', 500), 1, '', case number % 4 when 0 then 'C' else 'R' end,
  s.environment_id, s.id, now() - interval '50 days', '/', 'secret'
from generate_series(1, 4000) number cross join (select * from api_secret order by id limit 1) s
"""
A_TAG = "insert into api_secretevent_tags (secretevent_id, secrettag_id) select %s, min(id) from api_secrettag"
WAITING = "select 1 from pg_stat_activity where application_name = 'phase.console purge' and wait_event_type = 'Lock'"
LEFT = """
select (select count(*) from api_secretevent where event_type = 'R' and timestamp < now() - interval '31 days'),
       (select count(*) from api_secretevent_tags where secretevent_id like 'kill-%'),
       (select count(*) from pg_namespace where nspname like 'phase_console%')
"""
HISTORY = "select count(*), md5(string_agg(e::text, ',' order by e.id)) from api_secretevent e where event_type <> 'R'"


def most_reads_go_by_a_rewrite(ansible: Ansible, instance: Any, options: Options) -> None:
    """auto sees the free disk in the database's container, or is told of it, and refuses a rewrite without room."""
    given = {**options, "all_organisations": True}
    instance.sql(MORE_OLD_EVENTS)
    instance.sql("analyze api_secretevent")  # which autovacuum comes to within a minute
    try:
        full = ansible.module("phase_purge_logs", {**given, "free_space": "1kB"}, check=True)
        assert full["strategy"] == "delete" and "have to be free on the server's disk" in str(full["plan"])
        checked = ansible.module("phase_purge_logs", given, check=True)
        assert checked["strategy"] == "rewrite", checked["plan"]
        assert instance.sql("select count(*) from api_secretevent where id like 'kill-%'") == [(4000,)]
        done = ansible.module("phase_purge_logs", given)
        assert (done["strategy"], done["deleted"], done["remaining"]) == ("rewrite", 3000, 0)
        assert not ansible.module("phase_purge_logs", given)["changed"]
    finally:
        instance.sql("delete from api_secretevent where id like 'kill-%'")


def purges_that_lose_their_containers(ansible: Ansible, instance: Any, options: Options) -> None:
    """In the midst of a deletion's statement, before the swap of a rewrite, and after it; ``docker kill`` each time.

    Another session holds each of them up at that point: by a tag that goes, and by having read what is to be locked.
    """
    given = {**options, "all_organisations": True}
    deaths: list[tuple[str, str, str, str, Any]] = [
        ("delete", "select from api_secretevent_tags for update", WAITING, "backend", None),
        ("rewrite", "select count(*) from api_secretevent", "The swap waits", "backend", False),
        ("rewrite", "select count(*) from api_environment", "is in place", "postgres", True),
    ]
    for number, (strategy, beside, moment, killed, swapped) in enumerate(deaths):
        instance.sql(MORE_OLD_EVENTS.replace("kill-", f"kill-{number}-"))
        instance.sql(A_TAG, f"kill-{number}-1")
        history = instance.sql(HISTORY)
        task = {"phase.console.phase_purge_logs": {**given, "strategy": strategy, "timeouts": {"lock": "1m"}}}
        with contextlib.closing(psycopg2.connect(instance.database_url)) as other:
            other.cursor().execute(beside)
            run = ansible.popen_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}])
            if moment == WAITING:
                run.wait_until(lambda: bool(instance.sql(WAITING)))
            else:
                run.wait_for_output(moment)
            instance.docker("kill", f"phase-{killed}")
            assert run.wait().failed
        instance.start_service(killed)
        until(lambda: reachable(instance), 60)
        until(lambda: ours(instance) == 0, 20)
        assert instance.sql(HISTORY) == history
        done = ansible.module("phase_purge_logs", {**given, "strategy": strategy})
        assert (done["recovered"] or {}).get("swapped") is swapped, done["recovered"]
        assert (done["remaining"], done["stopped_by"]) == (0, None)
        assert instance.sql(HISTORY) == history and instance.sql(LEFT) == [(0, 0, 0)]
    instance.sql("delete from api_secretevent where timestamp < now() - interval '31 days'")
    instance.wait_ready()


def reachable(instance: Any) -> bool:
    try:
        return bool(instance.sql("select true"))
    except psycopg2.OperationalError:
        return False


def a_table_is_vacuumed(ansible: Ansible, instance: Any, options: Options) -> None:
    """Beside the database, with what can be seen of its disk from there."""
    counted = "select vacuum_count from pg_stat_user_tables where relname = 'api_secretevent'"
    before = instance.sql(counted)
    given = {**options, "mode": "plain", "force": True}
    assert ansible.module("phase_vacuum", given, check=True)["changed"] and instance.sql(counted) == before
    made = ansible.module("phase_vacuum", given)
    assert made["changed"] and [(made["session"]["user"],)] == instance.sql("select current_user::text")
    assert instance.sql(counted) == [(before[0][0] + 1,)]
    if options["deployment"] in ("docker", "compose", "kubernetes"):
        assert made["free_bytes"] > 0
