# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owners who are locked out over HTTP get in by a playbook, and out again unless somebody confirms it."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pty
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from integration import lockouts
from integration.forks import eventually
from integration.harness import Ansible, PlayResult, Run, answers, target
from integration.lockouts import HOME, SPACEX, enter
from integration.watch import Watch
from sandbox.local import LocalInstance

RECOVER = "recover"
SECOND = "second"


@pytest.fixture(scope="module")
def running(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    started = module_local_instance("v2.73.2")
    with started.env_file.open("a", encoding="utf-8") as settings:
        settings.write("ENABLE_PASSWORD_AUTH=true\n")
    started.restart("backend")
    return started


@pytest.fixture(autouse=True)
def _home_is_not_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept in the user's own folders, which may be missing."""
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")


@pytest.fixture
def instance(running: LocalInstance) -> Iterator[LocalInstance]:
    yield running
    running.sql(
        "delete from api_organisationmember_network_policies; delete from api_serviceaccount_network_policies; "
        "delete from api_networkaccesspolicy; "
        "delete from api_scimuser; update api_organisation set require_sso = false"
    )
    running.sql("delete from api_organisationmember where id = %s", SECOND)
    running.sql('delete from api_customuser where "userId" = %s', SECOND)
    with redis.Redis(port=running.redis_port) as connection:
        connection.flushall()


@pytest.fixture
def variables(instance: LocalInstance, tmp_path: Path) -> dict[str, Any]:
    return {
        "phase_hosts": "localhost",
        "phase_target": target(instance),
        "phase_recover_url": instance.url,
        "phase_recover_organisation": "SpaceX",
        "phase_recover_address": HOME,
        "phase_recover_dir": str(tmp_path / "recover"),
    }


@pytest.fixture
def by_hand(ansible: Ansible, variables: dict[str, Any], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    typed = lockouts.ByHand(ansible, variables, tmp_path)
    yield typed
    typed.stop()


def recover(ansible: Ansible, variables: dict[str, Any], *, fails: bool = False, **more: Any) -> PlayResult:
    """With what AWX hands on for the questions that nobody has answered."""
    check = more.pop("check", False)
    return ansible.playbook(
        RECOVER, {**answers(RECOVER), **variables, **more}, check=check, diff=check, expect_failure=fails
    )


def outcome(result: PlayResult) -> str:
    return str(result.custom["phase_recover"]["outcome"])


def test_an_address_gets_in_and_out_again(ansible: Ansible, instance: LocalInstance, variables: dict[str, Any]) -> None:
    lockouts.by_policy(instance, 'L\'Office "4" ; drop table x; --')
    before = lockouts.policies(instance)
    assert enter(instance.url) == "IP_RESTRICTED"

    checked = recover(ansible, variables, check=True)
    assert outcome(checked) == "check" and HOME in checked.stdout and not Path(variables["phase_recover_dir"]).exists()
    assert lockouts.policies(instance) == before

    done = recover(ansible, variables, phase_recover_confirmed=True)
    assert outcome(done) == "kept" and enter(instance.url) == "in" and enter(instance.url, "203.0.113.8") != "in"
    said_once(done)

    again = recover(ansible, variables)
    assert (again.changed, outcome(again)) == (0, "nothing")

    path = done.custom["phase_recover"]["restore"]
    recover(ansible, variables, phase_recover_restore=path)
    assert lockouts.policies(instance) == before and enter(instance.url) == "IP_RESTRICTED"


def said_once(done: PlayResult) -> None:
    """What was found, before the change; how it went, last."""
    sentence = done.results("phase_network_policy")[0]["diagnosis"]["sentence"]
    printed = [task.result["msg"] for task in done.tasks if task.action.endswith("debug") and "msg" in task.result]
    listed = [text for text in printed if isinstance(text, list)]
    assert sum("\n".join(text).count(sentence) for text in listed) == 1
    first = [text[0] for text in listed]
    assert first[0].startswith("To let ") and first[-1] == "It helped and is kept."


def test_time_runs_out_and_no_secret_shows(
    ansible: Ansible, instance: LocalInstance, variables: dict[str, Any], tmp_path: Path
) -> None:
    """The time begins before the change, however long that and its proof take on a busy machine."""
    lockouts.by_sso(instance)
    assert enter(instance.url) == "SSO_REQUIRED"
    planted = {name: instance.environment[name] for name in ("DATABASE_PASSWORD", "SECRET_KEY", "SERVER_SECRET")}
    with Watch(planted, [ansible.folder, tmp_path], [instance.directory]) as watching:
        run = ansible.popen_playbook(
            RECOVER, {**variables, "phase_recover_confirm_within": "4s"}, verbosity=3, diff=True
        )
        run.wait_until(lambda: enter(instance.url) == "in", poll=0.5)
        result = run.wait()
    watching.look_at_run(run)
    assert (watching.found, watching.samples > 0) == ([], True)
    assert "sessionid" not in run.output()
    assert result.rc != 0 and "it was not confirmed within 4s" in result.message and outcome(result) == "expired"
    assert enter(instance.url) == "SSO_REQUIRED"
    (settled,) = Path(variables["phase_recover_dir"]).glob("*.expired")
    until = json.loads(settled.read_text(encoding="utf-8"))["until"]
    (snapshot,) = settled.with_suffix("").glob("*.json")
    changed = json.loads(snapshot.read_text(encoding="utf-8"))["body"]["images"][0]["after"]["updated_at"]
    assert until <= datetime.datetime.fromisoformat(changed.replace("+00", "+00:00")).timestamp() + 4


def test_a_run_that_is_killed_is_undone_by_the_command_it_has_printed(
    ansible: Ansible, instance: LocalInstance, by_hand: Callable[..., Run]
) -> None:
    lockouts.by_policy(instance)
    before = lockouts.policies(instance)
    run = by_hand(RECOVER, "phase_recover_confirm_within=10m")
    run.wait_for_output("waiting for an answer")
    run.kill(everything=True)
    assert lockouts.policies(instance) != before and enter(instance.url) == "in"
    done = lockouts.type_it(ansible, lockouts.printed(run.output(), "restore"))
    assert done.returncode == 0, done.stdout
    assert lockouts.policies(instance) == before and enter(instance.url) == "IP_RESTRICTED"
    late = lockouts.type_it(ansible, lockouts.printed(run.output(), "confirm"))
    assert late.returncode != 0 and "has its answer" in late.stdout, "kept is what is no longer there"


def test_a_killed_run_on_single_sign_on_leaves_no_process_and_is_undone_by_a_refusal(
    ansible: Ansible, instance: LocalInstance, by_hand: Callable[..., Run]
) -> None:
    lockouts.by_sso(instance)
    run = by_hand(RECOVER, "phase_recover_confirm_within=10m")
    run.wait_for_output("waiting for an answer")
    run.kill()  # ansible-playbook alone, not its workers
    mark = f"PHASE_CONSOLE_RUN={run.folder}".encode()

    def left() -> list[str]:
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(entry.name)
        return found

    eventually(lambda: not left(), 20)
    assert enter(instance.url) == "in"
    done = lockouts.type_it(ansible, lockouts.printed(run.output(), "restore").replace("_restore=", "_refuse="))
    assert done.returncode == 0, done.stdout
    assert lockouts.requires_sso(instance) and enter(instance.url) == "SSO_REQUIRED"


def test_what_is_put_back_while_a_run_waits_is_not_kept_by_it(
    ansible: Ansible, instance: LocalInstance, by_hand: Callable[..., Run]
) -> None:
    """Both put it back, at about the same time."""
    lockouts.by_sso(instance)
    run = by_hand(RECOVER, "phase_recover_confirm_within=10m")
    run.wait_for_output("waiting for an answer")
    done = lockouts.type_it(ansible, lockouts.printed(run.output(), "restore"))
    assert done.returncode == 0, done.stdout
    late = lockouts.type_it(ansible, lockouts.printed(run.output(), "confirm"))
    assert late.returncode != 0 and "has its answer" in late.stdout
    ended = run.wait()
    assert ended.rc == 0 and "was undone, as the answer was" in run.output(), run.output()
    assert lockouts.requires_sso(instance) and enter(instance.url) == "SSO_REQUIRED"


def test_another_job_confirms(ansible: Ansible, instance: LocalInstance, by_hand: Callable[..., Run]) -> None:
    lockouts.by_sso(instance)
    run = by_hand(RECOVER, "phase_recover_confirm_within=5m")
    run.wait_for_output("waiting for an answer")
    done = lockouts.type_it(ansible, lockouts.printed(run.output(), "confirm"))
    assert done.returncode == 0, done.stdout
    assert run.wait().rc == 0 and enter(instance.url) == "in" and "It helped and is kept." in run.output()
    late = lockouts.type_it(ansible, lockouts.printed(run.output(), "confirm").replace("_confirm=", "_refuse="))
    assert late.returncode != 0 and "has its answer" in late.stdout


@pytest.mark.parametrize(("typed", "ends"), [("keep\r", "in"), ("\x03", "IP_RESTRICTED")], ids=["keep", "ctrl-c"])
def test_somebody_at_a_terminal_decides(
    ansible: Ansible, instance: LocalInstance, variables: dict[str, Any], tmp_path: Path, typed: str, ends: str
) -> None:
    lockouts.by_policy(instance)
    given = tmp_path / "variables.json"
    given.write_text(json.dumps(variables), encoding="utf-8")
    command = [str(ansible.programs / "ansible-playbook"), f"phase.console.{RECOVER}", "-e", f"@{given}"]
    process, terminal = pty.fork()
    if process == 0:
        os.execve(command[0], command, ansible.environment())  # noqa: S606
    seen, deadline = b"", time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            try:
                data = os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            before, seen = seen, seen + data
            if b"type keep" in seen and b"type keep" not in before:
                time.sleep(0.5)  # what was typed before the question is thrown away
                os.write(terminal, typed.encode())
    assert os.waitpid(process, 0)[1] == 0, seen.decode()
    assert enter(instance.url) == ends, seen.decode()


def managed_by_scim(instance: LocalInstance, member: str) -> None:
    instance.sql(
        "insert into api_scimuser (id, external_id, email, display_name, active, scim_data, updated_at, org_member_id,"
        " organisation_id) values ('1', '1', 'a@b.c', '', true, '{}', now(), %s, %s)",
        member,
        SPACEX,
    )


def another_member(instance: LocalInstance) -> str:
    """The address of a member like alice who is no owner."""
    email = f"{SECOND}@example.com"
    instance.sql(
        "insert into api_customuser select (jsonb_populate_record(u, %s::jsonb)).* from api_customuser u"
        " where email = %s",
        json.dumps({"userId": SECOND, "username": SECOND, "email": email}),
        lockouts.ALICE,
    )
    instance.sql(
        "insert into api_organisationmember select (jsonb_populate_record(m, %s::jsonb || jsonb_build_object('role_id',"
        " (select min(id) from api_role where lower(name) <> 'owner' and organisation_id = m.organisation_id)))).*"
        " from api_organisationmember m where id = %s",
        json.dumps({"id": SECOND, "user_id": SECOND}),
        lockouts.MEMBER,
    )
    return email


def test_what_does_not_help_is_put_back(ansible: Ansible, instance: LocalInstance, variables: dict[str, Any]) -> None:
    """Whom SCIM manages stays out whatever the organisation requires; of a member, only the backend tells."""
    lockouts.by_sso(instance)
    email = another_member(instance)
    managed_by_scim(instance, SECOND)
    done = recover(ansible, variables, fails=True, phase_recover_account=email)
    assert outcome(done) == "failed" and "whom SCIM does not manage" in done.message
    assert lockouts.requires_sso(instance) and enter(instance.url) == "SSO_REQUIRED"


def test_an_owner_who_cannot_sign_in_is_not_let_in(
    ansible: Ansible, instance: LocalInstance, variables: dict[str, Any]
) -> None:
    """The backend lets a session in that no password was given for: it has to be one that the owner could have."""
    lockouts.by_sso(instance)
    variables["phase_recover_account"] = lockouts.ALICE
    unusable = "update api_customuser set password = %s || password where email = %s"
    instance.sql(unusable, "!", lockouts.ALICE)
    try:
        refused = recover(ansible, variables, fails=True)
        assert refused.changed == 0 and "has no usable password" in refused.message
        assert lockouts.requires_sso(instance)
        forced = recover(ansible, variables, phase_recover_keep_unverified=True, phase_recover_confirmed=True)
        assert outcome(forced) == "unverified" and not forced.custom["phase_recover"]["inside"]
        assert not lockouts.requires_sso(instance)
    finally:
        instance.sql("update api_customuser set password = ltrim(password, '!') where email = %s", lockouts.ALICE)


def test_who_signs_in_by_a_provider_of_the_instance_needs_no_password(
    ansible: Ansible, instance: LocalInstance, variables: dict[str, Any]
) -> None:
    """Most users of an instance that was upgraded from before v2.67.0 are such ones."""
    instance.sql("create table socialaccount_socialaccount (id int, provider varchar(200), user_id text)")
    instance.sql("update api_customuser set password = '!' || password")
    try:
        refused = recover(ansible, variables, fails=True)
        assert "has no usable password" in refused.message
        instance.sql("insert into socialaccount_socialaccount select 1, 'github', \"userId\" from api_customuser")
        variables["phase_target"] = {**target(instance), "environment": {"GITHUB_CLIENT_ID": "planted"}}
        lockouts.by_policy(instance)
        done = recover(ansible, variables, phase_recover_confirmed=True)
        assert (outcome(done), done.custom["phase_recover"]["inside"]) == ("kept", True)
        again = recover(ansible, variables)
        assert (outcome(again), again.changed) == ("nothing", 0)
    finally:
        instance.sql("update api_customuser set password = ltrim(password, '!')")
        instance.sql("drop table socialaccount_socialaccount")


def test_where_passwords_are_not_taken_nobody_is_let_in(
    ansible: Ansible, instance: LocalInstance, variables: dict[str, Any]
) -> None:
    lockouts.by_sso(instance)
    settings = instance.env_file.read_text(encoding="utf-8")
    instance.env_file.write_text(settings.replace("ENABLE_PASSWORD_AUTH=true", "ENABLE_PASSWORD_AUTH=false"), "utf-8")
    instance.restart("backend")
    try:
        refused = recover(ansible, variables, fails=True, phase_recover_account=another_member(instance))
        assert refused.changed == 0 and "ENABLE_PASSWORD_AUTH" in refused.message
        assert lockouts.requires_sso(instance)
    finally:
        instance.env_file.write_text(settings, encoding="utf-8")
        instance.restart("backend")


def test_another_owner_is_asked_for_where_the_first_stays_out(
    ansible: Ansible, instance: LocalInstance, variables: dict[str, Any]
) -> None:
    lockouts.by_sso(instance)
    managed_by_scim(instance, lockouts.MEMBER)
    done = recover(ansible, variables, phase_recover_confirmed=True)
    assert (outcome(done), done.custom["phase_recover"]["account"]) == ("kept", "bob.spacex.1@example.com")


def test_putting_back_what_somebody_has_changed_since_fails_and_says_so(
    ansible: Ansible, instance: LocalInstance, variables: dict[str, Any]
) -> None:
    lockouts.by_policy(instance)
    before = lockouts.policies(instance)
    run = ansible.popen_playbook(RECOVER, {**variables, "phase_recover_confirm_within": "10m"})
    run.wait_for_output("Confirm it within")
    instance.sql("update api_networkaccesspolicy set name = 'New'")
    (waiting,) = Path(variables["phase_recover_dir"]).glob("*.waiting")
    waiting.rename(waiting.with_suffix(".put_back"))
    done = run.wait()
    said, path = done.failed[-1].result["msg"], done.custom["phase_recover"]["restore"]
    assert done.rc != 0 and outcome(done) == "not_put_back" and "still there" in said and "'New'" in said
    assert f"phase_recover_restore={path}" in said
    recover(ansible, variables, phase_recover_restore=path, phase_recover_force=True)
    assert lockouts.policies(instance) == before


def test_what_breaks_off_before_the_change_is_not_said_to_be_put_back(
    ansible: Ansible, instance: LocalInstance, variables: dict[str, Any]
) -> None:
    lockouts.by_policy(instance)
    before = lockouts.policies(instance)
    done = recover(ansible, variables, fails=True, phase_recover_dir="/dev/null/recover")
    assert outcome(done) == "broke_off" and ".waiting cannot be written" in done.message
    unasked = recover(
        ansible, variables, fails=True, phase_recover_dir="/dev/null/recover", phase_recover_confirmed=True
    )
    assert outcome(unasked) == "broke_off" and "snapshot cannot be written" in unasked.message
    assert lockouts.policies(instance) == before


def enable_provider(instance: LocalInstance, *, enabled: bool) -> None:
    instance.sql("update api_organisationssoprovider set enabled = %s where organisation_id = %s", enabled, SPACEX)


def test_locked_out_twice_without_a_provider_is_mended_in_one_run(
    ansible: Ansible, instance: LocalInstance, variables: dict[str, Any]
) -> None:
    lockouts.by_policy(instance)
    lockouts.by_sso(instance)
    enable_provider(instance, enabled=False)
    before = lockouts.policies(instance)
    try:
        done = recover(ansible, variables, phase_recover_confirm_within=0)
        assert outcome(done) == "kept" and done.custom["phase_recover"]["causes"] == ["network_policy", "sso"]
        assert enter(instance.url) == "in"
        recover(ansible, variables, phase_recover_restore=done.custom["phase_recover"]["restore"])
        assert lockouts.policies(instance) == before and lockouts.requires_sso(instance)
    finally:
        enable_provider(instance, enabled=True)


def test_a_provider_that_may_work_is_left_until_the_next_run(
    ansible: Ansible, instance: LocalInstance, variables: dict[str, Any]
) -> None:
    lockouts.by_policy(instance)
    lockouts.by_sso(instance)
    variables["phase_recover_confirm_within"] = 0
    done = recover(ansible, variables)
    assert done.custom["phase_recover"]["causes"] == ["network_policy"] and enter(instance.url) == "SSO_REQUIRED"
    assert "If its provider fails, run the same command again" in done.stdout and lockouts.requires_sso(instance)


def test_without_an_address_single_sign_on_is_mended_all_the_same(
    ansible: Ansible, instance: LocalInstance, variables: dict[str, Any]
) -> None:
    """A global policy is in force, and 127.0.0.1, where the backend is asked from, is not in it."""
    lockouts.by_policy(instance)
    lockouts.by_sso(instance)
    before = lockouts.policies(instance)
    variables.update(phase_recover_confirm_within=0, phase_recover_address="")
    done = recover(ansible, variables)
    assert outcome(done) == "kept" and done.custom["phase_recover"]["causes"] == ["sso"]
    assert enter(instance.url, "198.51.100.1") == "in" and lockouts.policies(instance) == before
    again = recover(ansible, variables)
    first = again.custom["phase_recover"]["text"][0]
    assert (again.changed, outcome(again)) == (0, "nothing") and first.startswith("Set phase_recover_address to")


def test_without_the_application_the_tables_count(
    ansible: Ansible, instance: LocalInstance, variables: dict[str, Any]
) -> None:
    """And a policy that is global and attached as well is switched off both ways."""
    lockouts.by_policy(instance)
    instance.sql(
        "insert into api_serviceaccount_network_policies (serviceaccount_id, networkaccesspolicy_id)"
        " select a.id, p.id from api_serviceaccount a, api_networkaccesspolicy p"
        " where a.name = 'deploy' and a.organisation_id = p.organisation_id"
    )
    variables["phase_target"] = {"deployment": "database", "database_url": instance.database_url}
    done = recover(
        ansible,
        variables,
        phase_recover_confirm_within=0,
        phase_recover_network="reset",
        phase_recover_account="deploy",
    )
    assert outcome(done) == "kept" and enter(instance.url) == "in"


def test_an_old_release(ansible: Ansible, local_instance: Callable[..., LocalInstance], tmp_path: Path) -> None:
    """v2.37.2 has neither policies nor single sign-on, and does not tell which address it saw."""
    old = local_instance("v2.37.2")
    old.sql("update api_customuser set password = '!'")  # as allauth leaves it; there is no login with a password
    variables = {
        "phase_hosts": "localhost",
        "phase_target": target(old),
        "phase_recover_url": old.url,
        "phase_recover_organisation": "SpaceX",
        "phase_recover_address": HOME,
        "phase_recover_dir": str(tmp_path / "recover"),
    }
    found = recover(ansible, variables)
    (access,) = (result["phase"]["access"] for result in found.results("phase_info"))
    assert (outcome(found), access["granted"], access["address"]) == ("nothing", True, None)
    assert (access["password_login"], access["account"]["email"]) == (None, lockouts.ALICE)
    assert found.changed == 0


def test_names_that_mean_harm_are_refused_in_words(ansible: Ansible, instance: LocalInstance) -> None:
    names = ["spacex", "'; drop table api_organisation; --", "Ünïcode ☃" * 7, '"%s\\']
    task = {
        "phase.console.phase_info": {
            **target(instance),
            "gather_subset": ["access"],
            "url": instance.url,
            "organisation": "{{ 'SpaceX' if item.account is defined else item.organisation }}",
            "account": "{{ item.account | default(omit) }}",
        },
        "loop": [{"organisation": name} for name in names] + [{"account": name} for name in names],
        "register": "found",
        "ignore_errors": True,
    }
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
    result = ansible.playbook(play)
    kinds = [item["error"]["kind"] for item in result.tasks[-1].result["results"]]
    assert kinds == ["organisation_missing"] * len(names) + ["account_missing"] * len(names)
    assert "Traceback" not in result.stdout


def test_nobody_is_left_waiting(instance: LocalInstance) -> None:
    """No session of the collection's stays in the database."""
    query = "select count(*) from pg_stat_activity where application_name like 'phase.console%'"
    eventually(lambda: instance.sql(query) == [(0,)], 10)
