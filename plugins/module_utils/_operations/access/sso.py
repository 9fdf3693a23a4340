# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Single sign-on of an organisation: what is set, whether an owner gets in, and the ways out of a lockout.

``plan`` reads, ``apply`` writes the planned images in one transaction, ``stock`` has the application's own command do
it. Facts are of Phase v2.67.0, which brought the tables, to v2.73.2.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ..._errors import PhaseError
from ..core import audit as _audit
from ..core import organisations as _organisations
from ..core import passwords
from ..core import references as _references
from ..core import rows as _rows
from ..core.api import Context
from ..core.database import require_phase
from ..core.releases import release_of
from ..core.rows import Row
from ..core.secrets import masker, secret_values
from ..core.types import Connection
from ..core.words import quoted
from . import sso_backend as _sso_backend
from . import sso_doctor as _sso_doctor
from . import sso_plan as planning
from .shapes import Doctor, SsoChange, SsoDone, SsoPlan, SsoRequest, SsoSettled, SsoShown

COMMAND_SECONDS = 120  # a manage.py of the application starts in about one
FLAGS = {
    "enforcement_disabled": ["--disable-enforcement"],
    # Alone --delete-provider leaves require_sso set: everybody would be out.
    "providers_deleted": ["--disable-enforcement", "--delete-provider"],
}

# An owner is a member whose role is called so in any case, as Phase's own checks have it.
_OWNERS = """
    select u.email, u.active, {scim},
           {kind},
           {accounts}
      from api_organisationmember m join api_customuser u on u."userId" = m.user_id
      join api_role r on r.id = m.role_id
     where m.organisation_id = %s and m.deleted_at is null and lower(r.name) = 'owner'
     order by u.email
"""
_SCIM = "exists (select from api_scimuser s where s.org_member_id = m.id and s.active)"


def database(context: Context, request: Dict[str, Any]) -> _rows.Identity:
    """Which database this is (``_rows.identity``)."""
    connection = context.connect("sso")
    try:
        return _rows.identity(connection)
    finally:
        connection.close()


class NoSsoHere(PhaseError):
    """This release of Phase has no single sign-on of organisations."""

    kind = "no_sso_in_this_release"


class StockCommandFailed(PhaseError):
    """The application's own command did not do what was asked, whatever its exit code says."""

    kind = "stock_command_failed"


def require_sso_tables(connection: Connection) -> None:
    """Raise NoSsoHere for a schema level without them (before v2.67.0)."""
    if "require_sso" in _rows.columns(connection, planning.ORGANISATION) and _rows.columns(
        connection, planning.PROVIDER
    ):
        return
    with connection.cursor() as cursor:
        cursor.execute("select app, name from django_migrations")
        release = release_of(cursor.fetchall())
    raise NoSsoHere(
        "This database is at %s, and single sign-on of organisations came with v2.67.0: it has no tables for it."
        % (release or "an unknown release"),
        "Nobody is locked out by it here; look for a network policy, or at the instance's own sign-in providers.",
    )


def owners(connection: Connection, organisation: str) -> List[Dict[str, Any]]:
    """The organisation's living owners, as the doctor takes them; ``hash`` is what ``passwords.KIND`` returns."""
    scim = _SCIM if _rows.columns(connection, "api_scimuser") else "false"
    statement = _OWNERS.format(scim=scim, kind=passwords.KIND, accounts=passwords.accounts(connection))
    with connection.cursor() as cursor:
        cursor.execute(statement, (organisation,))
        return [dict(zip(("email", "active", "scim", "hash", "accounts"), row)) for row in cursor.fetchall()]


def _organisation(connection: Connection, request: Mapping[str, Any]) -> Row:
    """The organisation's row, by ``organisation_id`` (of a snapshot) or by its name."""
    if request.get("organisation_id") is None:
        wanted = _organisations.find(connection, request["organisation"])["id"]
    else:
        wanted = request["organisation_id"]
    found = _rows.fetch(connection, planning.ORGANISATION, [wanted])
    if not found:
        raise _organisations.OrganisationMissing(
            "The organisation of the snapshot, %s, is gone." % quoted(wanted),
            "Only a backup brings an organisation back.",
        )
    return found[0]


def _providers(connection: Connection, organisation: str) -> List[Row]:
    return _rows.fetch(connection, planning.PROVIDER, [organisation], column="organisation_id")


def _examined(name: str, state: SsoShown, found: Sequence[Any], seen: Mapping[str, Any]) -> Doctor:
    backend = seen["backend"] or {}
    algorithms = backend.get("algorithms") or passwords.ALGORITHMS
    judged = [dict(owner, hash=passwords.state(owner["hash"], algorithms)) for owner in found]
    facts = {"organisation": name, "unseen": _sso_backend.UNSEEN, "owners": judged}
    return _sso_doctor.examine(
        dict(facts, **dict(seen, require_sso=state["require_sso"], providers=state["providers"]))
    )


def _look(organisation: str, backend: bool) -> Dict[str, Any]:
    if backend:
        return _sso_backend.look(organisation)
    return {"backend": None, "cache": {"decision": None, "error": None}}


def plan(context: Context, request: SsoRequest) -> SsoPlan:
    """What is set, and what would be changed. Changes nothing.

    Request: ``state``; ``organisation`` (name), or with ``images`` of a snapshot its ``organisation_id`` and ``force``;
    ``backend`` (whether the application is here to be asked).

    Result: ``organisation`` (id, name), ``database``, ``before`` and ``after`` (``_sso_plan.shown`` and
    ``cached_decision``), ``images`` (all rows, with the providers' configuration: for the snapshot and ``apply``
    alone), ``known`` (ids of the providers), ``stale`` (redis would go on to say otherwise), ``told``,
    ``notes`` (what to warn of), ``doctor`` and ``doctor_after``.
    """
    connection = context.connect("sso")
    try:
        require_phase(connection)
        with _rows.transaction(connection):
            require_sso_tables(connection)
            organisation = _organisation(connection, request)
            key, name = str(organisation["id"]), str(organisation["name"])
            providers, found = _providers(connection, key), owners(connection, key)
            identity = _rows.identity(connection)
            with connection.cursor() as cursor:
                cursor.execute("select clock_timestamp()::text")
                (now,) = cursor.fetchone()
            notes: List[str] = []
            images = _images(request, organisation, providers, now)
            if request["state"] == "restored":  # a member may be gone
                images, notes = _references.fitting(connection, images, force=request["force"])
    finally:
        connection.close()
    before, after = planning.shown(organisation, providers), planning.outcome(images, organisation, providers)
    seen = _look(key, request["backend"])
    decision = seen["cache"]["decision"]
    stale = request["state"] != "info" and decision is not None and decision != after["require_sso"]
    cleared = stale or bool(_rows.real(images))
    after_seen = dict(seen, cache=dict(seen["cache"], decision=None if cleared else decision))
    return {
        "organisation": {"id": key, "name": name},
        "database": identity,
        "before": {**before, "cached_decision": decision},
        "after": {**after, "cached_decision": after_seen["cache"]["decision"]},
        "images": images,
        "known": [row["id"] for row in providers],
        "stale": stale,
        "told": planning.told(images),
        "notes": notes,
        "doctor": _examined(name, before, found, seen),
        "doctor_after": _examined(name, after, found, after_seen),
    }


def _images(request: SsoRequest, organisation: Row, providers: Sequence[Row], now: str) -> List[Any]:
    if request["state"] == "info":
        return []
    if request["state"] == "restored":
        return planning.restoring(request["images"], organisation, providers, force=request["force"])
    return planning.intended(request["state"], organisation, providers, now)


def apply(context: Context, request: SsoChange) -> SsoDone:
    """Write the planned ``images`` with the audit ``event``, all or nothing, then have the backend forget its decision.

    Request: ``organisation`` (id, name), ``images`` and ``known`` of the plan, ``event``, ``backend``. Raises
    RowsChanged, and nothing is written, where a row is not as planned. Result: ``audited``, ``forgotten`` (redis was
    told), ``error`` (why not), and, read afterwards, ``state`` (as ``before`` of the plan), ``rows`` of the two tables,
    and ``doctor``.
    """
    connection = context.connect("sso")
    try:
        audited = False
        if _rows.real(request["images"]):
            with _rows.transaction(connection, write=True):
                _rows.write(connection, request["images"], planning.HIDDEN)
                _same_providers(connection, request)
                audited = _audit.record(connection, [request["event"]])
        return {**_settled(context, connection, request), "audited": audited}
    finally:
        connection.close()


def _same_providers(connection: Connection, request: SsoChange) -> None:
    """Raise RowsChanged for a provider that came after the plan.

    One that is being added now comes after this change: its foreign key is checked when it is committed, and that waits
    for the organisation's row, which is locked.
    """
    known = set(request["known"]) | {one["key"] for one in request["images"]}
    came = [row for row in _providers(connection, request["organisation"]["id"]) if row["id"] not in known]
    if came:
        raise _rows.RowsChanged(
            "Provider %s was added in the meantime." % quoted(str(came[0]["name"])), "Run it again."
        )


def _settled(context: Context, connection: Connection, request: SsoChange) -> SsoSettled:
    """After the commit: clear the cached decision, and read everything back."""
    organisation = request["organisation"]
    with _rows.transaction(connection):
        row = _organisation(connection, {"organisation_id": organisation["id"]})
        providers, found = _providers(connection, organisation["id"]), owners(connection, organisation["id"])
    state = planning.shown(row, providers)
    error: Optional[str] = _sso_backend.UNSEEN
    if request["backend"]:
        error = _sso_backend.clear(context, organisation["id"], state["require_sso"])
    seen = _look(organisation["id"], request["backend"])
    return {
        "forgotten": error is None,
        "error": error,
        "state": {**state, "cached_decision": seen["cache"]["decision"]},
        "doctor": _examined(organisation["name"], state, found, seen),
        "rows": [row] + providers,
    }


def stock(context: Context, request: SsoChange) -> SsoDone:
    """As ``apply``, but the application's own ``disable_org_sso`` changes the rows, which are then read back.

    It exits with 0 whatever happens, and neither clears redis nor writes an audit row: both is done here. Request and
    result are those of ``apply``, with ``state`` in the request. Raises StockCommandFailed where it did not end, or the
    rows are not as wanted afterwards; it says what they are then, and redis is cleared of what they no longer say.
    """
    connection = context.connect("sso")
    try:
        with _rows.transaction(connection):
            _rows.expect(connection, request["images"], planning.HIDDEN)
        name = request["organisation"]["name"]
        context.report("Running disable_org_sso %s" % " ".join(FLAGS[request["state"]]))
        ended, said = _manage(["disable_org_sso", "--org=" + name] + FLAGS[request["state"]])
        settled = _settled(context, connection, request)
        state = settled["state"]
        if not ended or state["require_sso"] or (state["providers"] and request["state"] == "providers_deleted"):
            raise StockCommandFailed(
                "%s Now require_sso is %s, and there are %d providers."
                % (said, str(state["require_sso"]).lower(), len(state["providers"])),
                "Leave out via=stock.",
                partial={"sso": state, "cache": {"cleared": settled["forgotten"], "error": settled["error"]}},
            )
        with _rows.transaction(connection, write=True):
            audited = _audit.record(connection, [request["event"]])
        return {**settled, "audited": audited}
    finally:
        connection.close()


def _manage(arguments: Sequence[str]) -> Tuple[bool, str]:
    """Run manage.py of the current folder: whether it ended in time, and a sentence for rows that are not as wanted.

    That has the last of what it said, without secrets. Its exit code tells nothing.
    """
    try:
        done = subprocess.run(
            [sys.executable, "manage.py", arguments[0], "--no-color"] + list(arguments[1:]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=COMMAND_SECONDS,
            env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"),  # nothing is left behind in the container
        )
    except subprocess.TimeoutExpired:
        return False, "disable_org_sso did not end within %d s." % COMMAND_SECONDS
    said = [line.strip() for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
    last = masker(secret_values(os.environ))(" / ".join(said[-3:]))
    return True, "disable_org_sso did not do it. It said: %s." % (last.rstrip(".") or "nothing")
