# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The subset ``access`` of phase_info: what the running backend answers to an account, as data and in a sentence."""

from __future__ import annotations

import ipaddress
import urllib.parse
from typing import Any, Dict, Mapping, Optional

from .._call.argspec import duration
from .._call.module import Call
from .._errors import BadOption, NotSupported
from .._operations.instance import access as operations

REASONS = {
    "IP_RESTRICTED": "a network policy keeps that address out",
    "SSO_REQUIRED": "the organisation requires single sign-on, so only sessions of its own identity provider count",
    "NOT_A_MEMBER": "the backend knows no such member",
    "INACTIVE": "the user is not active, which the login refuses; confirm the e-mail address, or set active",
    "NO_PASSWORD": "the member has no usable password, which the login refuses",
    "UNAUTHENTICATED": "the session counts for nothing: the user is gone, or the backend runs with another SECRET_KEY",
}


OPTIONS: Dict[str, Dict[str, Any]] = {
    "organisation": {"type": "str"},
    "account": {"type": "str"},
    "address": {"type": "str"},
    "url": {"type": "str", "default": "http://127.0.0.1:8000"},
    "request_timeout": {"type": "str", "default": "10s"},
}

SCIM = "SCIM manages this member, so a password is refused whatever the organisation requires"


def checked_url(url: str) -> str:
    """A session is sent there, so it has to be a plain address of a backend. Raises BadOption."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise BadOption("url is not the address of a backend: %s." % url, "Write it like http://127.0.0.1:8000.")
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
        reason = REASONS.get(answer["code"]) or "the backend answers: %s" % answer["said"]
        if answer["code"] == "SSO_REQUIRED" and answer["account"]["scim"]:
            reason = SCIM
        told = "%s does not get into %s%s: %s." % (account, organisation, place, reason.rstrip("."))
    if answer["password_login"] is False:
        told += " Signing in with a password is switched off (ENABLE_PASSWORD_AUTH)."
    return told


def request_of(params: Mapping[str, Any]) -> Dict[str, Any]:
    """What the operation is asked. Raises BadOption, NotSupported."""
    if params["deployment"] == "database":
        raise NotSupported(
            "The subset access asks the running backend, and deployment=database reaches the database alone.",
            "Use another deployment, or phase_network_policy with diagnose, which reads the tables.",
        )
    if not params["organisation"]:
        raise BadOption("The subset access needs organisation.", "Set it to the organisation's name.")
    return {
        "url": checked_url(params["url"]),
        "organisation": params["organisation"],
        "account": params["account"],
        "address": checked_address(params["address"]),
        "timeout": duration("request_timeout", params["request_timeout"]),
    }


def access(call: Call) -> Dict[str, Any]:
    """The running backend's answer, with ``sentence``."""
    request = request_of(call.params)
    answer = call.target.run(operations.ask, request, call.report)
    return dict(answer, sentence=sentence(answer, request["address"]))
