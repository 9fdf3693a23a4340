# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""phase_network_policy: plan, snapshot, change, and what is told of it."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Callable, Dict, List, Mapping, Optional

from .._call.argspec import ArgumentSpec
from .._call.module import Call
from .._errors import BadOption, PhaseError
from .._operations.access import network_policy
from .._operations.access.rule import address_of, parse_entry
from .._operations.core import audit as _audit
from .._operations.core.rows import Image, RowsChanged
from .._operations.core.words import quoted
from . import snapshot as _snapshot

MODULE = "phase_network_policy"
ATTEMPTS = 3  # plans, when others change the same rows meanwhile
# What would be passed over without a word by the other states.
MEANT_FOR = {
    "policies": ("allowed", "reset"),
    "account_policies": ("reset",),
    "allow": ("allowed",),
    "snapshot": ("restored",),
}

Plan = Dict[str, Any]


SPEC = _snapshot.snapshot_spec().merge(
    ArgumentSpec(
        {
            "state": {"type": "str", "default": "info"},
            "organisation": {"type": "str"},
            "policies": {"type": "list", "elements": "str"},
            "account_policies": {"type": "list", "elements": "str"},
            "allow": {"type": "list", "elements": "str"},
            "diagnose": {
                "type": "dict",
                "options": {"address": {"type": "str"}, "account": {"type": "str"}, "headers": {"type": "dict"}},
                "required_one_of": [["address", "headers"]],
            },
        },
        states=["info", "allowed", "reset", "restored"],
    )
)


def request_of(params: Mapping[str, Any], operator: str) -> Dict[str, Any]:
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
            raise BadOption("%s says nothing to state=%s." % (name, state), "Set state=%s." % " or ".join(states))
    allow = [parse_entry(text) for text in params["allow"] or []]
    if state == "allowed" and not allow:
        address = question.get("address") if question else None
        if not address:
            raise BadOption("state=allowed has nothing to let in.", "Give allow, or diagnose with an address.")
        allow = [parse_entry(address)]
    return {
        "state": state,
        "organisation": params["organisation"],
        "policies": params["policies"],
        "account_policies": params["account_policies"],
        "allow": allow,
        "diagnose": question,
        "reason": _snapshot.plain("reason", " ".join(params["reason"].split())),
        "operator": operator,
        "force": params["force"],
    }


def _written(name: str, value: str) -> str:
    """A text that says something: an empty one is a variable that was not set, and not a wish for everything."""
    if not value.strip():
        raise BadOption("%s is empty." % name, "Leave it out, or write what is meant.")
    return _snapshot.plain(name, value)


def question_of(diagnose: Optional[Mapping[str, Any]]) -> Optional[Dict[str, Any]]:
    """``diagnose`` without what was not given. Raises BadOption for what is no address and for control characters."""
    if diagnose is None:
        return None
    found: Dict[str, Any] = {}
    for name in ("address", "account"):
        if diagnose.get(name) is not None:
            found[name] = _written("diagnose." + name, diagnose[name])
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


def network_policies(call: Call, now: Callable[[], float], environment: Mapping[str, str]) -> Dict[str, Any]:
    """The module's result. Where others change the same rows between plan and change, it plans anew, a few times."""
    request = request_of(call.params, _snapshot.operator(environment))
    if request["state"] == "restored":
        request["images"] = _images(call, request)
    for _attempt in range(ATTEMPTS - 1):
        try:
            return _once(call, request, now, environment)
        except PhaseError as error:
            if error.kind != RowsChanged.kind or request["state"] == "restored":
                raise
            call.report("Somebody else changed the same rows; planning again")
    return _once(call, request, now, environment)


def _images(call: Call, request: Mapping[str, Any]) -> List[Image]:
    """What the snapshot holds, once it is known to be of this database. Raises SnapshotUnusable."""
    content = _snapshot.load(call.params["snapshot"], MODULE)
    if not request["force"]:
        question = dict(request, state="info", organisation=None, diagnose=None)
        seen = call.target.run(network_policy.plan, question, call.report)
        _snapshot.check_database(content, seen["database"])
    return _snapshot.images_of(content)


def _once(
    call: Call, request: Dict[str, Any], now: Callable[[], float], environment: Mapping[str, str]
) -> Dict[str, Any]:
    plan = call.target.run(network_policy.plan, request, call.report)
    for note in plan["notes"]:
        call.warn(note)
    if not plan["supported"]:
        call.warn("This release of Phase has no network policies; they came with v2.41.0.")
    if not plan["images"]:
        return result_of(plan)
    for warning in _audit.absent(plan["audit"]):
        call.warn(warning)
    if call.check:
        return result_of(plan)
    content = _snapshot.body(MODULE, plan["database"], scope(plan), plan["images"], now=now(), reason=request["reason"])
    path = _snapshot.save(call.params["snapshot_dir"], content, environment)
    call.report("Snapshot written: %s" % path)
    try:
        call.target.run(network_policy.apply, {"images": plan["images"], "events": plan["events"]}, call.report)
    except PhaseError as error:
        if error.kind == RowsChanged.kind:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # nothing was changed, so there is nothing that it would undo
        else:
            error.partial.setdefault("snapshot", path)
        raise
    return dict(result_of(plan), snapshot=path)


def scope(plan: Plan) -> str:
    """The organisations whose policies change, for the snapshot's name."""
    touched = {one["organisation_id"] for one in plan["events"]}
    names = [one["name"] for one in plan["organisations"] if one["id"] in touched]
    return names[0] if len(names) == 1 else "%d organisations" % len(names)


def rows(images: List[Image], side: str) -> Dict[str, List[Dict[str, Any]]]:
    """The rows before or after, by table."""
    found: Dict[str, List[Dict[str, Any]]] = {}
    for one in images:
        if one[side] is not None:
            found.setdefault(one["table"], []).append(one[side])
    return found


def result_of(plan: Plan) -> Dict[str, Any]:
    """What the plan tells, as a result: in check mode the same as after the change, but for ``snapshot``."""
    result = {
        "changed": bool(plan["images"]),
        "supported": plan["supported"],
        "organisations": plan["organisations"],
        "policies": plan["policies_after"],
        "before": rows(plan["images"], "before"),
        "after": rows(plan["images"], "after"),
        "audit": plan["events"] if plan["audit"] else [],
        "diff": diff(plan),
    }
    if plan["diagnosis"]:
        result.update(diagnosis=plan["diagnosis"], diagnosis_after=plan["diagnosis_after"])
    return result


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


def shown(policy: Mapping[str, Any]) -> str:
    accounts = ", ".join(quoted(one["name"]) for one in policy["accounts"]) or "none"
    return "%s of %s (%s)\n  allowed_ips: %s\n  is_global: %s\n  accounts: %s\n  enforced on: %s\n" % (
        quoted(policy["name"]),
        quoted(policy["organisation"]["name"]),
        policy["id"],
        quoted(policy["allowed_ips"]),
        "true" if policy["is_global"] else "false",
        accounts,
        policy["enforced_on"],
    )


def run(call: Call) -> Dict[str, Any]:
    """The module's result."""
    return network_policies(call, call.now, os.environ)
