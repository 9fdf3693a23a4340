# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Network policies: told, diagnosed, widened, switched off, put back."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..._errors import BadOption
from ..core import audit as _audit
from ..core import references as _references
from ..core import rows as _rows
from ..core.api import Context
from ..core.words import quoted
from . import recorded
from . import rule as _access
from .admission import newly_kept_out
from .policies import (
    ATTACHED,
    POLICY,
    NoSuchThing,
    find_organisation,
    find_policies,
    plan_name,
    policies,
    read,
    unsupported,
    with_images,
)
from .policy_diagnosis import address_in_question, diagnose, in_force, narrowest, subject
from .shapes import (
    Data,
    OrganisationShown,
    Policy,
    PolicyChange,
    PolicyDone,
    PolicyPlan,
    PolicyRequest,
)

Images = List[_rows.Image]
Planned = Tuple[Images, List[str]]


def plan(context: Context, request: PolicyRequest) -> PolicyPlan:
    """What is, what would be, and the images that lead there. Reads only.

    Request: ``state`` (info, allowed, reset, restored), ``organisation``, ``policies``, ``account_policies``,
    ``allow``, ``diagnose``, ``recorded`` (as ``recorded.look`` takes it), ``reason``, ``operator``, ``images`` and
    ``force`` (restored).
    Result: ``supported``, ``database``, ``organisations``, ``policies`` and ``policies_after``, ``diagnosis`` and
    ``diagnosis_after``, ``recorded``, ``kept_out`` (``shapes.KeptOut``), ``images``, ``events`` (audit rows),
    ``audit`` (whether the schema has them), ``notes`` (what to warn of).

    Raises NoSuchThing for names that stand for nothing, NotSupported where there are no policies to change, and
    RowsChanged where a restore would undo more than the change it is of.
    """
    connection = context.connect("network policy")
    try:
        with _rows.transaction(connection):
            data = read(connection)
            images, notes = _plan(connection, data, request)
            audit = _audit.available(connection)
            asked = request.get("recorded")
            seen = recorded.look(connection, data, asked, request.get("organisation")) if asked else None
    finally:
        connection.close()
    images = _rows.real(images)
    after = with_images(data, images)
    question = request.get("diagnose")
    return {
        "supported": data["supported"],
        "database": data["database"],
        "organisations": organisations(data, request.get("organisation")),
        "policies": view(data, request.get("organisation")),
        "policies_after": view(after, request.get("organisation")),
        "diagnosis": diagnose(data, question, request.get("organisation")) if question else None,
        "diagnosis_after": diagnose(after, question, request.get("organisation")) if question else None,
        "recorded": seen,
        "kept_out": newly_kept_out(data, after, _address(request)) if images else [],
        "images": images,
        "events": events(data, after, images, request.get("reason") or "", request.get("operator") or ""),
        "audit": audit,
        "notes": notes,
    }


def _address(request: PolicyRequest) -> Optional[str]:
    question = request.get("diagnose") or {}
    return address_in_question(question)[0]


def apply(context: Context, request: PolicyChange) -> PolicyDone:
    """Write ``images`` and ``events`` in one transaction; ``audit`` tells whether there was a log to write to.

    Raises RowsChanged, with nothing written, when a row is not what the plan saw.
    """
    connection = context.connect("network policy")
    try:
        with _rows.transaction(connection, write=True):
            written = _rows.write(connection, request["images"])
            audit = _audit.record(connection, request["events"])
            context.check_cancelled()
        return {"written": written, "audit": audit}
    finally:
        connection.close()


def organisations(data: Data, wanted: Optional[str]) -> List[OrganisationShown]:
    chosen = [find_organisation(data, wanted)] if wanted else data["organisations"]
    return [{**one, "plan_name": plan_name(one["plan"])} for one in chosen]


def view(data: Data, organisation: Optional[str]) -> List[Policy]:
    """The policies of one organisation, or of all."""
    known = policies(data)
    if organisation is None:
        return known
    within = find_organisation(data, organisation)
    return [one for one in known if one["organisation"]["id"] == within["id"]]


def _plan(connection: Any, data: Data, request: PolicyRequest) -> Planned:
    state = request["state"]
    if state == "info":
        return [], []
    if not data["supported"]:
        raise unsupported()
    if state == "restored":
        _check_organisation(data, request)
        return restored(connection, data, request)
    if state == "reset":
        return reset(data, request)
    return allowed(data, request)


# Switching off


def changed_policy(data: Data, policy: Policy, **values: str) -> _rows.Image:
    """The image of a policy with other values. ``updated_at`` is the time of the plan, as the application's auto_now.

    ``updated_by`` is emptied: none of Phase's members made this change, and its console shows nobody then.
    """
    row = next(row for row in data["rows"][POLICY] if row["id"] == policy["id"])
    if all(row[name] == value for name, value in values.items()):
        return _rows.image(POLICY, row, row)
    after: _rows.Row = dict(row, updated_at=data["now"], **values)
    if "updated_by_id" in after:
        after["updated_by_id"] = None
    return _rows.image(POLICY, row, after)


def reset(data: Data, request: PolicyRequest) -> Planned:
    """Global policies switched off: the named ones, else all in scope; ``account_policies`` detached from accounts."""
    known = view(data, request.get("organisation"))
    named = request.get("policies")
    chosen = known if named is None else find_policies(known, named)
    images = [changed_policy(data, one, is_global="false") for one in chosen if one["is_global"]]
    detached = {one["id"] for one in find_policies(known, request.get("account_policies") or [])}
    for table, _column in ATTACHED.values():
        images += [
            _rows.image(table, row, None) for row in data["rows"][table] if row["networkaccesspolicy_id"] in detached
        ]
    left = [one for one in known if one["accounts"] and one["id"] not in detached]
    notes = [
        "In %s, policy %s stays in force for the accounts it is attached to: name it in account_policies to detach it."
        % (quoted(one["organisation"]["name"]), quoted(one["name"]))
        for one in left
        if one["organisation"]["plan"] != _access.FREE
    ]
    return images, notes


# Letting in


def allowed(data: Data, request: PolicyRequest) -> Planned:
    """The addresses added where they are kept out, each to as few policies as let it in.

    With ``policies``, each of those gets what it does not cover. Else, with an account in ``diagnose``, the narrowest
    policy in force for that account; else, in every organisation in scope where global policies are enforced, the
    oldest of them, since one that lets in is enough.
    """
    wanted = [_access.parse_entry(text) for text in request["allow"]]
    known = view(data, request.get("organisation"))
    question = request.get("diagnose") or {}
    named = request.get("policies")
    if named is not None:
        chosen = find_policies(known, named)
        notes = [
            "Policy %s of %s is enforced on nobody." % (quoted(one["name"]), quoted(one["organisation"]["name"]))
            for one in chosen
            if one["enforced_on"] == "nobody"
        ]
        return [add(data, one, wanted) for one in chosen], notes
    if question.get("account"):
        account, organisation = subject(data, question, request.get("organisation"))
        own, everywhere = in_force(data, account, organisation)
        return _widen(data, _access.enforced(organisation["plan"], own, everywhere), own, wanted), []
    images: Images = []
    notes = []
    for within in organisations(data, request.get("organisation")):
        of_it = [one for one in known if one["organisation"]["id"] == within["id"]]
        images += _widen(data, [one for one in of_it if one["enforced_on"] == "everybody"], [], wanted)
        left = [one["name"] for one in of_it if one["enforced_on"] == "its accounts"]
        if left:
            notes.append(
                "In %s, accounts with policies of their own may still be kept out: name one, or the policies (%s)."
                % (quoted(within["name"]), ", ".join(map(quoted, left[:5])))
            )
    return images, notes


def _widen(data: Data, force: Sequence[Policy], own: List[Policy], wanted: Sequence[str]) -> Images:
    """The one policy to widen, with what the union of those in force does not cover; nothing when there is none."""
    networks = [network for one in force for network in _access.entries(one["allowed_ips"])[0]]
    lacking = [text for text in wanted if not _access.covered(_access.range_of(text), networks)]
    if not force or not lacking:
        return []
    return [add(data, narrowest(own, [one for one in force if one["enforced_on"] == "everybody"]), lacking)]


def add(data: Data, policy: Policy, wanted: Sequence[str]) -> _rows.Image:
    return changed_policy(data, policy, allowed_ips=_access.with_entries(policy["allowed_ips"], wanted))


# Putting back


def _check_organisation(data: Data, request: PolicyRequest) -> None:
    """Raise BadOption where the snapshot is of another organisation than the one that is named."""
    wanted = request.get("organisation")
    if wanted is None:
        return
    within = find_organisation(data, wanted)
    names = {one["id"]: one["name"] for one in data["organisations"]}
    of_policy = {row["id"]: row["organisation_id"] for row in data["rows"][POLICY]}
    states = [(one["table"], _rows.row_of(one)) for one in request["images"]]
    of_policy.update({row["id"]: row["organisation_id"] for table, row in states if table == POLICY})
    policy_ids = [row["id"] if table == POLICY else row["networkaccesspolicy_id"] for table, row in states]
    others = sorted({str(of_policy[one]) for one in policy_ids if one in of_policy} - {within["id"]})
    if others:
        raise BadOption(
            "The snapshot is of organisation %s, and organisation is %s."
            % (", ".join(quoted(names.get(key, key)) for key in others), quoted(within["name"])),
            "Leave organisation out with state=restored, or name the other snapshot.",
        )


def restored(connection: Any, data: Data, request: PolicyRequest) -> Planned:
    """The images that undo those of a snapshot, and what could not be undone. Rows that are back are left alone.

    Raises RowsChanged where a row is neither as the change left it nor as it was before, or refers to what is gone,
    unless forced.
    """
    back = _rows.reverse(request["images"])
    organisations_now = {one["id"] for one in data["organisations"]}
    for one in back:
        row = one["after"] or {}
        if one["table"] == POLICY and row and row["organisation_id"] not in organisations_now:
            raise _rows.RowsChanged(
                "The organisation of policy %s does not exist any more." % quoted(str(row["name"])),
                "There is nothing left to restore it to.",
            )
    now = _rows.current(connection, back)
    pending = [
        one for one in back if now.get((one["table"], one["key"])) != one["after"] and not attached_again(data, one)
    ]
    if request.get("force"):
        return _references.fitting(connection, _rows.rebase(connection, pending), force=True)
    _rows.expect(connection, pending)
    return _references.fitting(connection, pending, force=False)


def attached_again(data: Data, one: _rows.Image) -> bool:
    """Whether somebody has attached the policy to the account again since, which Phase does in a row of another id."""
    for table, column in ATTACHED.values():
        if one["table"] == table and one["after"] is not None:
            pair = (column, "networkaccesspolicy_id")
            return any(all(row[name] == one["after"][name] for name in pair) for row in data["rows"][table])
    return False


# What Phase's audit log is told


def events(data: Data, after: Data, images: Sequence[_rows.Image], reason: str, operator: str) -> List[_audit.Event]:
    """An audit row for each policy and each account that changes, as the application itself would write them."""
    by: Dict[str, Any] = {"reason": reason, "operator": operator}
    found = [_policy_event(one, by) for one in images if one["table"] == POLICY]
    for kind, (table, column) in ATTACHED.items():
        touched = {_rows.row_of(one)[column] for one in images if one["table"] == table}
        for account in data["accounts"]:
            if account["type"] != kind or account["id"] not in touched:
                continue
            left = [row["networkaccesspolicy_id"] for row in after["rows"][table] if row[column] == account["id"]]
            had = [row["networkaccesspolicy_id"] for row in data["rows"][table] if row[column] == account["id"]]
            resource = "member" if kind == "member" else "sa"
            found.append(
                _audit.event(
                    organisation=account["organisation_id"],
                    event_type="A",
                    resource_type=resource,
                    resource_id=account["id"],
                    name=account["name"],
                    metadata={"account_type": "user" if kind == "member" else "service"},
                    description="Updated network access policies for %s '%s'" % (resource, account["id"]),
                    old_values={"policy_ids": had},
                    new_values={"policy_ids": left},
                    **by,
                )
            )
    return found


def _policy_event(one: _rows.Image, by: Dict[str, Any]) -> _audit.Event:
    before, after = one["before"], one["after"]
    row = _rows.row_of(one)
    verb, event_type = ("Updated", "U") if before and after else ("Created", "C") if after else ("Deleted", "D")
    return _audit.event(
        organisation=str(row["organisation_id"]),
        event_type=event_type,
        resource_type="policy",
        resource_id=str(row["id"]),
        name=str(row["name"]),
        description="%s network access policy '%s'" % (verb, row["name"]),
        old_values=_values(before) if before and after else None,
        new_values=_values(after) if before and after else None,
        **by,
    )


def _values(row: _rows.Row) -> Dict[str, Any]:
    return {"name": row["name"], "allowed_ips": row["allowed_ips"], "is_global": row["is_global"] == "true"}


__all__ = ["NoSuchThing", "apply", "plan"]
