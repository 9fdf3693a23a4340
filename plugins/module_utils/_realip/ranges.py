# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Published ranges of CDNs: fetched, judged, and remembered as what was last accepted.

A list that is fetched decides whom Phase's network policies believe, so it is doubted: what is empty, short, no list,
too wide, private, of the wrong family, overlapping, or much unlike the last accepted one is refused with the reason.
The cache is a JSON object: ``{"format": 1, "source", "ranges": [...], "accepted": UTC time, "urls": [...], "etags":
{url: etag}}``.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from .._call.files import write_private
from .._errors import PhaseError
from . import values
from .values import Network

MOST_BYTES = 32 * 1024 * 1024  # ip-ranges.json of AWS has about 2 MB
AWS_SERVICE = "CLOUDFRONT_ORIGIN_FACING"  # what CloudFront connects to origins from; CLOUDFRONT is what clients reach

# IANA's special-purpose address registries, and multicast: nobody on the internet has these.
_SPECIAL = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.168.0.0/16
    198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
    ::/8 100::/64 2001:db8::/32 fc00::/7 fe80::/10 ff00::/8
"""
SPECIAL = tuple(ipaddress.ip_network(text) for text in _SPECIAL.split())


class RangesRefused(PhaseError):
    """What came is not believed; nothing was changed."""

    kind = "ranges_refused"


class RangesUnreachable(PhaseError):
    """The list of ranges cannot be fetched."""

    kind = "ranges_unreachable"


class CacheUnreadable(PhaseError):
    """The file with the ranges fetched last cannot be read."""

    kind = "cache_unreadable"


@dataclass(frozen=True)
class Answer:
    """What a URL answered; ``body`` is None when it said that nothing has changed since ``etag``."""

    body: Optional[bytes]
    etag: Optional[str] = None


Fetch = Callable[[str, Optional[str]], Answer]
"""(url, etag that is known) -> Answer; raises RangesUnreachable."""


@dataclass(frozen=True)
class Publisher:
    """``urls``: alternatives, each of them URLs that make up the list together. By family, ``least`` is how many ranges
    there are at least, and ``widest`` the shortest prefix that is believed."""

    urls: Tuple[Tuple[str, ...], ...]
    least: Mapping[int, int]
    widest: Mapping[int, int]
    may_overlap: bool
    bundled: Tuple[str, ...] = ()
    bundled_on: str = ""


# Cloudflare's list as published at www.cloudflare.com/ips, where it says that it changes rarely.
CLOUDFLARE = (
    "103.21.244.0/22 103.22.200.0/22 103.31.4.0/22 104.16.0.0/13 104.24.0.0/14 108.162.192.0/18 131.0.72.0/22 "
    "141.101.64.0/18 162.158.0.0/15 172.64.0.0/13 173.245.48.0/20 188.114.96.0/20 190.93.240.0/20 197.234.240.0/22 "
    "198.41.128.0/17 2400:cb00::/32 2405:8100::/32 2405:b500::/32 2606:4700::/32 2803:f800::/32 2a06:98c0::/29 "
    "2c0f:f248::/32"
)

# Ranges that Cloudflare has given up and that old lists still have; whoever holds them now could forge addresses.
STALE = {"cloudflare": ("104.16.0.0/12", "199.27.128.0/21")}

PUBLISHERS: Dict[str, Publisher] = {
    "cloudflare": Publisher(
        urls=(
            ("https://api.cloudflare.com/client/v4/ips",),
            ("https://www.cloudflare.com/ips-v4", "https://www.cloudflare.com/ips-v6"),
        ),
        least={4: 8, 6: 4},
        widest={4: 12, 6: 28},
        may_overlap=False,
        bundled=tuple(CLOUDFLARE.split()),
        bundled_on="2026-08-01",
    ),
    "cloudfront": Publisher(
        urls=(("https://ip-ranges.amazonaws.com/ip-ranges.json",),),
        least={4: 10, 6: 0},
        widest={4: 12, 6: 28},
        may_overlap=True,  # AWS lists a prefix once for each region or service that uses it
    ),
}


def refuse(url: str, why: str) -> RangesRefused:
    return RangesRefused(
        "The list from %s is refused: %s." % (url, why), "The last accepted one stays in force; look at it."
    )


def parse(url: str, body: bytes) -> List[Tuple[str, Optional[int]]]:
    """The entries of a document with the family they should have: Cloudflare's API, AWS's ip-ranges.json, or a text
    list."""
    try:
        text = body.decode("utf-8-sig")  # some editors and proxies put a byte-order mark before it
    except UnicodeDecodeError:
        raise refuse(url, "it is not text") from None
    start = text.lstrip()[:1]
    if not start:
        raise refuse(url, "it is empty")
    if start == "<":
        raise refuse(url, "it is a web page")
    if start in "{[":
        try:
            return _parse_json(url, json.loads(text))
        except ValueError:
            raise refuse(url, "it is not whole JSON") from None
        except (KeyError, TypeError, AttributeError):
            raise refuse(url, "it is JSON of another kind") from None
    family = {"4": 4, "6": 6}.get(url[-1:]) if url.rstrip("46").endswith("ips-v") else None
    return [(line.strip(), family) for line in text.splitlines() if line.strip()]


def _parse_json(url: str, document: Any) -> List[Tuple[str, Optional[int]]]:
    if "result" in document:
        if document.get("success") is not True:
            raise refuse(url, "it tells of no success")
        found = document["result"]
        return [(one, 4) for one in found["ipv4_cidrs"]] + [(one, 6) for one in found["ipv6_cidrs"]]
    four = [(entry["ip_prefix"], 4) for entry in document["prefixes"] if entry["service"] == AWS_SERVICE]
    six = [(entry["ipv6_prefix"], 6) for entry in document["ipv6_prefixes"] if entry["service"] == AWS_SERVICE]
    return list(four) + list(six)


def judge(url: str, entries: Sequence[Tuple[Any, Optional[int]]], publisher: Publisher) -> List[str]:
    """The canonical list of the entries. Raises RangesRefused with the first reason against them."""
    if not entries:
        raise refuse(url, "it has no ranges")
    found: List[Network] = []
    for entry, family in entries:
        found.append(_judge_one(url, entry, family, publisher))
    for version, least in publisher.least.items():
        number = len({one for one in found if one.version == version})
        if number < least:
            raise refuse(url, "it is short: %d ranges of IPv%d, at least %d are expected" % (number, version, least))
    if not publisher.may_overlap:
        wanted = sorted(set(found), key=values.order)
        for one, other in zip(wanted, wanted[1:]):
            if one.version == other.version and one.overlaps(other):
                raise refuse(url, "%s and %s overlap" % (one, other))
    return values.canonical(found)


def _judge_one(url: str, entry: Any, family: Optional[int], publisher: Publisher) -> Network:
    try:
        if not isinstance(entry, str) or len(entry) > 64 or "%" in entry:
            raise ValueError
        found = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        raise refuse(url, "%.60r is no range" % (entry,)) from None
    if ipaddress.ip_interface(entry).ip != found.network_address:
        raise refuse(url, "%s has bits behind its prefix" % entry)
    if family is not None and found.version != family:
        raise refuse(url, "%s stands among ranges of IPv%d" % (found, family))
    if found.prefixlen < publisher.widest[found.version]:
        raise refuse(url, "%s is too wide" % found)
    if any(found.version == special.version and found.overlaps(special) for special in SPECIAL):
        raise refuse(url, "%s is not public" % found)
    return found


def stale(source: str, ranges: Sequence[str]) -> List[str]:
    """A sentence for each range that the publisher has given up."""
    return [
        "%s is in a stale list of %s; the publisher has given it up. Take the list from the publisher's page."
        % (one, source)
        for one in ranges
        if one in STALE.get(source, ())
    ]


def compare(previous: Sequence[str], current: Sequence[str]) -> Tuple[List[str], List[str]]:
    """The ranges (added, removed). One that is merely written otherwise, cut or joined, is neither."""
    old, new = [ipaddress.ip_network(one) for one in previous], [ipaddress.ip_network(one) for one in current]
    return _outside(new, old), _outside(old, new)


def _outside(ranges: Sequence[Network], others: Sequence[Network]) -> List[str]:
    return [str(one) for one in ranges if not _covered(one, others)]


def _covered(one: Network, others: Sequence[Network]) -> bool:
    """Whether each address of ``one`` is in ``others``."""
    overlapping = [other for other in others if other.version == one.version and other.overlaps(one)]
    if any(other.prefixlen <= one.prefixlen for other in overlapping):
        return True
    return sum(other.num_addresses for other in overlapping) == one.num_addresses


def check_change(url: str, previous: Sequence[str], current: Sequence[str], most: float) -> None:
    """Refuse a list of which too large a share is new, or of whose forerunner too large a share is gone: of the
    ranges, and of each family's addresses, since one range can hold more than all others."""
    if not previous:
        return
    added, removed = compare(previous, current)
    for changed, whole, what in ((removed, previous, "are gone"), (added, current, "are new")):
        if len(changed) > most * len(whole):
            raise _too_different(url, "%d of %d ranges %s" % (len(changed), len(whole), what), most, added, removed)
    for version in (4, 6):
        old, new = _family(previous, version), _family(current, version)
        for one, other, what in ((old, new, "gone"), (new, old, "new")):
            total = sum(network.num_addresses for network in one)
            alone = total - _common(one, other)
            if alone > most * total:
                said = "%d %% of its IPv%d addresses are %s" % (round(100 * alone / total), version, what)
                raise _too_different(url, said, most, added, removed)


def _too_different(url: str, what: str, most: float, added: List[str], removed: List[str]) -> RangesRefused:
    return RangesRefused(
        "The list from %s is refused: %s, more than %d %%." % (url, what, round(most * 100)),
        "Compare it with the publisher's page; accept it once with accept_change.",
        partial={"added": added, "removed": removed},
    )


def _family(ranges: Sequence[str], version: int) -> List[Network]:
    """Those of a family, none inside another."""
    found = [ipaddress.ip_network(one) for one in values.canonical([ipaddress.ip_network(one) for one in ranges])]
    return [one for one in found if one.version == version]


def _common(ranges: Sequence[Network], others: Sequence[Network]) -> int:
    """How many addresses are in both; none of either list is inside another of the same. Of two networks that
    overlap, one holds the other."""
    return sum(min(a.num_addresses, b.num_addresses) for a in ranges for b in others if a.overlaps(b))


def read_cache(path: str, source: str) -> Optional[Dict[str, Any]]:
    """What was accepted last, None where nothing was. It is judged like a list: it is believed as much."""
    try:
        with open(path, encoding="utf-8") as file:
            cache = json.load(file)
        if cache["format"] != 1 or cache["source"] != source:
            raise ValueError
        if not isinstance(cache["accepted"], str):
            raise ValueError
        entries = [(one, None) for one in cache["ranges"]]
        return dict(
            cache, ranges=judge(path, entries, PUBLISHERS[source]), etags=dict(cache["etags"]), urls=list(cache["urls"])
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RangesRefused):
        raise CacheUnreadable(
            "%s holds no accepted ranges of %s." % (path, source), "Remove it, then run again."
        ) from None


def _answers(urls: Sequence[str], known: Mapping[str, str], fetch: Fetch) -> Optional[Dict[str, Answer]]:
    """What each URL answered, None when none has changed."""
    answers = {url: fetch(url, known.get(url)) for url in urls}
    if all(answer.body is None for answer in answers.values()):
        return None
    return {url: answer if answer.body is not None else fetch(url, None) for url, answer in answers.items()}


def refresh(
    params: Mapping[str, Any],
    check: bool,
    fetch: Fetch,
    now: Callable[[], datetime.datetime],
    warn: Callable[[str], None],
) -> Dict[str, Any]:
    """The ranges to trust, and where they are from. Only a list of other addresses is a change."""
    source = params["source"]
    publisher = PUBLISHERS[source]
    most = float(params["max_change"])
    if not 0 <= most <= 1:
        raise values.BadValue("max_change is not a share: %s." % params["max_change"], "Use a number from 0 to 1.")
    cache = read_cache(params["cache"], source) if params["cache"] else None
    alternatives = (tuple(params["urls"]),) if params["urls"] else publisher.urls
    reasons: List[str] = []
    for urls in alternatives:
        known = cache["etags"] if cache and cache["urls"] == list(urls) else {}
        try:
            answers = _answers(urls, known, fetch)
        except RangesUnreachable as missing:
            reasons.append(missing.message)
            continue
        if answers is None and cache:
            return _result(cache["ranges"], cache["ranges"], "not_modified", cache["accepted"])
        entries = [entry for url, answer in (answers or {}).items() for entry in parse(url, answer.body or b"")]
        where = " and ".join(urls)
        ranges = judge(where, entries, publisher)
        for text in stale(source, ranges):
            warn(text)
        if not params["accept_change"]:
            check_change(where, cache["ranges"] if cache else publisher.bundled, ranges, most)
        accepted = now().strftime("%Y-%m-%dT%H:%M:%SZ")
        before = cache["ranges"] if cache else []
        etags = {url: answer.etag for url, answer in (answers or {}).items() if answer.etag}
        if params["cache"] and not check:
            fresh = {"ranges": ranges, "urls": list(urls), "etags": etags}
            if cache is None or any(cache[key] != value for key, value in fresh.items()):
                _write(params["cache"], dict(fresh, format=1, source=source, accepted=accepted))
        return _result(before, ranges, "live", accepted, cached=bool(params["cache"]))
    return _fall_back(cache, publisher, reasons, warn)


def _fall_back(
    cache: Optional[Mapping[str, Any]], publisher: Publisher, reasons: List[str], warn: Callable[[str], None]
) -> Dict[str, Any]:
    why = " ".join(reasons)
    if cache:
        warn("%s The ranges accepted on %s stay in force." % (why, cache["accepted"]))
        return _result(cache["ranges"], cache["ranges"], "cache", cache["accepted"])
    if publisher.bundled:
        warn("%s The ranges that came with the collection, of %s, are used." % (why, publisher.bundled_on))
        ranges = values.networks("bundled", list(publisher.bundled))
        return _result(ranges, ranges, "bundled", publisher.bundled_on)
    raise RangesUnreachable(why, "Let this host reach it, set urls to a mirror, or give the source its ranges.")


def _result(before: List[str], after: List[str], origin: str, accepted: str, cached: bool = True) -> Dict[str, Any]:
    added, removed = compare(before, after)
    return {
        "changed": cached and before != after,
        "ranges": after,
        "origin": origin,
        "accepted": accepted,
        "added": added,
        "removed": removed,
        "diff": {"before": "".join("%s\n" % one for one in before), "after": "".join("%s\n" % one for one in after)},
    }


def _write(path: str, cache: Mapping[str, Any]) -> None:
    os.makedirs(os.path.dirname(path) or ".", mode=0o755, exist_ok=True)
    write_private(path, (json.dumps(cache, indent=1, sort_keys=True) + "\n").encode())
