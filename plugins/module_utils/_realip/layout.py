# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whom a proxy in front of Phase believes about the client's address: one model, which the templates only print.

Phase believes ``X-Real-IP``, else the leftmost ``X-Forwarded-For``, else the peer (Phase v2.73.2,
backend/api/utils/access/ip.py). So the proxy has to set both to an address it has verified.

A chain of hops lies between the client and the proxy. Each hop may say who its own peer was, and is asked only if its
own address, which the hop before it told, lies in its ranges. That goes by position: `real_ip_recursive`, which skips
any address in any of the ranges, can be talked past by a client whose own address is in them, and Cloudflare's ranges
hold addresses of its Workers, WARP and relay users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .._errors import PhaseError
from . import values

FORWARDED_FOR = "X-Forwarded-For"
PROXY_PROTOCOL = "proxy_protocol"

# What clients and proxies say about addresses, and what Django or Next.js would believe of the request's own address
# (Phase v2.73.2 sets USE_X_FORWARDED_HOST). Nothing of it reaches Phase from outside.
FORGEABLE = (
    *("CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Pseudo-IPv4", "Client-IP", "CloudFront-Viewer-Address"),
    *("Fastly-Client-IP", "Forwarded", "Forwarded-For", "Remote-Addr", "True-Client-IP", "X-Azure-ClientIP"),
    *("X-Client-IP", "X-Cluster-Client-IP", "X-Envoy-External-Address", "X-Forwarded", "X-Forwarded-Host"),
    *("X-Forwarded-Port", "X-Forwarded-Server", "X-Original-Forwarded-For", "X-Original-Host", "X-Originating-IP"),
    *("X-ProxyUser-IP", "X-Remote-Addr", "X-Remote-IP"),
)


@dataclass(frozen=True)
class Source:
    """What is known of a kind of hop: the header it sets itself, and whether it appends its peer to X-Forwarded-For."""

    header: str
    appends: bool
    published: bool = False
    ranges: Tuple[str, ...] = ()


# Cloudflare sets CF-Connecting-IP anew and appends to X-Forwarded-For (its reference of HTTP headers); ALB (attribute
# routing.http.xff_header_processing.mode=append, its default) and CloudFront append; Tailscale Serve replaces
# X-Forwarded-For and connects from loopback, in Phase's Compose variant inside nginx's own network namespace.
SOURCES: Dict[str, Source] = {
    "cloudflare": Source("CF-Connecting-IP", appends=True, published=True),
    "aws_alb": Source(FORWARDED_FOR, appends=True),
    "cloudfront": Source(FORWARDED_FOR, appends=True, published=True),
    "proxy_protocol": Source(PROXY_PROTOCOL, appends=False),
    "tailscale": Source(FORWARDED_FOR, appends=True, ranges=("127.0.0.0/8", "::1/128")),
    "custom": Source(FORWARDED_FOR, appends=True),
}


class BadChain(PhaseError):
    """The sources cannot stand in this order, or the proxy cannot verify them."""

    kind = "bad_chain"


@dataclass(frozen=True)
class Hop:
    """One proxy on the way. ``entry``: what it says is the nth entry of X-Forwarded-For from the right; 0: another
    header."""

    source: str
    ranges: Tuple[str, ...]
    header: str
    entry: int

    def as_dict(self) -> Dict[str, Any]:
        return {"source": self.source, "ranges": list(self.ranges), "header": self.header, "entry": self.entry}


@dataclass(frozen=True)
class Trust:
    """``hops`` from the nearest to the client's own. Without hops the peer is the client."""

    hops: Tuple[Hop, ...]
    recursive: bool

    @property
    def ranges(self) -> List[str]:
        """Whom the realip directives trust: the nearest hop, or all of them when nginx is to search by itself."""
        trusted = self.hops if self.recursive else self.hops[:1]
        return values.networks("ranges", [one for hop in trusted for one in hop.ranges])

    @property
    def header(self) -> Optional[str]:
        if not self.hops:
            return None
        return FORWARDED_FOR if self.recursive else self.hops[0].header

    @property
    def further(self) -> Tuple[Hop, ...]:
        """The hops that are verified after the nearest one."""
        return () if self.recursive else self.hops[1:]

    def as_dict(self) -> Dict[str, Any]:
        """``ranges``, ``header`` (None without hops; ``proxy_protocol``) and ``recursive`` as the realip directives
        have them; ``client``: nginx's variable with the verified address; ``hops`` nearest first."""
        return {
            "ranges": self.ranges,
            "header": self.header,
            "recursive": self.recursive,
            "proxy_protocol": self.header == PROXY_PROTOCOL,
            "client": "$phase_client_ip" if self.further else "$remote_addr",
            "hops": [hop.as_dict() for hop in self.hops],
            "further": [hop.as_dict() for hop in self.further],
            "forgeable": list(FORGEABLE),
        }


def _ranges(name: str, kind: Source, given: Mapping[str, Any], published: Mapping[str, Any]) -> List[str]:
    wanted = given.get("ranges") or list(kind.ranges) or (published.get(name) if kind.published else None)
    if not wanted:
        raise BadChain(
            "Source %s has no ranges." % name,
            "Give the subnets that its connections come from." if not kind.published else "Fetch them, or give them.",
        )
    return values.networks("ranges of %s" % name, wanted)


def _header(name: str, kind: Source, given: Mapping[str, Any]) -> str:
    if given.get("header") is None:
        return kind.header
    if name != "custom":
        raise BadChain("The header of source %s is fixed." % name, "Leave it out, or use source custom.")
    found = values.header("header of custom", given["header"])
    return FORWARDED_FOR if found.lower() == FORWARDED_FOR.lower() else found


def trust(sources: Any, published: Mapping[str, Any], recursive: bool = False) -> Trust:
    """The model of a chain. ``sources`` from the client's side to the proxy: dictionaries with ``name`` and, where they
    are not known, ``ranges`` and ``header``; ``published``: ranges by the name of a source. Raises BadChain,
    BadValue."""
    hops: List[Hop] = []
    entries = 0  # of X-Forwarded-For, from the right, that nearer hops have made
    broken = ""  # the nearer hop that may not have made one
    for given in reversed(values.many("sources", sources)):
        entry = (
            {"name": given} if isinstance(given, str) else values.known("A source", given, ("name", "ranges", "header"))
        )
        name = values.choice("The name of a source", entry.get("name"), tuple(SOURCES))
        kind = SOURCES[name]
        header = _header(name, kind, entry)
        if name == "proxy_protocol" and hops:
            raise BadChain(
                "proxy_protocol is not the last source.", "Only what connects to the proxy itself can speak it."
            )
        if hops and hops[-1].source == "tailscale":
            raise BadChain(
                "Nothing can stand before tailscale.", "It replaces X-Forwarded-For, so it is the first source."
            )
        if header == FORWARDED_FOR and broken:
            raise BadChain(
                "%s stands behind %s, of which is not known that it appends to X-Forwarded-For." % (name, broken),
                "Have that proxy append to X-Forwarded-For, and leave its header out.",
            )
        if kind.appends and header in (FORWARDED_FOR, kind.header):
            entries += 1
        elif name != "proxy_protocol":
            broken = header
        ranges = tuple(_ranges(name, kind, entry, published))
        hops.append(Hop(name, ranges, header, entries if header == FORWARDED_FOR else 0))
    return Trust(tuple(hops), _recursive(hops, recursive))


def _recursive(hops: List[Hop], wanted: bool) -> bool:
    """Whether nginx searches X-Forwarded-For by itself; a chain that it cannot search so is refused."""
    if not wanted or not hops or (len(hops) == 1 and hops[0].header != FORWARDED_FOR):
        return False
    if any(hop.header != FORWARDED_FOR and hop.source != "cloudflare" for hop in hops):
        raise BadChain("A recursive search needs X-Forwarded-For from each source.", "Leave recursive out.")
    return True
