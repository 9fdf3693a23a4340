# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is kept out by which policy and why, in one sentence, and the smallest change that lets them in. Pure."""

from __future__ import annotations

import ipaddress
from typing import Dict, List, Optional, Tuple

from ..._errors import BadOption
from ..core.words import quoted
from . import rule as _access
from .policies import WORDS, NoSuchThing, find_account, find_organisation, named, plan_name, policies
from .shapes import Account, Change, Data, Diagnosis, Organisation, Policy, Question


def address_in_question(question: Question, *, real_ip: bool = True) -> Tuple[Optional[str], str]:
    """The address that Phase would see and what gave it. Raises BadOption for an ``address`` that is none."""
    address = question.get("address")
    if address is not None and _access.address_of(address) is None:
        raise BadOption("diagnose.address is no address: %r." % address[:80], "Write 192.0.2.1 or 2001:db8::1.")
    return _access.client_address(question.get("headers") or {}, address, real_ip=real_ip)


def subject(data: Data, question: Question, organisation: Optional[str]) -> Tuple[Optional[Account], Organisation]:
    """The account in question (None: one without policies of its own) and its organisation."""
    within = find_organisation(data, organisation) if organisation else None
    if question.get("account"):
        account = find_account(data, question["account"], within)
        return account, find_organisation(data, account["organisation_id"])
    if within is None and len(data["organisations"]) == 1:
        within = data["organisations"][0]
    if within is None:
        raise NoSuchThing("diagnose has neither an account nor an organisation.", "Name one of them.")
    return None, within


def attached_to(known: List[Policy], account: Optional[Account]) -> List[Policy]:
    if account is None:
        return []
    return [
        one
        for one in known
        if any((of["type"], of["id"]) == (account["type"], account["id"]) for of in one["accounts"])
    ]


def in_force(data: Data, account: Optional[Account], organisation: Organisation) -> Tuple[List[Policy], List[Policy]]:
    """The policies attached to the account, and the organisation's global ones, whatever its plan."""
    known = policies(data)
    everywhere = [one for one in known if one["is_global"] and one["organisation"]["id"] == organisation["id"]]
    return attached_to(known, account), everywhere


def narrowest(own: List[Policy], everywhere: List[Policy]) -> Policy:
    """The policy to add an entry to: the one that lets the fewest others in with it.

    An attached one that is not global, of the fewest accounts; else a global one, the oldest.
    """
    narrow = [one for one in own if one["enforced_on"] != "everybody"]
    if narrow:
        return min(narrow, key=lambda one: (len(one["accounts"]), one["created_at"] or "", one["id"]))
    return min(everywhere or own, key=lambda one: (one["created_at"] or "", one["id"]))


def smallest_change(verdict: _access.Verdict, address: str, own: List[Policy]) -> Change:
    """Options of ``state=allowed`` that let in. The policy is seldom of another organisation, but Phase allows it."""
    global_ones = [one for one in verdict.policies if one["enforced_on"] == "everybody"]
    policy = narrowest(own, global_ones)
    return {
        "state": "allowed",
        "organisation": policy["organisation"]["id"],
        "policies": [policy["id"]],
        "allow": [_access.short(ipaddress.ip_network(ipaddress.ip_address(address)))],
    }


def diagnose(data: Data, question: Question, organisation: Optional[str]) -> Diagnosis:
    """``blocked``, ``sentence``, ``rule``, ``change`` (None when there is none), and what they were found from.

    Where the tables fit releases that look at X-Real-IP and releases that do not, and only one of the two lets the
    account in, it counts as blocked, and the sentence says so.
    """
    found = _diagnosed(data, question, organisation, real_ip=data["real_ip"] is not False)
    if data["real_ip"] is not None or address_in_question(question) == address_in_question(question, real_ip=False):
        return found
    older = _diagnosed(data, question, organisation, real_ip=False)
    if found["blocked"] == older["blocked"]:
        return found
    blocked, other = (found, older) if found["blocked"] else (older, found)
    note = "That depends on the release: Phase looks at X-Real-IP since v2.54.2, which the database does not show."
    return {**blocked, "sentence": "%s %s Else: %s" % (blocked["sentence"], note, other["sentence"])}


def _diagnosed(data: Data, question: Question, organisation: Optional[str], *, real_ip: bool) -> Diagnosis:
    address, source = address_in_question(question, real_ip=real_ip)
    account, within = subject(data, question, organisation)
    own: List[Policy] = []
    verdict = _access.Verdict(True, "no_policies")
    if data["supported"]:
        own, everywhere = in_force(data, account, within)
        verdict = _access.verdict(address, within["plan"], own, everywhere)
    change = None
    if not verdict.allowed and address is not None and "%" not in address:  # an address with a zone has no entry
        change = smallest_change(verdict, address, own)
    names = {one["id"]: one["name"] for one in verdict.policies}
    return {
        "blocked": not verdict.allowed,
        "rule": verdict.rule,
        "sentence": _sentence(verdict, address, source, account, within, own, change, names),
        "address": address,
        "address_from": source,
        "account": named(account) if account else None,
        "organisation": within,
        "policies": [
            {
                "id": one["id"],
                "name": one["name"],
                "by": "attached" if one["id"] in {mine["id"] for mine in own} else "global",
                "invalid": one["invalid"],
            }
            for one in verdict.policies
        ],
        "change": change,
    }


def _sentence(
    verdict: _access.Verdict,
    address: Optional[str],
    source: str,
    account: Optional[Account],
    organisation: Organisation,
    own: List[Policy],
    change: Optional[Change],
    names: Dict[str, str],
) -> str:
    who = "%s %s" % (WORDS[account["type"]], quoted(account["name"])) if account else "an account without policies"
    start = "In %s, %s" % (quoted(organisation["name"]), who)
    place = str(address) if source == _access.PEER else "%s (by %s)" % (address, source)
    if verdict.rule == "no_policies":
        return "%s comes in from anywhere: this release of Phase has no network policies." % start
    if verdict.rule == "free_plan":
        return "%s comes in from anywhere: on the Free plan no policy is enforced." % start
    if verdict.rule == "no_policy":
        plan = plan_name(organisation["plan"])
        return "%s comes in from anywhere: no policy is in force for it on the %s plan." % (start, plan)
    if verdict.policy is not None:
        return "%s comes in from %s: entry %s of policy %s lets it in." % (
            start,
            place,
            quoted(verdict.entry or ""),
            quoted(verdict.policy["name"]),
        )
    mine = {one["id"] for one in own}
    listed = " and ".join(
        "%s (%s)" % (quoted(one["name"]), "attached" if one["id"] in mine else "global") for one in verdict.policies[:5]
    )
    if len(verdict.policies) > 5:
        listed += " and %d more" % (len(verdict.policies) - 5)
    if address is None:
        return "%s is blocked by %s: no address was seen, and without one nobody comes in." % (start, listed)
    why = "no entry matches"
    if verdict.mapped:
        why += ", an IPv4-mapped address being none of IPv4"
    skipped = [entry for one in verdict.policies for entry in one["invalid"]]
    if skipped:
        more = " and %d more" % (len(skipped) - 3) if len(skipped) > 3 else ""
        why += ", and Phase passes over %s%s" % (", ".join(map(quoted, skipped[:3])), more)
    remedy = ""
    if change:
        remedy = "; adding %s to %s lets it in" % (change["allow"][0], quoted(names[change["policies"][0]]))
    return "%s is blocked from %s by %s: %s%s." % (start, place, listed, why, remedy)
