# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._realip.check import dangers

CHAIN = """
set_real_ip_from 10.0.16.0/20;
real_ip_header X-Forwarded-For;
geo $realip_remote_addr $phase_hop_0 { default 0; 10.0.16.0/20 1; }
geo $remote_addr $phase_hop_1 { default 0; 173.245.48.0/20 1; 103.21.244.0/22 1; }
geo $remote_addr $limited { default 0; 192.0.2.0/24 1; }
"""
FORGEABLE = "server { location / { proxy_set_header X-Real-IP $http_cf_connecting_ip; } }"
HAPROXY = "frontend phase\n    acl phase_is_hop_0 src 10.0.16.0/20\n    acl phase_is_hop_0 src 173.245.48.0/20\n"
RECORDED = {"summary": ["A sentence."], "organisations": ["SpaceX"]}


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
def test_trust_that_is_dropped_is_named(before, trusted, gone):
    first, said = dangers(RECORDED, before, trusted)
    assert first == "A sentence." and said.endswith("place of their clients: %s." % ", ".join(gone))
    assert dangers({"summary": [], "organisations": []}, before, trusted) == []  # nobody can be kept out


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
    assert dangers(RECORDED, before, trusted) == ["A sentence."]
