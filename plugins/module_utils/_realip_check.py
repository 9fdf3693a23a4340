# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Saying who would be kept out once Phase sees the clients' real addresses."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping

from ._errors import PhaseError
from ._operations import realip_check as operations
from ._target._base import Report, Target

NAMED = 5  # accounts in a message


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
    return said


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
    found = target.run(operations.check, request, report)
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
