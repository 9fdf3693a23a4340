# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The sandbox's web process lets in and keeps out whom Phase Console would: network policies and single sign-on."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import redis
from sandbox.client import secret_url, service_account
from sandbox.local import LocalInstance
from sandbox.phase.api.names import PASSWORD, identifier, token

SPACEX = identifier(1, "organisation", "SpaceX")
ALICE = identifier(1, "member", "alice.spacex.1")


@pytest.fixture(scope="module")
def running(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    started = module_local_instance("v2.73.2", events=2000)
    with started.env_file.open("a", encoding="utf-8") as settings:
        settings.write("ENABLE_PASSWORD_AUTH=true\n")
    started.restart("backend")
    return started


@pytest.fixture
def instance(running: LocalInstance) -> Iterator[LocalInstance]:
    yield running
    running.sql(
        "UPDATE api_organisation SET require_sso = false; "
        "UPDATE api_organisation SET plan = 'EN' WHERE name = 'SpaceX'; "
        "DELETE FROM api_organisationmember_network_policies; DELETE FROM api_serviceaccount_network_policies; "
        "DELETE FROM api_networkaccesspolicy; DELETE FROM api_scimuser"
    )
    forget_decision(running)


def forget_decision(instance: LocalInstance) -> None:
    with redis.Redis(port=instance.redis_port) as connection:
        for key in connection.keys(f"*org_sso_decision:{SPACEX}"):
            connection.delete(key)


def call(url: str, headers: Mapping[str, str], data: Mapping[str, str] | None = None) -> tuple[int, Any, str]:
    """Status, JSON and the cookie that was set."""
    body = urllib.parse.urlencode(data).encode() if data is not None else None
    request = urllib.request.Request(url, data=body, headers=dict(headers))  # noqa: S310 - its own address
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, json.load(answer), answer.headers.get("Set-Cookie", "").partition(";")[0]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), ""


def read(instance: LocalInstance, *, kind: str = "ServiceAccount", **headers: str) -> tuple[int, str]:
    """Status and code of reading a secret with a token, the headers' names with underscores."""
    authorization = {
        "ServiceAccount": service_account(),
        "User": f"Bearer User {token(1, 'User', 'SpaceX/alice')}",
        "Service": f"Bearer Service {token(1, 'Service', 'SpaceX/Launch')}",
    }[kind]
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    status, body, _cookie = call(secret_url(instance.url), {"Authorization": authorization, **sent})
    return status, body["code"] if status != 200 else ""


def add_policy(instance: LocalInstance, allowed: str, *, is_global: bool = True) -> str:
    ((policy,),) = instance.sql(
        "INSERT INTO api_networkaccesspolicy "
        "(id, name, allowed_ips, is_global, created_at, updated_at, organisation_id) "
        "VALUES (gen_random_uuid()::text, 'Office', %s, %s, now(), now(), %s) RETURNING id",
        allowed,
        is_global,
        SPACEX,
    )
    return str(policy)


def sign_in(instance: LocalInstance) -> str:
    answer = call(f"{instance.url}/auth/login/", {}, {"email": "alice.spacex.1@example.com", "password": PASSWORD})
    assert answer[0] == 200, answer
    return answer[2]


def session(instance: LocalInstance, cookie: str) -> tuple[int, str]:
    status, body, _cookie = call(f"{instance.url}/access/?organisation={SPACEX}", {"Cookie": cookie})
    return status, body.get("code", "")


DENIED = (403, "IP_RESTRICTED")
GRANTED = (200, "")


def test_a_read_leaves_an_event_and_the_tokens_last_use(instance: LocalInstance) -> None:
    ((before,),) = instance.sql("SELECT count(*) FROM api_secretevent")
    assert read(instance, X_Real_IP="10.1.2.3", User_Agent="reader") == GRANTED
    rows = instance.sql(
        "SELECT event_type, ip_address::text, user_agent, service_account_token_id IS NOT NULL, length(value) "
        "FROM api_secretevent ORDER BY timestamp DESC LIMIT 1"
    )
    assert rows == [("R", "10.1.2.3/32", "reader", True, 330)]
    assert instance.sql("SELECT count(*) FROM api_secretevent") == [(before + 1,)]
    assert instance.sql("SELECT count(*) FROM api_serviceaccounttoken WHERE last_used_at IS NOT NULL") == [(1,)]


def test_nobody_gets_nothing(instance: LocalInstance) -> None:
    for wrong in ({}, {"Authorization": "Bearer ServiceAccount wrong"}, {"Authorization": "Bearer Cat meow"}):
        assert call(secret_url(instance.url), wrong)[0] == 401
    other = f"Bearer ServiceAccount {token(1, 'ServiceAccount', 'Contoso')}"
    assert call(secret_url(instance.url), {"Authorization": other})[0] == 404


@pytest.mark.parametrize("kind", ["ServiceAccount", "User", "Service"])
def test_a_global_policy_holds_for_every_kind_of_account(instance: LocalInstance, kind: str) -> None:
    add_policy(instance, "10.0.0.0/8, 192.0.2.1")
    assert read(instance, kind=kind, X_Real_IP="10.9.9.9") == GRANTED
    assert read(instance, kind=kind, X_Real_IP="192.0.2.1") == GRANTED
    assert read(instance, kind=kind, X_Real_IP="192.0.2.2") == DENIED
    assert read(instance, kind=kind, X_Real_IP="::ffff:10.9.9.9") == DENIED


def test_where_the_address_comes_from(instance: LocalInstance) -> None:
    add_policy(instance, "10.0.0.0/8")
    assert read(instance) == DENIED  # the peer is 127.0.0.1
    assert read(instance, X_Forwarded_For="10.1.1.1, 127.0.0.1") == GRANTED
    assert read(instance, X_Forwarded_For="127.0.0.1, 10.1.1.1") == DENIED
    assert read(instance, X_Real_IP="127.0.0.1", X_Forwarded_For="10.1.1.1") == DENIED
    assert read(instance, X_Real_IP="nonsense", X_Forwarded_For="10.1.1.1") == GRANTED


@pytest.mark.parametrize("allowed", ["", "garbage", "10.0.0.0/99"])
def test_a_policy_of_bad_entries_lets_nobody_in(instance: LocalInstance, allowed: str) -> None:
    add_policy(instance, allowed)
    assert read(instance, X_Real_IP="10.0.0.1") == DENIED


def test_bad_entries_beside_good_ones_are_skipped(instance: LocalInstance) -> None:
    add_policy(instance, "garbage, 10.0.0.1,")
    assert read(instance, X_Real_IP="10.0.0.1") == GRANTED


def test_an_accounts_own_policies_and_the_global_ones_are_one_list(instance: LocalInstance) -> None:
    own = add_policy(instance, "192.0.2.0/24", is_global=False)
    instance.sql(
        "INSERT INTO api_organisationmember_network_policies (organisationmember_id, networkaccesspolicy_id) "
        "VALUES (%s, %s)",
        ALICE,
        own,
    )
    assert read(instance, kind="User", X_Real_IP="10.0.0.1") == DENIED
    assert read(instance, kind="ServiceAccount", X_Real_IP="10.0.0.1") == GRANTED
    add_policy(instance, "10.0.0.0/8")
    assert read(instance, kind="User", X_Real_IP="10.0.0.1") == GRANTED
    assert read(instance, kind="User", X_Real_IP="192.0.2.7") == GRANTED
    instance.sql("DELETE FROM api_networkaccesspolicy WHERE is_global")
    assert read(instance, kind="User", X_Real_IP="10.0.0.1") == DENIED


@pytest.mark.parametrize(
    ("plan", "own", "everyone"), [("EN", DENIED, DENIED), ("PR", DENIED, GRANTED), ("FR", GRANTED, GRANTED)]
)
def test_what_a_plan_enforces(
    instance: LocalInstance, plan: str, own: tuple[int, str], everyone: tuple[int, str]
) -> None:
    policy = add_policy(instance, "192.0.2.0/24")
    instance.sql("UPDATE api_organisation SET plan = %s WHERE name = 'SpaceX'", plan)
    assert read(instance, kind="User", X_Real_IP="10.0.0.1") == everyone
    instance.sql("UPDATE api_networkaccesspolicy SET is_global = false")
    instance.sql(
        "INSERT INTO api_organisationmember_network_policies (organisationmember_id, networkaccesspolicy_id) "
        "VALUES (%s, %s)",
        ALICE,
        policy,
    )
    assert read(instance, kind="User", X_Real_IP="10.0.0.1") == own


def test_required_sso_blocks_password_sessions_for_as_long_as_the_decision_is_cached(instance: LocalInstance) -> None:
    cookie = sign_in(instance)
    assert session(instance, cookie) == GRANTED
    instance.sql("UPDATE api_organisation SET require_sso = true WHERE name = 'SpaceX'")
    assert session(instance, cookie) == GRANTED
    with redis.Redis(port=instance.redis_port) as connection:
        (key,) = connection.keys(f"*org_sso_decision:{SPACEX}")
        assert 0 < connection.ttl(key) <= 60
    forget_decision(instance)
    assert session(instance, cookie) == (403, "SSO_REQUIRED")
    assert read(instance, kind="User") == GRANTED


def test_a_scim_member_stays_out_whatever_the_organisation_says(instance: LocalInstance) -> None:
    cookie = sign_in(instance)
    instance.sql(
        "INSERT INTO api_scimuser (id, external_id, email, display_name, active, scim_data, updated_at, org_member_id, "
        "organisation_id) VALUES ('1', '1', 'a@b.c', '', true, '{}', now(), %s, %s)",
        ALICE,
        SPACEX,
    )
    assert session(instance, cookie) == (403, "SSO_REQUIRED")
    instance.sql("UPDATE api_scimuser SET active = false")
    assert session(instance, cookie) == GRANTED


def ask(instance: LocalInstance, cookie: str, organisation: str = SPACEX, **headers: str) -> tuple[int, Any]:
    """Status and answer of /graphql/ to the question of who gets in; data, then the first error."""
    query = "query ($o: ID) { clientIp organisationGlobalAccessUsers(organisationId: $o) { id } }"
    request = urllib.request.Request(  # noqa: S310 - its own address
        f"{instance.url}/graphql/",
        data=json.dumps({"query": query, "variables": {"o": organisation}}).encode(),
        headers={"Cookie": cookie, **{name.replace("_", "-"): value for name, value in headers.items()}},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_graphql_tells_who_gets_in(instance: LocalInstance) -> None:
    assert ask(instance, "")[0] == 403
    cookie = sign_in(instance)
    status, answer = ask(instance, cookie, X_Real_IP="10.1.2.3")
    assert (status, answer["data"]["clientIp"]) == (200, "10.1.2.3")
    assert {"id": ALICE} in answer["data"]["organisationGlobalAccessUsers"] and "errors" not in answer
    other = ask(instance, cookie, organisation=identifier(1, "organisation", "Contoso"))[1]
    assert other["errors"][0]["message"] == "You are not a member of this organisation"

    instance.sql("UPDATE api_organisation SET require_sso = true WHERE name = 'SpaceX'")
    forget_decision(instance)
    _status, answer = ask(instance, cookie, X_Real_IP="10.1.2.3")
    assert answer["data"]["organisationGlobalAccessUsers"] is None
    assert answer["errors"][0]["extensions"] == {
        "code": "SSO_REQUIRED",
        "organisation_name": "SpaceX",
        "organisation_id": SPACEX,
    }
    add_policy(instance, "192.0.2.0/24")  # the addresses' guard comes first
    _status, answer = ask(instance, cookie, X_Real_IP="10.1.2.3")
    assert answer["errors"][0]["extensions"] == {"code": "IP_RESTRICTED", "organisation_name": "SpaceX"}


def test_password_sign_in_needs_the_setting_and_a_usable_password(instance: LocalInstance) -> None:
    login = {"email": "alice.spacex.1@example.com", "password": PASSWORD}
    assert call(f"{instance.url}/auth/login/", {}, {**login, "password": "wrong"})[0] == 401
    ((usable,),) = instance.sql("SELECT password FROM api_customuser WHERE username = 'alice.spacex.1'")
    instance.sql("UPDATE api_customuser SET password = '!' WHERE username = 'alice.spacex.1'")
    assert call(f"{instance.url}/auth/login/", {}, login)[0] == 401
    instance.sql("UPDATE api_customuser SET password = %s WHERE username = 'alice.spacex.1'", usable)
    settings = instance.env_file.read_text()
    instance.env_file.write_text(settings.replace("ENABLE_PASSWORD_AUTH=true", "ENABLE_PASSWORD_AUTH=on"))
    instance.restart("backend")
    try:
        assert call(f"{instance.url}/auth/login/", {}, login)[:2] == (
            403,
            {"error": "Password sign-in is not enabled on this instance.", "code": "PASSWORD_AUTH_DISABLED"},
        )
    finally:
        instance.env_file.write_text(settings)
        instance.restart("backend")
