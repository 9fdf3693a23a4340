# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""phase_sso on a real instance: who is locked out over HTTP gets in at once, and everything goes back to the byte."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import stat
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import redis
from ansible_collections.phase.console.plugins.module_utils._access import sso as _sso
from ansible_collections.phase.console.plugins.module_utils._call.argspec import target_spec
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._call.targets import build_target
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integration import targets
from integration.harness import Ansible, target
from integration.watch import Watch
from sandbox.local import LocalInstance
from sandbox.phase.api.names import PASSWORD, identifier
from tools.pages import blocks, guide

SPACEX = identifier(1, "organisation", "SpaceX")
ALICE, BOB = "alice.spacex.1@example.com", "bob.spacex.1@example.com"
NOW = 1785553200.0
HOSTILE = ["'; drop table api_secret; --", '"Öffis" \\ {{ 7 * 7 }}', "ﷺ" * 64, "--show", "  SpaceX", "%s %(name)s\t"]


ADDED = (
    "INSERT INTO api_organisationssoprovider (id, provider_type, name, config, enabled, created_at, updated_at, "
    "organisation_id) VALUES (%s, 'okta', %s, %s, false, now(), %s, %s)"
)


@pytest.fixture(scope="module")
def running(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    """With a second provider, and a configuration that text alone would not keep."""
    started = module_local_instance("v2.73.2")
    config = {"client_secret": "ph:v1:planted-okta-ciphertext", "issuer": "https://o'kta/\\ü", "n": 1.10}
    started.sql(ADDED, "okta", 'Okta "A" %', json.dumps(config), "2026-01-01 00:00:00.000001Z", SPACEX)
    started.sql("CREATE TABLE kept_organisation AS SELECT * FROM api_organisation")
    started.sql("CREATE TABLE kept_provider AS SELECT * FROM api_organisationssoprovider")
    started.sql("CREATE TABLE kept_user AS SELECT * FROM api_customuser")
    set_environment(started, ENABLE_PASSWORD_AUTH="true")
    return started


@pytest.fixture
def instance(running: LocalInstance) -> Iterator[LocalInstance]:
    yield running
    running.sql(
        "DELETE FROM api_auditevent; DELETE FROM api_scimuser; DELETE FROM api_organisationssoprovider; "
        "INSERT INTO api_organisationssoprovider SELECT * FROM kept_provider; "
        "UPDATE api_organisation o SET (name, require_sso, updated_at) = (k.name, k.require_sso, k.updated_at) "
        "FROM kept_organisation k WHERE k.id = o.id; "
        "UPDATE api_customuser u SET (email, password, active) = (k.email, k.password, k.active) "
        'FROM kept_user k WHERE k."userId" = u."userId"; UPDATE api_role SET name = \'Owner\''
    )
    forget(running)


def set_environment(instance: LocalInstance, **values: str) -> None:
    """Set variables of the backend, or take them away where they are empty, and start it anew."""
    environment = {**instance.environment, **values}
    lines = [f"{name}={value}\n" for name, value in environment.items() if value]
    instance.env_file.write_text("".join(lines), encoding="utf-8")
    instance.restart("backend")


def forget(instance: LocalInstance) -> None:
    with redis.Redis(port=instance.redis_port) as connection:
        connection.flushall()


def kept_in_redis(instance: LocalInstance) -> dict[bytes, bytes]:
    with redis.Redis(port=instance.redis_port) as connection:
        return {key: connection.get(key) for key in connection.keys("*org_sso_decision*")}


def lock_out(instance: LocalInstance) -> None:
    instance.sql("UPDATE api_organisation SET require_sso = true WHERE id = %s", SPACEX)


def rows(instance: LocalInstance) -> list[Any]:
    """Everything that phase_sso could change, read past it, to the byte."""
    return instance.sql(
        "SELECT o::text FROM api_organisation o UNION ALL SELECT p::text FROM api_organisationssoprovider p "
        "UNION ALL SELECT a::text FROM api_auditevent a ORDER BY 1"
    )


def tables(instance: LocalInstance) -> list[Any]:
    """As ``rows``, without the audit log, which only grows."""
    return instance.sql(
        "SELECT o::text FROM api_organisation o UNION ALL SELECT p::text FROM api_organisationssoprovider p ORDER BY 1"
    )


class Account:
    """A browser of somebody who signs in with a password."""

    def __init__(self, instance: LocalInstance, email: str = ALICE) -> None:
        self.url, self.email, self.cookie = instance.url, email, ""

    def sign_in(self, path: str = "/auth/login/") -> int:
        if path == "/auth/login/":
            body = urllib.parse.urlencode({"email": self.email, "password": PASSWORD}).encode()
        else:
            body = json.dumps({"email": self.email, "authHash": PASSWORD}).encode()
        status, headers = self._ask(path, body)
        self.cookie = headers.get("Set-Cookie", "").partition(";")[0]
        return status

    def enter(self) -> int:
        return self._ask(f"/access/?organisation={SPACEX}")[0]

    def gets_in(self) -> bool:
        """By the path that Phase's own page takes."""
        return self.sign_in("/auth/password/login/") == 200 and self.enter() == 200

    def _ask(self, path: str, body: bytes | None = None) -> tuple[int, Mapping[str, str]]:
        request = urllib.request.Request(self.url + path, data=body, headers={"Cookie": self.cookie})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - its own address
                return answer.status, answer.headers
        except urllib.error.HTTPError as error:
            return error.code, {}


@pytest.fixture
def alice(instance: LocalInstance) -> Account:
    account = Account(instance)
    assert account.sign_in() == 200
    return account


@pytest.fixture
def options(instance: LocalInstance, tmp_path: Path) -> dict[str, Any]:
    return {**target(instance), "organisation": "SpaceX", "snapshot_dir": str(tmp_path / "snapshots")}


@pytest.fixture
def tables_only(instance: LocalInstance, options: dict[str, Any]) -> dict[str, Any]:
    """Without the backend, where it is of no interest: that takes a tenth of the time."""
    return {**options, "deployment": "database", "database_url": instance.database_url}


def direct(given: Mapping[str, Any], *, check: bool = False, warnings: list[str] | None = None) -> dict[str, Any]:
    """The module's logic in this process, for cases in which Ansible itself is of no interest."""
    spec = target_spec().merge(_sso.SPEC)
    params = {name: option.get("default") for name, option in spec.options.items()}
    params.update(given)
    tell = warnings.append if warnings is not None else lambda text: None
    where = build_target(params, lambda: False)
    return _sso.run(Call(params, check, True, where, lambda message, **counters: None, tell, now=lambda: NOW))


def refused(given: Mapping[str, Any], kind: str) -> PhaseError:
    with pytest.raises(PhaseError) as caught:
        direct(given)
    assert caught.value.kind == kind and caught.value.next_step, caught.value.message
    return caught.value


def findings(doctor: Mapping[str, Any]) -> set[str]:
    return {item["finding"] for item in doctor["findings"]}


def without_times(state: Mapping[str, Any]) -> dict[str, Any]:
    providers = [{**row, "updated_at": ""} for row in state["providers"]]
    return {**state, "updated_at": "", "providers": providers}


def test_who_was_locked_out_gets_in_at_once(
    ansible: Ansible, instance: LocalInstance, alice: Account, options: dict[str, Any]
) -> None:
    lock_out(instance)
    assert alice.enter() == 403
    before, kept = rows(instance), kept_in_redis(instance)
    assert len(kept) == 1
    info = direct(options)
    assert (info["changed"], info["sso"]["require_sso"], info["sso"]["cached_decision"]) == (False, True, True)
    assert (info["doctor"]["would_get_in"], findings(info["doctor"])) == (False, {"enforcement"})
    opened = {**options, "state": "enforcement_disabled", "reason": "the identity provider is down"}
    checked = ansible.module("phase_sso", opened, check=True, diff=True)
    assert checked["changed"] and checked["doctor"]["would_get_in"] and "snapshot" not in checked
    assert (rows(instance), kept_in_redis(instance)) == (before, kept)
    folder = Path(options["snapshot_dir"])
    assert not folder.exists()

    done = ansible.module("phase_sso", opened, diff=True)
    assert alice.enter() == 200
    assert done["changed"] and done["cache"] == {"cleared": True, "error": None, "seconds": 0}
    assert without_times(done["after"]) == without_times(checked["after"]) and done["before"] == checked["before"]
    assert done["doctor"]["would_get_in"] and not done["doctor_before"]["would_get_in"]
    ((kind, resource, said, actor, old, new),) = instance.sql(
        "SELECT event_type, resource_type, description, actor_metadata->>'username', old_values, new_values "
        "FROM api_auditevent"
    )
    assert (kind, resource, actor[:13], "the identity provider is down" in said) == (
        "U",
        "policy",
        "phase.console",
        True,
    )
    assert (old["require_sso"], new["require_sso"]) == (True, False)
    again = direct(opened)
    assert not again["changed"] and again["summary"] == ["Nothing to do: SpaceX does not require SSO."]
    assert len(list(folder.iterdir())) == 1

    back = {**target(instance), "state": "restored", "snapshot": done["snapshot"], "snapshot_dir": f"{folder}2"}
    assert direct(back)["changed"]
    assert alice.enter() == 403
    assert [row for row in rows(instance) if "phase.console" not in row[0]] == before
    assert not direct(back)["changed"]


def test_a_switch_in_the_environment_hides_no_word(
    ansible: Ansible, instance: LocalInstance, options: dict[str, Any]
) -> None:
    lock_out(instance)
    given = {**options, "environment": {"ENABLE_PASSWORD_AUTH": "true"}, "state": "enforcement_disabled"}
    checked = ansible.module("phase_sso", given, check=True, diff=True)
    assert "require_sso: true" in checked["diff"]["before"] and "require_sso: false" in checked["diff"]["after"]


def test_the_configuration_is_seen_nowhere_but_in_the_snapshot(
    ansible: Ansible, instance: LocalInstance, options: dict[str, Any], tmp_path: Path
) -> None:
    lock_out(instance)
    ((secret,),) = instance.sql(
        "SELECT config->>'client_secret' FROM api_organisationssoprovider WHERE name = 'Entra ID'"
        " AND organisation_id = %s",
        SPACEX,
    )
    planted = {"okta": "ph:v1:planted-okta-ciphertext", "entra": secret, "issuer": "https://o'kta/\\ü"}
    folder = Path(options["snapshot_dir"])
    tasks = [
        {"phase.console.phase_sso": {**options, "state": "providers_deleted", "confirm": "SpaceX"}, "register": "gone"},
        {"phase.console.phase_sso": {**options, "state": "restored", "snapshot": "{{ gone.snapshot }}"}},
        {"phase.console.phase_sso": options},
    ]
    before = tables(instance)
    with Watch(planted, [ansible.folder], [folder, instance.directory]) as watching:
        run = ansible.popen_playbook(
            [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}], verbosity=3, diff=True
        )
        assert run.wait().rc == 0
    watching.look_at_run(run)
    assert (watching.found, watching.samples > 0) == ([], True)
    assert tables(instance) == before
    saved = sorted(folder.iterdir())
    assert [stat.S_IMODE(path.stat().st_mode) for path in saved] == [0o600, 0o600]
    assert all(planted["okta"] in path.read_text(encoding="utf-8") for path in saved)


def test_providers_are_disabled_and_keep_their_configuration(
    instance: LocalInstance, tables_only: dict[str, Any]
) -> None:
    lock_out(instance)
    configured = "SELECT id, config::text, name, created_at, updated_by_id FROM api_organisationssoprovider ORDER BY id"
    before, kept = tables(instance), instance.sql(configured)
    others = "SELECT p::text FROM api_organisationssoprovider p WHERE NOT enabled OR organisation_id <> %s ORDER BY 1"
    untouched = instance.sql(others, SPACEX)
    done = direct({**tables_only, "state": "providers_disabled"})
    assert done["summary"] == ["SSO is no longer required.", "Provider Entra ID (entra_id) is disabled."]
    assert instance.sql(configured) == kept
    assert set(untouched) < set(instance.sql(others, SPACEX))
    assert [row["enabled"] for row in done["sso"]["providers"]] == [False, False]
    assert not direct({**tables_only, "state": "providers_disabled"})["changed"]
    direct({**tables_only, "state": "restored", "snapshot": done["snapshot"]})
    assert tables(instance) == before


def test_providers_are_deleted_with_the_enforcement_and_after_a_second_word(
    instance: LocalInstance, tables_only: dict[str, Any]
) -> None:
    lock_out(instance)
    before = rows(instance)
    for confirm in (None, "spacex", ""):
        error = refused({**tables_only, "state": "providers_deleted", "confirm": confirm}, "confirmation_missing")
        assert error.partial["before"]["providers"] and not error.partial["changed"]
    assert rows(instance) == before
    done = direct({**tables_only, "state": "providers_deleted", "confirm": "SpaceX"})
    assert done["sso"]["providers"] == [] and done["sso"]["require_sso"] is False
    assert instance.sql("SELECT count(*) FROM api_organisationssoprovider") == [(2,)]
    nothing = direct({**tables_only, "state": "providers_deleted"})
    assert (nothing["changed"], nothing["summary"]) == (
        False,
        ["Nothing to do: SpaceX does not require SSO, and it has no providers."],
    )


def test_a_restore_refuses_what_was_changed_since(instance: LocalInstance, tables_only: dict[str, Any]) -> None:
    lock_out(instance)
    before = tables(instance)
    done = direct({**tables_only, "state": "providers_deleted", "confirm": "SpaceX"})
    restored = {**tables_only, "state": "restored", "snapshot": done["snapshot"]}
    instance.sql(ADDED, "new", "New", json.dumps({"a": "planted-new"}), "2026-01-01", SPACEX)
    error = refused(restored, "rows_changed")
    assert [item["key"] for item in error.partial["changed_since"]] == ["new"]
    instance.sql("UPDATE api_organisation SET updated_at = now() WHERE id = %s", SPACEX)
    error = refused(restored, "rows_changed")
    assert "planted" not in str(error.as_dict())
    again = direct({**restored, "force": True})
    assert tables(instance) == before
    assert "Provider New (okta) is deleted." in again["summary"]
    refused({**restored, "organisation": "Contoso"}, "bad_option")


def test_a_snapshot_of_another_database_is_refused(instance: LocalInstance, tables_only: dict[str, Any]) -> None:
    lock_out(instance)
    done = direct({**tables_only, "state": "enforcement_disabled"})
    instance.sql("CREATE DATABASE elsewhere TEMPLATE phase")
    try:
        url = instance.database_url.rpartition("/")[0] + "/elsewhere"
        elsewhere = {**tables_only, "database_url": url, "state": "restored", "snapshot": done["snapshot"]}
        refused(elsewhere, "snapshot_unusable")
        assert direct({**elsewhere, "force": True})["changed"]
    finally:
        instance.sql("DROP DATABASE elsewhere WITH (FORCE)")


def test_a_provider_of_a_member_who_is_gone(instance: LocalInstance, tables_only: dict[str, Any]) -> None:
    instance.sql(
        'INSERT INTO api_organisationmember SELECT (jsonb_populate_record(m, \'{"id": "gone"}\')).* '
        "FROM api_organisationmember m WHERE m.id = %s",
        identifier(1, "member", "alice.spacex.1"),
    )
    author = "UPDATE api_organisationssoprovider SET created_by_id = 'gone', updated_by_id = 'gone' "
    instance.sql(author + "WHERE organisation_id = %s", SPACEX)
    before = instance.sql("SELECT id, config::text, enabled FROM api_organisationssoprovider ORDER BY id")
    done = direct({**tables_only, "state": "providers_deleted", "confirm": "SpaceX"})
    instance.sql("DELETE FROM api_organisationmember WHERE id = 'gone'")
    changed = tables(instance)
    restored = {**tables_only, "state": "restored", "snapshot": done["snapshot"]}
    error = refused(restored, "rows_changed")
    assert "refers by created_by_id to gone of api_organisationmember, which was deleted" in error.message
    assert tables(instance) == changed
    warnings: list[str] = []
    assert direct({**restored, "force": True}, warnings=warnings)["changed"]
    assert any("its updated_by_id is left empty" in text for text in warnings)
    assert instance.sql("SELECT id, config::text, enabled FROM api_organisationssoprovider ORDER BY id") == before
    assert not direct({**restored, "force": True})["changed"]


def everyone(change: str) -> str:
    return f"UPDATE api_customuser SET {change} WHERE email LIKE '%.spacex.%'"  # noqa: S608 - the test's own words


SCIM = (
    "INSERT INTO api_scimuser (id, external_id, email, display_name, active, scim_data, updated_at, org_member_id, "
    "organisation_id) SELECT m.id, m.id, m.id, '', true, '{}', now(), m.id, m.organisation_id "
    "FROM api_organisationmember m"
)
CASES = {
    "nothing": ("SELECT 1", set()),
    "enforcement": ("UPDATE api_organisation SET require_sso = true", {"enforcement"}),
    "all disabled": (
        "UPDATE api_organisation SET require_sso = true; UPDATE api_organisationssoprovider SET enabled = false",
        {"enforcement", "providers_disabled"},
    ),
    "no provider": (
        "UPDATE api_organisation SET require_sso = true; DELETE FROM api_organisationssoprovider",
        {"enforcement", "no_provider"},
    ),
    "unusable": (everyone("password = '!x'"), {"no_password"}),
    "empty": (everyone("password = ''"), {"no_password"}),
    "unknown algorithm": (everyone("password = 'phase_md5$1$salt$hash'"), {"no_password"}),
    "another algorithm": (everyone("password = 'pbkdf2_sha256$600000$salt$aGFzaA=='"), {"no_password"}),
    "malformed": (everyone("password = 'argon2$secret'"), {"no_password"}),
    "damaged": (everyone("password = 'secret'"), {"no_password"}),
    "not active": (everyone("active = false"), {"user_disabled"}),
    "capitals": (everyone("email = upper(email)"), {"address_not_lower_case"}),
    "scim": (SCIM, {"scim_managed"}),
    "scim that ended": ("; ".join([SCIM, "UPDATE api_scimuser SET active = false"]), set()),
    "no owner": ("UPDATE api_role SET name = 'Developer'", {"no_owner"}),
    "owner in small letters": ("UPDATE api_role SET name = 'owner'", set()),
}


@pytest.mark.parametrize("case", CASES)
def test_the_doctor_says_what_the_application_does(instance: LocalInstance, options: dict[str, Any], case: str) -> None:
    statements, expected = CASES[case]
    for statement in statements.split("; "):
        instance.sql(statement)
    doctor = direct(options)["doctor"]
    assert findings(doctor) == expected
    assert all(item["sentence"] and item["remedy"] for item in doctor["findings"])
    if case != "no owner":
        inside = {account: Account(instance, account).gets_in() for account in (ALICE, BOB)}
        assert {owner["email"].lower(): owner["would_get_in"] for owner in doctor["owners"]} == inside
        assert doctor["would_get_in"] == any(inside.values())


def test_one_owner_is_enough(instance: LocalInstance, options: dict[str, Any]) -> None:
    instance.sql("UPDATE api_customuser SET password = '!' WHERE email = %s", ALICE)
    doctor = direct(options)["doctor"]
    assert doctor["would_get_in"] and "bob" in doctor["sentence"] and "alice" not in doctor["sentence"]
    assert [(item["finding"], item["owner"]) for item in doctor["findings"]] == [("no_password", ALICE)]


SETTINGS: list[tuple[dict[str, str], set[str]]] = [
    ({"ENABLE_PASSWORD_AUTH": "on"}, {"password_login_off"}),
    ({"ENABLE_PASSWORD_AUTH": "YES", "USER_EMAIL_DOMAIN_WHITELIST": "phase.dev, Example.com"}, set()),
    ({"ENABLE_PASSWORD_AUTH": "1", "USER_EMAIL_DOMAIN_WHITELIST": "phase.dev"}, {"domain_not_allowed"}),
]


def test_the_doctor_reads_the_backends_settings(instance: LocalInstance, options: dict[str, Any]) -> None:
    try:
        for given_, expected in SETTINGS:
            set_environment(instance, **given_)
            doctor = direct(options)["doctor"]
            assert findings(doctor) == expected
            assert doctor["would_get_in"] == Account(instance).gets_in() == (not expected)
    finally:
        set_environment(instance, ENABLE_PASSWORD_AUTH="true", USER_EMAIL_DOMAIN_WHITELIST="")


def test_who_signed_up_with_a_provider_of_the_instance(instance: LocalInstance, options: dict[str, Any]) -> None:
    instance.sql(everyone("password = '!'"))
    instance.sql("UPDATE api_organisationssoprovider SET enabled = false")
    instance.sql("CREATE TABLE socialaccount_socialaccount (id int, provider varchar(200), user_id text)")
    try:
        instance.sql("INSERT INTO socialaccount_socialaccount SELECT 1, 'github', \"userId\" FROM api_customuser")
        assert direct(options)["doctor"]["locked_out"]
        environment = {"GITHUB_CLIENT_ID": "planted"}
        doctor = direct({**options, "environment": environment})["doctor"]
        assert (doctor["would_get_in"], doctor["locked_out"], doctor["through"]) == (False, False, ["github"])
        lock_out(instance)
        assert direct({**options, "environment": environment})["doctor"]["locked_out"]
    finally:
        instance.sql("DROP TABLE socialaccount_socialaccount")


def test_a_request_under_way_cannot_bring_the_old_decision_back(
    instance: LocalInstance, alice: Account, options: dict[str, Any]
) -> None:
    """It read the table before the change, and writes to redis after that was cleared."""
    lock_out(instance)
    assert alice.enter() == 403
    ((key, value),) = kept_in_redis(instance).items()

    def write_late() -> None:
        with redis.Redis(port=instance.redis_port) as connection:
            while connection.exists(key):
                time.sleep(0.005)
            connection.set(key, value, ex=60)

    late = threading.Thread(target=write_late)
    late.start()
    done = direct({**options, "state": "enforcement_disabled"})
    late.join()
    assert (kept_in_redis(instance), done["sso"]["cached_decision"]) == ({}, None)
    assert alice.enter() == 200


def test_redis_is_away(instance: LocalInstance, options: dict[str, Any]) -> None:
    lock_out(instance)
    warnings: list[str] = []
    instance.redis_stop()
    try:
        doctor = direct(options)["doctor"]
        assert findings(doctor) == {"enforcement", "redis_unreachable"}
        done = direct({**options, "state": "enforcement_disabled"}, warnings=warnings)
        assert done["changed"] and done["cache"]["seconds"] == 60 and "60 s" in warnings[0]
        assert not done["doctor"]["would_get_in"] and not Account(instance).gets_in()
    finally:
        instance.redis_start()
    assert Account(instance).gets_in()


def test_a_database_alone(instance: LocalInstance, alice: Account, options: dict[str, Any]) -> None:
    lock_out(instance)
    assert alice.enter() == 403
    url = {"deployment": "database", "database_url": instance.database_url}
    doctor = direct({**options, **url})["doctor"]
    assert findings(doctor) == {"enforcement", "backend_unseen"}
    warnings: list[str] = []
    done = direct({**options, **url, "state": "enforcement_disabled"}, warnings=warnings)
    assert (done["cache"]["cleared"], done["cache"]["seconds"], len(warnings)) == (False, 60, 1)
    assert not done["doctor"]["locked_out"] and "Nothing in the tables" in done["doctor"]["sentence"]
    assert alice.enter() == 403
    stale = direct({**options, "state": "enforcement_disabled"}, check=True)
    assert stale["changed"] and findings(stale["doctor_before"]) == {"cached_decision"} and kept_in_redis(instance)
    cleared = direct({**options, "state": "enforcement_disabled"})
    assert cleared["changed"] and "snapshot" not in cleared
    assert alice.enter() == 200
    refused({**options, **url, "state": "enforcement_disabled", "via": "stock"}, "not_supported")


def test_the_applications_own_command(instance: LocalInstance, alice: Account, options: dict[str, Any]) -> None:
    lock_out(instance)
    assert alice.enter() == 403
    before = tables(instance)
    stock = {**options, "via": "stock"}
    for state in ("info", "providers_disabled", "restored"):
        refused({**stock, "state": state, "snapshot": "/nonexistent"}, "bad_option")
    done = direct({**stock, "state": "providers_deleted", "confirm": "SpaceX"})
    assert done["changed"] and done["audited"] and alice.enter() == 200
    assert (done["sso"]["require_sso"], done["sso"]["providers"]) == (False, [])
    direct({**options, "state": "restored", "snapshot": done["snapshot"]})
    assert tables(instance) == before
    assert direct({**stock, "state": "enforcement_disabled"})["sso"]["providers"]
    assert not direct({**stock, "state": "enforcement_disabled"})["changed"]


def test_a_command_that_only_says_it_did(instance: LocalInstance, options: dict[str, Any], tmp_path: Path) -> None:
    lock_out(instance)
    checkout = shutil.copytree(instance.current.resolve(), tmp_path / "checkout")
    command = checkout / "api" / "management" / "commands" / "disable_org_sso.py"
    liar = (
        command.read_text(encoding="utf-8").replace("organisation.save()", "pass").replace("providers.delete()", "pass")
    )
    command.write_text(liar, encoding="utf-8")
    before = tables(instance)
    error = refused(
        {**options, "manage_dir": str(checkout), "state": "enforcement_disabled", "via": "stock"},
        "stock_command_failed",
    )
    assert "disabled for 'SpaceX'" in error.message and Path(error.partial["snapshot"]).exists()
    assert rows(instance) == before


def test_a_command_that_did_half_of_it(
    instance: LocalInstance, alice: Account, options: dict[str, Any], tmp_path: Path
) -> None:
    lock_out(instance)
    assert alice.enter() == 403  # and the backend remembers it
    checkout = shutil.copytree(instance.current.resolve(), tmp_path / "checkout")
    command = checkout / "api" / "management" / "commands" / "disable_org_sso.py"
    half = command.read_text(encoding="utf-8").replace("providers.delete()", "pass")
    command.write_text(half, encoding="utf-8")
    error = refused(
        {**options, "manage_dir": str(checkout), "state": "providers_deleted", "confirm": "SpaceX", "via": "stock"},
        "stock_command_failed",
    )
    assert "Now require_sso is false, and there are 2 providers." in error.message
    assert error.partial["cache"] == {"cleared": True, "error": None} and not error.partial["sso"]["require_sso"]
    assert kept_in_redis(instance) == {} and alice.enter() == 200
    assert Path(error.partial["snapshot"]).exists()


@contextlib.contextmanager
def held(instance: LocalInstance) -> Iterator[None]:
    """Another session holds the organisation's row."""
    with contextlib.closing(psycopg2.connect(instance.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM api_organisation WHERE id = %s FOR UPDATE", (SPACEX,))
        yield


def test_killed_while_it_waits_for_a_row(ansible: Ansible, instance: LocalInstance, options: dict[str, Any]) -> None:
    lock_out(instance)
    before = rows(instance)
    task = {"phase.console.phase_sso": {**options, "state": "enforcement_disabled", "timeouts": {"lock": "0"}}}
    folder = Path(options["snapshot_dir"])
    with held(instance):
        run = ansible.popen_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}])
        run.wait_until(lambda: folder.exists() and any(folder.iterdir()) and targets.ours(instance) == 1)
        targets.kill(run)
        targets.until(lambda: targets.ours(instance) == 0, 10)
    assert rows(instance) == before
    (snapshot,) = folder.iterdir()
    assert not direct({**options, "state": "restored", "snapshot": str(snapshot)})["changed"]


def test_two_at_once(instance: LocalInstance, tables_only: dict[str, Any]) -> None:
    lock_out(instance)
    results: list[dict[str, Any]] = []
    wanted = {**tables_only, "state": "providers_disabled", "timeouts": {"lock": "30s"}}
    runs = [threading.Thread(target=lambda: results.append(direct(wanted))) for _number in range(2)]
    with held(instance):
        for run in runs:
            run.start()
        targets.until(lambda: targets.ours(instance) == 2, 20)
    for run in runs:
        run.join()
    assert sorted(result["changed"] for result in results) == [False, True]
    assert instance.sql("SELECT count(*) FROM api_auditevent") == [(1,)]
    assert len(list(Path(tables_only["snapshot_dir"]).iterdir())) == 1


def test_every_level_of_the_schema(instance: LocalInstance, options: dict[str, Any]) -> None:
    """One database on its way up: nothing to do with SSO, then its first release, without SCIM and audit log."""
    instance.sql("CREATE DATABASE ladder")
    environment = {"DATABASE_NAME": "ladder"}

    def migrate(version: str) -> dict[str, Any]:
        instance.manage("migrate", "--verbosity", "0", version=version, environment=environment)
        return {**options, "environment": environment, "manage_dir": str(instance.release(version))}

    for version in ("v2.37.2", "v2.42.0", "v2.54.0", "v2.66.0"):
        level = migrate(version)
        for state in ("info", "enforcement_disabled"):
            assert "v2.67.0" in refused({**level, "state": state}, "no_sso_in_this_release").message
    first = migrate("v2.67.0")
    instance.manage("seed", version="v2.67.0", environment=environment)
    with contextlib.closing(psycopg2.connect(instance.database_url, dbname="ladder")) as connection:
        connection.autocommit = True
        connection.cursor().execute("UPDATE api_organisation SET require_sso = true")
    warnings: list[str] = []
    done = direct({**first, "state": "providers_deleted", "confirm": "SpaceX"}, warnings=warnings)
    assert (done["changed"], done["audited"], done["doctor"]["would_get_in"]) == (True, False, True)
    assert ["v2.69.0" in text for text in warnings] == [True]
    assert direct({**first, "state": "restored", "snapshot": done["snapshot"]})["sso"]["require_sso"]


def test_names_that_are_almost_right(instance: LocalInstance, tables_only: dict[str, Any]) -> None:
    for wrong in ("spacex", "SPACEX ", "SpaceXX", "\uff33pacex"):
        error = refused({**tables_only, "organisation": wrong}, "organisation_missing")
        assert 'Did you mean "SpaceX"?' in error.next_step
    assert '"Initech"' in refused({**tables_only, "organisation": "Hooli"}, "organisation_missing").next_step


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_a_name(
    instance: LocalInstance, options: dict[str, Any], tables_only: dict[str, Any], name: str
) -> None:
    instance.sql("UPDATE api_organisation SET name = %s, require_sso = true WHERE id = %s", name, SPACEX)
    others = instance.sql("SELECT o::text FROM api_organisation o WHERE id <> %s ORDER BY 1", SPACEX)
    before = tables(instance)
    named = {"organisation": name, "confirm": name, "reason": name.replace("\t", ""), "state": "providers_deleted"}
    by_command = {**options, "via": "stock"} if name == "--show" else tables_only
    done = direct({**by_command, **named})
    assert instance.sql("SELECT count(*) FROM api_organisationssoprovider WHERE organisation_id = %s", SPACEX) == [(0,)]
    direct({**tables_only, "state": "restored", "snapshot": done["snapshot"], "organisation": None})
    assert tables(instance) == before
    assert instance.sql("SELECT o::text FROM api_organisation o WHERE id <> %s ORDER BY 1", SPACEX) == others


ANY = st.text(st.characters(), max_size=70) | st.text("'\";-%\\\0\ud800{}$ SpaceX", max_size=70)


def test_whatever_is_typed_there_is_no_traceback_and_no_change(
    instance: LocalInstance, tables_only: dict[str, Any]
) -> None:
    lock_out(instance)
    before = rows(instance)

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def typed(data: st.DataObject) -> None:
        state = data.draw(st.sampled_from(["info", "enforcement_disabled", "providers_deleted", "restored"]))
        name, word, path = (data.draw(ANY) for _number in range(3))
        given_ = {"state": state, "organisation": name, "confirm": word, "reason": word, "snapshot": path}
        if state == "providers_deleted" and data.draw(st.booleans()):
            given_["organisation"] = "SpaceX"
        with pytest.raises(PhaseError) as caught:
            direct({**tables_only, **given_})
        (caught.value.message + caught.value.next_step).encode()

    typed()
    assert rows(instance) == before and not Path(tables_only["snapshot_dir"]).exists()


def test_ansible_shows_no_traceback_for_what_is_typed(ansible: Ansible, options: dict[str, Any]) -> None:
    task = {
        "phase.console.phase_sso": {**options, "organisation": "{{ item }}", "state": "enforcement_disabled"},
        "loop": "{{ names }}",
        "ignore_errors": True,
    }
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"names": ["'; --", "Ünïcode\n", "x" * 64]},
        "tasks": [task],
    }
    result = ansible.playbook([play], expect_failure=None)
    assert result.rc == 0 and "Traceback" not in result.stdout
    assert {item["error"]["kind"] for item in result.tasks[-1].result["results"]} == {"organisation_missing"}


def test_the_commands_of_the_page_work(ansible: Ansible, instance: LocalInstance, tmp_path: Path) -> None:
    """Each line as it stands there, but for where."""
    lock_out(instance)
    lines = "".join(blocks(guide("sso"), "bash")).splitlines()
    where = {"XDG_STATE_HOME": str(tmp_path), "DATABASE_URL": instance.database_url}
    local = " ".join(f"{name}={value}" for name, value in target(instance).items())
    changed, snapshot = [], ""
    for line in lines:
        words = shlex.split(re.sub(r"snapshot=\S+\.json", f"snapshot={snapshot}", line))
        words[words.index("-a") + 1] += f" {local}" if "via=stock" in line else " deployment=database"
        command = [str(ansible.programs / words[0]), *words[1:]]
        done = subprocess.run(
            command, cwd=ansible.folder, env=ansible.environment(where), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        changed.append("localhost | CHANGED" in done.stdout)
        snapshot = snapshot or "".join(re.findall(r'"snapshot": "(.+)"', done.stdout))
    assert changed == [False, True, True, True, True, True, True]
    assert Path(snapshot).parent == tmp_path / "phase.console" / "snapshots"
