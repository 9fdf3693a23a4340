# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.instance import access as ask

ALICE = {"id": "m1", "user": "u1", "email": "Alice@example.com", "username": "alice", "owner": True}
BOB = {"id": "m2", "user": "u2", "email": "bob@example.com", "username": "bob", "owner": None}


def refusal(message, **extensions):
    error = {"message": message, "path": [ask.FIELD]}
    if extensions:
        error["extensions"] = extensions
    return {"errors": [error], "data": {"clientIp": "192.0.2.1", ask.FIELD: None}}


@pytest.mark.parametrize(
    ("status", "answer", "code", "address"),
    [
        (200, {"data": {"clientIp": "192.0.2.1", ask.FIELD: [{"id": "m1"}]}}, None, "192.0.2.1"),
        (200, {"data": {ask.FIELD: []}}, None, None),
        (200, refusal("no", code="IP_RESTRICTED", organisation_name="X"), "IP_RESTRICTED", "192.0.2.1"),
        (200, refusal("no", code="SSO_REQUIRED"), "SSO_REQUIRED", "192.0.2.1"),
        (200, refusal("You are not a member of this organisation"), "NOT_A_MEMBER", "192.0.2.1"),
        (200, refusal("You don't have access to this organisation"), "NOT_A_MEMBER", "192.0.2.1"),
        (200, refusal("relation does not exist"), "REFUSED", "192.0.2.1"),
        (200, {"data": {"clientIp": "192.0.2.1", ask.FIELD: None}}, "REFUSED", "192.0.2.1"),
        (403, None, "UNAUTHENTICATED", None),
    ],
)
def test_an_answer_is_judged(status, answer, code, address):
    verdict = ask.judge(status, answer)
    assert (verdict["granted"], verdict["code"], verdict["address"]) == (code is None, code, address)


@pytest.mark.parametrize(("status", "answer"), [(404, None), (502, None), (200, []), (200, {}), (400, {"errors": []})])
def test_what_is_no_backend_is_no_answer(status, answer):
    with pytest.raises(ask.NotTheBackend, match=str(status)):
        ask.judge(status, answer)


@pytest.mark.parametrize(
    ("account", "member"),
    [(None, ALICE), ("", ALICE), ("bob", BOB), ("m2", BOB), ("alice@EXAMPLE.com", ALICE), ("Alice@example.com", ALICE)],
)
def test_a_member_is_found(account, member):
    assert ask.choose_member(account, [ALICE, BOB], [("s1", "deploy")], "SpaceX") is member


@pytest.mark.parametrize(
    ("account", "error", "words"),
    [
        ("deploy", ask.NotAskable, "service account"),
        ("s1", ask.NotAskable, "service account"),
        ("eve'; drop table x; --\0", ask.AccountMissing, "no member"),
    ],
)
def test_others_are_refused_in_words(account, error, words):
    with pytest.raises(error, match=words) as raised:
        ask.choose_member(account, [ALICE, BOB], [("s1", "deploy")], "SpaceX")
    assert "Alice@example.com" in raised.value.next_step or error is ask.NotAskable


def test_an_organisation_without_members_has_nobody_to_ask_for():
    with pytest.raises(ask.AccountMissing):
        ask.choose_member(None, [], [], "SpaceX")


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        (["*"], "localhost"),
        ([], "localhost"),
        (["", " phase.example.com", "b"], "phase.example.com"),
        ([".a.b"], "a.b"),
    ],
)
def test_a_host_that_is_allowed(allowed, host):
    assert ask.host_header(allowed) == host


def test_the_address_is_told_in_the_way_of_every_release():
    assert ask.from_address("192.0.2.1") == {"X-Real-IP": "192.0.2.1", "X-Forwarded-For": "192.0.2.1"}
    assert ask.from_address(None) == {}


@pytest.mark.parametrize(
    ("verdict", "active", "usable", "code"),
    [
        (None, True, True, None),
        (None, False, True, "INACTIVE"),
        (None, True, False, "NO_PASSWORD"),
        (None, False, False, "INACTIVE"),
        ("IP_RESTRICTED", False, False, "IP_RESTRICTED"),  # the policies are asked first
    ],
)
def test_what_the_login_refuses_is_refused(verdict, active, usable, code):
    given = {"granted": verdict is None, "code": verdict, "said": "", "address": "192.0.2.1"}
    found = ask.sign_in(given, active=active, usable=usable)
    assert (found["granted"], found["code"], found["address"]) == (code is None, code, "192.0.2.1")
