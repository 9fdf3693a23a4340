# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests that lie about where they come from, as header lines; and those that a proxy in the chain really sends."""

from __future__ import annotations

import ipaddress
import random
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

Lines = List[Tuple[str, str]]

# What proxies, clouds and applications have taken for the client's address at some time.
HEADERS = (
    *("X-Real-IP", "X-Forwarded-For", "CF-Connecting-IP", "True-Client-IP", "Forwarded", "X-Client-IP"),
    *("CF-Connecting-IPv6", "X-Cluster-Client-IP", "Fastly-Client-IP", "X-Forwarded", "Forwarded-For"),
    *("X-Originating-IP", "X-Remote-IP", "X-Remote-Addr", "Client-IP", "X-ProxyUser-IP", "CloudFront-Viewer-Address"),
    *("X-Envoy-External-Address", "X-Azure-ClientIP", "Remote-Addr"),
)

# Documentation ranges (RFC 5737, RFC 3849), and addresses that policies like to let in.
FORGED = ("203.0.113.66", "10.0.0.1", "127.0.0.1", "2001:db8:66::1", "192.168.1.10", "198.51.100.7")
CLIENTS = ("203.0.113.99", "2001:db8:99::9")


def _odd_case(name: str) -> str:
    return "".join(c.upper() if index % 2 else c.lower() for index, c in enumerate(name))


def _for(name: str, address: str) -> str:
    """The value that the header takes: RFC 7239 has a form of its own."""
    if name != "Forwarded":
        return address
    return "for=%s;proto=https" % (address if ":" not in address else '"[%s]"' % address)


EDGE = "@EDGE@"  # stands for a trusted proxy's address

Shape = Callable[[str, str], Lines]
SHAPES: Dict[str, Shape] = {
    "plain": lambda name, a: [(name, _for(name, a))],
    "duplicate": lambda name, a: [(name, _for(name, a)), (name, _for(name, a))],
    "duplicate_other": lambda name, a: [(name, _for(name, a)), (name, "198.51.100.200")],
    "lower_case": lambda name, a: [(name.lower(), _for(name, a))],
    "upper_case": lambda name, a: [(name.upper(), _for(name, a))],
    "odd_case": lambda name, a: [(_odd_case(name), _for(name, a))],
    "underscores": lambda name, a: [(name.replace("-", "_"), _for(name, a))],
    "list_first": lambda name, a: [(name, "%s, 198.51.100.1, 198.51.100.2" % _for(name, a))],
    "list_last": lambda name, a: [(name, "198.51.100.1, %s" % _for(name, a))],
    "list_empty": lambda name, a: [(name, ", , %s" % _for(name, a))],
    "padded": lambda name, a: [(name, "\t  %s \t" % _for(name, a))],
    "with_port": lambda name, a: [(name, ("[%s]:443" if ":" in a else "%s:443") % a)],
    "mapped": lambda name, a: [(name, _for(name, a if ":" in a else "::ffff:" + a))],
    "quoted": lambda name, a: [(name, '"%s"' % a)],
    "space_before_colon": lambda name, a: [(name + " ", _for(name, a))],
    "folded": lambda name, a: [("X-Phase-Folded", "1\r\n %s: %s" % (name, _for(name, a)))],
    "with_x_real_ip": lambda name, a: [(name, _for(name, a)), ("X-Real-IP", a)],
    "with_x_forwarded_for": lambda name, a: [("X-Forwarded-For", a), (name, _for(name, a))],
    "long_list": lambda name, a: [(name, ", ".join([_for(name, a)] * 300))],
    "oversized": lambda name, a: [(name, ", ".join([_for(name, a)] * 3000))],
    "everywhere": lambda name, a: [(other, _for(other, a)) for other in HEADERS],
    "through_edge": lambda name, a: [("X-Forwarded-For", EDGE), (name, _for(name, a))],
    "listed_edge": lambda name, a: [
        ("X-Forwarded-For", "%s, %s" % (a, EDGE)),
        (name, "%s, %s" % (_for(name, a), EDGE)),
    ],
    "hop_by_hop": lambda name, a: [(name, _for(name, a)), ("Connection", "close, X-Real-IP, X-Forwarded-For")],
}


@dataclass(frozen=True)
class Attempt:
    """``name`` says what is tried, ``lines`` are the header lines, ``forged`` the address that must not be believed."""

    name: str
    lines: Lines
    forged: str


def forgeries(count: int, edges: Sequence[str] = ()) -> Iterator[Attempt]:
    """``count`` different lies. ``edges`` are addresses of trusted proxies: to pretend to be, or to come through.

    They are drawn from all that can be combined, the same ones each time, so that a few are varied too.
    """
    addresses = [*FORGED, *edges]
    shapes = list(SHAPES)
    total = len(HEADERS) * len(shapes) * len(addresses)

    def numbered(index: int) -> Attempt:
        header = HEADERS[index % len(HEADERS)]
        shape = shapes[index // len(HEADERS) % len(shapes)]
        address = addresses[index // (len(HEADERS) * len(shapes)) % len(addresses)]
        edge = edges[index % len(edges)] if edges else "192.0.2.255"
        lines = [(name, value.replace(EDGE, edge)) for name, value in SHAPES[shape](header, address)]
        return Attempt("%s, %s" % (header, shape), lines, address)

    chosen = random.Random(0).sample(range(total), min(count, total))  # noqa: S311 - variety, not secrecy
    return (numbered(index) for index in chosen)


def edges_of(ranges: Sequence[str], most: int = 3) -> List[str]:
    """An address out of each of some ranges, public ones first, spread over them."""
    networks = []
    for text in ranges:
        try:
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            continue
    networks.sort(key=lambda network: network.is_private)
    step = max(1, len(networks) // most)
    return [str(network[min(1, network.num_addresses - 1)]) for network in networks[::step][:most]]


def genuine(
    header: str, recursive: bool, ranges: Sequence[str], hops: Sequence[Mapping[str, Any]]
) -> Iterator[Attempt]:
    """What a trusted proxy sends for a client that lies: ``forged`` is then the address that has to be believed.

    A proxy replaces its own header, adds to X-Forwarded-For, and lets the rest through (Cloudflare's and AWS's
    documentation). ``ranges`` are trusted: where the realip module looks further than one address, a chain ends in
    them. ``hops`` are the proxies before the one that nginx sees, the nearest first: ``ranges`` and ``header``.
    """
    name, edges = header.lower(), edges_of(ranges)
    for client in CLIENTS:
        lies: Lines = [(other, FORGED[0]) for other in HEADERS if other.lower() not in (name, "x-forwarded-for")]
        if hops:
            yield Attempt("the whole chain", through(client, header, hops)[1], client)
        if name != "x-forwarded-for":
            yield Attempt("%s from a proxy" % header, [(header, client)], client)
            others = [*lies, ("X-Forwarded-For", "%s, %s" % (FORGED[0], client))]
            yield Attempt("%s from a proxy, others forged" % header, [(header, client), *others], client)
            continue
        yield Attempt("one proxy", [(header, client)], client)
        yield Attempt("one proxy, forged before it", [*lies, (header, "%s, %s" % (FORGED[0], client))], client)
        for edge in edges if recursive else ():
            yield Attempt("a chain", [(header, "%s, %s" % (client, edge))], client)
            chain = "%s, %s, %s" % (FORGED[0], client, edge)
            yield Attempt("a chain, forged before it", [*lies, (header, chain)], client)
            if edge != edges[-1]:
                chain = "%s, %s, %s" % (client, edge, edges[-1])
                yield Attempt("a chain of two", [(header, chain)], client)


def through(client: str, header: str, hops: Sequence[Mapping[str, Any]]) -> Tuple[str, Lines]:
    """A lying client's request through all the proxies, and the address that the nearest one to nginx saw.

    Each adds whom it saw to X-Forwarded-For, and replaces the header that is its own by that.
    """
    saw, listed, own = client, [FORGED[0], client], {}
    for hop in reversed(hops):
        own[(hop.get("header") or "X-Forwarded-For").lower()] = saw
        saw = edges_of(hop["ranges"], 1)[0]
        listed.append(saw)
    own.setdefault(header.lower(), saw)
    lines = [(name, FORGED[0]) for name in HEADERS if name.lower() not in (*own, "x-forwarded-for")]
    lines += [(name, value) for name, value in own.items() if name not in ("x-forwarded-for", "proxy_protocol")]
    return saw, [*lines, ("X-Forwarded-For", ", ".join(listed))]


def as_dict(attempt: Attempt) -> Dict[str, Any]:
    """The attempt for a reader: its headers cut to a readable length."""
    return {"attempt": attempt.name, "headers": ["%s: %s" % (name, value[:120]) for name, value in attempt.lines][:8]}
