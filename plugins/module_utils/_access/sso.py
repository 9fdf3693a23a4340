# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""phase_sso: ask, refuse what must not be, write a snapshot, change, and say what is so now."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Callable, Dict, List, Mapping, Optional

from .._call.argspec import ArgumentSpec
from .._call.module import Call
from .._errors import BadOption, NotSupported, PhaseError
from .._operations.access import sso
from .._operations.access.shapes import Doctor, SsoChange, SsoDone, SsoPlan, SsoRequest, SsoState
from .._operations.access.sso_doctor import DECISION_SECONDS
from .._operations.access.sso_plan import CHANGES, lines
from .._operations.core import audit as _audit
from .._operations.core import rows as _rows
from .._operations.core.api import Context
from .._operations.core.words import quoted
from . import snapshot as _snapshot
from .change import replanned, with_snapshot

MODULE = "phase_sso"
Facts = Dict[str, Any]

SPEC = ArgumentSpec(
    {
        "organisation": {"type": "str"},
        "state": {"type": "str", "default": "info"},
        "confirm": {"type": "str"},
        "via": {"type": "str", "choices": ["direct", "stock"], "default": "direct"},
    },
    required_if=[("state", state, ["organisation"]) for state in ("info",) + CHANGES],
    states=["info"] + list(CHANGES) + ["restored"],
).merge(_snapshot.snapshot_spec())


class ConfirmationMissing(PhaseError):
    """The state deletes rows, so it has to be confirmed; nothing was changed."""

    kind = "confirmation_missing"


def run(call: Call) -> Facts:
    """The module's result."""
    _check_options(call.params)
    request = _request(call)
    return replanned(call, lambda: _once(call, request))


def _once(call: Call, request: SsoRequest) -> Facts:
    params, state = call.params, call.params["state"]
    plan = call.run(sso.plan, request)
    _check_organisation(params["organisation"], plan)
    if state == "info":
        return {"changed": False, "organisation": plan["organisation"], "sso": plan["before"], "doctor": plan["doctor"]}
    for note in plan["notes"]:
        call.warn(note)
    result = predicted(plan, state)
    changes = _rows.real(plan["images"])
    if state == "providers_deleted":
        _check_confirmed(params["confirm"], plan, result)
    if call.check or not result["changed"]:
        _warn_of_lockout(call, result["doctor"])
        return result
    if not changes:  # what redis alone has wrong, the application's command would not touch
        return _finished(call, plan, _apply(call, plan, sso.apply), None)
    content = _snapshot.body(
        MODULE,
        plan["database"],
        plan["organisation"]["name"],
        changes,
        now=call.now(),
        reason=reason_of(params),
        more={"organisation": plan["organisation"], "state": state},
    )
    operation = sso.stock if params["via"] == "stock" else sso.apply
    path, outcome = with_snapshot(call, content, lambda: _apply(call, plan, operation))
    if params["via"] == "stock":
        path = _with_what_became(call, path, content, outcome["rows"])
    return _finished(call, plan, outcome, path)


def _check_confirmed(confirm: Optional[str], plan: SsoPlan, result: Facts) -> None:
    name = plan["organisation"]["name"]
    if any(one["after"] is None for one in plan["images"]) and confirm != name:
        raise ConfirmationMissing(
            "Deleting the providers of %s needs its name a second time." % quoted(name),
            "Set confirm to it. state=providers_disabled lets people in as well, and keeps the configuration.",
            partial=dict(result, changed=False),
        )


def _check_options(params: Mapping[str, Any]) -> None:
    reason_of(params)
    if params["via"] == "stock":
        if params["state"] not in sso.FLAGS:
            raise BadOption(
                "via=stock cannot do state=%s: no release's disable_org_sso can." % params["state"],
                "It can do %s; leave out via for the rest." % " and ".join(sorted(sso.FLAGS)),
            )
        if params["deployment"] == "database":
            raise NotSupported(
                "via=stock needs the application, and deployment=database knows only its database.",
                "Leave out via, or use deployment=docker, compose, kubernetes or local.",
            )


def reason_of(params: Mapping[str, Any]) -> str:
    """The reason on one line. Raises BadOption for what no line can show."""
    return _snapshot.plain("reason", " ".join(params["reason"].split()))


def _request(call: Call) -> SsoRequest:
    """What the plan is asked; for a restore, with what the snapshot holds, once it is known to be of this database."""
    params = call.params
    request: SsoRequest = {
        "state": params["state"],
        "organisation": params["organisation"],
        "backend": params["deployment"] != "database",
    }
    if params["state"] != "restored":
        return request
    content = _snapshot.load(params["snapshot"], MODULE)
    if not params["force"]:
        _snapshot.check_database(content, call.run(sso.database, {}))
    organisation = content["more"].get("organisation")
    if not isinstance(organisation, dict) or not isinstance(organisation.get("id"), str):
        raise _snapshot.SnapshotUnusable(
            "The snapshot does not say of which organisation it is.",
            "Name the file that a run of %s returned as snapshot." % MODULE,
        )
    images = _snapshot.images_of(content)
    return {**request, "images": images, "organisation_id": organisation["id"], "force": params["force"]}


def _check_organisation(name: Optional[str], plan: SsoPlan) -> None:
    if name is not None and name != plan["organisation"]["name"]:
        raise BadOption(
            "The snapshot is of organisation %s, and organisation is %s."
            % (quoted(plan["organisation"]["name"]), quoted(name)),
            "Leave organisation out with state=restored, or name the other snapshot.",
        )


def _apply(call: Call, plan: SsoPlan, operation: Callable[[Context, SsoChange], SsoDone]) -> SsoDone:
    request: SsoChange = {
        "state": call.params["state"],
        "organisation": plan["organisation"],
        "images": plan["images"],
        "known": plan["known"],
        "event": event(plan, reason_of(call.params), _snapshot.operator(os.environ)),
        "backend": call.params["deployment"] != "database",
    }
    return call.run(operation, request)


def _with_what_became(call: Call, path: str, content: _snapshot.Body, rows: List[_rows.Row]) -> str:
    """The snapshot again, with the rows as the application's command left them: it sets times of its own.

    Where that cannot be written the first one stays. The change was made, so it is no failure.
    """
    found = {str(row["id"]): row for row in rows}
    images: List[_rows.Image] = [{**one, "after": found.get(one["key"])} for one in content["images"]]
    try:
        again = _snapshot.save(call.params["snapshot_dir"], {**content, "images": images}, os.environ)
    except _snapshot.SnapshotFailed as error:
        call.warn(
            "The change was made. What undoes it is %s, with force, since it does not know the times that"
            " disable_org_sso set: %s" % (path, error.message)
        )
        return path
    with contextlib.suppress(OSError):
        os.unlink(path)
    return again


def event(plan: SsoPlan, reason: str, operator: str) -> _audit.Event:
    """The audit row. Phase has no type for SSO, and an unknown one would break its console's list: it is a policy."""
    name = plan["organisation"]["name"]

    def values(state: SsoState) -> Facts:
        providers = {row["name"]: "enabled" if row["enabled"] else "disabled" for row in state["providers"]}
        return {"require_sso": state["require_sso"], "providers": providers}

    return _audit.event(
        organisation=plan["organisation"]["id"],
        event_type="U",
        resource_type="policy",
        resource_id=plan["organisation"]["id"],
        name="Single sign-on of %s" % name,
        description="Changed single sign-on of '%s': %s" % (name, " ".join(plan["told"])),
        reason=reason,
        operator=operator,
        old_values=values(plan["before"]),
        new_values=values(plan["after"]),
    )


# For people


def predicted(plan: SsoPlan, state: str) -> Facts:
    """The result as far as it is known before anything is changed, which is what check mode returns."""
    return {
        "changed": bool(_rows.real(plan["images"]) or plan["stale"]),
        "organisation": plan["organisation"],
        "sso": plan["after"],
        "before": plan["before"],
        "after": plan["after"],
        "summary": summary(plan, state),
        "doctor_before": plan["doctor"],
        "doctor": plan["doctor_after"],
        "diff": difference(plan["organisation"]["name"], plan["before"], plan["after"]),
    }


def summary(plan: SsoPlan, state: str) -> List[str]:
    """The change in sentences, or why there is nothing to do."""
    name, providers = plan["organisation"]["name"], plan["before"]["providers"]
    if plan["told"]:
        return list(plan["told"])
    if plan["stale"]:
        return ["The tables say what is wanted already. The backend is made to forget what it keeps in redis."]
    if state == "restored":
        return ["Nothing to do: everything is as in the snapshot."]
    if state == "enforcement_disabled":
        return ["Nothing to do: %s does not require SSO." % name]
    left = "none of its providers is enabled" if providers else "it has no providers"
    return ["Nothing to do: %s does not require SSO, and %s." % (name, left)]


def difference(name: str, before: SsoState, after: SsoState) -> Dict[str, str]:
    def text(state: SsoState) -> str:
        kept = {None: "none", True: "SSO is required", False: "SSO is not required"}[state["cached_decision"]]
        return "".join(line + "\n" for line in lines(state) + ["decision kept in redis: %s" % kept])

    header = "single sign-on of %s" % name
    return {"before_header": header, "after_header": header, "before": text(before), "after": text(after)}


def _finished(call: Call, plan: SsoPlan, outcome: SsoDone, path: Optional[str]) -> Facts:
    result = predicted(plan, call.params["state"])
    result.update(sso=outcome["state"], after=outcome["state"], doctor=outcome["doctor"])
    result["diff"] = difference(plan["organisation"]["name"], plan["before"], outcome["state"])
    matters = plan["stale"] or plan["before"]["require_sso"] != outcome["state"]["require_sso"]
    seconds = 0 if outcome["forgotten"] or not matters else DECISION_SECONDS
    result["cache"] = {"cleared": outcome["forgotten"], "error": outcome["error"], "seconds": seconds}
    if seconds:
        call.warn(
            "The backend may go by what it keeps in redis for up to %d s more, since that could not be cleared: %s"
            % (seconds, outcome["error"])
        )
    if path:
        result.update(snapshot=path, audited=outcome["audited"])
        for text in _audit.absent(outcome["audited"]):
            call.warn(text)
    _warn_of_lockout(call, result["doctor"])
    return result


def _warn_of_lockout(call: Call, doctor: Doctor) -> None:
    if doctor["locked_out"]:
        call.warn(doctor["sentence"])
