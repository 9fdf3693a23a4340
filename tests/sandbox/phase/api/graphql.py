# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`/graphql/`, as much of it as tells who gets in: clientIp, and a field of an organisation behind Phase's two guards.

The shapes are those of graphene-django 3.2 (Phase v2.73.2): 403 without a session, 400 for a query that is none, else
200 with `data` and, for a field that was refused, its null and an entry in `errors`. The guard for addresses is asked
before the one for single sign-on.
"""

from __future__ import annotations

import json
import re
from typing import Any

from backend.release import since
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from api.access import Caller, Denied, check_network, check_sso, client_address
from api.models import Organisation, OrganisationMember

FIELD = re.compile(r"(\w+)\s*(?:\(\s*organisationId\s*:\s*(?:\$(\w+)|\"([^\"]*)\")\s*\))?\s*(?:\{[\s\w]*\})?")


class Refused(Exception):
    """The field stays null. `extensions` is what Phase adds for its own pages."""

    def __init__(self, message: str, **extensions: str) -> None:
        super().__init__(message)
        self.extensions = extensions


@csrf_exempt
def graphql(request: HttpRequest) -> HttpResponse:
    """POST `query` and `variables` as JSON; the session says who asks."""
    if not request.user.is_authenticated:
        raise PermissionDenied
    try:
        body = json.loads(request.body)
        query, variables = str(body["query"]), body.get("variables") or {}
    except (ValueError, KeyError, TypeError):
        return failure("POST body sent invalid JSON.")
    data: dict[str, Any] = {}
    errors = []
    selection = re.sub(r"^\s*query\b[^{]*", "", query).strip()[1:-1]
    for field in FIELD.finditer(selection):
        name, variable, literal = field.groups()
        if name not in RESOLVERS or (name == "clientIp" and not since("v2.41.0")):
            return failure(f"Cannot query field '{name}' on type 'Query'.")
        try:
            data[name] = RESOLVERS[name](request, variables.get(variable) if variable else literal)
        except Refused as error:
            data[name] = None
            extensions = {"extensions": error.extensions} if error.extensions else {}
            errors.append(
                {"message": str(error), "locations": [{"line": 1, "column": 1}], "path": [name], **extensions}
            )
    return JsonResponse({**({"errors": errors} if errors else {}), "data": data})


def failure(message: str) -> JsonResponse:
    return JsonResponse({"errors": [{"message": message}]}, status=400)


def client_ip(request: HttpRequest, organisation_id: str | None) -> str | None:
    return client_address(request)


def global_access_users(request: HttpRequest, organisation_id: str | None) -> list[dict[str, str]]:
    """The organisation's members, for one of them who comes from the right place in the right way."""
    guard(request, organisation_id)
    members = OrganisationMember.objects.filter(organisation_id=organisation_id, deleted_at__isnull=True)
    if not members.filter(user=request.user).exists():
        raise Refused("You don't have access to this organisation")
    return [{"id": member.id} for member in members]


def guard(request: HttpRequest, organisation_id: str | None) -> None:
    """Raise Refused where Phase's middlewares would."""
    if not organisation_id or not since("v2.41.0"):
        return
    organisation = Organisation.objects.filter(id=organisation_id).first()
    if organisation is None:
        raise Refused("Organisation matching query does not exist.")
    member = OrganisationMember.objects.filter(
        organisation=organisation, user=request.user, deleted_at__isnull=True
    ).first()
    named = {"organisation_name": organisation.name}
    if member is None and organisation.plan != Organisation.FREE:
        raise Refused("You are not a member of this organisation")
    if member is None:
        return
    try:
        check_network(Caller(organisation, member=member), client_address(request))
    except Denied as error:
        raise Refused(str(error), code=error.code, **named) from error
    try:
        check_sso(member)
    except Denied as error:
        message = f"{organisation.name} requires Single Sign-On. Please sign in via SSO to continue."
        raise Refused(message, code=error.code, **named, organisation_id=organisation.id) from error


RESOLVERS = {"clientIp": client_ip, "organisationGlobalAccessUsers": global_access_users}
