# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who gets in from where before and after a change of network policies, for every account. Pure."""

from __future__ import annotations

import ipaddress
from typing import Dict, List, Optional, Sequence, Tuple

from ..core.words import quoted
from . import rule as _access
from .policies import WORDS, named, policies
from .rule import Network
from .shapes import Account, Data, KeptOut, Organisation, Policy

EVERYWHERE: Tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
SHOWN = 3  # ranges and names in a sentence


def without(networks: Sequence[Network], others: Sequence[Network]) -> List[Network]:
    """The ranges of ``networks`` that are in none of the ``others``."""
    left: List[Network] = []
    for network in networks:
        parts = [network]
        for other in others:
            if other.version == network.version:
                parts = [piece for part in parts for piece in _cut(part, other)]
        left += parts
    return left


def _cut(part: Network, other: Network) -> List[Network]:
    if not part.overlaps(other):
        return [part]
    if other.prefixlen <= part.prefixlen:
        return []
    return list(part.address_exclude(other))  # type: ignore[arg-type]  # of the same version


def _admitted(force: Sequence[Policy]) -> List[Network]:
    """Where an account gets in from with these policies in force."""
    if not force:
        return list(EVERYWHERE)
    return [network for policy in force for network in _access.entries(policy["allowed_ips"])[0]]


class _Force:
    """The policies in force for each account."""

    def __init__(self, data: Data) -> None:
        self.everywhere: Dict[str, List[Policy]] = {}
        self.own: Dict[Tuple[str, str], List[Policy]] = {}
        for one in policies(data):
            if one["is_global"]:
                self.everywhere.setdefault(one["organisation"]["id"], []).append(one)
            for account in one["accounts"]:
                self.own.setdefault((account["type"], account["id"]), []).append(one)

    def of(self, organisation: Organisation, account: Optional[Account]) -> List[Policy]:
        own = self.own.get((account["type"], account["id"]), []) if account else []
        return _access.enforced(organisation["plan"], own, self.everywhere.get(organisation["id"], []))


def newly_kept_out(before: Data, after: Data, address: Optional[str] = None) -> List[KeptOut]:
    """Every account that loses a way in by the change; those without policies of their own are one per organisation."""
    old, new = _Force(before), _Force(after)
    with_own = set(old.own) | set(new.own)
    found: List[KeptOut] = []
    for organisation in before["organisations"]:
        accounts = [
            one
            for one in before["accounts"]
            if one["organisation_id"] == organisation["id"] and (one["type"], one["id"]) in with_own
        ]
        for account in [*accounts, None]:
            force, left = old.of(organisation, account), new.of(organisation, account)
            if [(one["id"], one["allowed_ips"]) for one in force] == [(one["id"], one["allowed_ips"]) for one in left]:
                continue
            loses = without(_admitted(force), _admitted(left))
            if loses:
                found.append(_kept_out(organisation, account, loses, left, address))
    return found


def _kept_out(
    organisation: Organisation,
    account: Optional[Account],
    loses: Sequence[Network],
    left: Sequence[Policy],
    address: Optional[str],
) -> KeptOut:
    client = ipaddress.ip_address(address) if address and "%" not in address else None
    return {
        "organisation": organisation["name"],
        "account": named(account) if account else None,
        "loses": [_access.short(network) for network in loses],
        "address": address if client is not None and any(client in network for network in loses) else None,
        "left": [one["name"] for one in left],
    }


def sentence(one: KeptOut) -> str:
    """Who is newly kept out from where, and by what."""
    account = one["account"]
    who = "%s %s" % (WORDS[account["type"]], quoted(account["name"])) if account else "every account without policies"
    ranges = [one["address"]] if one["address"] else one["loses"][:SHOWN]
    more = (
        " and %d more ranges" % (len(one["loses"]) - SHOWN) if not one["address"] and len(one["loses"]) > SHOWN else ""
    )
    return "In %s, %s is newly kept out from %s%s, by %s." % (
        quoted(one["organisation"]),
        who,
        ", ".join(str(text) for text in ranges),
        more,
        ", ".join(quoted(name) for name in one["left"][:SHOWN]),
    )
