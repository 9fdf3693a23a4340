# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ranges without a network: tests/integration tries the real fetch."""

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._realip.fetch import fetcher
from ansible_collections.phase.console.plugins.module_utils._realip.ranges import (
    PUBLISHERS,
    RangesRefused,
    check_change,
    compare,
    judge,
    parse,
    stale,
)
from ansible_collections.phase.console.plugins.module_utils._realip.values import BadValue

URL = "https://ranges.example.com/ips-v4"


def test_the_bundled_ranges_pass_their_own_judgement():
    cloudflare = PUBLISHERS["cloudflare"]
    assert len(judge(URL, [(one, None) for one in cloudflare.bundled], cloudflare)) == 22


@pytest.mark.parametrize(
    "before, after, added, removed",
    [
        (["8.8.8.0/24"], ["8.8.8.0/25", "8.8.8.128/25"], [], []),
        (["8.8.8.0/25", "8.8.8.128/25"], ["8.8.8.0/24"], [], []),
        (["8.8.8.0/24"], ["8.8.8.0/25"], [], ["8.8.8.0/24"]),
        (["8.8.8.0/25"], ["8.8.8.0/24"], ["8.8.8.0/24"], []),
        (["8.8.8.0/24"], ["2400:cb00::/32"], ["2400:cb00::/32"], ["8.8.8.0/24"]),
    ],
)
def test_what_changed_are_addresses(before, after, added, removed):
    assert compare(before, after) == (added, removed)


def test_a_share_of_changes_is_allowed():
    before = ["8.8.%d.0/24" % number for number in range(0, 8, 2)]
    check_change(URL, before, before[1:], 0.25)
    check_change(URL, [], before, 0)
    with pytest.raises(RangesRefused, match="2 of 4 ranges are gone"):
        check_change(URL, before, before[2:], 0.25)
    with pytest.raises(RangesRefused, match="1 of 5 ranges are new"):
        check_change(URL, before, ["9.9.9.0/24", *before], 0.1)


@pytest.mark.parametrize(
    "version, before, after, what",
    [
        (4, ["8.0.0.0/24", "9.0.0.0/24", "11.0.0.0/24"], ["8.0.0.0/22", "9.0.0.0/24", "11.0.0.0/24"], "new"),
        (4, ["8.0.0.0/22", "9.0.0.0/24", "11.0.0.0/24"], ["8.0.0.0/24", "9.0.0.0/24", "11.0.0.0/24"], "gone"),
        (6, ["8.0.0.0/8", "2400::/32", "2401::/32"], ["8.0.0.0/8", "2400::/32", "2402::/32"], "gone"),
    ],
)
def test_a_share_of_each_familys_addresses_is_allowed(version, before, after, what):
    with pytest.raises(RangesRefused, match="50 %% of its IPv%d addresses are %s" % (version, what)):
        check_change(URL, before, after, 0.34)
    check_change(URL, before, after, 0.5)


def test_addresses_cut_or_joined_are_no_change():
    check_change(URL, ["8.0.0.0/25", "8.0.0.128/25", "2400::/32"], ["8.0.0.0/24", "2400::/32"], 0)
    check_change(URL, ["8.0.0.0/24", "9.0.0.0/24", "11.0.0.0/24"], ["8.0.0.0/23", "9.0.0.0/24", "11.0.0.0/24"], 0.34)


def test_a_text_list_has_the_family_of_its_name():
    assert parse(URL, b"8.8.8.0/24\r\n\r\n 8.8.4.0/24 \n") == [("8.8.8.0/24", 4), ("8.8.4.0/24", 4)]
    assert parse("https://ranges.example.com/list", b"8.8.8.0/24") == [("8.8.8.0/24", None)]


@pytest.mark.parametrize(
    "url", ["http://ranges.example.com/", "ftp://127.0.0.1/", "file:///etc/passwd", "http://[::1", "https:///x", "x"]
)
def test_urls_that_are_not_read(url):
    with pytest.raises(BadValue, match="not safe"):
        fetcher(1, None)(url, None)


def test_a_byte_order_mark_is_no_part_of_a_list():
    assert parse(URL, b"\xef\xbb\xbf8.8.8.0/24\n9.9.9.0/24\n") == [("8.8.8.0/24", 4), ("9.9.9.0/24", 4)]


def test_ranges_that_the_publisher_has_given_up_are_named():
    assert stale("cloudflare", PUBLISHERS["cloudflare"].bundled) == []
    (said,) = stale("cloudflare", ["104.16.0.0/12", "173.245.48.0/20"])
    assert "104.16.0.0/12 is in a stale list of cloudflare" in said
    assert stale("custom", ["104.16.0.0/12"]) == []
