# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.realip import forgeries as _forgeries
from ansible_collections.phase.console.plugins.module_utils._operations.realip import spoof

FORWARDED = "X-Forwarded-For"


def seen(*headers, peer="172.18.0.9"):
    return {"headers": [list(pair) for pair in headers], "peer": peer}


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ([("X-Real-IP", "192.0.2.1")], "192.0.2.1"),
        ([("x-real-ip", "192.0.2.1"), ("X-Real-IP", "192.0.2.2")], "172.18.0.9"),  # joined, so no address
        ([("X-Real-IP", "192.0.2.1"), ("X-Real-IP", "192.0.2.2"), (FORWARDED, "192.0.2.3, a")], "192.0.2.3"),
        ([("X_Real_IP", "192.0.2.1")], "192.0.2.1"),
        ([("X-Real-IP", "::ffff:192.0.2.1")], "192.0.2.1"),
        ([], "172.18.0.9"),
    ],
)
def test_what_phase_believes(headers, address):
    assert spoof.believed(seen(*headers)) == address


def test_a_forged_list_that_is_passed_on_is_noticed():
    assert spoof.passed_on(seen((FORWARDED, "192.0.2.1, 172.18.0.5")), "172.18.0.5")
    assert spoof.passed_on(seen((FORWARDED, "garbage")), "172.18.0.5")
    assert not spoof.passed_on(seen((FORWARDED, "172.18.0.5")), "172.18.0.5")
    assert not spoof.passed_on(seen(), "172.18.0.5")


def test_lies_are_many_different_and_the_same_each_time():
    lies = list(_forgeries.forgeries(1000, ["173.245.48.1"]))
    assert len({(lie.name, lie.forged) for lie in lies}) == 1000
    assert lies == list(_forgeries.forgeries(1000, ["173.245.48.1"]))
    few = [lie.name.split(", ") for lie in _forgeries.forgeries(200)]
    assert {header for header, _shape in few} == set(_forgeries.HEADERS)
    assert {shape for _header, shape in few} == set(_forgeries.SHAPES)


def test_edges_are_addresses_of_the_ranges_public_ones_first():
    assert _forgeries.edges_of(["10.0.0.0/8", "unix:", "173.245.48.0/20", "2400:cb00::/32"]) == [
        "173.245.48.1",
        "2400:cb00::1",
        "10.0.0.1",
    ]
    assert _forgeries.edges_of(["173.245.48.7/32"]) == ["173.245.48.7"]


def test_a_chain_is_told_as_each_proxy_would():
    hops = [{"ranges": ["198.51.100.0/24"], "header": FORWARDED}, {"ranges": ["173.245.48.0/20"], "header": "CF-X"}]
    saw, lines = _forgeries.through("203.0.113.99", FORWARDED, hops)
    assert saw == "198.51.100.1"
    assert lines[-1] == (FORWARDED, "203.0.113.66, 203.0.113.99, 173.245.48.1, 198.51.100.1")
    assert ("cf-x", "203.0.113.99") in lines


@pytest.mark.parametrize("recursive", [False, True])
def test_only_a_recursive_search_is_given_a_chain(recursive):
    names = {attempt.name for attempt in _forgeries.genuine(FORWARDED, recursive, ["173.245.48.0/20"], [])}
    assert ("a chain" in names) == recursive


def test_the_listener_answers_with_what_reached_it():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = {"port": port, "proxy_protocol": False, "tls": False, "host": "x", "path": "/a"}
    attempt = _forgeries.Attempt("", [("X-Real-IP", "192.0.2.1"), ("X-Real-IP", "192.0.2.2")], "")
    with spoof.echo("127.0.0.1", port):
        assert spoof.reachable("127.0.0.1", endpoint)
        own, found = spoof.exchange("127.0.0.1", endpoint, attempt, "")
        with pytest.raises(spoof.ProbeFailed), spoof.echo("127.0.0.1", port):
            pass
    assert own == "127.0.0.1" and found["peer"] == "127.0.0.1"
    assert [pair for pair in found["headers"] if pair[0] == "X-Real-IP"] == [list(pair) for pair in attempt.lines]
    assert not spoof.reachable("127.0.0.1", endpoint)
    with pytest.raises(spoof.ProbeFailed, match="does not answer"):
        spoof.exchange("127.0.0.1", endpoint, attempt, "")
