# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Phase's rule of who may come in from where, as pure functions. The rule is that of v2.73.2.

- The client's address is ``X-Real-IP``, else the leftmost of ``X-Forwarded-For``, else the peer; what is no address is
  passed over. Before v2.54.2 ``X-Real-IP`` was not looked at.
- On the Free plan nothing is enforced, on Pro the account's own policies, on Enterprise the organisation's global ones
  as well. Without a policy in force everybody comes in; otherwise any entry of any of them lets in.
- ``allowed_ips`` is split at commas; an entry with a slash is a range (its host bits are ignored), another an address,
  and one that is neither is passed over without a word. IPv4 and IPv6 never match, not even ``::ffff:192.0.2.1``.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from ..._errors import BadOption
from .shapes import Policy

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

FREE, PRO, ENTERPRISE = "FR", "PR", "EN"
PLANS = {FREE: "Free", PRO: "Pro", ENTERPRISE: "Enterprise"}
PEER = "the peer"
HEADERS = ("X-Real-IP", "X-Forwarded-For")
# What no client on the internet comes from. Not is_private: before Python 3.11 that holds for the whole world as well.
PRIVATE = [
    *(ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")),
    *(ipaddress.ip_network(text) for text in ("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10")),
]


def address_of(text: Optional[str]) -> Optional[str]:
    """The text without the space around it when it is an address, else None."""
    candidate = (text or "").strip()
    try:
        ipaddress.ip_address(candidate)
    except ValueError:
        return None
    return candidate


def client_address(
    headers: Mapping[str, str], peer: Optional[str], *, real_ip: bool = True
) -> Tuple[Optional[str], str]:
    """The address that policies are held against, and what gave it: the name of a header, or PEER.

    Headers' names are compared without regard to case, as HTTP has it. ``real_ip``: as since v2.54.2.
    """
    given = {name.lower(): value for name, value in headers.items()}
    candidates = [
        (HEADERS[0], given.get("x-real-ip") if real_ip else None),
        (HEADERS[1], (given.get("x-forwarded-for") or "").split(",")[0]),
    ]
    for name, text in candidates:
        address = address_of(text)
        if address:
            return address, name
    return address_of(peer), PEER


def range_of(text: str) -> Network:
    """The range, its host bits ignored. Raises ValueError."""
    return ipaddress.ip_network(text, strict=False)


def network_of(entry: str) -> Optional[Network]:
    """The range that an entry stands for, an address being a range of one; None when it stands for nothing.

    An address with a zone (``fe80::1%eth0``) matches that zone alone, which no request comes with: nothing, too.
    """
    try:
        if "/" in entry:
            return range_of(entry)
        return None if "%" in entry else ipaddress.ip_network(ipaddress.ip_address(entry))
    except ValueError:
        return None


def split(allowed_ips: str) -> List[str]:
    """The entries of ``allowed_ips`` as written, without the space around them and without empty ones."""
    return [entry.strip() for entry in allowed_ips.split(",") if entry.strip()]


def entries(allowed_ips: str) -> Tuple[List[Network], List[str]]:
    """The ranges of ``allowed_ips``, and the entries that Phase passes over because they are none."""
    written = [(entry, network_of(entry)) for entry in split(allowed_ips)]
    return [network for _entry, network in written if network is not None], [
        entry for entry, network in written if network is None
    ]


def lets_in(allowed_ips: str, address: str) -> Optional[str]:
    """The first entry, as written, that lets the address in; None when none does."""
    client = ipaddress.ip_address(address)
    for entry in split(allowed_ips):
        try:
            matches = client in range_of(entry) if "/" in entry else client == ipaddress.ip_address(entry)
        except ValueError:
            continue
        if matches:
            return entry
    return None


def enforced(plan: str, own: Sequence[Policy], global_: Sequence[Policy]) -> List[Policy]:
    """The policies in force for an account: its own, and the global ones where the plan has them; each one once."""
    if plan == FREE:
        return []
    chosen: Dict[str, Policy] = {policy["id"]: policy for policy in own}
    if plan == ENTERPRISE:
        for policy in global_:
            chosen.setdefault(policy["id"], policy)
    return list(chosen.values())


@dataclass(frozen=True)
class Verdict:
    """Whether an address comes in, and by which rule.

    ``rule`` is ``free_plan``, ``no_policy``, ``allowed`` (then ``policy`` and ``entry`` say by what), ``no_address`` or
    ``blocked``. ``policies`` are those in force. ``mapped`` is the IPv4 address inside an IPv4-mapped one.
    """

    allowed: bool
    rule: str
    policies: List[Policy] = field(default_factory=list)
    policy: Optional[Policy] = None
    entry: Optional[str] = None
    mapped: Optional[str] = None


def mapped(address: str) -> Optional[str]:
    """``192.0.2.1`` for ``::ffff:192.0.2.1``, which no IPv4 entry matches; else None."""
    inner = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    return str(inner) if inner is not None else None


def verdict(address: Optional[str], plan: str, own: Sequence[Policy], global_: Sequence[Policy]) -> Verdict:
    """What Phase says to an account with its ``own`` policies, in an organisation with a ``plan`` and ``global_`` ones.

    ``address`` is one that ``client_address`` gave. A service token has no policies of its own.
    """
    if plan == FREE:
        return Verdict(True, "free_plan")
    policies = enforced(plan, own, global_)
    if not policies:
        return Verdict(True, "no_policy")
    if address is None:
        return Verdict(False, "no_address", policies)
    for policy in policies:
        entry = lets_in(policy["allowed_ips"], address)
        if entry is not None:
            return Verdict(True, "allowed", policies, policy, entry)
    return Verdict(False, "blocked", policies, mapped=mapped(address))


# Adding to a policy


def parse_entry(text: str) -> str:
    """An address or range to be let in, in its shortest form. Raises BadOption.

    Stricter than Phase is with what it finds: host bits, masks written as addresses, zones and surroundings are
    refused, and so is the whole Internet, for which there is ``state=reset``.
    """
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise BadOption("%r is no address or range." % text[:80], _advice(text)) from None
    prefix = text.partition("/")[2]
    if "%" in text or text != text.strip() or (prefix and not (prefix.isascii() and prefix.isdigit())):
        raise BadOption(
            "%r is no plain address or range." % text[:80], "Write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/48."
        )
    if network.prefixlen == 0:
        raise everybody(text)
    return short(network)


def everybody(text: str) -> BadOption:
    return BadOption(
        "%s would let everybody in." % text, "Name the addresses that need it; state=reset switches policies off."
    )


def everything(networks: Iterable[Network]) -> bool:
    """Whether the ranges together hold all addresses of IPv4 or of IPv6."""
    collapsed = [one for version in (4, 6) for one in _collapsed(networks, version)]
    return any(one.prefixlen == 0 for one in collapsed)


def _collapsed(networks: Iterable[Network], version: int) -> List[Network]:
    alike: List[Any] = [one for one in networks if one.version == version]
    return list(ipaddress.collapse_addresses(alike))


def parse_entries(texts: Sequence[str]) -> List[str]:
    """``parse_entry`` of each. Raises BadOption also where they let everybody in together, as two halves do."""
    found = [parse_entry(text) for text in texts]
    if everything([range_of(text) for text in found]):
        raise everybody(" with ".join(found[:4]))
    return found


def _advice(text: str) -> str:
    try:
        return "Its host bits are set; did you mean %s?" % ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return "Write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/48."


def short(network: Network) -> str:
    """A range in its shortest form, that of one address without the prefix."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def covered(network: Network, by: Iterable[Network]) -> bool:
    """Whether every address of a range is in one of the others."""
    return any(
        other.prefixlen <= network.prefixlen and network.network_address in other
        for other in _collapsed(by, network.version)
    )


def with_entries(allowed_ips: str, additions: Sequence[str]) -> str:
    """``allowed_ips`` with those additions at its end that it does not cover yet; itself, to the byte, if it does all.

    What stands there stays as it is, order, spaces and entries that are none included.
    """
    known = entries(allowed_ips)[0]
    whole = everything(known)
    lacking: List[str] = []
    for text in additions:
        network = ipaddress.ip_network(text)
        if not covered(network, known):
            known.append(network)
            lacking.append(text)
    if not lacking:
        return allowed_ips
    if everything(known) and not whole:
        raise everybody("%s with what the policy has" % " with ".join(lacking[:4]))
    head = allowed_ips.rstrip().rstrip(",").rstrip()
    return ", ".join(([head] if head else []) + lacking)
