# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._access import network_policy
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption
from ansible_collections.phase.console.plugins.module_utils._operations.access import network_policy as operations
from ansible_collections.phase.console.plugins.module_utils._operations.access import recorded
from ansible_collections.phase.console.plugins.module_utils._target.base import Target

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

    def __init__(self, policies, seen):
        self.policies, self.seen = policies, seen

    def run(self, operation, request, report, *, image=None, detached=False):
        assert operation is operations.plan
        data = {"organisations": [SPACEX], "accounts": [ALICE, BOB]}
        found = dict(recorded.judge(data, self.policies, self.seen, request["recorded"]), truncated=False)
        empty = {
            "supported": True,
            "images": [],
            "notes": [],
            "audit": True,
            "events": [],
            "diagnosis": None,
            "kept_out": [],
        }
        return dict(empty, organisations=[], policies=[], policies_after=[], recorded=found)


def check(policies, seen=(), **given):
    params = {name: option.get("default") for name, option in network_policy.SPEC.options.items()}
    asked = {"days": 30, "proxies": ["173.245.48.0/20", "unix:", "proxy.example.com"], "addresses": [], "account": None}
    params["recorded"] = dict(asked, **given)
    warnings = []
    call = Call(params, False, False, Known(policies, seen), lambda message, **more: None, warnings.append)
    result = network_policy.run(call)
    assert not result["changed"]
    return result["recorded"], warnings


def test_without_policies_nobody_is_in_danger():
    found, warnings = check([], [seen(ALICE, "198.51.100.7"), seen(BOB, PROXY)], addresses=["192.0.2.1"])
    assert (found["kept_out"], found["behind_proxy"], warnings) == ([], [], [])


def test_who_comes_from_elsewhere_is_named():
    found, _warnings = check([policy("192.0.2.0/24")], [seen(ALICE, "198.51.100.7"), seen(BOB, "192.0.2.5")])
    assert "alice@example.com of SpaceX (198.51.100.7)" in " ".join(found["summary"]) and "bob" not in " ".join(
        found["summary"]
    )
    (one,) = found["kept_out"]
    assert (one["account"]["id"], one["policies"]) == ("m1", ["office"])


def test_who_is_let_in_by_the_proxys_address_is_named():
    found, _warnings = check([policy("173.245.48.0/20, 192.0.2.0/24")], [seen(ALICE, PROXY)])
    assert "with a proxy's address only" in " ".join(found["summary"]) and "alice@example.com" in " ".join(
        found["summary"]
    )
    assert found["behind_proxy"][0]["entry"] == "173.245.48.0/20" and found["counts"]["proxies"] == 1


def test_who_came_from_a_real_address_too_is_in_no_danger():
    found, warnings = check([policy("173.245.48.0/20, 192.0.2.0/24")], [seen(ALICE, PROXY), seen(ALICE, "192.0.2.5")])
    assert (found["behind_proxy"], warnings) == ([], [])


def test_an_accounts_own_policies_count():
    own = policy("192.0.2.0/24", "own", is_global=False, accounts=[ALICE])
    found, _warnings = check([own], [seen(ALICE, "198.51.100.7"), seen(BOB, "198.51.100.7")])
    assert [one["account"]["id"] for one in found["kept_out"]] == ["m1"]


def test_the_operator_is_told_of_himself():
    found, _warnings = check([policy("192.0.2.0/24")], addresses=["192.0.2.9", "198.51.100.7"])
    assert "your own address in: 198.51.100.7 (SpaceX)" in " ".join(found["summary"])
    assert [one["allowed"] for one in found["own_addresses"]] == [True, False]
    check([policy("192.0.2.0/24")], addresses=["192.0.2.9"])


@pytest.mark.parametrize("given", [{"addresses": ["x"]}, {"addresses": ["192.0.2.0/24"]}, {"account": ""}])
def test_what_is_no_address_or_account_is_refused(given):
    with pytest.raises(BadOption):
        check([], **given)


def test_records_of_the_engines_own_address_tell_nothing():
    _found, warnings = check([policy("0.0.0.0/0")], [seen(ALICE, "172.18.0.1")])
    assert len(warnings) == 1 and "no public address" in warnings[0]


def test_a_deleted_account_is_left_out():
    gone = dict(ALICE, id="gone")
    found, warnings = check([policy("192.0.2.0/24")], [seen(gone, "198.51.100.7")])
    assert (found["kept_out"], warnings) == ([], [])
