# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The doctor, from plain facts; that the application agrees is seen in the integration tests."""

from __future__ import annotations

import time

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.access import sso_backend as _sso_backend
from ansible_collections.phase.console.plugins.module_utils._operations.access.sso_backend import (
    decision_of,
    within,
)
from ansible_collections.phase.console.plugins.module_utils._operations.access.sso_doctor import examine, password_login
from ansible_collections.phase.console.plugins.module_utils._operations.core import passwords

OWNER = {"email": "a@example.com", "active": True, "hash": "set", "scim": False, "accounts": ["github"]}
ENTRA = {"name": "Entra ID", "enabled": True}
OPEN = {"password_auth": True, "domains": [], "sign_in": []}


def facts(**more):
    given = {
        "organisation": "SpaceX",
        "require_sso": False,
        "providers": [ENTRA],
        "owners": [OWNER],
        "backend": OPEN,
        "unseen": "deployment=database.",
        "cache": {"decision": None, "error": None},
    }
    return dict(given, **more)


def word(**more):
    """The findings, whether an owner gets in, and through whom one may."""
    said = examine(facts(**more))
    return [item["finding"] for item in said["findings"]], said["would_get_in"], said["through"], said["locked_out"]


def test_nothing_in_the_way():
    assert word() == ([], True, ["Entra ID"], False)
    assert "a@example.com" in examine(facts())["sentence"]


@pytest.mark.parametrize(
    ("more", "found", "through"),
    [
        ({"require_sso": True}, ["enforcement"], ["Entra ID"]),
        ({"require_sso": True, "providers": []}, ["enforcement", "no_provider"], []),
        ({"require_sso": True, "providers": [dict(ENTRA, enabled=False)]}, ["enforcement", "providers_disabled"], []),
        ({"cache": {"decision": True, "error": None}}, ["cached_decision"], ["Entra ID"]),
        ({"require_sso": True, "cache": {"decision": True, "error": None}}, ["enforcement"], ["Entra ID"]),
        ({"backend": dict(OPEN, password_auth=False), "providers": []}, ["password_login_off"], []),
        ({"cache": {"decision": None, "error": "refused"}}, ["redis_unreachable"], ["Entra ID"]),
        ({"owners": []}, ["no_owner"], []),
        ({"owners": [dict(OWNER, hash="none")]}, ["no_password"], ["Entra ID"]),
        ({"owners": [dict(OWNER, hash="damaged")]}, ["no_password"], ["Entra ID"]),
        ({"owners": [dict(OWNER, hash="unknown")]}, ["no_password"], ["Entra ID"]),
        ({"owners": [dict(OWNER, active=False)]}, ["user_disabled"], ["Entra ID"]),
        ({"owners": [dict(OWNER, scim=True)]}, ["scim_managed"], ["Entra ID"]),
        ({"owners": [dict(OWNER, email="A@example.com")]}, ["address_not_lower_case"], ["Entra ID"]),
        ({"backend": dict(OPEN, domains=["phase.dev"])}, ["domain_not_allowed"], []),
    ],
)
def test_each_of_these_keeps_the_only_owner_out(more, found, through):
    assert word(**more) == (found, False, through, not through)
    said = examine(facts(**more))
    assert all(item["sentence"].endswith((".", "refused")) and item["remedy"] for item in said["findings"])
    assert said["findings"][0]["sentence"] in said["sentence"]


def test_a_decision_in_redis_that_is_about_to_end():
    assert word(require_sso=True, cache={"decision": False, "error": None})[:2] == (
        ["enforcement", "cached_decision"],
        False,
    )


def test_one_owner_of_several_is_enough():
    said = examine(facts(owners=[dict(OWNER, hash="none"), dict(OWNER, email="b@example.com")]))
    assert said["would_get_in"] and [owner["would_get_in"] for owner in said["owners"]] == [False, True]
    assert "b@example.com" in said["sentence"] and "a@example.com" not in said["sentence"]


def test_a_providers_session_of_the_instance_counts_only_where_sso_is_not_required():
    backend = dict(OPEN, password_auth=False, sign_in=["github", "google"])
    assert word(backend=backend, providers=[])[2] == ["github"]
    assert word(backend=backend, providers=[], require_sso=True)[2] == []
    assert word(backend=backend, providers=[], owners=[dict(OWNER, scim=True)])[2] == []
    assert word(backend=backend, providers=[], owners=[dict(OWNER, accounts=[])])[2] == []


def test_a_backend_that_cannot_be_seen_is_no_lockout():
    found, inside, _through, out = word(backend=None, providers=[])
    assert (found, inside, out) == (["backend_unseen"], False, False)
    assert "Nothing in the tables" in examine(facts(backend=None))["sentence"]
    assert word(backend=None, providers=[], owners=[dict(OWNER, hash="none")])[3]
    assert not word(backend=None, providers=[], owners=[dict(OWNER, hash="none"), OWNER])[3]


@pytest.mark.parametrize(
    ("value", "on"),
    [("true", True), ("TRUE", True), ("1", True), ("Yes", True), ("on", False), ("", False), (None, False)],
)
def test_the_setting(value, on):
    assert password_login(value) is on


def test_what_the_environment_says():
    given = {"ENABLE_PASSWORD_AUTH": "1", "USER_EMAIL_DOMAIN_WHITELIST": " Example.com,, phase.dev"}
    assert _sso_backend.settings(given) == {"password_auth": True, "domains": ["example.com", "phase.dev"]}
    assert _sso_backend.settings({}) == {"password_auth": False, "domains": []}


def test_sign_in_providers_have_a_client_id():
    configured = {
        "google": {"APP": {"client_id": "x"}},
        "github": {"APP": {"client_id": None}},
        "gitlab": {},
        "okta-oidc": {"APPS": [{"client_id": "y"}]},
    }
    assert passwords.sign_in(configured) == ["google", "okta-oidc"]


@pytest.mark.parametrize(
    ("kept", "decision"), [(None, None), ([True, "SpaceX"], True), ([False, ""], False), ([], None), ("x", None)]
)
def test_a_cached_decision(kept, decision):
    assert decision_of(kept) is decision


def test_redis_is_not_waited_for_without_end():
    assert within(5, lambda: 7) == 7
    with pytest.raises(KeyError):
        within(5, lambda: {}["x"])
    with pytest.raises(TimeoutError):
        within(0.05, lambda: time.sleep(1))
