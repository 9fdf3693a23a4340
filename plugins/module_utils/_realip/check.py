# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What speaks against a proxy's new configuration: accounts that it would keep out, and trust that it drops."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, List, Mapping, Sequence

from .._nginx import conf
from .._operations.access.recorded import networks_of
from .._operations.access.rule import PRIVATE

NAMED = 5  # ranges in a sentence
# What a proxy in front of Phase may pass on as the address without asking who sent it.
_BELIEVED = re.compile(r"\$http_(?:cf_connecting_ip|true_client_ip|x_real_ip|x_forwarded_for)\b")
_RANGE = re.compile(r"[0-9A-Fa-f.:]+/[0-9]{1,3}")
WITHDRAWN = 0.25  # of public ranges: what role realip lets a publisher withdraw at once


def dangers(recorded: Mapping[str, Any], before: str, trusted: Sequence[str]) -> List[str]:
    """A sentence for each danger; none when nobody would be kept out.

    ``recorded`` is what phase_network_policy returned, ``before`` the text of the configuration in force, ``trusted``
    the ranges that the new one trusts.
    """
    said = list(recorded["summary"])
    gone = dropped(believed(before), networks_of(trusted))
    if gone and recorded["organisations"]:
        more = " and %d more" % (len(gone) - NAMED) if len(gone) > NAMED else ""
        said.append(
            "The configuration in force trusts these, and the new one does not, so Phase would see proxies in the place"
            " of their clients: %s." % (", ".join(gone[:NAMED]) + more)
        )
    return said


def believed(text: str) -> List[str]:
    """What a configuration trusts about the client: ranges, and variables of headers that it takes from anybody.

    A text that is not nginx's was written by role realip; there each range is a trusted one.
    """
    try:
        tree = list(conf.walk(conf.parse(text)))
    except conf.NotReadable:
        tree = []
    if not any(one.name in ("server", "geo", "map", "set_real_ip_from", "http") for one in tree):
        return networks_of(_RANGE.findall(text))
    found: List[str] = []
    for one in tree:
        words = one.words()
        if one.name == "set_real_ip_from":
            found += words[:1]
        elif one.name == "geo" and (words[:1] == ["$realip_remote_addr"] or "$phase_hop_" in one.raw[-1]):
            found += [entry.name for entry in one.block or [] if entry.words() not in (["0"], [""])]
    found = networks_of(found)
    if not found:  # with ranges, a header counts from them
        passed = [word for one in tree if one.name in ("proxy_set_header", "set") for word in one.words()]
        found = [name for word in passed for name in _BELIEVED.findall(word)]
    return list(dict.fromkeys(found))


def dropped(before: Sequence[str], trusted: Sequence[str]) -> List[str]:
    """Those of ``before`` not in ``trusted``; public ones only where more are gone than a publisher withdraws."""
    if any(one.startswith("$") for one in before):
        return [] if trusted else list(before)
    ranges = [ipaddress.ip_network(one) for one in before]
    kept = [ipaddress.ip_network(one) for one in trusted]
    gone = [one for one in ranges if not conf.within(one, kept)]
    private = [one for one in gone if conf.within(one, PRIVATE)]
    public = [one for one in ranges if not conf.within(one, PRIVATE)]
    if len(gone) - len(private) > WITHDRAWN * len(public):
        return [str(one) for one in gone]
    return [str(one) for one in private]
