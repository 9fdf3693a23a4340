# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking the running backend itself whether it lets a member in: a real request, as the member, from an address.

Facts of Phase v2.37.2 to v2.73.2: sessions are signed cookies (nothing of them is in the database), made of what
Django's ``login`` puts into them and ``auth_method``. ``/graphql/`` answers 403 without a session, and needs no CSRF
token. The guards for addresses (since v2.41.0, asked first) and single sign-on (since v2.67.0) stand before every field
that takes an organisation; ``organisationGlobalAccessUsers`` is one that every member may ask for. A refusal is an
entry in ``errors`` with a code; ``clientIp`` is the address that the backend saw. The request has a session that no
password was given for. So where it is let in, what the login asks for is looked at as well: it answers 401 to a member
without a usable password and 403 to one who is not active. Who has signed in by a provider of the instance, such as
GitHub, needs no password; before v2.67.0 nobody has one, and there is no such login.

A service account is let in by its token alone, and each use of one is noted as its last: nobody can ask on its behalf.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ..._errors import ApplicationFailed, PhaseError
from ..core import passwords
from ..core.api import Context, Request, Result
from ..core.database import require_phase
from ..core.django import with_django
from ..core.organisations import find
from ..core.rows import columns
from ..core.words import quoted

LIFETIME = 30  # seconds the session is good for
NO_LOGIN = 404
LONGEST = 1 << 20  # bytes of an answer
ENGINE = "django.contrib.sessions.backends.signed_cookies"
FIELD = "organisationGlobalAccessUsers"
QUERIES = (
    "query ($organisation: ID) { clientIp %s(organisationId: $organisation) { id } }" % FIELD,
    "query ($organisation: ID) { %s(organisationId: $organisation) { id } }" % FIELD,  # before v2.41.0
)
OUTSIDERS = ("not a member", "don't have access")

_MEMBERS = """
    select m.id::text, m.user_id::text, u.email::text, u.username::text, lower(r.name) = 'owner', u.active, {scim},
           {kind}, {accounts}
    from api_organisationmember m join api_customuser u on u."userId" = m.user_id
    left join api_role r on r.id = m.role_id
    where m.organisation_id = %s and m.deleted_at is null
    order by lower(r.name) = 'owner' desc nulls last, m.created_at, m.id
"""
_SCIM = "exists (select from api_scimuser s where s.org_member_id = m.id and s.active)"
_COLUMNS = ("id", "user", "email", "username", "owner", "active", "scim", "password", "accounts")
_SERVICE_ACCOUNTS = "select id::text, name::text from api_serviceaccount where organisation_id = %s"


class AccountMissing(PhaseError):
    """No account has that address."""

    kind = "account_missing"


class NotAskable(PhaseError):
    """The backend cannot be asked about this account."""

    kind = "not_askable"


class BackendUnreachable(PhaseError):
    """The backend does not answer."""

    kind = "backend_unreachable"


class NotTheBackend(PhaseError):
    """Something else than Phase answers at the address."""

    kind = "not_the_backend"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A session is for the backend alone."""

    def redirect_request(self, *_arguments: Any, **_more: Any) -> None:
        return None


def ask(context: Context, request: Request) -> Result:
    """What the backend at ``url`` answers ``account`` of ``organisation`` that comes from ``address``.

    Request: ``url``; ``organisation`` (name); ``account`` (e-mail address, user name or member's id; None: an owner);
    ``address`` (None: the peer's, which is the backend's own host); ``timeout`` in seconds.

    Result: ``granted``, ``code`` (None, or that of ``judge`` or ``sign_in``), ``said`` (the backend's own words),
    ``address`` (as it saw it, None before v2.41.0), ``account`` {"id", "email", "owner", "active", "password" (whether
    it has a usable one), "scim"}, ``organisation``, ``password_login`` (None where the backend does not say).
    """
    connection = context.connect("access check")
    try:
        require_phase(connection)
        organisation = find(connection, request["organisation"])
        with connection.cursor() as cursor:
            scim = _SCIM if columns(connection, "api_scimuser") else "false"
            accounts = passwords.accounts(connection)
            statement = _MEMBERS.format(scim=scim, kind=passwords.KIND, accounts=accounts)
            cursor.execute(statement, (organisation["id"],))
            members = [dict(zip(_COLUMNS, row)) for row in cursor.fetchall()]
            cursor.execute(_SERVICE_ACCOUNTS, (organisation["id"],))
            service_accounts = cursor.fetchall()
    finally:
        connection.close()
    member = choose_member(request["account"], members, service_accounts, organisation["name"])
    session, algorithms, providers = with_django(
        lambda: (session_headers(member["user"]), passwords.configured(), passwords.offered())
    )
    headers = dict(session, **from_address(request["address"]))
    status, answer = _graphql(request["url"], organisation["id"], headers, request["timeout"])
    usable = passwords.state(member["password"], algorithms) == passwords.SET
    login = _password_login(request["url"], {"Host": session["Host"]}, request["timeout"])
    otherwise = login == NO_LOGIN or not set(member["accounts"]).isdisjoint(providers)
    verdict = sign_in(judge(status, answer), active=member["active"], usable=usable or otherwise)
    return dict(
        verdict,
        account={
            "id": member["id"],
            "email": member["email"],
            "owner": bool(member["owner"]),
            "active": member["active"],
            "password": usable,
            "scim": member["scim"],
        },
        organisation=organisation["name"],
        password_login={400: True, 403: False}.get(login),
    )


def choose_member(
    account: Optional[str],
    members: List[Dict[str, Any]],
    service_accounts: List[Tuple[str, str]],
    organisation: str,
) -> Dict[str, Any]:
    """The member that is meant; the first owner, or else the first member, where none is named."""
    if not account:
        if not members:
            raise AccountMissing("%s has no members." % quoted(organisation), "Name another organisation.")
        return members[0]
    for known in (account, account.casefold()):
        for member in members:
            names = [member["id"], member["email"], member["username"]]
            if known in (names if known == account else [name.casefold() for name in names]):
                return member
    if any(account in row for row in service_accounts):
        raise NotAskable(
            "%s is a service account, and only its token lets it in." % quoted(account),
            "Ask phase_network_policy with diagnose, which goes by the rules, or try the token itself.",
        )
    owners = ", ".join(member["email"] for member in members if member["owner"]) or "unknown"
    raise AccountMissing(
        "%s has no member %s." % (quoted(organisation), quoted(account)),
        "Give the e-mail address of a member; its owner is %s." % owners,
    )


def from_address(address: Optional[str]) -> Dict[str, str]:
    """Headers that tell an address: X-Real-IP is looked at since v2.54.2, the other one before."""
    return {"X-Real-IP": address, "X-Forwarded-For": address} if address else {}


def judge(status: int, answer: Any) -> Dict[str, Any]:
    """``granted``, ``code``, ``said`` and ``address`` from an answer of ``/graphql/``.

    Codes: IP_RESTRICTED and SSO_REQUIRED are Phase's own; UNAUTHENTICATED (the session counts for nothing),
    NOT_A_MEMBER and REFUSED (anything else) are ours. Raises NotTheBackend for what is no answer of Phase's.
    """
    if status == 403:
        return _verdict("UNAUTHENTICATED", "HTTP 403", None)
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
        raise NotTheBackend(
            "What answers there, with status %d, is not Phase's backend or has failed." % status,
            "Set url to the backend itself, not to nginx or the frontend; look at its log.",
        )
    address = answer["data"].get("clientIp")
    errors = [error for error in answer.get("errors") or [] if isinstance(error, dict)]
    if not errors and answer["data"].get(FIELD) is not None:
        return _verdict(None, "", address)
    first: Mapping[str, Any] = errors[0] if errors else {}
    said = " ".join(str(first.get("message") or "no answer").split())[:300]
    code = (first.get("extensions") or {}).get("code")
    if not code:
        code = "NOT_A_MEMBER" if any(words in said for words in OUTSIDERS) else "REFUSED"
    return _verdict(str(code), said, address)


def sign_in(verdict: Dict[str, Any], *, active: bool, usable: bool) -> Dict[str, Any]:
    """The verdict on a session, where the login would give the member one; else INACTIVE or NO_PASSWORD."""
    if not verdict["granted"] or (active and usable):
        return verdict
    code, said = ("NO_PASSWORD", "HTTP 401") if active else ("INACTIVE", "HTTP 403")
    return _verdict(code, said, verdict["address"])


def _verdict(code: Optional[str], said: str, address: Optional[str]) -> Dict[str, Any]:
    return {"granted": code is None, "code": code, "said": said, "address": address}


def session_headers(user_id: str) -> Dict[str, str]:
    """The headers of a password session of this user, good for LIFETIME seconds. Within ``with_django`` only.

    The signature is dated so that Django's own limit, SESSION_COOKIE_AGE, is reached that soon.
    """
    from django.conf import settings
    from django.contrib import auth
    from django.core import signing
    from django.utils.module_loading import import_string

    if settings.SESSION_ENGINE != ENGINE:
        raise ApplicationFailed(
            "This backend keeps its sessions in %s, unlike any known release of Phase." % settings.SESSION_ENGINE,
            "Sign in by hand to see who gets in.",
        )
    user = auth.get_user_model()._default_manager.get(pk=user_id)
    content = {
        auth.SESSION_KEY: str(user.pk),
        auth.BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[0],
        auth.HASH_SESSION_KEY: user.get_session_auth_hash(),
        "auth_method": "password",
    }

    class Dated(signing.TimestampSigner):  # type: ignore[misc]
        def timestamp(self) -> str:
            moment: str = signing.b62_encode(int(time.time()) - settings.SESSION_COOKIE_AGE + LIFETIME)
            return moment

    serializer = import_string(settings.SESSION_SERIALIZER)
    value = Dated(salt=ENGINE).sign_object(content, serializer=serializer, compress=True)
    return {"Cookie": "%s=%s" % (settings.SESSION_COOKIE_NAME, value), "Host": host_header(settings.ALLOWED_HOSTS)}


def host_header(allowed: List[str]) -> str:
    """A Host that ALLOWED_HOSTS lets through: the first that is written out."""
    names = [name.strip().lstrip(".") for name in allowed]
    return next((name for name in names if name and "*" not in name), "localhost")


def _graphql(url: str, organisation: str, headers: Mapping[str, str], timeout: float) -> Tuple[int, Any]:
    status, answer = 0, None
    for query in QUERIES:
        body = {"query": query, "variables": {"organisation": organisation}}
        status, answer = _post(url.rstrip("/") + "/graphql/", body, headers, timeout)
        if not (status == 400 and isinstance(answer, dict) and "clientIp" in json.dumps(answer)):
            break
    return status, answer


def _password_login(url: str, headers: Mapping[str, str], timeout: float) -> int:
    """What the login answers without a password: 400 where passwords are taken, 403 where they are not (v2.67.0 to
    v2.73.2), 429 after ten questions in a minute, NO_LOGIN before v2.67.0."""
    status, _answer = _post(url.rstrip("/") + "/auth/password/login/", {}, headers, timeout)
    return status


def _post(url: str, body: Mapping[str, Any], headers: Mapping[str, str], timeout: float) -> Tuple[int, Any]:
    """Status, and the answer as JSON or None. Raises BackendUnreachable."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    given = dict(headers, **{"Content-Type": "application/json", "User-Agent": "phase.console"})
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=given)  # noqa: S310 - http, checked
    try:
        try:
            with opener.open(request, timeout=timeout) as response:
                status, data = response.status, response.read(LONGEST)
        except urllib.error.HTTPError as error:
            status, data = error.code, error.read(LONGEST)
    except (OSError, ValueError) as error:  # URLError is among them
        raise BackendUnreachable(
            "The backend does not answer at %s: %s." % (url, getattr(error, "reason", error)),
            "See with phase_health whether it runs. Set url to where it listens, as seen from where it runs.",
        ) from error
    try:
        return status, json.loads(data)
    except ValueError:
        return status, None
