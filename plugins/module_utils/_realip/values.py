# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values that go into a proxy's configuration, checked by type: none of them can end a directive or begin another.

Each function returns the value in its canonical form or raises BadValue. What they let through has no quote, backslash,
semicolon, brace, hash or dollar sign, whatever the proxy, and no white space but the spaces of a calendar event.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Callable, Dict, Iterable, List, Sequence, Tuple, TypeVar, Union

from .._errors import PhaseError

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
T = TypeVar("T")

# A wider range than these is no load balancer's subnet and no network of a CDN; it is a typing error or an attack.
WIDEST = {4: 8, 6: 16}

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_SERVICE = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"  # names in Compose may have an underscore
_DNS = re.compile(r"%s(?:\.%s)*" % (_LABEL, _LABEL))
_HOST = re.compile(r"%s(?:\.%s)*" % (_SERVICE, _SERVICE))
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*")
_PATH = re.compile(r"/[A-Za-z0-9._@+-]+(?:/[A-Za-z0-9._@+-]+)*")
_CIPHERS = re.compile(r"[A-Za-z0-9!+@:=_.-]+")
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?")

# Headers that say something else than an address; taking them for one is a mistake, and some of them are made by nginx.
NOT_AN_ADDRESS = (
    *("host", "connection", "upgrade", "cookie", "authorization", "content-length", "content-type"),
    *("transfer-encoding", "te", "trailer", "via", "forwarded"),
    *("x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"),
)


class BadValue(PhaseError):
    """A value does not belong in a configuration of nginx or of a proxy."""

    kind = "bad_value"


def _text(name: str, value: Any, longest: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise BadValue("%s is not a text of 1 to %d characters: %.80r" % (name, longest, value), "Correct it.")
    return str(value)


def network(name: str, value: Any) -> Network:
    """An address or a range. Bits behind the prefix, a range that is too wide, and addresses that no peer has are
    refused."""
    text = _text(name, value, 64)
    try:
        if not re.fullmatch(r"[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?", text):
            raise ValueError("it has characters that no address has")
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise BadValue("%s is not an address or a range: %.80r (%s)." % (name, text, error), "Correct it.") from None
    if found.prefixlen < WIDEST[found.version]:
        raise BadValue(
            "%s would trust far too many addresses: %s." % (name, found),
            "Name the proxies' own ranges, of /%d or narrower." % WIDEST[found.version],
        )
    if found.is_multicast or found.is_unspecified:
        raise BadValue("%s holds addresses that no peer can have: %s." % (name, found), "Correct it.")
    if found.version == 6 and found.subnet_of(ipaddress.IPv6Network("::ffff:0:0/96")):
        raise BadValue("%s is an IPv4 address in IPv6 form: %s." % (name, found), "Write it as IPv4.")
    return found


def order(found: Network) -> Tuple[int, int, int]:
    """IPv4 before IPv6, then by address."""
    return (found.version, int(found.network_address), found.prefixlen)


def canonical(networks: Iterable[Network]) -> List[str]:
    """Sorted, each once, none inside another: two lists that trust the same addresses become the same text."""
    wanted = list(networks)
    four = ipaddress.collapse_addresses(one for one in wanted if isinstance(one, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(one for one in wanted if isinstance(one, ipaddress.IPv6Network))
    return [str(one) for one in [*four, *six]]


def networks(name: str, values: Any) -> List[str]:
    return canonical([network(name, value) for value in many(name, values)])


def header(name: str, value: Any) -> str:
    """The name of a request header that can hold an address, such as CF-Connecting-IP."""
    text = _text(name, value, 64)
    if not _HEADER.fullmatch(text):
        raise BadValue(
            "%s is not the name of a header: %.80r." % (name, text), "Use letters, digits and single hyphens."
        )
    if text.lower() in NOT_AN_ADDRESS:
        raise BadValue(
            "%s is no header with an address: %s." % (name, text), "Use X-Forwarded-For or the proxy's own one."
        )
    return text


def host(name: str, value: Any) -> str:
    """A host as a URL has it: a name, an IPv4 address, or an IPv6 address in brackets (given with or without them)."""
    text = _text(name, value, 253)
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        # nginx takes http://unix:8000 for a socket's path.
        if _HOST.fullmatch(text) and not re.fullmatch(r"[0-9.]+", text) and text.lower() != "unix":
            return text
        raise BadValue("%s is not a host: %.80r." % (name, text), "Use a name or an address, without a port.") from None
    if address.version == 4:
        return str(address) if bare == text else _refuse_host(name, text)
    if "%" in bare:
        return _refuse_host(name, text)
    return "[%s]" % address


def _refuse_host(name: str, text: str) -> str:
    raise BadValue("%s is not a host: %.80r." % (name, text), "Use a name or an address, without a port.")


def server_name(name: str, value: Any) -> str:
    """A name that clients ask for; ``*.`` may stand in front, and ``_`` stands for any."""
    text = _text(name, value, 253)
    if text == "_" or _DNS.fullmatch(text[2:] if text.startswith("*.") else text):
        return text.lower()
    raise BadValue("%s is not a name of a server: %.80r." % (name, text), "Use a host name, such as phase.example.com.")


def object_name(name: str, value: Any) -> str:
    """A name that Kubernetes takes (RFC 1123 label)."""
    text = _text(name, value, 63)
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", text):
        raise BadValue(
            "%s is not a name for Kubernetes: %.80r." % (name, text), "Use small letters, digits and hyphens."
        )
    return text


def port(name: str, value: Any) -> int:
    number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value) else value
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 65535:
        raise BadValue("%s is not a port: %.80r." % (name, value), "Use a number from 1 to 65535.")
    return int(number)


def path(name: str, value: Any) -> str:
    """An absolute path as the proxy sees it, of plain characters only."""
    text = _text(name, value, 1024)
    if not _PATH.fullmatch(text) or any(part in (".", "..") for part in text.split("/")):
        raise BadValue(
            "%s is not an absolute path of plain characters: %.80r." % (name, text),
            "Use letters, digits and . _ @ + -.",
        )
    return text


def ciphers(name: str, value: Any) -> str:
    """A cipher list of OpenSSL's; the proxy itself judges whether it knows them."""
    text = _text(name, value, 1024)
    if not _CIPHERS.fullmatch(text):
        raise BadValue("%s is not a list of ciphers: %.80r." % (name, text), "Join names with colons.")
    return text


def version(name: str, value: Any) -> Tuple[int, int, int]:
    match = _VERSION.fullmatch(_text(name, value, 20))
    if not match:
        raise BadValue("%s is not a version: %.80r." % (name, value), "Use numbers, such as 1.25.1.")
    return (int(match.group(1)), int(match.group(2)), int(match.group(3) or 0))


def calendar(name: str, value: Any) -> str:
    """A calendar event of systemd's; systemd itself judges what it means."""
    text = _text(name, value, 80)
    if not re.fullmatch(r"[A-Za-z0-9*,.:/~ -]+", text):
        raise BadValue("%s is no calendar event of systemd's: %.80r." % (name, text), "Use one such as daily.")
    return text


def argument(name: str, value: Any) -> str:
    """A word of a command line in a unit of systemd's, which would read quotes, percent and dollar signs."""
    text = _text(name, value, 1024)
    if not re.fullmatch(r"[A-Za-z0-9@_=:.,/+-]+", text):
        raise BadValue(
            "%s has a word that systemd would read otherwise: %.80r." % (name, text), "Put it into a script."
        )
    return text


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadValue("%s is neither true nor false: %.80r." % (name, value), "Use true or false.")
    return bool(value)


def choice(name: str, value: Any, choices: Sequence[str]) -> str:
    if value not in choices:
        raise BadValue("%s is %.80r." % (name, value), "Use one of: %s." % ", ".join(choices))
    return str(value)


def many(name: str, values: Any) -> List[Any]:
    if isinstance(values, (str, bytes, dict)) or not isinstance(values, (list, tuple)):
        raise BadValue("%s is not a list: %.80r." % (name, values), "Write a list.")
    return list(values)


def each(check: Callable[[str, Any], T], name: str, values: Any) -> List[T]:
    return [check(name, value) for value in many(name, values)]


def known(name: str, given: Any, keys: Iterable[str]) -> Dict[str, Any]:
    """A dictionary without keys that nobody reads: a misspelt one would otherwise be a setting that does nothing."""
    if not isinstance(given, dict):
        raise BadValue("%s is not a dictionary: %.80r." % (name, given), "Write a dictionary.")
    strange = sorted(str(key) for key in set(given) - set(keys))
    if strange:
        raise BadValue("%s has no %s." % (name, ", ".join(strange)), "It has: %s." % ", ".join(sorted(keys)))
    return dict(given)
