# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may come in: Phase Console's rules of network policies and single sign-on (v2.73.2), all of them here.

- The client's address is X-Real-IP from whoever sends it, else the leftmost of X-Forwarded-For, else the peer.
- Enforced is the union of the account's own policies and, on Enterprise, the organisation's global ones; on Free none.
  An entry that is no address or range is skipped, so a policy of such entries alone lets nobody in.
- `require_sso` blocks password sessions, and so does a SCIM-managed membership whatever `require_sso` says. The
  organisation's decision is kept in redis for a minute.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import redis
from backend.release import since
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest

from api.models import Organisation, OrganisationMember, ServiceAccount

DECISION_SECONDS = 60


@dataclass(frozen=True)
class Caller:
    """Whose request it is. One of member and service_account is set, or neither for a service token."""

    organisation: Organisation
    member: OrganisationMember | None = None
    service_account: ServiceAccount | None = None
    token: object | None = None
    password_session: bool = False


class Denied(Exception):
    """The rules say no. `code` names the rule as Phase's API does."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check(caller: Caller, request: HttpRequest) -> None:
    """Raise Denied where a rule keeps the caller out."""
    if caller.password_session and caller.member is not None:
        check_sso(caller.member)
    check_network(caller, client_address(request))


def valid_address(text: str | None) -> str | None:
    try:
        return str(ip_address((text or "").strip()))
    except ValueError:
        return None


def client_address(request: HttpRequest) -> str | None:
    """The address that policies are held against."""
    candidates = (
        request.META.get("HTTP_X_REAL_IP"),
        (request.META.get("HTTP_X_FORWARDED_FOR") or "").split(",")[0],
        request.META.get("REMOTE_ADDR"),
    )
    return next((address for address in map(valid_address, candidates) if address), None)


def within(address: str, entries: Iterable[str]) -> bool:
    """Tell whether the address is one of the entries or inside one; an entry that is neither counts for nothing."""
    client = ip_address(address)
    for entry in entries:
        try:
            if client in ip_network(entry, strict=False) if "/" in entry else client == ip_address(entry):
                return True
        except ValueError:
            continue
    return False


def check_network(caller: Caller, address: str | None) -> None:
    if not since("v2.41.0") or caller.organisation.plan == Organisation.FREE:
        return
    from api.models import NetworkAccessPolicy

    account = caller.member or caller.service_account
    policies = list(account.network_policies.all()) if account else []
    if caller.organisation.plan == Organisation.ENTERPRISE:
        policies += NetworkAccessPolicy.objects.filter(organisation=caller.organisation, is_global=True)
    entries = [entry.strip() for policy in policies for entry in policy.allowed_ips.split(",")]
    if policies and (address is None or not within(address, entries)):
        raise Denied("IP_RESTRICTED", f"Your IP address is not allowed to access {caller.organisation.name}")


def check_sso(member: OrganisationMember) -> None:
    if since("v2.67.0") and (requires_sso(member.organisation_id) or scim_managed(member)):
        raise Denied("SSO_REQUIRED", "Sign in through the organisation's identity provider.")


def requires_sso(organisation_id: str) -> bool:
    """The organisation's `require_sso`, up to DECISION_SECONDS old; the table's own where redis does not answer."""
    key = f"org_sso_decision:{organisation_id}"
    decision = None
    with contextlib.suppress(redis.RedisError):
        decision = cache.get(key)
    if decision is None:
        organisation = Organisation.objects.get(id=organisation_id)
        decision = [organisation.require_sso, organisation.name]
        with contextlib.suppress(redis.RedisError):
            cache.set(key, decision, timeout=DECISION_SECONDS)
    return bool(decision[0])


def scim_managed(member: OrganisationMember) -> bool:
    if not since("v2.68.0"):
        return False
    from api.models import SCIMUser

    return SCIMUser.objects.filter(org_member=member, active=True).exists()


def domain_allowed(email: str) -> bool:
    """Phase's USER_EMAIL_DOMAIN_WHITELIST; empty, it allows any."""
    return not settings.EMAIL_DOMAINS or email.split("@")[-1].lower() in settings.EMAIL_DOMAINS


def password_login_allowed() -> bool:
    return bool(settings.ENABLE_PASSWORD_AUTH)
