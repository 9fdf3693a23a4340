# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption, NotSupported
from ansible_collections.phase.console.plugins.module_utils._target.base import Target
from ansible_collections.phase.console.plugins.modules import phase_access_check

ANSWER = {
    "granted": True,
    "code": None,
    "said": "",
    "address": "192.0.2.1",
    "account": {"id": "m1", "email": "alice@example.com", "owner": True},
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
    params = {name: option.get("default") for name, option in phase_access_check.SPEC.options.items()}
    params.update({"deployment": "docker", "organisation": "SpaceX"}, **more)
    target = Answering(dict(ANSWER, **(answer or {})))
    result = phase_access_check.run(Call(params, True, False, target, silent, silent))
    assert result["changed"] is False
    return result["access"], target.asked


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
        ({"code": "SSO_REQUIRED", "address": None}, "does not get into SpaceX: the organisation takes"),
        ({"code": "REFUSED", "said": "Out of order."}, "the backend says: Out of order."),
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
