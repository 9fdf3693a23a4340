# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption, NotSupported
from ansible_collections.phase.console.plugins.module_utils._instance import info
from ansible_collections.phase.console.plugins.module_utils._target.base import Target

ANSWER = {
    "granted": True,
    "code": None,
    "said": "",
    "address": "192.0.2.1",
    "account": {"id": "m1", "email": "alice@example.com", "owner": True, "scim": False},
    "organisation": "SpaceX",
    "password_login": True,
}


class Answering(Target):
    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def run(self, operation, request, report, *, image=None, detached=False):
        self.asked.append(request)
        return self.answer


def silent(message, **counters):
    pass


def check(answer=None, **more):
    params = {name: option.get("default") for name, option in info.SPEC.options.items()}
    params.update({"deployment": "docker", "organisation": "SpaceX", "gather_subset": ["access"]}, **more)
    target = Answering(dict(ANSWER, **(answer or {})))
    result = info.run(Call(params, True, False, target, silent, silent))
    assert result["changed"] is False
    return result["phase"]["access"], target.asked


def test_it_asks_in_check_mode_too():
    access, asked = check(address=" 192.0.2.1", account="alice")
    assert access["sentence"] == "alice@example.com gets into SpaceX from 192.0.2.1."
    assert asked == [
        {
            "url": "http://127.0.0.1:8000",
            "organisation": "SpaceX",
            "account": "alice",
            "address": "192.0.2.1",
            "timeout": 10.0,
        }
    ]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"code": "IP_RESTRICTED"}, "does not get into SpaceX from 192.0.2.1: a network policy"),
        ({"code": "SSO_REQUIRED", "address": None}, "does not get into SpaceX: the organisation requires"),
        (
            {"code": "SSO_REQUIRED", "account": dict(ANSWER["account"], scim=True)},
            "192.0.2.1: SCIM manages this member",
        ),
        ({"code": "INACTIVE"}, "the user is not active, which the login refuses"),
        ({"code": "NO_PASSWORD"}, "the member has no usable password, which the login refuses"),
        ({"code": "REFUSED", "said": "Out of order."}, "the backend answers: Out of order."),
        ({"code": "UNAUTHENTICATED", "password_login": False}, "Signing in with a password is switched off"),
    ],
)
def test_a_refusal_is_a_sentence(answer, words):
    access, _asked = check(dict(answer, granted=False))
    assert words in access["sentence"] and ".." not in access["sentence"]


@pytest.mark.parametrize("address", ["192.0.2.0/24", "", "x", "fe80::1%eth0\r\nX-Real-IP: 1", "1.2.3.4\r\nA: b", "é"])
def test_what_is_no_address_goes_into_no_header(address):
    with pytest.raises(BadOption):
        check(address=address)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "127.0.0.1:8000", "http://", "http://a:b@c/", "http://a/?x=1"])
def test_a_session_goes_to_a_backend_only(url):
    with pytest.raises(BadOption):
        check(url=url)


def test_a_database_alone_cannot_be_asked():
    with pytest.raises(NotSupported):
        check(deployment="database")


def test_an_organisation_has_to_be_named():
    with pytest.raises(BadOption):
        check(organisation=None)


def test_all_does_not_ask_the_application():
    target = Answering({"instance": {}, "migrations": {}, "storage": {"free_bytes": 1}, "activity": {}})
    target.describe = dict
    params = {"gather_subset": ["all"], "organisation": "SpaceX"}
    result = info.run(Call(params, False, False, target, silent, silent))
    assert "access" not in result["phase"] and len(target.asked) == 1
