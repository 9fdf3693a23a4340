# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a change would be, from plain data."""

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption
from ansible_collections.phase.console.plugins.module_utils._operations.access import admission, network_policy, rule
from ansible_collections.phase.console.plugins.module_utils._operations.access.policies import (
    NoSuchThing,
    find_account,
    find_organisation,
    find_policies,
    policies,
    with_images,
)
from ansible_collections.phase.console.plugins.module_utils._operations.access.policy_diagnosis import diagnose
from ansible_collections.phase.console.plugins.module_utils._operations.core.organisations import OrganisationMissing

POLICY = "api_networkaccesspolicy"
MEMBERS = "api_organisationmember_network_policies"
ACCOUNTS = "api_serviceaccount_network_policies"


def row(identifier, name, allowed="10.0.0.0/8", is_global="true", organisation="o1"):
    return {
        "id": identifier,
        "name": name,
        "organisation_id": organisation,
        "allowed_ips": allowed,
        "is_global": is_global,
        "created_at": "2026-01-0%s" % identifier[-1],
        "updated_at": "then",
        "created_by_id": "m1",
        "updated_by_id": "m1",
    }


def attachment(identifier, account, policy):
    column = "organisationmember_id" if account.startswith("m") else "serviceaccount_id"
    return {"id": identifier, column: account, "networkaccesspolicy_id": policy}


def account(kind, identifier, name, organisation="o1"):
    return {"type": kind, "id": identifier, "name": name, "organisation_id": organisation}


@pytest.fixture
def data():
    return {
        "supported": True,
        "real_ip": True,
        "now": "now",
        "database": {},
        "organisations": [
            {"id": "o1", "name": "Orbit", "plan": "EN"},
            {"id": "o2", "name": "Pad", "plan": "PR"},
            {"id": "o3", "name": "Quay", "plan": "FR"},
        ],
        "accounts": [
            account("member", "m1", "al@example.com"),
            account("member", "m2", "bo@example.com"),
            account("member", "m3", "al@example.com", "o2"),
            account("service_account", "s1", "deploy"),
            account("service_account", "s2", "deploy", "o2"),
        ],
        "rows": {
            POLICY: [
                row("p1", "Office"),
                row("p2", "Mine", is_global="false"),
                row("p3", "Ours", is_global="false"),
                row("p4", "Office", organisation="o2"),
                row("p5", "Bench", "garbage", organisation="o3"),
            ],
            MEMBERS: [attachment("1", "m1", "p2"), attachment("2", "m1", "p3"), attachment("3", "m9", "p2")],
            ACCOUNTS: [attachment("1", "s1", "p3")],
        },
    }


def test_on_whom_a_policy_is_enforced(data):
    seen = {one["id"]: one for one in policies(data)}
    assert {key: one["enforced_on"] for key, one in seen.items()} == {
        "p1": "everybody",
        "p2": "its accounts",
        "p3": "its accounts",
        "p4": "nobody",
        "p5": "nobody",
    }
    assert seen["p5"]["invalid"] == ["garbage"] and seen["p1"]["updated_by"] == "al@example.com"
    assert [one["name"] for one in seen["p3"]["accounts"]] == ["al@example.com", "deploy"]
    assert [one["id"] for one in seen["p2"]["accounts"]] == ["m1"]  # a deleted member's row is left out


def ids(images):
    return [one["key"] for one in network_policy._rows.real(images)]


def test_reset_is_of_what_was_asked_for(data):
    assert ids(network_policy.reset(data, {})[0]) == ["p1", "p4", "p5"]
    assert ids(network_policy.reset(data, {"organisation": "Orbit"})[0]) == ["p1"]
    assert ids(network_policy.reset(data, {"policies": []})[0]) == []
    assert ids(network_policy.reset(data, {"policies": ["Bench", "Mine"]})[0]) == ["p5"]


def test_a_changed_policy_has_the_time_and_no_author(data):
    (image,) = network_policy.reset(data, {"organisation": "Orbit"})[0]
    assert image["before"] == data["rows"][POLICY][0]
    assert image["after"] == {**image["before"], "is_global": "false", "updated_at": "now", "updated_by_id": None}


def test_detaching_leaves_the_policy_and_is_told_for_each_account(data):
    images, notes = network_policy.reset(data, {"policies": [], "account_policies": ["Ours"]})
    assert [(one["table"], one["after"]) for one in images] == [(MEMBERS, None), (ACCOUNTS, None)]
    assert len(notes) == 1 and "Mine" in notes[0]
    events = network_policy.events(data, with_images(data, images), images, "why", "root@here")
    assert [(one["event_type"], one["resource_type"], one["resource_id"]) for one in events] == [
        ("A", "member", "m1"),
        ("A", "sa", "s1"),
    ]
    assert (events[0]["old_values"], events[0]["new_values"]) == (
        {"policy_ids": ["p2", "p3"]},
        {"policy_ids": ["p2"]},
    )


@pytest.mark.parametrize(
    "request_, expected",
    [
        ({}, ["p1"]),
        ({"organisation": "Pad"}, []),
        ({"policies": ["Mine", "p4"]}, ["p2", "p4"]),
        ({"diagnose": {"account": "m1"}}, ["p2"]),
        ({"diagnose": {"account": "bo@example.com"}}, ["p1"]),
        ({"diagnose": {"account": "deploy"}, "organisation": "Orbit"}, ["p3"]),
        ({"diagnose": {"account": "m3"}}, []),
    ],
)
def test_who_gets_the_entry(data, request_, expected):
    images, _notes = network_policy.allowed(data, {"allow": ["192.0.2.1"], **request_})
    assert ids(images) == expected
    assert ids(network_policy.allowed(with_images(data, images), {"allow": ["192.0.2.1"], **request_})[0]) == []


def test_only_what_is_lacking_is_added(data):
    (image,) = network_policy.allowed(data, {"allow": ["10.1.1.1", "192.0.2.1"]})[0]
    assert image["after"]["allowed_ips"] == "10.0.0.0/8, 192.0.2.1"


def test_the_sentence(data):
    blocked = diagnose(data, {"account": "bo@example.com", "address": "::ffff:10.0.0.1"}, None)
    assert blocked["sentence"] == (
        'In "Orbit", member "bo@example.com" is blocked from ::ffff:10.0.0.1 by "Office" (global): no entry matches, '
        'an IPv4-mapped address being none of IPv4; adding %s to "Office" lets it in.' % blocked["change"]["allow"][0]
    )
    free = diagnose(data, {"address": "192.0.2.1"}, "Quay")
    assert (free["blocked"], free["rule"], free["change"]) == (False, "free_plan", None)
    inside = diagnose(data, {"headers": {"X-Real-IP": "10.0.0.1"}}, "Orbit")
    assert inside["sentence"].endswith(
        'from 10.0.0.1 (by X-Real-IP): entry "10.0.0.0/8" of policy "Office" lets it in.'
    )
    data["rows"][POLICY][0]["allowed_ips"] = "a, b, c, d, 10.0.0.0/8"
    skipped = diagnose(data, {"address": "192.0.2.1"}, "Orbit")
    assert 'and Phase passes over "a", "b", "c" and 1 more;' in skipped["sentence"]
    zone = diagnose(data, {"address": "fe80::1%eth0"}, "Orbit")
    assert (zone["blocked"], zone["change"]) == (True, None)


def test_names_that_stand_for_nothing_or_too_much(data):
    known = policies(data)
    for call, step in (
        (lambda: find_organisation(data, "orbit"), "count to the letter"),
        (lambda: find_organisation(data, "nobody"), '"Orbit"'),
        (lambda: find_policies(known, ["Office"]), "p1"),
        (lambda: find_policies(known, ["office"]), '"Office"'),
        (lambda: find_account(data, "al@example.com", None), "m3"),
        (lambda: find_account(data, "gone", None), "not deleted"),
        (lambda: diagnose(data, {"address": "192.0.2.1"}, None), "Name one"),
    ):
        with pytest.raises((NoSuchThing, OrganisationMissing)) as refused:
            call()
        assert step in refused.value.next_step
    assert find_account(data, "AL@example.com", data["organisations"][1])["id"] == "m3"
    assert find_policies(known, ["p1", "p1"])[0]["id"] == "p1"


# Who gets in before and after


def kept_out(data, request, address=None):
    images, _notes = network_policy.reset(data, request)
    return admission.newly_kept_out(data, with_images(data, images), address)


def test_an_account_that_a_global_policy_let_in_is_kept_out_by_its_own(data):
    data["rows"][POLICY][1]["allowed_ips"] = "192.0.2.0/24"  # Mine, of m1, beside Office and Ours with 10.0.0.0/8
    data["rows"][POLICY][2]["allowed_ips"] = "192.0.2.0/24"
    found = kept_out(data, {"organisation": "Orbit"}, "10.1.1.1")
    assert [(one["account"]["id"], one["loses"], one["address"]) for one in found] == [
        ("m1", ["10.0.0.0/8"], "10.1.1.1"),
        ("s1", ["10.0.0.0/8"], "10.1.1.1"),
    ]
    assert admission.sentence(found[0]) == (
        'In "Orbit", member "al@example.com" is newly kept out from 10.1.1.1, by "Mine", "Ours".'
    )
    assert kept_out(data, {"organisation": "Orbit"}, "192.0.2.1")[0]["address"] is None


def test_nobody_is_kept_out_where_their_own_policies_let_in_as_much(data):
    assert kept_out(data, {}) == []
    detached = {"organisation": "Orbit", "account_policies": ["Mine", "Ours"]}
    data["rows"][POLICY][1]["allowed_ips"] = data["rows"][POLICY][2]["allowed_ips"] = "192.0.2.0/24"
    assert kept_out(data, detached) == []  # nothing is in force for them any more


def test_a_policy_that_comes_back_keeps_everybody_else_out(data):
    images, _notes = network_policy.reset(data, {"organisation": "Orbit"})
    found = admission.newly_kept_out(with_images(data, images), data)
    (everyone,) = [one for one in found if one["account"] is None]
    assert "0.0.0.0/5" in everyone["loses"] and "10.0.0.0/8" not in everyone["loses"] and everyone["left"] == ["Office"]
    assert "every account without policies" in admission.sentence(everyone)


@pytest.mark.parametrize(
    ("networks", "others", "left"),
    [
        (["10.0.0.0/8"], [], ["10.0.0.0/8"]),
        (["10.0.0.0/8"], ["0.0.0.0/0"], []),
        (["10.0.0.0/30"], ["10.0.0.1"], ["10.0.0.0", "10.0.0.2/31"]),
        (["10.0.0.0/8", "::/0"], ["10.0.0.0/9", "::/1"], ["10.128.0.0/9", "8000::/1"]),
        (["10.0.0.0/8"], ["::/0"], ["10.0.0.0/8"]),
    ],
)
def test_what_is_left_of_ranges(networks, others, left):
    ranges = [[ipaddress.ip_network(text) for text in texts] for texts in (networks, others)]
    found = set(admission.without(*ranges))
    assert found == {ipaddress.ip_network(text) for text in left}


# X-Real-IP since v2.54.2

BOTH = {"address": "192.0.2.1", "headers": {"X-Real-IP": "10.1.1.1"}}


@pytest.mark.parametrize(
    ("real_ip", "blocked", "source"),
    [(True, False, "X-Real-IP"), (False, True, "the peer"), (None, True, "the peer")],
)
def test_an_older_release_does_not_look_at_x_real_ip(data, real_ip, blocked, source):
    data["real_ip"] = real_ip
    told = diagnose(data, BOTH, "Orbit")
    assert (told["blocked"], told["address_from"]) == (blocked, source)
    assert ("depends on the release" in told["sentence"]) is (real_ip is None)


def test_where_both_rules_agree_nothing_depends_on_the_release(data):
    data["real_ip"] = None
    told = diagnose(data, dict(BOTH, address="10.2.2.2"), "Orbit")
    assert not told["blocked"] and "depends" not in told["sentence"]


def test_two_halves_are_everybody():
    with pytest.raises(BadOption, match="everybody"):
        rule.parse_entries(["0.0.0.0/1", "128.0.0.0/1"])
    with pytest.raises(BadOption, match="everybody"):
        rule.with_entries("0.0.0.0/1, garbage", ["128.0.0.0/1"])
    assert rule.parse_entries(["0.0.0.0/1", "8000::/1"]) == ["0.0.0.0/1", "8000::/1"]
    assert rule.with_entries("0.0.0.0/0", ["2001:db8::1"]) == "0.0.0.0/0, 2001:db8::1"  # that was everybody before
