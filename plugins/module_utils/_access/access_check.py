# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""phase_access_check: the backend's own word on who gets in, and that word in a sentence."""

from __future__ import annotations

import ipaddress
import urllib.parse
from typing import Any, Dict, Mapping, Optional

from .._call.argspec import ArgumentSpec, duration
from .._call.module import Call
from .._errors import BadOption, NotSupported
from .._operations.access import ask as operations

REASONS = {
    "IP_RESTRICTED": "a network policy keeps that address out",
    "SSO_REQUIRED": "the organisation takes sessions of its own identity provider only",
    "NOT_A_MEMBER": "the backend knows no such member",
    "UNAUTHENTICATED": "the session counts for nothing: the user is gone, or the backend runs with another SECRET_KEY",
}


SPEC = ArgumentSpec(
    {
        "organisation": {"type": "str", "required": True},
        "account": {"type": "str"},
        "address": {"type": "str"},
        "url": {"type": "str", "default": "http://127.0.0.1:8000"},
        "request_timeout": {"type": "str", "default": "10s"},
    }
)


def checked_url(url: str) -> str:
    """A session is sent there, so it has to be a plain address of a backend. Raises BadOption."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise BadOption("url is not the address of a backend: %s" % url, "Write it like http://127.0.0.1:8000.")
    return url


def checked_address(address: Optional[str]) -> Optional[str]:
    """What goes into a header is an address and nothing else. Raises BadOption."""
    if address is None:
        return None
    try:
        if "%" in address:
            raise ValueError("it has a zone")
        return str(ipaddress.ip_address(address.strip()))
    except ValueError:
        raise BadOption("address is not an IP address: %r" % address[:80], "Write one address, not a range.") from None


def sentence(answer: Mapping[str, Any], address: Optional[str]) -> str:
    """``alice@example.com gets into SpaceX from 192.0.2.1.``, or that it does not and why."""
    seen = answer["address"] or address
    place = " from %s" % seen if seen else ""
    account, organisation = answer["account"]["email"], answer["organisation"]
    if answer["granted"]:
        told = "%s gets into %s%s." % (account, organisation, place)
    else:
        reason = REASONS.get(answer["code"]) or "the backend says: %s" % answer["said"]
        told = "%s does not get into %s%s: %s." % (account, organisation, place, reason.rstrip("."))
    if answer["password_login"] is False:
        told += " Signing in with a password is switched off (ENABLE_PASSWORD_AUTH)."
    return told


def run(call: Call) -> Dict[str, Any]:
    if call.params["deployment"] == "database":
        raise NotSupported(
            "deployment=database reaches the database alone, and this asks the application.",
            "Use deployment=docker, compose or local; phase_network_policy with diagnose answers from the rules.",
        )
    address = checked_address(call.params["address"])
    request = {
        "url": checked_url(call.params["url"]),
        "organisation": call.params["organisation"],
        "account": call.params["account"],
        "address": address,
        "timeout": duration("request_timeout", call.params["request_timeout"]),
    }
    answer = call.target.run(operations.ask, request, call.report)
    return {"changed": False, "access": dict(answer, sentence=sentence(answer, address))}
