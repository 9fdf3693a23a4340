# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._operations.realip import check as operations
from ansible_collections.phase.console.plugins.module_utils._realip.check import WouldLockOut
from ansible_collections.phase.console.plugins.module_utils._target.base import Target
from ansible_collections.phase.console.plugins.modules import phase_realip_check

SPACEX = {"id": "o1", "name": "SpaceX", "plan": "EN"}
ALICE = {"type": "member", "id": "m1", "name": "alice@example.com", "organisation_id": "o1"}
BOB = {"type": "service_account", "id": "s1", "name": "bob", "organisation_id": "o1"}
PROXY = "173.245.48.9"


def policy(allowed, name="office", is_global=True, accounts=()):
    on = "everybody" if is_global else "its accounts"
    return {
        "id": name,
        "name": name,
        "organisation": SPACEX,
        "allowed_ips": allowed,
        "is_global": is_global,
        "accounts": list(accounts),
        "enforced_on": on,
    }


def seen(account, address, events=1):
    return dict(account, organisation="o1", address=address, events=events, last="2026-01-01")


class Known(Target):
    """A database with one organisation; the operation's own judgement of what was recorded in it."""

    def __init__(self, policies, recorded):
        self.policies, self.recorded = policies, recorded

    def run(self, operation, request, report, *, image=None, detached=False):
        assert operation is operations.check
        data = {"organisations": [SPACEX], "accounts": [ALICE, BOB]}
        return dict(operations.judge(data, self.policies, self.recorded, request), truncated=False)


def check(policies, recorded=(), **given):
    params = {name: option.get("default") for name, option in phase_realip_check.SPEC.options.items()}
    params["trusted"] = ["173.245.48.0/20", "unix:", "proxy.example.com"]
    warnings = []
    call = Call(
        {**params, **given}, False, False, Known(policies, recorded), lambda message, **more: None, warnings.append
    )
    return phase_realip_check.run(call), warnings


def stopped(policies, recorded=(), **given):
    with pytest.raises(WouldLockOut) as raised:
        check(policies, recorded, **given)
    return raised.value.message, raised.value.partial["check"]


def test_without_policies_nobody_is_in_danger():
    result, warnings = check([], [seen(ALICE, "198.51.100.7"), seen(BOB, PROXY)], addresses=["192.0.2.1"])
    assert (result["check"]["locked_out"], result["check"]["behind_proxy"], warnings) == ([], [], [])


def test_who_comes_from_elsewhere_is_named():
    message, found = stopped([policy("192.0.2.0/24")], [seen(ALICE, "198.51.100.7"), seen(BOB, "192.0.2.5")])
    assert "alice@example.com of SpaceX (198.51.100.7)" in message and "bob" not in message
    (one,) = found["locked_out"]
    assert (one["account"]["id"], one["policies"]) == ("m1", ["office"])


def test_who_is_let_in_by_the_proxys_address_is_named():
    message, found = stopped([policy("173.245.48.0/20, 192.0.2.0/24")], [seen(ALICE, PROXY)])
    assert "with a proxy's address only" in message and "alice@example.com" in message
    assert found["behind_proxy"][0]["entry"] == "173.245.48.0/20" and found["recorded"]["proxies"] == 1


def test_who_came_from_a_real_address_too_is_in_no_danger():
    result, warnings = check([policy("173.245.48.0/20, 192.0.2.0/24")], [seen(ALICE, PROXY), seen(ALICE, "192.0.2.5")])
    assert (result["check"]["behind_proxy"], warnings) == ([], [])


def test_an_accounts_own_policies_count():
    own = policy("192.0.2.0/24", "own", is_global=False, accounts=[ALICE])
    _message, found = stopped([own], [seen(ALICE, "198.51.100.7"), seen(BOB, "198.51.100.7")])
    assert [one["account"]["id"] for one in found["locked_out"]] == ["m1"]


def test_the_operator_is_told_of_himself():
    message, found = stopped([policy("192.0.2.0/24")], addresses=["192.0.2.9", "198.51.100.7"])
    assert "your own address in: 198.51.100.7 (SpaceX)" in message
    assert [one["allowed"] for one in found["operator"]] == [True, False]
    check([policy("192.0.2.0/24")], addresses=["192.0.2.9"])


def test_with_lockout_warn_it_goes_on_and_says_so():
    result, warnings = check([policy("192.0.2.0/24")], [seen(ALICE, "198.51.100.7")], lockout="warn")
    assert not result["changed"] and len(warnings) == 1 and "alice@example.com" in warnings[0]


CHAIN = """
set_real_ip_from 10.0.16.0/20;
real_ip_header X-Forwarded-For;
geo $realip_remote_addr $phase_hop_0 { default 0; 10.0.16.0/20 1; }
geo $remote_addr $phase_hop_1 { default 0; 173.245.48.0/20 1; 103.21.244.0/22 1; }
geo $remote_addr $limited { default 0; 192.0.2.0/24 1; }
"""
FORGEABLE = "server { location / { proxy_set_header X-Real-IP $http_cf_connecting_ip; } }"
HAPROXY = "frontend phase\n    acl phase_is_hop_0 src 10.0.16.0/20\n    acl phase_is_hop_0 src 173.245.48.0/20\n"
EVERYBODY = [policy("0.0.0.0/0, ::/0")]


@pytest.mark.parametrize(
    "before, trusted, gone",
    [
        (CHAIN, [], ["10.0.16.0/20", "173.245.48.0/20", "103.21.244.0/22"]),
        (CHAIN, ["173.245.48.0/20", "103.21.244.0/22"], ["10.0.16.0/20"]),
        (CHAIN, ["10.0.0.0/8", "173.245.48.0/20"], ["103.21.244.0/22"]),
        (FORGEABLE, [], ["$http_cf_connecting_ip"]),
        (HAPROXY, ["10.0.16.0/20"], ["173.245.48.0/20"]),
    ],
)
def test_trust_that_is_dropped_is_told(before, trusted, gone):
    message, found = stopped(EVERYBODY, before=before, trusted=trusted)
    assert found["dropped"] == gone and "place of their clients: %s" % gone[0] in message
    assert check([], before=before, trusted=trusted)[0]["check"]["dropped"] == gone  # nobody is kept out


@pytest.mark.parametrize(
    "before, trusted",
    [
        (CHAIN, ["10.0.16.0/20", "173.245.48.0/20", "103.21.244.0/22"]),
        (CHAIN, ["10.0.0.0/8", "173.245.0.0/16", "103.21.244.0/22"]),
        ("".join("set_real_ip_from 8.8.%d.0/24;" % n for n in range(8)), ["8.8.%d.0/24" % n for n in range(1, 8)]),
        (FORGEABLE, ["173.245.48.0/20"]),
        ("server { proxy_set_header X-Real-IP $remote_addr; allow 192.0.2.0/24; }", []),
        ("", []),
    ],
)
def test_trust_that_stays_or_was_withdrawn_is_no_danger(before, trusted):
    assert check(EVERYBODY, before=before, trusted=trusted)[0]["check"]["dropped"] == []


def test_records_of_the_engines_own_address_tell_nothing():
    _result, warnings = check([policy("0.0.0.0/0")], [seen(ALICE, "172.18.0.1")])
    assert len(warnings) == 1 and "no public address" in warnings[0]


def test_a_deleted_account_is_left_out():
    gone = dict(ALICE, id="gone")
    result, warnings = check([policy("192.0.2.0/24")], [seen(gone, "198.51.100.7")])
    assert (result["check"]["locked_out"], warnings) == ([], [])
