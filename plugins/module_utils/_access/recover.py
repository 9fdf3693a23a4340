# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role recover makes of what the modules found: what keeps the account out, what to change, and the words for it.

Pure. The modules' results come in as they are; absent ones are None or empty.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, TypedDict

from .._errors import BadOption
from .._operations.core.words import quoted

Facts = Mapping[str, Any]
NETWORK, SSO, MIGRATION = "network_policy", "sso", "migration"

# Findings of phase_sso that are over once single sign-on is no longer required.
ENFORCEMENT = ("enforcement", "no_provider", "providers_disabled", "cached_decision")
AGAIN = "run the same command again"


class Seen(TypedDict):
    """What keeps the account out.

    ``causes``: NETWORK and SSO, as far as this role mends them. ``inside``: the account gets in, as far as can be said.
    ``past_network``: no network policy is in the way. ``account``: who it is about. ``todo``: the first line.
    ``found``: what was found, a sentence each.
    """

    causes: List[str]
    inside: bool
    past_network: bool
    account: str
    todo: str
    found: List[str]


class Change(TypedDict):
    """One change: ``helps`` (as far as the tables say), ``text`` (a sentence each), ``after``, ``snapshot``."""

    cause: str
    helps: bool
    text: List[str]
    after: str
    snapshot: str


class Found(TypedDict):
    """``needed``: whether migrations have to be mended. ``found``: what was found, a sentence each."""

    needed: bool
    working: bool
    migrate: bool
    todo: str
    found: List[str]


class Summary(TypedDict):
    """``text``: the first line is what to do or what came out. ``failed``: whether the run has to fail."""

    text: List[str]
    failed: bool


# Who can sign in


def hindered(doctor: Facts) -> List[str]:
    """Owners whom something of their own keeps from signing in with a password."""
    return sorted({str(one["owner"]) for one in doctor.get("findings", []) if one["owner"]})


def account_to_ask_for(doctor: Facts, account: str) -> str:
    """The account; without one an owner whom nothing but single sign-on keeps out; empty for the longest-standing."""
    out = hindered(doctor)
    if account or not out:
        return account
    left = sorted(one["email"] for one in doctor["owners"] if one["email"] not in out)
    return str(left[0]) if left else ""


def _owners(doctor: Facts, account: str) -> List[Facts]:
    known = list(doctor.get("owners", []))
    return [one for one in known if one["email"] in (account, account.lower())] if account else known


def signs_in(doctor: Facts, account: str, password_login: Optional[bool], providers: Sequence[Facts]) -> bool:
    """Whether the account, or some owner, can sign in otherwise than by the organisation's own providers.

    phase_sso knows owners only. Of others it is known whether passwords are taken. Where the backend was not seen, the
    tables count.
    """
    names = [one["finding"] for one in doctor.get("findings", [])]
    if not doctor:  # a release without single sign-on of organisations
        return password_login is not False
    owners = _owners(doctor, account)
    if account and not owners:
        return "password_login_off" not in names and password_login is not False
    if "backend_unseen" in names:
        return any(one["email"] not in hindered(doctor) for one in owners)
    own = {one["name"] for one in providers}
    return any(one["would_get_in"] or set(one["through"]) - own for one in owners)


def enforced(doctor: Facts) -> bool:
    return any(one["finding"] in ENFORCEMENT for one in doctor.get("findings", []))


# An address to ask from


def probe(policies: Sequence[Facts], account: str) -> str:
    """An address that the policies in force for the account let in; empty where there is none.

    With it single sign-on can be judged though the address that the account comes from is not known.
    """
    for one in in_force(policies, account):
        for text in one["networks"]:
            network = ipaddress.ip_network(text)
            return str(network[1] if network.num_addresses > 2 else network[0])
    return ""


def in_force(policies: Sequence[Facts], account: str) -> List[Facts]:
    """Of phase_network_policy's list: those enforced on everybody, and on this account."""
    return [
        one
        for one in policies
        if one["enforced_on"] == "everybody"
        or (one["enforced_on"] == "its accounts" and any(account in (of["name"], of["id"]) for of in one["accounts"]))
    ]


# What keeps the account out


def findings(facts: Facts) -> Seen:
    """What keeps the account out.

    ``facts``: ``organisation``, ``account``, ``address`` and ``sso`` (options of the role); ``doctor`` and
    ``providers`` of phase_sso; ``answer`` (the running backend's, or None) and ``probed`` (the same from an address
    that the policies let in, or None); ``policies`` and ``diagnosis`` of phase_network_policy.
    """
    doctor, answer, diagnosis = facts["doctor"], facts["answer"], facts["diagnosis"]
    about = dict(diagnosis["account"] or {}) if diagnosis else {}
    account = answer["account"]["email"] if answer else facts["account"]
    service = about.get("type") == "service_account"
    blocked = bool(diagnosis and diagnosis["blocked"] and (answer is None or answer["code"] == "IP_RESTRICTED"))
    past = answer["code"] != "IP_RESTRICTED" if answer and facts["address"] else not blocked
    beyond = facts["probed"] or (answer if answer and answer["code"] != "IP_RESTRICTED" else None)
    required = enforced(doctor) and not service
    login = beyond["password_login"] if beyond else answer["password_login"] if answer else None
    can = service or signs_in(doctor, facts["account"], login, facts["providers"])
    granted = beyond["granted"] if beyond else answer is None
    inside = past and granted and can and not required
    causes = [NETWORK] if blocked else []
    if required and _sso_is_in_the_way(facts, beyond, blocked):
        causes.append(SSO)
    if not causes and not inside and required and facts["sso"] == "keep" and past:
        inside = bool(beyond is None or beyond["code"] in (None, "SSO_REQUIRED"))
    return {
        "causes": causes,
        "inside": inside,
        "past_network": past,
        "account": account,
        "todo": _todo(facts, causes, inside, can, beyond),
        "found": _found(facts, account, can, required),
    }


def _sso_is_in_the_way(facts: Facts, beyond: Optional[Facts], blocked: bool) -> bool:
    """Whether to end the requirement. Behind a network policy only where no provider is left that could let anybody in:
    else the provider may well work, and the next run sees to it."""
    if facts["sso"] == "keep":
        return False
    if blocked:
        return not any(one["enabled"] for one in facts["providers"])
    # What was enforced a moment ago keeps nobody out for up to a minute: then the backend still grants.
    return beyond is None or beyond["granted"] or beyond["code"] == "SSO_REQUIRED"


def _unjudged(facts: Facts, account: str) -> List[str]:
    """Names of the policies that could not be held against an address, since none was given."""
    return [quoted(one["name"]) for one in in_force(facts["policies"], account)] if not facts["address"] else []


def _todo(facts: Facts, causes: List[str], inside: bool, can: bool, beyond: Optional[Facts]) -> str:
    name = facts["organisation"]
    answer = facts["answer"]
    account = answer["account"]["email"] if answer else facts["account"]
    unjudged = _unjudged(facts, account)
    if causes:
        said = {NETWORK: "change the network policies", SSO: "end the requirement of single sign-on"}
        return "To let %s into %s: %s." % (
            account or "the owner",
            name,
            " and ".join(said[cause] for cause in causes),
        )
    if unjudged and (inside or beyond is None):
        return (
            "Set phase_recover_address to the address that the account comes from, and %s: network policies are in"
            " force in %s (%s), and whether they let it in depends on the address."
            % (AGAIN, name, ", ".join(unjudged[:5]))
        )
    if inside:
        return "Nothing to do: nothing keeps %s out of %s." % (account or "the owners", name)
    if answer and answer["account"].get("scim") and beyond and beyond["code"] == "SSO_REQUIRED":
        return (
            "Set phase_recover_account to an owner whom SCIM does not manage, and %s. Passwords of %s are refused"
            " whatever the organisation requires." % (AGAIN, account)
        )
    for one in facts["doctor"].get("findings", []):
        if not can and one["finding"] not in ENFORCEMENT and one["owner"] in (None, account, facts["account"]):
            return str(one["remedy"])
    if answer:
        return "This playbook cannot mend it. %s" % answer["sentence"]
    return "This playbook cannot mend it."


def _found(facts: Facts, account: str, can: bool, required: bool) -> List[str]:
    doctor, answer = facts["doctor"], facts["answer"]
    said = [facts["diagnosis"]["sentence"]] if facts["diagnosis"] else []
    if doctor:
        said.append(doctor["sentence"])
        said += [
            "%s %s" % (one["sentence"], one["remedy"])
            for one in doctor["findings"]
            if one["finding"] not in ENFORCEMENT and one["sentence"] not in doctor["sentence"]
        ]
        if facts["account"] and not can and not required:
            said.append(
                "It is not known that %s can sign in otherwise than by a provider of the organisation."
                % facts["account"]
            )
    told = facts["probed"] or answer
    if told:
        said.append("The running backend answers: %s" % told["sentence"])
    else:
        said.append("The running backend was not asked; the tables count.")
    if facts["probed"]:
        said.append(
            "No address was given, so the backend was asked from %s, which the network policies let in."
            % facts["probed"]["address"]
        )
    return said


def helped(seen: Seen, causes: Sequence[str]) -> bool:
    """Whether what was changed has mended its causes."""
    return (NETWORK not in causes or seen["past_network"]) and (SSO not in causes or seen["inside"])


# What was changed


def changed(cause: str, result: Facts, facts: Facts) -> Change:
    """What phase_network_policy or phase_sso changed, or in check mode would. ``facts`` are those of ``findings``."""
    if cause == NETWORK:
        after = result["diagnosis_after"]
        return {
            "cause": cause,
            "helps": not after["blocked"],
            "text": list(result["summary"]),
            "after": after["sentence"],
            "snapshot": result.get("snapshot", ""),
        }
    doctor = result["doctor"]
    answer = facts["answer"]
    can = signs_in(doctor, facts["account"], answer["password_login"] if answer else None, facts["providers"])
    return {
        "cause": cause,
        "helps": can,
        "text": list(result["summary"]),
        "after": " ".join(
            [doctor["sentence"]]
            + [
                "%s %s" % (one["sentence"], one["remedy"])
                for one in doctor["findings"]
                if one["sentence"] not in doctor["sentence"] and not can
            ]
        ),
        "snapshot": result.get("snapshot", ""),
    }


# Migrations


def migrations(job: Facts, plan: Optional[Facts], wanted: Facts) -> Found:
    """What phase_migrate found, with state=info and in check mode. ``plan`` is None where it could not be made.

    ``wanted``: ``image`` and ``organisation`` as the role's options say. Pending migrations alone are no fault while
    the question is who is locked out: an upgrade may simply not have been run yet.
    """
    state, waiting = job["job"]["state"], job["waiting"]
    pending = len(plan["pending"]) if plan else 0
    leftover = plan.get("leftover_indexes", []) if plan else []
    asked = wanted["image"] or not wanted["organisation"]
    migrate = state == "own" or bool(pending and (asked or state == "failed" or leftover))
    needed = migrate or state in ("blocked", "stuck") or bool(waiting)
    said = [job["job"]["sentence"]]
    if state == "failed" and plan and not pending:
        said.append(
            "Every migration is applied. The container failed after the last one, as it does while redis is down; the"
            " licence check is scheduled by the next run of migrate."
        )
    if state in ("failed", "stuck"):
        said += ["Its log: %s" % line for line in job["job"].get("log", [])]
    said += [
        "An interrupted run left %s index %s on %s, of %s."
        % ("valid" if one["valid"] else "INVALID", one["index"], one["table"], one["migration"])
        for one in leftover
    ]
    if plan:
        said += list(plan["summary"])
    elif state in ("blocked", "stuck"):
        said.append("The pending migrations cannot be read before the container is ended.")
    if waiting:
        said.append("Not started: %s." % ", ".join(waiting))
    return {
        "needed": needed,
        "working": state == "working",
        "migrate": migrate or (state in ("blocked", "stuck") and (plan is None or pending > 0)),
        "todo": _migrations_todo(job, needed, pending, bool(wanted["organisation"])),
        "found": said,
    }


def _migrations_todo(job: Facts, needed: bool, pending: int, organisation: bool) -> str:
    if job["job"]["state"] == "working":
        return "Let the migration finish, then %s. Nothing was changed." % AGAIN
    if needed:
        return "To mend the migrations: end what is stuck, migrate, and start what waits."
    if pending:
        return "%d migrations are pending and nothing of them failed; phase.console.upgrade applies them." % pending
    if organisation:
        return "Nothing to do about the migrations."
    return (
        "Nothing to do about the migrations. If somebody is locked out, run it again with"
        " -e phase_recover_organisation=NAME -e phase_recover_address=ADDRESS."
    )


def mended(image: str, applied: Sequence[Facts], repaired: Sequence[Facts], started: Sequence[str]) -> str:
    return "The database has every migration of %s. Applied now: %s. Indexes built again: %s. Started: %s." % (
        image,
        ", ".join(one["name"] for one in applied) or "none",
        ", ".join(one["index"] for one in repaired) or "none",
        ", ".join(started) or "nothing",
    )


# How it ended

OUTCOMES = {
    "nothing": "",
    "check": "Check mode: nothing was changed.",
    "kept": "It helped and is kept.",
    "put_back": "The change was undone, as the answer was.",
    "expired": "The change was undone: it was not confirmed within %(within)s.",
    "failed": "The change was undone, since it did not help.",
    "broke_off": "Nothing was changed: the run broke off before the change.",
    "not_put_back": "The change is still there: it could not be undone.",
    "unverified": "The change did not help, and is kept because phase_recover_keep_unverified is set.",
}
FAILED = ("expired", "failed", "broke_off", "not_put_back")


def summary(state: Facts) -> Summary:
    """The closing words. ``state``: ``outcome``, ``found`` (Seen before), ``seen`` (Seen now), ``changes``, ``error``,
    ``back`` (the command that undoes it), ``within``.

    What was found is printed before the change; it is not repeated here.
    """
    outcome, found, now = state["outcome"], state["found"], state["seen"]
    if outcome == "nothing":
        return {"text": [found["todo"]] + found["found"], "failed": False}
    said = [OUTCOMES[outcome] % {"within": state["within"]}]
    if state["error"]:
        said.append(str(state["error"]))
    if outcome in ("kept", "unverified"):
        said += [one for one in now["found"] if one.startswith("The running backend")]
        if not now["inside"] and outcome == "kept":
            said.append(next_step(now))
    if outcome == "not_put_back" or (outcome in ("kept", "unverified") and _snapshots(state)):
        said.append("To undo it: %s" % state["back"])
    return {"text": [one for one in said if one], "failed": outcome in FAILED}


def _snapshots(state: Facts) -> List[str]:
    return [one["snapshot"] for one in state["changes"] if one["snapshot"]]


def next_step(now: Seen) -> str:
    """What is left after a change that did its own part."""
    if SSO in now["causes"]:
        return (
            "Single sign-on is still required. If its provider fails, %s: it then ends the requirement. If it works, do"
            " nothing." % AGAIN
        )
    return now["todo"]


STEPS: Dict[str, Callable[[Facts], Any]] = {
    "account": lambda facts: account_to_ask_for(facts["doctor"], facts["account"]),
    "probe": lambda facts: probe(facts["policies"], facts["account"]),
    "findings": findings,
    "helped": lambda facts: helped(facts["seen"], facts["causes"]),
    "change": lambda facts: changed(facts["cause"], facts["result"], facts),
    "migrations": lambda facts: migrations(facts["job"], facts["plan"], facts),
    "mended": lambda facts: mended(facts["image"], facts["applied"], facts["repaired"], facts["started"]),
    "summary": summary,
}


def recover(facts: Facts, step: str) -> Any:
    """What a step of the role needs to know. Raises BadOption for a step that there is not."""
    if step not in STEPS:
        raise BadOption("There is no step %s." % quoted(step), "It can be %s." % ", ".join(sorted(STEPS)))
    return STEPS[step](facts)
