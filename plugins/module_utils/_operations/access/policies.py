# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Network policies, whom they are attached to, and what they mean: read once, then plain data.

Tables of Phase v2.41.0 to v2.73.2; v2.40 and older have no network policies.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from ..._errors import BadOption, NotPhase, NotSupported
from ..core import rows as _rows
from ..core.database import require_phase
from ..core.organisations import choose
from ..core.types import Connection
from ..core.words import quoted
from . import rule as _access
from .shapes import Account, Data, Named, Organisation, Policy

POLICY = "api_networkaccesspolicy"
ATTACHED = {
    "member": ("api_organisationmember_network_policies", "organisationmember_id"),
    "service_account": ("api_serviceaccount_network_policies", "serviceaccount_id"),
}
WORDS = {"member": "member", "service_account": "service account"}
# Migrations of v2.54.0 and v2.59.0.
AROUND_REAL_IP = ("0112_secretevent_secret_event_history_idx_and_more", "0113_organisation_pricing_version")
NEEDED = {"id", "name", "organisation_id", "allowed_ips", "is_global", "updated_at"}


class NoSuchThing(BadOption):
    """A name or id that stands for nothing, or for more than one thing."""

    kind = "not_found"


def unsupported() -> NotSupported:
    return NotSupported(
        "This release of Phase has no network policies; they came with v2.41.0.",
        "Nobody is locked out by one: look at the addresses that nginx lets in, and at single sign-on.",
    )


def _select(connection: Connection, statement: str) -> List[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row)) for row in cursor.fetchall()]


def read(connection: Connection) -> Data:
    """All there is to know, from the snapshot of a ``_rows.transaction``.

    ``supported``, ``organisations``, ``accounts`` (live ones), ``rows`` (by table, of policies and attachments),
    ``real_ip`` (whether this release looks at X-Real-IP), ``now`` (the server's time as text), ``database``.

    Raises NotPhase for another database, and for a table of policies of another shape than is known.
    """
    require_phase(connection)
    found = _rows.columns(connection, POLICY)
    if found and not set(found) >= NEEDED:
        raise NotPhase(
            "The table of network policies has no %s." % ", ".join(sorted(NEEDED - set(found))),
            "An upgrade was cut off, or this release of the collection does not know that one of Phase.",
        )
    tables = [POLICY] + [table for table, _column in ATTACHED.values()]
    return {
        "supported": bool(found),
        "organisations": _select(connection, "select id, name, plan from api_organisation order by name, id"),
        "accounts": _accounts(connection),
        "rows": {table: _rows.fetch(connection, table) for table in tables},
        "real_ip": looks_at_real_ip(connection),
        "now": _select(connection, "select clock_timestamp()::text as now")[0]["now"],
        "database": _rows.identity(connection),
    }


def looks_at_real_ip(connection: Connection) -> Optional[bool]:
    """Whether the release looks at X-Real-IP, as since v2.54.2.

    None where the migrations fit both: those of v2.54.0 are the last ones before v2.59.0.
    """
    names = {row["name"] for row in _select(connection, "select name from django_migrations where app = 'api'")}
    old, new = (name in names for name in AROUND_REAL_IP)
    return True if new else None if old else False


def _accounts(connection: Connection) -> List[Account]:
    found = _select(
        connection,
        "select 'member' as type, m.id, u.email as name, m.organisation_id"
        ' from api_organisationmember m join api_customuser u on u."userId" = m.user_id where m.deleted_at is null'
        " order by u.email, m.id",
    )
    if _rows.columns(connection, "api_serviceaccount"):
        found += _select(
            connection,
            "select 'service_account' as type, id, name, organisation_id from api_serviceaccount"
            " where deleted_at is null order by name, id",
        )
    return found


def with_images(data: Data, images: Sequence[_rows.Image]) -> Data:
    """The data as they are once the images are written."""
    rows = {table: {str(row["id"]): row for row in known} for table, known in data["rows"].items()}
    for one in images:
        if one["after"] is None:
            rows[one["table"]].pop(one["key"], None)
        else:
            rows[one["table"]][one["key"]] = one["after"]
    return {**data, "rows": {table: [known[key] for key in sorted(known)] for table, known in rows.items()}}


def policies(data: Data) -> List[Policy]:
    """Every policy with its organisation, entries, accounts and on whom it is enforced; oldest first in each."""
    organisations = {one["id"]: one for one in data["organisations"]}
    accounts = {(one["type"], one["id"]): one for one in data["accounts"]}
    attached: Dict[str, List[Account]] = {}
    for kind, (table, column) in ATTACHED.items():
        for row in data["rows"][table]:
            account = accounts.get((kind, str(row[column])))
            if account is not None:  # a deleted account keeps its rows
                attached.setdefault(str(row["networkaccesspolicy_id"]), []).append(account)
    members: Dict[Optional[str], str] = {one["id"]: one["name"] for one in data["accounts"] if one["type"] == "member"}
    found: List[Policy] = []
    for row in data["rows"][POLICY]:
        organisation = organisations[str(row["organisation_id"])]
        of = sorted(attached.get(str(row["id"]), []), key=lambda one: (one["type"], one["name"], one["id"]))
        allowed, is_global = str(row["allowed_ips"]), row["is_global"] == "true"
        networks, invalid = _access.entries(allowed)
        found.append(
            {
                "id": str(row["id"]),
                "name": str(row["name"]),
                "organisation": organisation,
                "allowed_ips": allowed,
                "entries": _access.split(allowed),
                "invalid": invalid,
                "networks": [_access.short(network) for network in networks],
                "is_global": is_global,
                "accounts": [named(one) for one in of],
                "created_at": row.get("created_at"),
                "updated_at": row["updated_at"],
                "updated_by": members.get(row.get("updated_by_id"), row.get("updated_by_id")),
                "enforced_on": enforced_on(
                    organisation["plan"], is_global=is_global, accounts=[named(one) for one in of]
                ),
            }
        )
    return sorted(found, key=lambda item: (item["organisation"]["name"], item["created_at"] or "", item["id"]))


def named(account: Account) -> Named:
    return {"type": account["type"], "id": account["id"], "name": account["name"]}


def enforced_on(plan: str, *, is_global: bool, accounts: Sequence[Named]) -> str:
    """``everybody``, ``its accounts`` or ``nobody``: what the plan makes of a policy."""
    if plan == _access.ENTERPRISE and is_global:
        return "everybody"
    return "its accounts" if plan != _access.FREE and accounts else "nobody"


def plan_name(plan: str) -> str:
    return _access.PLANS.get(plan, plan)


# From what people write to what is meant


def find_organisation(data: Data, wanted: str) -> Organisation:
    """The organisation of this name or id. Names are unique in Phase, and their case counts."""
    by_id = {one["id"]: one for one in data["organisations"]}
    by_name = {one["name"]: one for one in data["organisations"]}
    return by_id[wanted] if wanted in by_id else by_name[choose(wanted, list(by_name))]


def _some(names: Sequence[str]) -> str:
    more = " and %d more" % (len(names) - 10) if len(names) > 10 else ""
    return (", ".join(map(quoted, names[:10])) or "none") + more


def find_policies(known: Sequence[Policy], wanted: Sequence[str]) -> List[Policy]:
    """The policies of these names or ids. A name that several have is refused, since Phase lets them have it."""
    found: Dict[str, Policy] = {}
    for text in wanted:
        matching = [one for one in known if one["id"] == text] or [one for one in known if one["name"] == text]
        if not matching:
            raise NoSuchThing(
                "There is no network policy %s." % quoted(text),
                "There are: %s." % _some([one["name"] for one in known]),
            )
        if len(matching) > 1:
            raise NoSuchThing(
                "%d network policies are called %s." % (len(matching), quoted(text)),
                "Name it by its id: %s."
                % ", ".join("%s of %s" % (one["id"], quoted(one["organisation"]["name"])) for one in matching),
            )
        found[matching[0]["id"]] = matching[0]
    return list(found.values())


def find_account(data: Data, wanted: str, organisation: Optional[Organisation]) -> Account:
    """The member (by email or id) or service account (by name or id), of the organisation if one is given."""
    known = [one for one in data["accounts"] if organisation is None or one["organisation_id"] == organisation["id"]]
    where = " in %s" % quoted(organisation["name"]) if organisation else ""
    matching = (
        [one for one in known if one["id"] == wanted]
        or [one for one in known if one["name"] == wanted]
        or [one for one in known if one["type"] == "member" and one["name"].lower() == wanted.lower()]
    )
    if not matching:
        raise NoSuchThing(
            "There is no member or service account %s%s." % (quoted(wanted), where),
            "Write a member's email, a service account's name, or an id, of an account that is not deleted.",
        )
    if len(matching) > 1:
        names = {one["id"]: one["name"] for one in data["organisations"]}
        raise NoSuchThing(
            "%d accounts%s are called %s." % (len(matching), where, quoted(wanted)),
            "Name the organisation, or the account by its id: %s."
            % ", ".join(
                "%s (%s of %s)" % (one["id"], WORDS[one["type"]], quoted(names[one["organisation_id"]]))
                for one in matching
            ),
        )
    return matching[0]
