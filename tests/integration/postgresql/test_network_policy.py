# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""phase_network_policy on a real server, and over HTTP what it does to those who are locked out."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import stat
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ansible_collections.phase.console.plugins.module_utils._access.network_policy import run
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.access import rule as _access
from ansible_collections.phase.console.plugins.module_utils._target.base import Limits
from ansible_collections.phase.console.plugins.module_utils._target.direct import DirectTarget
from ansible_collections.phase.console.plugins.modules import phase_network_policy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integration import targets
from integration.forks import Fork, eventually
from integration.harness import Ansible, target
from sandbox import facts
from sandbox.local import LocalInstance
from sandbox.phase.api.names import identifier, token
from tools.pages import blocks, guide

SPACEX = identifier(1, "organisation", "SpaceX")
CONTOSO = identifier(1, "organisation", "Contoso")
ALICE = identifier(1, "member", "alice.spacex.1")
EMAIL = "alice.spacex.1@example.com"
DEPLOY = identifier(1, "serviceaccount", "SpaceX")
HOME = "203.0.113.7"
TABLES = (
    "api_networkaccesspolicy",
    "api_organisationmember_network_policies",
    "api_serviceaccount_network_policies",
)
QUICK = settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# A member with every column of another's but the key.
COPY_OF_MEMBER = """
insert into api_organisationmember
select (jsonb_populate_record(m, jsonb_build_object('id', %s::text))).*
from api_organisationmember m where m.id = %s
"""


@pytest.fixture(scope="module")
def running(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    return module_local_instance("v2.73.2")


@pytest.fixture
def instance(running: LocalInstance) -> Iterator[LocalInstance]:
    yield running
    running.sql("update api_organisation set plan = 'EN' where name = 'SpaceX'")
    for table in (*reversed(TABLES), "api_auditevent"):
        running.sql(f"delete from {table}")  # noqa: S608


def add_policy(database: Any, name: str, allowed: str, *, is_global: bool = True, organisation: str = SPACEX) -> str:
    ((policy,),) = database.sql(
        "insert into api_networkaccesspolicy (id, name, allowed_ips, is_global, created_at, updated_at, "
        "organisation_id) values (gen_random_uuid()::text, %s, %s, %s, clock_timestamp(), clock_timestamp(), %s) "
        "returning id",
        name,
        allowed,
        is_global,
        organisation,
    )
    return str(policy)


def attach(database: Any, policy: str, account: str = ALICE) -> None:
    of = "serviceaccount" if account == DEPLOY else "organisationmember"
    database.sql(
        f"insert into api_{of}_network_policies ({of}_id, networkaccesspolicy_id) values (%s, %s)",  # noqa: S608
        account,
        policy,
    )


def stored(database: Any) -> list[Any]:
    """Every byte of the rows, read past the collection."""
    return [database.sql(f"select t::text from {table} t order by 1") for table in TABLES]  # noqa: S608


def enters(instance: LocalInstance, address: str, kind: str = "User") -> bool:
    """Whether the sandbox lets an account of SpaceX in, by a real request."""
    number = {"User": "SpaceX/alice", "ServiceAccount": "SpaceX"}[kind]
    headers = {"Authorization": f"Bearer {kind} {token(1, kind, number)}", "X-Real-IP": address}
    request = urllib.request.Request(f"{instance.url}/access/", headers=headers)  # noqa: S310 - its own address
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status == 200
    except urllib.error.HTTPError as error:
        assert (error.code, json.load(error)["code"]) == (403, "IP_RESTRICTED")
        return False


def policy_module(ansible: Ansible, instance: LocalInstance, folder: Path, **options: Any) -> dict[str, Any]:
    modes = {name: options.pop(name) for name in ("check", "diff", "expect_failure") if name in options}
    given = {**target(instance), "snapshot_dir": str(folder / "snapshots"), **options}
    return ansible.module("phase_network_policy", given, **modes)


class Direct:
    """The module's logic in this process, on a database: real statements, and no second for Ansible to start."""

    def __init__(self, url: str, folder: Path) -> None:
        self.target, self.folder, self.warnings = DirectTarget({"dsn": url}, Limits(lock=5)), folder, []

    def __call__(self, *, check: bool = False, **options: Any) -> dict[str, Any]:
        params = {name: option.get("default") for name, option in phase_network_policy.SPEC.options.items()}
        params.update({"snapshot_dir": str(self.folder), **options})
        call = Call(params, check, True, self.target, lambda message, **counters: None, self.warnings.append)
        return dict(run(call))


@pytest.fixture
def direct(instance: LocalInstance, tmp_path: Path) -> Direct:
    return Direct(instance.database_url, tmp_path / "snapshots")


def test_who_is_locked_out_is_told_let_in_and_put_back(
    ansible: Ansible, instance: LocalInstance, tmp_path: Path
) -> None:
    office = add_policy(instance, "Office", "10.0.0.0/8, garbage")
    question = {"account": EMAIL, "address": HOME}
    before = stored(instance)
    assert not enters(instance, HOME)

    told = policy_module(ansible, instance, tmp_path, diagnose=question)
    assert told["changed"] is False
    assert told["diagnosis"]["blocked"] is True
    for part in (EMAIL, HOME, '"Office" (global)', '"garbage"', "adding"):
        assert part in told["diagnosis"]["sentence"]

    change = {**told["diagnosis"]["change"], "reason": "moved house, 'quoted'\n"}
    assert change["policies"] == [office]
    predicted = policy_module(ansible, instance, tmp_path, check=True, diff=True, **change)
    assert (predicted["changed"], "snapshot" in predicted, stored(instance)) == (True, False, before)
    assert not (tmp_path / "snapshots").exists()
    assert f"garbage\n    {HOME}\n" in predicted["diff"]["after"] and HOME not in predicted["diff"]["before"]

    made = policy_module(ansible, instance, tmp_path, diagnose=question, **change)
    assert enters(instance, HOME) and not enters(instance, "203.0.113.8")
    assert made["diagnosis_after"]["blocked"] is False
    ((row,),) = instance.sql("select (id, allowed_ips, is_global)::text from api_networkaccesspolicy")
    assert row == f'({office},"10.0.0.0/8, garbage, {HOME}",t)'
    ((recent,),) = instance.sql("select updated_at > created_at from api_networkaccesspolicy")
    assert recent
    for key in ("before", "policies"):  # but for the time, the prediction held
        assert without_time(predicted[key]) == without_time(made[key])
    assert without_time(predicted["after"]) == without_time(made["after"])
    file = Path(made["snapshot"])
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)

    assert policy_module(ansible, instance, tmp_path, **change)["changed"] is False
    undone = policy_module(ansible, instance, tmp_path, state="restored", snapshot=str(file), reason="over")
    assert undone["changed"] is True
    assert (stored(instance), enters(instance, HOME)) == (before, False)
    assert policy_module(ansible, instance, tmp_path, state="restored", snapshot=str(file))["changed"] is False


def test_the_commands_of_the_page_work(ansible: Ansible, instance: LocalInstance, tmp_path: Path) -> None:
    """Each line as it stands there, but for whom and where."""
    add_policy(instance, "Office", "10.0.0.0/8")
    attach(instance, add_policy(instance, "Contractors", "10.0.0.0/8, 198.51.100.0/24", is_global=False))
    lines = "".join(blocks(guide("network_policy"), "bash")).splitlines()
    where = {"DATABASE_URL": instance.database_url, "XDG_STATE_HOME": str(tmp_path)}
    changed = []
    for line in lines:
        words = shlex.split(line.replace("alice@example.com", EMAIL))
        if "-a" not in words:
            words += ["-a", ""]
        words[words.index("-a") + 1] += " deployment=database"
        command = [str(ansible.programs / words[0]), *words[1:]]
        done = subprocess.run(
            command, cwd=ansible.folder, env=ansible.environment(where), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        changed.append("localhost | CHANGED" in done.stdout)
    assert changed == [False, False, True, True, True, True, True]
    assert enters(instance, "192.0.2.200")
    folder = tmp_path / "phase.console" / "snapshots"
    assert len(list(folder.iterdir())) == 4  # all but the one in check mode


def without_time(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_time(item) for key, item in value.items() if key != "updated_at"}
    return [without_time(item) for item in value] if isinstance(value, list) else value


def test_a_reset_does_not_free_an_account_of_its_own_policy(instance: LocalInstance, direct: Direct) -> None:
    add_policy(instance, "Office", "")
    add_policy(instance, "Lan", "10.0.0.0/8", organisation=CONTOSO)
    mine = add_policy(instance, "Mine", "10.0.0.0/8", is_global=False)
    attach(instance, mine)
    attach(instance, mine, DEPLOY)
    before = stored(instance)
    assert not enters(instance, HOME) and not enters(instance, HOME, "ServiceAccount")

    made = direct(state="reset", organisation="SpaceX")
    assert [one["is_global"] for one in made["policies"]] == [False, False]
    assert instance.sql("select name from api_networkaccesspolicy where is_global") == [("Lan",)]
    assert any("Mine" in warning for warning in direct.warnings)
    assert not enters(instance, HOME)

    freed = direct(state="reset", organisation="SpaceX", account_policies=["Mine"])
    assert enters(instance, HOME) and enters(instance, HOME, "ServiceAccount")
    assert EMAIL in freed["diff"]["before"] and EMAIL not in freed["diff"]["after"]
    assert {event["resource_type"] for event in freed["audit"]} == {"member", "sa"}
    for result in (freed, made):
        direct(state="restored", snapshot=result["snapshot"])
    assert stored(instance) == before


def test_a_reset_that_would_keep_somebody_out_is_refused_and_says_whom(
    instance: LocalInstance, direct: Direct, tmp_path: Path
) -> None:
    """alice comes in by the global policy; her own one lets her in from elsewhere only."""
    add_policy(instance, "Office", f"{HOME}/32")
    attach(instance, add_policy(instance, "Mine", "10.0.0.0/8", is_global=False))
    before = stored(instance)
    question = {"account": EMAIL, "address": HOME}
    for check in (True, False):
        with pytest.raises(PhaseError, match=f'member "{EMAIL}" is newly kept out from {HOME}, by "Mine"') as refused:
            direct(state="reset", organisation="SpaceX", diagnose=question, check=check)
        assert refused.value.kind == "would_keep_out" and "account_policies" in refused.value.next_step
        assert stored(instance) == before and not list(tmp_path.rglob("*.json"))
    (lost,) = refused.value.partial["kept_out"]
    assert (lost["account"]["name"], lost["loses"], lost["address"]) == (EMAIL, [HOME], HOME)

    assert enters(instance, HOME)
    made = direct(state="reset", organisation="SpaceX", lockout="warn")
    assert not enters(instance, HOME), "Phase itself keeps out whom the plan has named"
    assert any("newly kept out" in warning for warning in direct.warnings)
    direct(state="restored", snapshot=made["snapshot"])
    assert enters(instance, HOME) and stored(instance) == before
    narrow = direct(state="reset", organisation="SpaceX", account_policies=["Mine"], diagnose=question)
    assert narrow["kept_out"] == [] and enters(instance, HOME)


def test_halves_of_the_internet_are_everybody(instance: LocalInstance, direct: Direct) -> None:
    add_policy(instance, "Office", "0.0.0.0/1")
    before = stored(instance)
    for allow in (["0.0.0.0/1", "128.0.0.0/1"], ["128.0.0.0/1"]):
        with pytest.raises(PhaseError, match="would let everybody in") as refused:
            direct(state="allowed", organisation="SpaceX", allow=allow)
        assert refused.value.kind == "bad_option" and stored(instance) == before


def test_phases_audit_log_shows_it(instance: LocalInstance, direct: Direct) -> None:
    """What its console asks for: rows of the organisation by time, with enumerated types; see _audit."""
    office = add_policy(instance, "O'Brien's", "10.0.0.1")
    result = direct(state="allowed", allow=[HOME], reason="at night")
    shown = instance.sql(
        "select id, event_type, resource_type, resource_id, actor_type, actor_id, actor_metadata ->> 'username', "
        "resource_metadata, old_values, new_values, description, ip_address, user_agent "
        "from api_auditevent where organisation_id = %s and timestamp between now() - interval '30 days' and now()",
        SPACEX,
    )
    assert len(shown) == len(result["audit"]) == 1
    (event,) = shown
    assert event[1:6] == ("U", "policy", office, "user", "")
    assert "phase.console by " in event[6] and event[7]["name"] == "O'Brien's" and event[7]["emergency"] is True
    assert event[8] == {"name": "O'Brien's", "allowed_ips": "10.0.0.1", "is_global": True}
    assert event[9] == {"name": "O'Brien's", "allowed_ips": f"10.0.0.1, {HOME}", "is_global": True}
    assert (
        event[10].startswith("Updated network access policy 'O'Brien's' (emergency change") and "at night" in event[10]
    )
    assert len(event[0]) == 36


def test_the_narrowest_policy_gets_the_entry(instance: LocalInstance, direct: Direct) -> None:
    office = add_policy(instance, "Office", "10.0.0.0/8")
    shared, mine = (add_policy(instance, name, "10.1.0.0/16", is_global=False) for name in ("Shared", "Mine"))
    attach(instance, shared)
    attach(instance, shared, DEPLOY)
    attach(instance, mine)
    question = {"account": EMAIL, "address": HOME}
    result = direct(state="allowed", diagnose=question)
    assert [row["id"] for row in result["after"][TABLES[0]]] == [mine]
    assert result["diagnosis"]["change"]["policies"] == [mine]
    assert enters(instance, HOME) and not enters(instance, HOME, "ServiceAccount")
    assert direct(state="allowed", diagnose=question)["changed"] is False
    everybody = direct(state="allowed", allow=[HOME])
    assert [row["id"] for row in everybody["after"][TABLES[0]]] == [office]
    assert enters(instance, HOME, "ServiceAccount")
    assert "Shared" in " ".join(direct.warnings)


def test_what_the_plan_makes_of_policies(instance: LocalInstance, direct: Direct) -> None:
    """The diagnosis agrees with the answer to a request, whatever the plan."""
    add_policy(instance, "Office", "10.0.0.0/8")
    attach(instance, add_policy(instance, "Mine", "192.0.2.0/24", is_global=False))
    for plan in ("EN", "PR", "FR"):
        instance.sql("update api_organisation set plan = %s where name = 'SpaceX'", plan)
        for address in ("10.1.1.1", "192.0.2.9", HOME, "::ffff:10.1.1.1", "2001:db8::1"):
            for kind, account in (("User", EMAIL), ("ServiceAccount", "deploy")):
                told = direct(organisation="SpaceX", diagnose={"account": account, "address": address})["diagnosis"]
                assert told["blocked"] is not enters(instance, address, kind), told["sentence"]
                change = told["change"]
                if change:
                    widened = direct(check=True, diagnose={"account": account, "address": address}, **change)
                    assert widened["diagnosis_after"]["blocked"] is False


def test_the_address_may_come_from_a_header(instance: LocalInstance, direct: Direct) -> None:
    add_policy(instance, "Office", "10.0.0.0/8")
    headers = {"x-forwarded-for": "10.1.1.1, 192.0.2.1", "Host": "phase"}
    told = direct(organisation="SpaceX", diagnose={"headers": headers, "address": HOME})["diagnosis"]
    assert (told["blocked"], told["address_from"], told["account"]) == (False, "X-Forwarded-For", None)
    nobody = direct(organisation="SpaceX", diagnose={"headers": {"X-Real-IP": "unknown"}})["diagnosis"]
    assert (nobody["rule"], nobody["change"]) == ("no_address", None)


def test_a_restore_refuses_what_was_changed_since(instance: LocalInstance, direct: Direct) -> None:
    office = add_policy(instance, "Office", "10.0.0.0/8")
    before = stored(instance)
    snapshot = direct(state="allowed", allow=[HOME])["snapshot"]
    instance.sql("update api_networkaccesspolicy set name = 'Ofice'")
    changed = stored(instance)
    for check in (True, False):
        with pytest.raises(
            PhaseError, match=r"name of api_networkaccesspolicy .* is 'Ofice' instead of 'Office'"
        ) as refused:
            direct(check=check, state="restored", snapshot=snapshot)
        assert refused.value.kind == "rows_changed"
        assert refused.value.partial["changed_since"] == [
            {"table": TABLES[0], "key": office, "column": "name", "expected": "Office", "found": "Ofice"}
        ]
    assert stored(instance) == changed
    forced = direct(state="restored", snapshot=snapshot, force=True)
    assert (forced["changed"], stored(instance)) == (True, before)
    assert direct(state="restored", snapshot=forced["snapshot"])["changed"] and stored(instance) == changed


def test_a_policy_that_was_deleted_since_comes_back_only_by_force(instance: LocalInstance, direct: Direct) -> None:
    mine = add_policy(instance, "Mine", "10.0.0.0/8", is_global=False)
    attach(instance, mine)
    before = stored(instance)
    detached = direct(state="reset", policies=[], account_policies=["Mine"])["snapshot"]
    widened = direct(state="allowed", policies=[mine], allow=[HOME])["snapshot"]
    instance.sql("delete from api_networkaccesspolicy")
    with pytest.raises(PhaseError, match="no such row"):
        direct(state="restored", snapshot=widened)
    assert stored(instance) == [[], [], []]
    assert direct(state="restored", snapshot=widened, force=True)["audit"][0]["event_type"] == "C"
    assert direct(state="restored", snapshot=detached)["changed"]
    assert stored(instance) == before


def test_an_attachment_to_what_was_deleted_since_is_left_out_by_force(instance: LocalInstance, direct: Direct) -> None:
    mine, other = (add_policy(instance, name, "10.0.0.0/8", is_global=False) for name in ("Mine", "Other"))
    for policy in (mine, other):
        attach(instance, policy)
    snapshot = direct(state="reset", policies=[], account_policies=["Mine", "Other"])["snapshot"]
    instance.sql("delete from api_networkaccesspolicy where id = %s", mine)
    before = stored(instance)
    with pytest.raises(PhaseError, match=f"refers by networkaccesspolicy_id to {mine} .*was deleted") as refused:
        direct(state="restored", snapshot=snapshot)
    assert (refused.value.kind, stored(instance)) == ("rows_changed", before)
    assert direct(state="restored", snapshot=snapshot, force=True)["changed"]
    assert any("it is not put back" in text for text in direct.warnings)
    left = instance.sql("select networkaccesspolicy_id from api_organisationmember_network_policies")
    assert left == [(other,)]
    assert direct(state="restored", snapshot=snapshot, force=True)["changed"] is False


def test_a_member_who_was_deleted_since_changed_nothing(instance: LocalInstance, direct: Direct) -> None:
    member = "gone"
    instance.sql(COPY_OF_MEMBER, member, ALICE)
    office = add_policy(instance, "Office", "10.0.0.0/8")
    mine = add_policy(instance, "Mine", "10.0.0.0/8", is_global=False)
    attach(instance, mine, member)
    instance.sql("update api_networkaccesspolicy set updated_by_id = %s where id = %s", member, office)
    snapshot = direct(state="reset", account_policies=["Mine"])["snapshot"]
    instance.sql("delete from api_organisationmember where id = %s", member)
    before = stored(instance)
    with pytest.raises(PhaseError, match=r"to gone of api_organisationmember, which was deleted"):
        direct(state="restored", snapshot=snapshot)
    assert stored(instance) == before
    assert direct(state="restored", snapshot=snapshot, force=True)["changed"]
    assert any("updated_by_id is left empty" in text for text in direct.warnings)
    found = instance.sql("select is_global, updated_by_id from api_networkaccesspolicy where id = %s", office)
    assert (found, stored(instance)[1]) == ([(True, None)], [])


def test_a_row_that_is_referred_to_meanwhile_is_no_fault_of_the_collection(
    instance: LocalInstance, direct: Direct
) -> None:
    office = add_policy(instance, "Office", "10.0.0.0/8")
    widened = direct(state="allowed", allow=[HOME])["snapshot"]
    instance.sql("delete from api_networkaccesspolicy")
    created = direct(state="restored", snapshot=widened, force=True)["snapshot"]
    attach(instance, office)
    before = stored(instance)
    with pytest.raises(PhaseError, match="still referenced") as refused:
        direct(state="restored", snapshot=created)
    assert (refused.value.kind, stored(instance)) == ("rows_changed", before)


def test_a_snapshot_of_another_organisation_is_refused(instance: LocalInstance, direct: Direct) -> None:
    add_policy(instance, "Office", "10.0.0.0/8")
    add_policy(instance, "Theirs", "10.0.0.0/8", organisation=CONTOSO)
    before = stored(instance)
    snapshot = direct(state="allowed", organisation="SpaceX", allow=[HOME])["snapshot"]
    for force in (False, True):
        with pytest.raises(PhaseError, match='snapshot is of organisation "SpaceX", and organisation is "Contoso"'):
            direct(state="restored", organisation="Contoso", snapshot=snapshot, force=force)
    asked = {"snapshot": snapshot, "organisation": "SpaceX", "diagnose": {"address": HOME}}
    assert direct(state="restored", check=True, **asked)["diagnosis_after"]["blocked"]
    assert direct(state="restored", **asked)["changed"] and stored(instance) == before


def test_an_account_that_was_attached_again_stays(instance: LocalInstance, direct: Direct) -> None:
    mine = add_policy(instance, "Mine", "10.0.0.0/8", is_global=False)
    attach(instance, mine)
    snapshot = direct(state="reset", account_policies=["Mine"])["snapshot"]
    attach(instance, mine)
    assert direct(state="restored", snapshot=snapshot)["changed"] is False


def test_a_snapshot_of_another_database_is_refused(instance: LocalInstance, direct: Direct, tmp_path: Path) -> None:
    add_policy(instance, "Office", "10.0.0.0/8")
    fork = Fork(instance)
    snapshot = direct(state="allowed", allow=[HOME])["snapshot"]
    elsewhere = Direct(fork.url, tmp_path / "elsewhere")
    with pytest.raises(PhaseError, match="another database: its database is phase, and here it is fork_"):
        elsewhere(state="restored", snapshot=snapshot)
    assert elsewhere(state="restored", snapshot=snapshot, force=True)["changed"] is False  # it is as it was there


def test_two_at_once_both_get_in(instance: LocalInstance, direct: Direct, tmp_path: Path) -> None:
    """One of them has to plan again, since the row is not what it saw; each snapshot undoes its own."""
    add_policy(instance, "Office", "10.0.0.0/8")
    before = stored(instance)
    addresses = [f"192.0.2.{number}" for number in range(1, 4)]
    results: dict[str, dict[str, Any]] = {}
    barrier = threading.Barrier(len(addresses))

    def let_in(address: str) -> None:
        one = Direct(instance.database_url, tmp_path / address)
        barrier.wait(10)
        results[address] = one(state="allowed", allow=[address])

    threads = [threading.Thread(target=let_in, args=(address,)) for address in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 3 and all(result["changed"] for result in results.values())
    ((stored_ips,),) = instance.sql("select allowed_ips from api_networkaccesspolicy")
    assert sorted(stored_ips.split(", ")) == sorted(["10.0.0.0/8", *addresses])
    assert [len(list((tmp_path / address).iterdir())) for address in addresses] == [1, 1, 1]
    for address in reversed(stored_ips.split(", ")[1:]):
        direct(state="restored", snapshot=results[address]["snapshot"])
    assert stored(instance) == before


def test_killed_midway_nothing_is_changed_and_the_snapshot_is_there(
    ansible: Ansible, instance: LocalInstance, tmp_path: Path
) -> None:
    add_policy(instance, "Office", "10.0.0.0/8")
    before = stored(instance)
    folder = tmp_path / "snapshots"
    options = {
        **target(instance),
        "state": "allowed",
        "allow": [HOME],
        "snapshot_dir": str(folder),
        "timeouts": {"lock": "0"},
    }
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"phase.console.phase_network_policy": options}]}]
    with contextlib.closing(psycopg2.connect(instance.database_url)) as other, other.cursor() as cursor:
        cursor.execute("select from api_networkaccesspolicy for update")
        run = ansible.popen_playbook(play)
        waiting = (
            "select 1 from pg_stat_activity where wait_event_type = 'Lock' and application_name like 'phase.con%%'"
        )
        run.wait_until(lambda: bool(instance.sql(waiting)), timeout=30)
        (file,) = folder.iterdir()
        targets.kill(run)
        eventually(lambda: targets.ours(instance) == 0, 10)
        other.rollback()
    assert stored(instance) == before and instance.sql("select count(*) from api_auditevent") == [(0,)]
    result = policy_module(ansible, instance, tmp_path, state="restored", snapshot=str(file))
    assert result["changed"] is False


SLOW_COMMIT = """
create function slow_commit() returns trigger language plpgsql as 'begin perform pg_sleep(2); return null; end';
create constraint trigger slow_commit after insert on api_auditevent deferrable initially deferred
  for each row execute function slow_commit()
"""


@pytest.mark.parametrize("deployment", ["local", "database"])
def test_killed_while_it_commits_it_is_all_or_nothing_and_can_be_undone(
    ansible: Ansible, instance: LocalInstance, tmp_path: Path, deployment: str
) -> None:
    add_policy(instance, "Office", "10.0.0.0/8")
    attach(instance, add_policy(instance, "Mine", "10.0.0.0/8", is_global=False))
    before = stored(instance)
    where = target(instance) if deployment == "local" else {}
    change = {"state": "reset", "account_policies": ["Mine"], "snapshot_dir": str(tmp_path)}
    options = {"deployment": deployment, **where, **change}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"phase.console.phase_network_policy": options}]}]
    instance.sql(SLOW_COMMIT)
    try:
        environ = {"DATABASE_URL": instance.database_url} if deployment == "database" else {}
        run = ansible.popen_playbook(play, environ=environ)
        sleeping = "select 1 from pg_stat_activity where wait_event = 'PgSleep' and application_name like 'phase.con%%'"
        run.wait_until(lambda: bool(instance.sql(sleeping)), timeout=30, poll=0.05)
        targets.kill(run)
        eventually(lambda: targets.ours(instance) == 0, 15)
    finally:
        instance.sql("drop function slow_commit cascade")
    (file,) = tmp_path.iterdir()
    undone = Direct(instance.database_url, tmp_path)(state="restored", snapshot=str(file))
    ((recorded,),) = instance.sql("select count(*) from api_auditevent where description like '%%emergency%%'")
    # A far end that loses its caller cancels the commit; a server finishes what a dead client began.
    assert (undone["changed"], recorded) == ((False, 0) if deployment == "local" else (True, 4))
    assert stored(instance) == before


def test_a_row_that_is_held_is_not_waited_for_without_end(instance: LocalInstance, direct: Direct) -> None:
    add_policy(instance, "Office", "10.0.0.0/8")
    before = stored(instance)
    direct.target = DirectTarget({"dsn": instance.database_url}, Limits(lock=0.3))
    with contextlib.closing(psycopg2.connect(instance.database_url)) as other, other.cursor() as cursor:
        cursor.execute("select from api_networkaccesspolicy for update")
        with pytest.raises(PhaseError, match=r"timeouts\.lock") as failed:
            direct(state="reset")
    assert Path(failed.value.partial["snapshot"]).exists()
    assert stored(instance) == before


def test_no_snapshot_no_change(instance: LocalInstance, direct: Direct, tmp_path: Path) -> None:
    add_policy(instance, "Office", "10.0.0.0/8")
    before = stored(instance)
    (tmp_path / "file").touch()
    with pytest.raises(PhaseError, match="cannot be written") as failed:
        direct(state="reset", snapshot_dir=str(tmp_path / "file"))
    assert (failed.value.kind, stored(instance)) == ("snapshot_failed", before)


@pytest.mark.timeout(200)
def test_every_schema_level(module_local_instance: Callable[..., LocalInstance], tmp_path: Path) -> None:
    """One database, of a role that is no superuser, is taken through the levels; at each the module does its work."""
    instance = module_local_instance(facts.LEVELS[0], superuser=False)
    direct = Direct(instance.database_url, tmp_path)
    question = {"account": EMAIL, "address": HOME}
    told = direct(diagnose=question)
    assert (told["supported"], told["policies"], told["diagnosis"]["blocked"]) == (False, [], False)
    assert "no network policies" in told["diagnosis"]["sentence"] and "v2.41.0" in direct.warnings[0]
    for options in ({"state": "reset"}, {"state": "allowed", "allow": [HOME]}):
        with pytest.raises(PhaseError, match=r"no network policies; they came with v2\.41\.0") as failed:
            direct(**options)
        assert failed.value.kind == "not_supported"
    for level in facts.LEVELS[1:]:
        instance.manage("migrate", version=level)
        if level == facts.LEVELS[1]:
            add_policy(instance, "Office", "10.0.0.0/8")
        before = stored(instance)
        direct.warnings.clear()
        result = direct(state="allowed", diagnose=question, reason=level)
        assert result["diagnosis"]["blocked"] and not result["diagnosis_after"]["blocked"]
        # Phase looks at X-Real-IP since v2.54.2, which the tables of v2.54.0 do not show: then as refused.
        both = {"account": EMAIL, "address": "192.0.2.1", "headers": {"X-Real-IP": "10.1.1.1"}}
        version = tuple(int(number) for number in level[1:].split("."))
        asked = direct(diagnose=both)["diagnosis"]
        assert asked["blocked"] is (version < (2, 54, 2))
        assert ("depends on the release" in asked["sentence"]) is (version == (2, 54, 0))
        audited = level == facts.LEVELS[-1]
        assert (bool(result["audit"]), not any("audit log" in one for one in direct.warnings)) == (audited, audited)
        assert direct(state="restored", snapshot=result["snapshot"])["changed"]
        assert stored(instance) == before


# The rule itself, asked of the stand-in's own code

ORACLE = """
import json, sys, django
django.setup()
from api import access
from django.http import HttpRequest
for line in sys.stdin:
    case, request = json.loads(line), HttpRequest()
    request.META.update(case["meta"])
    address = access.client_address(request)
    inside = address is not None and access.within(address, [entry.strip() for entry in case["allowed"].split(",")])
    print(json.dumps([address, inside]), flush=True)
"""


@pytest.fixture(scope="module")
def ask(running: LocalInstance) -> Iterator[Callable[[dict[str, str], str], list[Any]]]:
    """``ask(meta, allowed_ips)``: which address the stand-in sees, and whether it is inside."""
    environment = {**os.environ, **running.environment, "DJANGO_SETTINGS_MODULE": "backend.settings"}
    with subprocess.Popen(
        [str(running.python), "-c", ORACLE],
        cwd=running.current.resolve(),
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as oracle:
        assert oracle.stdin and oracle.stdout

        def answer(meta: dict[str, str], allowed: str) -> list[Any]:
            oracle.stdin.write(json.dumps({"meta": meta, "allowed": allowed}) + "\n")
            oracle.stdin.flush()
            return list(json.loads(oracle.stdout.readline()))

        yield answer
        oracle.stdin.close()


NEAR = st.sampled_from(
    [
        "10.0.0.1",
        "10.0.0.9",
        "10.1.0.0",
        "::1",
        "2001:db8::1",
        "::ffff:10.0.0.1",
        "192.0.2.1",
        " 10.0.0.1 ",
        "10.0.0.256",
    ]
)
ENTRY = st.one_of(
    NEAR,
    st.sampled_from(
        ["10.0.0.0/8", "10.0.0.1/24", "::/0", "::ffff:0:0/96", "10.0.0.0/255.0.0.0", "10.0.0.0/0.255.255.255"]
    ),
    st.sampled_from(
        ["garbage", "", "/", "10.0.0.0/", "/8", "10.0.0.0/99", "010.0.0.1", "10.0.0.1%eth0", "fe80::1%eth0"]
    ),
    st.tuples(NEAR, st.integers(0, 128)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    st.text(max_size=12),
)
HEADER = st.one_of(NEAR, st.lists(ENTRY, max_size=3).map(", ".join))


@settings(QUICK, max_examples=800)
@given(
    real=st.none() | HEADER, forwarded=st.none() | HEADER, peer=NEAR, allowed=st.lists(ENTRY, max_size=4).map(",".join)
)
def test_the_rule_is_the_stand_ins(
    ask: Callable[[dict[str, str], str], list[Any]], real: str | None, forwarded: str | None, peer: str, allowed: str
) -> None:
    headers = {"X-Real-IP": real, "X-Forwarded-For": forwarded}
    meta = {"REMOTE_ADDR": peer, "HTTP_X_REAL_IP": real, "HTTP_X_FORWARDED_FOR": forwarded}
    given_headers = {name: value for name, value in headers.items() if value is not None}
    address, _source = _access.client_address(given_headers, peer)
    policy = {"id": "1", "name": "one", "allowed_ips": allowed, "is_global": True}
    inside = _access.verdict(address, "EN", [], [policy]).allowed
    seen, expected = ask({name: value for name, value in meta.items() if value is not None}, allowed)
    same = address == seen or (address and seen and ip_address(address) == ip_address(seen))
    assert (bool(same), inside) == (True, expected)


# Names and addresses that somebody may try, or that an attacker has put into the database

HOSTILE = st.one_of(
    st.text(max_size=70),
    st.text(alphabet="'\"\\;-%{}()$\0\n\u202e\ud800é☃😀 ", min_size=1, max_size=64),
    st.sampled_from(
        ["", " ", "%", "%s", "'; drop table api_networkaccesspolicy; --", '"', "{{ 7 }}", "spacex", "SpaceX ", "x" * 64]
    ),
)
ADDRESSES = st.one_of(
    HOSTILE,
    st.ip_addresses().map(str),
    st.sampled_from(
        [
            "0.0.0.0/0",
            "::/0",
            "10.0.0.1/8",
            "010.0.0.1",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/33",
            "1.2.3.4/",
            "fe80::1%eth0",
        ]
    ),
    st.tuples(st.ip_addresses(), st.integers(-1, 129)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
)


@QUICK
@given(organisation=HOSTILE, policy=HOSTILE, account=HOSTILE, address=ADDRESSES)
def test_hostile_options_change_nothing(
    direct: Direct, instance: LocalInstance, organisation: str, policy: str, account: str, address: str
) -> None:
    """Whatever is asked for, it is a typed error or a question answered; nothing is changed by a name."""
    if not instance.sql("select 1 from api_networkaccesspolicy"):
        add_policy(instance, "Office", "10.0.0.0/8")
    before = stored(instance)
    for options in (
        {"state": "reset", "organisation": organisation},
        {"state": "reset", "policies": [policy]},
        {"state": "reset", "policies": [], "account_policies": [policy]},
        {"state": "allowed", "policies": [policy], "allow": ["192.0.2.1"]},
        {"state": "allowed", "allow": ["192.0.2.1"], "diagnose": {"account": account, "address": "192.0.2.1"}},
        {"state": "info", "diagnose": {"account": account, "address": address}, "organisation": "SpaceX"},
    ):
        with contextlib.suppress(PhaseError):
            assert direct(**options)["changed"] is False
    assert stored(instance) == before


@QUICK
@given(address=ADDRESSES)
def test_any_address_is_added_so_that_phase_takes_it_or_refused(
    direct: Direct, instance: LocalInstance, address: str
) -> None:
    if not instance.sql("select 1 from api_networkaccesspolicy"):
        add_policy(instance, "Office", "10.0.0.0/8")
    before = stored(instance)
    try:
        result = direct(state="allowed", allow=[address])
    except PhaseError as error:
        assert error.kind == "bad_option" and error.next_step
        assert stored(instance) == before
        return
    (policy,) = result["policies"]
    assert policy["invalid"] == []
    first = address.partition("/")[0]
    assert direct(organisation="SpaceX", diagnose={"address": first})["diagnosis"]["blocked"] is False
    assert direct(state="allowed", allow=[address])["changed"] is False
    if result["changed"]:
        direct(state="restored", snapshot=result["snapshot"])
        assert stored(instance) == before


@QUICK
@given(name=st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=100))
def test_hostile_names_in_the_database_are_data(direct: Direct, instance: LocalInstance, name: str) -> None:
    """A policy of any name is told, let in by its id and put back to the byte, and the audit row can be shown."""
    instance.sql("delete from api_networkaccesspolicy")
    policy = add_policy(instance, name, name)
    before = stored(instance)
    result = direct(state="allowed", policies=[policy], allow=["2001:db8::/32"])
    assert result["audit"][0]["resource_metadata"]["name"] == name
    ((entries,),) = instance.sql("select allowed_ips from api_networkaccesspolicy")
    assert result["diff"]["after"].count("\n") == 6 + entries.count(",")  # no name adds a line
    direct(state="restored", snapshot=result["snapshot"])
    assert stored(instance) == before
