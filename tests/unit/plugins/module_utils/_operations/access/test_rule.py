# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption
from ansible_collections.phase.console.plugins.module_utils._operations.access import rule as _access


def policy(number, allowed, is_global=True):
    return {"id": str(number), "name": "policy %s" % number, "allowed_ips": allowed, "is_global": is_global}


@pytest.mark.parametrize(
    "headers, peer, expected",
    [
        ({}, "192.0.2.1", ("192.0.2.1", "the peer")),
        ({"X-Real-IP": "192.0.2.2"}, "192.0.2.1", ("192.0.2.2", "X-Real-IP")),
        ({"x-real-ip": " 192.0.2.2 ", "X-Forwarded-For": "192.0.2.3"}, None, ("192.0.2.2", "X-Real-IP")),
        ({"X-Real-IP": "unknown", "X-Forwarded-For": "192.0.2.3, 10.0.0.1"}, None, ("192.0.2.3", "X-Forwarded-For")),
        ({"X-Forwarded-For": "unknown, 192.0.2.3"}, "192.0.2.1", ("192.0.2.1", "the peer")),
        ({"X-Forwarded-For": "192.0.2.3:443"}, "::1", ("::1", "the peer")),
        ({}, None, (None, "the peer")),
        ({}, "socket", (None, "the peer")),
    ],
)
def test_where_the_address_comes_from(headers, peer, expected):
    assert _access.client_address(headers, peer) == expected


def test_entries_and_what_is_passed_over():
    networks, invalid = _access.entries(" 10.0.0.1/8,,garbage , 192.0.2.1,10.0.0.0/99, 2001:db8::/32,")
    assert [str(network) for network in networks] == ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]
    assert invalid == ["garbage", "10.0.0.0/99"]
    assert _access.entries("") == ([], [])


@pytest.mark.parametrize(
    "plan, own, everywhere, rule",
    [
        ("FR", [policy(1, "")], [policy(2, "")], "free_plan"),
        ("PR", [], [policy(2, "")], "no_policy"),
        ("PR", [policy(1, "")], [policy(2, "192.0.2.1")], "blocked"),
        ("EN", [policy(1, "")], [policy(2, "192.0.2.1")], "allowed"),
        ("EN", [policy(1, "192.0.2.0/24")], [policy(2, "")], "allowed"),
        ("EN", [], [], "no_policy"),
        ("EN", [], [policy(2, "garbage")], "blocked"),
        ("XX", [policy(1, "")], [policy(2, "192.0.2.1")], "blocked"),
    ],
)
def test_the_plan_and_the_union(plan, own, everywhere, rule):
    verdict = _access.verdict("192.0.2.1", plan, own, everywhere)
    assert (verdict.rule, verdict.allowed) == (rule, rule not in ("blocked", "no_address"))


def test_a_policy_that_is_attached_and_global_counts_once():
    one = policy(1, "10.0.0.0/8")
    assert _access.verdict("192.0.2.1", "EN", [one], [one]).policies == [one]


def test_families_never_match():
    mapped = _access.verdict("::ffff:10.1.1.1", "EN", [], [policy(1, "10.0.0.0/8")])
    assert (mapped.allowed, mapped.mapped) == (False, "10.1.1.1")
    assert _access.verdict("::ffff:10.1.1.1", "EN", [], [policy(1, "::ffff:0:0/96")]).entry == "::ffff:0:0/96"


def test_without_an_address_nobody_comes_in():
    assert _access.verdict(None, "EN", [], [policy(1, "0.0.0.0/0")]).rule == "no_address"
    assert _access.verdict(None, "EN", [], []).allowed


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "0.0.0.0/0", "::/0", "", "x", "10.0.0.0/255.0.0.0", " 10.0.0.1", "1.2.3"]
)
def test_what_is_not_added(text):
    with pytest.raises(BadOption) as refused:
        _access.parse_entry(text)
    assert refused.value.next_step


def test_host_bits_are_pointed_out():
    with pytest.raises(BadOption) as refused:
        _access.parse_entry("10.0.0.1/8")
    assert "10.0.0.0/8" in refused.value.next_step


@pytest.mark.parametrize(
    "text, expected", [("192.0.2.1/32", "192.0.2.1"), ("10.0.0.0/8", "10.0.0.0/8"), ("2001:DB8:0::1", "2001:db8::1")]
)
def test_an_entry_in_its_shortest_form(text, expected):
    assert _access.parse_entry(text) == expected


@pytest.mark.parametrize(
    "before, added, after",
    [
        ("10.0.0.0/8", ["192.0.2.1"], "10.0.0.0/8, 192.0.2.1"),
        ("10.0.0.0/8,garbage ,", ["192.0.2.1"], "10.0.0.0/8,garbage, 192.0.2.1"),
        ("", ["192.0.2.1"], "192.0.2.1"),
        (" , ", ["192.0.2.1"], "192.0.2.1"),
        (" 10.0.0.0/8 ,", ["10.1.0.0/16"], " 10.0.0.0/8 ,"),
        ("192.0.2.1", ["192.0.2.0/24", "192.0.2.7"], "192.0.2.1, 192.0.2.0/24"),
        ("::/0", ["10.0.0.1"], "::/0, 10.0.0.1"),
    ],
)
def test_what_stands_there_stays(before, added, after):
    assert _access.with_entries(before, added) == after
    assert _access.with_entries(after, added) == after


@pytest.mark.parametrize(
    "network, by, expected",
    [
        ("10.1.0.0/16", ["192.0.2.0/24", "10.0.0.0/8"], True),
        ("10.0.0.0/8", ["10.0.0.0/16"], False),
        ("10.0.0.0/24", ["10.0.0.128/25", "10.0.0.0/25"], True),
        ("10.0.0.0/24", ["10.0.0.128/25", "10.0.0.0/26"], False),
        ("10.0.0.0/24", ["::/0"], False),
        ("2001:db8::1", ["10.0.0.0/8", "2001:db8::/32"], True),
        ("10.0.0.1", [], False),
    ],
)
def test_covered(network, by, expected):
    assert _access.covered(ipaddress.ip_network(network), [ipaddress.ip_network(text) for text in by]) is expected


def test_nothing_is_enforced_on_the_free_plan():
    assert _access.enforced("FR", [policy(1, "")], [policy(2, "")]) == []
