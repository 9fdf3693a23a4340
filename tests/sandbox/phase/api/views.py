# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The web process: sign in with a password, ask what the rules say, read secrets."""

from __future__ import annotations

import json

import redis
from backend.release import since
from django.contrib import auth
from django.core.cache import cache
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from api.access import Caller, Denied, check, client_address, domain_allowed, password_login_allowed
from api.models import (
    CustomUser,
    Environment,
    OrganisationMember,
    Secret,
    SecretEvent,
    ServiceAccountToken,
    ServiceToken,
    UserToken,
)


def denied(error: Denied) -> JsonResponse:
    status = 401 if error.code == "UNAUTHENTICATED" else 403
    return JsonResponse({"error": str(error), "code": error.code}, status=status)


@csrf_exempt
def login(request: HttpRequest) -> HttpResponse:
    """POST email and password; the answer's cookie is a password session."""
    if not password_login_allowed():
        return denied(Denied("PASSWORD_AUTH_DISABLED", "Password sign-in is not enabled on this instance."))
    user = CustomUser.objects.filter(email=request.POST.get("email", "")).first()
    if user is None or not user.has_usable_password() or not user.check_password(request.POST.get("password", "")):
        return denied(Denied("UNAUTHENTICATED", "Wrong email or password."))
    remember(request, user)
    return JsonResponse({"status": "signed in"})


@csrf_exempt
def password_login(request: HttpRequest) -> HttpResponse:
    """Phase's own path: POST email and authHash as JSON, with its answers and statuses (v2.73.2)."""
    try:
        cache.get("password_login_attempts")  # Phase counts them there for its rate limit, and this is all that shows
    except redis.RedisError:
        return JsonResponse({"error": "Internal server error."}, status=500)
    if not password_login_allowed():
        return JsonResponse({"error": "Password authentication is disabled on this instance."}, status=403)
    try:
        data = json.loads(request.body)
        email, secret = data.get("email", ""), data.get("authHash", "")
    except (ValueError, AttributeError):
        email = secret = ""
    if not email or not secret:
        return JsonResponse({"error": "Email and password are required."}, status=400)
    email = email.lower().strip()
    user = CustomUser.objects.filter(email=email).first()
    if not domain_allowed(email) or user is None or not user.check_password(secret):
        return JsonResponse({"error": "Invalid email or password."}, status=401)
    if not user.active:
        return JsonResponse({"error": "Please verify your email address first."}, status=403)
    remember(request, user)
    return JsonResponse({"userId": user.userId, "email": user.email, "authMethod": "password"})


def remember(request: HttpRequest, user: CustomUser) -> None:
    """Make it a password session, with what Phase keeps in one."""
    auth.login(request, user)
    request.session["auth_method"] = "password"


def access(request: HttpRequest) -> HttpResponse:
    """What the rules say to this caller, and which address they saw."""
    try:
        check(caller_of(request, request.GET.get("organisation")), request)
    except Denied as error:
        return denied(error)
    return JsonResponse({"access": "granted", "address": client_address(request)})


def secrets(request: HttpRequest) -> HttpResponse:
    """GET /secrets/?app=ID&env=NAME[&key_digest=DIGEST]: the ciphertexts, each read recorded as an event."""
    try:
        environment = Environment.objects.select_related("app").get(
            app_id=request.GET.get("app"), name__iexact=request.GET.get("env", "")
        )
        caller = caller_of(request, environment.app.organisation_id)
        if caller.organisation.id != environment.app.organisation_id:
            return JsonResponse({"error": "No such environment."}, status=404)
        check(caller, request)
    except Environment.DoesNotExist:
        return JsonResponse({"error": "No such environment."}, status=404)
    except Denied as error:
        return denied(error)
    chosen = Secret.objects.filter(environment=environment, deleted_at__isnull=True).order_by("id")
    if "key_digest" in request.GET:
        chosen = chosen.filter(key_digest=request.GET["key_digest"])
    with transaction.atomic():
        for secret in chosen:
            record_read(secret, caller, request)
        if since("v2.69.0") and isinstance(caller.token, ServiceAccountToken):
            ServiceAccountToken.objects.filter(id=caller.token.id).update(last_used_at=timezone.now())
    return JsonResponse(
        [{"id": s.id, "key": s.key, "value": s.value, "version": s.version} for s in chosen], safe=False
    )


def record_read(secret: Secret, caller: Caller, request: HttpRequest) -> None:
    """Write the read event with the columns that this release knows: an older one fails once the table has more."""
    extra = {"type": secret.type} if since("v2.64.0") else {}
    event = SecretEvent.objects.create(
        secret=secret,
        environment_id=secret.environment_id,
        folder_id=secret.folder_id,
        path=secret.path,
        key=secret.key,
        key_digest=secret.key_digest,
        value=secret.value,
        version=secret.version,
        comment=secret.comment,
        event_type=SecretEvent.READ,
        user=caller.member,
        service_account=caller.service_account,
        service_account_token=caller.token if isinstance(caller.token, ServiceAccountToken) else None,
        service_token=caller.token if isinstance(caller.token, ServiceToken) else None,
        ip_address=client_address(request),
        user_agent=request.headers.get("User-Agent"),
        **extra,
    )
    event.tags.set(secret.tags.all())


def caller_of(request: HttpRequest, organisation_id: str | None) -> Caller:
    """Who calls: `Authorization: Bearer User|ServiceAccount|Service TOKEN`, or a session. Raises Denied for nobody."""
    scheme, _space, rest = request.headers.get("Authorization", "").partition(" ")
    kind, _space, token = rest.partition(" ")
    if scheme == "Bearer":
        return token_caller(kind, token)
    member = (
        OrganisationMember.objects.select_related("organisation")
        .filter(user_id=request.user.pk, organisation_id=organisation_id, deleted_at__isnull=True)
        .first()
    )
    if member is None:
        raise Denied("UNAUTHENTICATED", "No token, and no session in this organisation.")
    return Caller(member.organisation, member=member, password_session=request.session.get("auth_method") == "password")


def token_caller(kind: str, token: str) -> Caller:
    """The account behind a live token. Raises Denied."""
    model = {"User": UserToken, "ServiceAccount": ServiceAccountToken, "Service": ServiceToken}.get(kind)
    found = model.objects.filter(token=token, deleted_at__isnull=True).first() if model else None
    if found is None or (found.expires_at and found.expires_at < timezone.now()):
        raise Denied("UNAUTHENTICATED", "Token expired or deleted.")
    if isinstance(found, UserToken):
        return Caller(found.user.organisation, member=found.user, token=found)
    if isinstance(found, ServiceAccountToken):
        account = found.service_account
        return Caller(account.organisation, service_account=account, token=found)
    return Caller(found.app.organisation, token=found)
