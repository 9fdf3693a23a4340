# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""phase_network_policy: plan, snapshot, change, and the result in words."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .._call.argspec import ArgumentSpec
from .._call.module import Call
from .._errors import BadOption, PhaseError
from .._operations.access import network_policy
from .._operations.access.admission import sentence
from .._operations.access.recorded import networks_of
from .._operations.access.rule import address_of, parse_entries
from .._operations.access.shapes import (
    Policy,
    PolicyChange,
    PolicyPlan,
    PolicyRequest,
    Question,
    Recorded,
    RecordedQuestion,
)
from .._operations.core import audit as _audit
from .._operations.core.rows import Image, Row
from .._operations.core.words import quoted
from . import snapshot as _snapshot
from .change import replanned, with_snapshot

MODULE = "phase_network_policy"


class WouldKeepOut(PhaseError):
    """Accounts that get in today would be kept out by the change; nothing was changed."""

    kind = "would_keep_out"


NAMED = 5  # accounts in a sentence
# The states that an option has a meaning for; with another one it is refused.
MEANT_FOR = {
    "policies": ("allowed", "reset"),
    "account_policies": ("reset",),
    "allow": ("allowed",),
    "snapshot": ("restored",),
    "recorded": ("info",),
}

Plan = PolicyPlan


SPEC = _snapshot.snapshot_spec().merge(
    ArgumentSpec(
        {
            "state": {"type": "str", "default": "info"},
            "organisation": {"type": "str"},
            "policies": {"type": "list", "elements": "str"},
            "account_policies": {"type": "list", "elements": "str"},
            "allow": {"type": "list", "elements": "str"},
            "lockout": {"type": "str", "choices": ["stop", "warn"], "default": "stop"},
            "diagnose": {
                "type": "dict",
                "options": {"address": {"type": "str"}, "account": {"type": "str"}, "headers": {"type": "dict"}},
                "required_one_of": [["address", "headers"]],
            },
            "recorded": {
                "type": "dict",
                "options": {
                    "days": {"type": "int", "default": 30},
                    "proxies": {"type": "list", "elements": "str", "default": []},
                    "addresses": {"type": "list", "elements": "str", "default": []},
                    "account": {"type": "str"},
                },
            },
        },
        states=["info", "allowed", "reset", "restored"],
    )
)


def request_of(params: Mapping[str, Any], operator: str) -> PolicyRequest:
    """The options, checked as far as they can be without a database. Raises BadOption."""
    for name in ("organisation", "policies", "account_policies", "allow"):
        given = params[name] if isinstance(params[name], list) else [params[name]]
        for value in given:
            if value is not None:
                _written(name, value)
    question = question_of(params["diagnose"])
    state = params["state"]
    for name, states in MEANT_FOR.items():
        if params[name] and state not in states:
            raise BadOption("%s has no meaning with state=%s." % (name, state), "Set state=%s." % " or ".join(states))
    allow = parse_entries(params["allow"] or [])
    if state == "allowed" and not allow:
        address = question.get("address") if question else None
        if not address:
            raise BadOption("state=allowed has nothing to let in.", "Give allow, or diagnose with an address.")
        allow = parse_entries([address])
    return {
        "state": state,
        "organisation": params["organisation"],
        "policies": params["policies"],
        "account_policies": params["account_policies"],
        "allow": allow,
        "diagnose": question,
        "recorded": recorded_of(params["recorded"]),
        "reason": _snapshot.plain("reason", " ".join(params["reason"].split())),
        "operator": operator,
        "force": params["force"],
    }


def _written(name: str, value: str) -> str:
    """A text that says something: an empty one is a variable that was not set, and not a wish for everything."""
    if not value.strip():
        raise BadOption("%s is empty." % name, "Leave it out, or write what is meant.")
    return _snapshot.plain(name, value)


def question_of(diagnose: Optional[Mapping[str, Any]]) -> Optional[Question]:
    """``diagnose`` without what was not given. Raises BadOption for what is no address and for control characters."""
    if diagnose is None:
        return None
    found: Question = {}
    if diagnose.get("address") is not None:
        found["address"] = _written("diagnose.address", diagnose["address"])
    if diagnose.get("account") is not None:
        found["account"] = _written("diagnose.account", diagnose["account"])
    if "address" in found:
        if address_of(found["address"]) is None:
            raise BadOption(
                "diagnose.address is no address: %r." % found["address"][:80], "Write 192.0.2.1 or 2001:db8::1."
            )
        found["address"] = found["address"].strip()
    headers = diagnose.get("headers") or {}
    found["headers"] = {
        _snapshot.plain("diagnose.headers", str(name)): _snapshot.plain("diagnose.headers", str(value))
        for name, value in headers.items()
    }
    return found


def recorded_of(given: Optional[Mapping[str, Any]]) -> Optional[RecordedQuestion]:
    """``recorded``, its proxies as ranges. Raises BadOption for what is no address."""
    if given is None:
        return None
    for text in given["addresses"]:
        if address_of(text) is None:
            raise BadOption(
                "recorded.addresses has %r, which is no address." % text[:80], "Write 192.0.2.1 or 2001:db8::1."
            )
    if given["account"] is not None:
        _written("recorded.account", given["account"])
    return {
        "days": given["days"],
        "proxies": networks_of(given["proxies"]),
        "addresses": [text.strip() for text in given["addresses"]],
        "account": given["account"],
    }


def run(call: Call) -> Dict[str, Any]:
    """The module's result."""
    request = request_of(call.params, _snapshot.operator(os.environ))
    if request["state"] == "restored":
        request["images"] = _images(call, request)
    return replanned(call, lambda: _once(call, request))


def _images(call: Call, request: PolicyRequest) -> List[Image]:
    """What the snapshot holds, once it is known to be of this database. Raises SnapshotUnusable."""
    content = _snapshot.load(call.params["snapshot"], MODULE)
    if not request["force"]:
        question: PolicyRequest = {**request, "state": "info", "organisation": None, "diagnose": None}
        seen = call.run(network_policy.plan, question)
        _snapshot.check_database(content, seen["database"])
    return _snapshot.images_of(content)


def _once(call: Call, request: PolicyRequest) -> Dict[str, Any]:
    plan = call.run(network_policy.plan, request)
    for text in warnings(plan):
        call.warn(text)
    if plan["kept_out"] and request["state"] == "reset" and call.params["lockout"] == "stop":
        raise WouldKeepOut(
            " ".join(sentence(one) for one in plan["kept_out"][:NAMED]),
            "Let an address in instead (state=allowed, with allow and diagnose.account), or detach those policies too"
            " (account_policies), or set lockout=warn to go on.",
            partial=dict(predicted(plan), changed=False),
        )
    if call.check or not plan["images"]:
        return predicted(plan)
    content = _snapshot.body(
        MODULE, plan["database"], scope(plan), plan["images"], now=call.now(), reason=request["reason"]
    )
    change: PolicyChange = {"images": plan["images"], "events": plan["events"]}
    path, _done = with_snapshot(call, content, lambda: call.run(network_policy.apply, change))
    return dict(predicted(plan), snapshot=path)


def warnings(plan: Plan) -> List[str]:
    found = list(plan["notes"]) + [sentence(one) for one in plan["kept_out"]]
    counts = plan["recorded"]["counts"] if plan["recorded"] else {"private": 0}
    if counts["private"] and counts["private"] + counts["proxies"] == counts["addresses"]:
        found.append(
            "Phase has recorded no public address: it sees a proxy's or the container engine's own today. From those,"
            " it is unknown whom the policies would let in."
        )
    if plan["recorded"] and plan["recorded"]["truncated"]:
        found.append("There are more events than were looked at; the newest of each environment were.")
    if not plan["supported"]:
        found.append("This release of Phase has no network policies; they came with v2.41.0.")
    return found + (_audit.absent(plan["audit"]) if plan["images"] else [])


def scope(plan: Plan) -> str:
    """The organisations whose policies change, for the snapshot's name."""
    touched = {one["organisation_id"] for one in plan["events"]}
    names = [one["name"] for one in plan["organisations"] if one["id"] in touched]
    return names[0] if len(names) == 1 else "%d organisations" % len(names)


def rows(images: List[Image]) -> Tuple[Dict[str, List[Row]], Dict[str, List[Row]]]:
    """The rows before and after, by table."""
    before: Dict[str, List[Row]] = {}
    after: Dict[str, List[Row]] = {}
    for one in images:
        for found, row in ((before, one["before"]), (after, one["after"])):
            if row is not None:
                found.setdefault(one["table"], []).append(row)
    return before, after


def predicted(plan: Plan) -> Dict[str, Any]:
    """The result that check mode returns; after the change ``snapshot`` comes to it."""
    before, after = rows(plan["images"])
    result = {
        "changed": bool(plan["images"]),
        "supported": plan["supported"],
        "organisations": plan["organisations"],
        "policies": plan["policies_after"],
        "before": before,
        "after": after,
        "summary": summary(plan),
        "kept_out": plan["kept_out"],
        "audit": plan["events"] if plan["audit"] else [],
        "diff": diff(plan),
    }
    if plan["diagnosis"]:
        result.update(diagnosis=plan["diagnosis"], diagnosis_after=plan["diagnosis_after"])
    if plan["recorded"]:
        result["recorded"] = dict(plan["recorded"], summary=summary_of_recorded(plan["recorded"]))
    return result


def summary(plan: Plan) -> List[str]:
    """The change in sentences, or that there is none."""
    after = {one["id"]: one for one in plan["policies_after"]}
    said = []
    for old in plan["policies"]:
        new = after.get(old["id"])
        name = "Policy %s of %s" % (quoted(old["name"]), quoted(old["organisation"]["name"]))
        if new is None:
            said.append("%s is removed." % name)
            continue
        added = [one for one in new["entries"] if one not in old["entries"]]
        removed = [one for one in old["entries"] if one not in new["entries"]]
        said += ["%s: %s is added." % (name, _some(added))] if added else []
        said += ["%s: %s is removed." % (name, _some(removed))] if removed else []
        if old["is_global"] != new["is_global"]:
            said.append("%s is %s global." % (name, "now" if new["is_global"] else "no longer"))
        for there, word in ((old["accounts"], "detached from"), (new["accounts"], "attached to")):
            other = new["accounts"] if there is old["accounts"] else old["accounts"]
            names = [quoted(one["name"]) for one in there if one not in other]
            said += ["%s is %s %s." % (name, word, _some(names))] if names else []
    known = {one["id"] for one in plan["policies"]}
    said += ["Policy %s is put back." % quoted(one["name"]) for one in plan["policies_after"] if one["id"] not in known]
    return said + [sentence(one) for one in plan["kept_out"]] or ["Nothing to do."]


def diff(plan: Plan) -> Dict[str, str]:
    """The policies that change, as a person reads them, before and after."""
    before = {one["id"]: shown(one) for one in plan["policies"]}
    after = {one["id"]: shown(one) for one in plan["policies_after"]}
    ids = [
        key for key in list(before) + [key for key in after if key not in before] if before.get(key) != after.get(key)
    ]
    return {
        "before": "".join(before.get(key, "") for key in ids),
        "after": "".join(after.get(key, "") for key in ids),
        "before_header": "network policies",
        "after_header": "network policies",
    }


def _on_a_line(text: str) -> str:
    return text if text.isprintable() else quoted(text)


def shown(policy: Policy) -> str:
    """A policy as lines, with a line for each entry, so that a diff shows the entries that come and go."""
    accounts = ", ".join(quoted(one["name"]) for one in policy["accounts"]) or "none"
    entries = "".join("    %s\n" % _on_a_line(one.strip()) for one in policy["allowed_ips"].split(","))
    return "%s of %s (%s)\n  is_global: %s\n  accounts: %s\n  enforced on: %s\n  allowed_ips:\n%s" % (
        quoted(policy["name"]),
        quoted(policy["organisation"]["name"]),
        policy["id"],
        "true" if policy["is_global"] else "false",
        accounts,
        policy["enforced_on"],
        entries,
    )


# Addresses that Phase has recorded


def _some(parts: Sequence[str]) -> str:
    more = " and %d more" % (len(parts) - NAMED) if len(parts) > NAMED else ""
    return ", ".join(parts[:NAMED]) + more


def _accounts(items: Sequence[Mapping[str, Any]]) -> List[str]:
    """Each account once, with one of its addresses."""
    found: Dict[str, str] = {}
    for item in items:
        found.setdefault("%s of %s" % (item["account"]["name"], item["organisation"]), item["address"])
    return ["%s (%s)" % pair for pair in found.items()]


def summary_of_recorded(found: Recorded) -> List[str]:
    """A sentence for each kind of danger; none where every recorded address is let in."""
    said = []
    own = ["%s (%s)" % (one["address"], one["organisation"]) for one in found["own_addresses"] if not one["allowed"]]
    if own:
        said.append("No policy lets your own address in: %s." % _some(own))
    if found["kept_out"]:
        said.append("No policy lets these accounts in from where they came: %s." % _some(_accounts(found["kept_out"])))
    if found["behind_proxy"]:
        said.append(
            "These accounts were seen with a proxy's address only, so it is unknown whether their own is let in: %s."
            % _some(_accounts(found["behind_proxy"]))
        )
    return said
