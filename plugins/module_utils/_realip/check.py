# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Saying who would be kept out once Phase sees the clients' real addresses."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Callable, Dict, List, Mapping, Sequence

from .._call.argspec import ArgumentSpec
from .._call.module import Call
from .._errors import PhaseError
from .._nginx import conf
from .._operations.access.rule import PRIVATE
from .._operations.realip import check as operations
from .._target.base import Report, Target

NAMED = 5  # accounts in a message
# What a proxy in front of Phase may pass on as the address without asking who sent it.
_BELIEVED = re.compile(r"\$http_(?:cf_connecting_ip|true_client_ip|x_real_ip|x_forwarded_for)\b")
_RANGE = re.compile(r"[0-9A-Fa-f.:]+/[0-9]{1,3}")
WITHDRAWN = 0.25  # of public ranges: what role realip lets a publisher withdraw at once


SPEC = ArgumentSpec(
    {
        "trusted": {"type": "list", "elements": "str", "default": []},
        "addresses": {"type": "list", "elements": "str", "default": []},
        "before": {"type": "str"},
        "account": {"type": "str"},
        "days": {"type": "int", "default": 30},
        "lockout": {"type": "str", "choices": ["stop", "warn"], "default": "stop"},
    }
)


class WouldLockOut(PhaseError):
    kind = "would_lock_out"


def _some(parts: List[str]) -> str:
    more = " and %d more" % (len(parts) - NAMED) if len(parts) > NAMED else ""
    return ", ".join(parts[:NAMED]) + more


def _accounts(items: List[Mapping[str, Any]]) -> List[str]:
    """Each account once, with one of its addresses."""
    found: Dict[str, str] = {}
    for item in items:
        found.setdefault("%s of %s" % (item["account"]["name"], item["organisation"]), item["address"])
    return ["%s (%s)" % pair for pair in found.items()]


def complaints(found: Mapping[str, Any]) -> List[str]:
    """What stands against the change, a sentence each; none when nobody is in danger."""
    said = []
    kept_out = ["%s (%s)" % (one["address"], one["organisation"]) for one in found["operator"] if not one["allowed"]]
    if kept_out:
        said.append("No policy lets your own address in: %s." % _some(kept_out))
    if found["locked_out"]:
        said.append("No policy lets in who came from: %s." % _some(_accounts(found["locked_out"])))
    if found["behind_proxy"]:
        said.append(
            "These were seen with a proxy's address only, so nobody knows whether their own is let in: %s."
            % _some(_accounts(found["behind_proxy"]))
        )
    if found["dropped"] and found["organisations"]:
        said.append(
            "The configuration in force believes these, and the new one does not, so that Phase would see proxies in "
            "the place of their clients: %s." % _some(found["dropped"])
        )
    return said


def believed(text: str) -> List[str]:
    """Whom a configuration believes about the client: ranges, and variables of headers that it believes from anybody.

    What is not nginx's, is one that role realip has written: there each range is one that is trusted.
    """
    try:
        tree = list(conf.walk(conf.parse(text)))
    except conf.NotReadable:
        tree = []
    if not any(one.name in ("server", "geo", "map", "set_real_ip_from", "http") for one in tree):
        return operations.networks_of(_RANGE.findall(text))
    found: List[str] = []
    for one in tree:
        words = one.words()
        if one.name == "set_real_ip_from":
            found += words[:1]
        elif one.name == "geo" and (words[:1] == ["$realip_remote_addr"] or "$phase_hop_" in one.raw[-1]):
            found += [entry.name for entry in one.block or [] if entry.words() not in (["0"], [""])]
    found = operations.networks_of(found)
    if not found:  # with ranges, a header counts from them
        passed = [word for one in tree if one.name in ("proxy_set_header", "set") for word in one.words()]
        found = [name for word in passed for name in _BELIEVED.findall(word)]
    return list(dict.fromkeys(found))


def dropped(before: Sequence[str], trusted: Sequence[str]) -> List[str]:
    """What of ``believed`` is not in the ranges ``trusted``, where it is more than a publisher's withdrawal."""
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


def remarks(found: Mapping[str, Any]) -> List[str]:
    """What to know about how much was knowable."""
    recorded = found["recorded"]
    said = []
    if recorded["private"] and recorded["private"] + recorded["proxies"] == recorded["addresses"]:
        said.append(
            "Phase has recorded no public address: what it sees today is a proxy's or the container engine's own. "
            "From those, nobody can tell whom the policies would let in."
        )
    if found["truncated"]:
        said.append("There are more events than were looked at; the newest of each environment were.")
    return said


def realip_check(
    target: Target, params: Mapping[str, Any], report: Report, warn: Callable[[str], None]
) -> Dict[str, Any]:
    """The module's result. Raises WouldLockOut unless the caller asked to go on."""
    request = {
        "trusted": operations.networks_of(params["trusted"] or []),
        "addresses": list(params["addresses"] or []),
        "account": params["account"],
        "days": params["days"],
    }
    gone = dropped(believed(params["before"] or ""), request["trusted"])
    found = dict(target.run(operations.check, request, report), dropped=gone)
    said = complaints(found)
    for text in remarks(found) + (said if params["lockout"] == "warn" else []):
        warn(text)
    if said and params["lockout"] == "stop":
        raise WouldLockOut(
            " ".join(said),
            "Let them in first (phase_network_policy with state=allowed), or set lockout=warn to go on.",
            partial={"check": found},
        )
    return {"changed": False, "check": found}


def run(call: Call) -> Dict[str, Any]:
    """The module's result."""
    return realip_check(call.target, call.params, call.report, call.warn)
