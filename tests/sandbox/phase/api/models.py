# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of Phase Console as Django models, at the level of the release in version.txt.

Names, types and constraints are facts (tests/sandbox/schema). Tables that no test looks at exist with the few columns
that others refer to.
"""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from backend.release import since
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils import timezone


def identifier() -> models.TextField:
    return models.TextField(default=uuid.uuid4, editable=False, primary_key=True)


def created() -> models.DateTimeField:
    return models.DateTimeField(auto_now_add=True, blank=True, null=True)


def updated() -> models.DateTimeField:
    return models.DateTimeField(auto_now=True)


def deleted() -> models.DateTimeField:
    return models.DateTimeField(blank=True, null=True)


def owned_by(model: str, **options: Any) -> models.ForeignKey:
    """A reference whose rows go with the owner; what refers back to it is named by the caller, or not at all."""
    return models.ForeignKey(model, on_delete=models.CASCADE, **{"related_name": "+", **options})


def may_name(model: str, **options: Any) -> models.ForeignKey:
    """A reference that is emptied when the other row goes."""
    defaults = {"null": True, "blank": True, "related_name": "+"}
    return models.ForeignKey(model, on_delete=models.SET_NULL, **{**defaults, **options})


class UserManager(BaseUserManager):
    def create_user(self, username: str, email: str, password: str | None = None) -> CustomUser:
        user = self.model(username=username, email=self.normalize_email(email))
        user.set_password(password)
        user.save(using=self._db)
        return user


class CustomUser(AbstractBaseUser):
    userId = models.TextField(default=uuid.uuid4, editable=False, primary_key=True)
    username = models.CharField(max_length=64, unique=True)
    email = models.EmailField(max_length=100, unique=True)
    active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    is_superuser = models.BooleanField(default=False)
    created_at = created()
    updated_at = updated()
    if since("v2.67.0"):
        full_name = models.CharField(blank=True, default="", max_length=128)

    objects = UserManager()
    USERNAME_FIELD = "username"
    REQUIRED_FIELDS = ["email"]

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        return self.is_superuser

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_superuser


class Organisation(models.Model):
    FREE, PRO, ENTERPRISE = "FR", "PR", "EN"

    id = identifier()
    created_at = created()
    updated_at = updated()
    identity_key = models.CharField(max_length=256)
    name = models.CharField(max_length=64, unique=True)
    plan = models.CharField(default=FREE, max_length=2)
    stripe_customer_id = models.CharField(blank=True, max_length=255, null=True)
    stripe_subscription_id = models.CharField(blank=True, max_length=255, null=True)
    if since("v2.59.0"):
        pricing_version = models.IntegerField(default=1)
    if since("v2.67.0"):
        require_sso = models.BooleanField(default=False)
    if since("v2.68.0"):
        scim_enabled = models.BooleanField(default=False)


class Role(models.Model):
    id = identifier()
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True, null=True)
    permissions = models.JSONField()
    is_default = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    organisation = owned_by("api.organisation")
    color = models.CharField(blank=True, default="", max_length=7)


if since("v2.41.0"):

    class NetworkAccessPolicy(models.Model):
        id = identifier()
        name = models.CharField(max_length=100)
        allowed_ips = models.TextField()
        is_global = models.BooleanField(default=True)
        created_at = models.DateTimeField(auto_now_add=True)
        organisation = owned_by("api.organisation")
        updated_at = updated()
        created_by = owned_by("api.organisationmember", blank=True, null=True)
        updated_by = owned_by("api.organisationmember", blank=True, null=True)


class App(models.Model):
    id = identifier()
    name = models.CharField(max_length=64)
    identity_key = models.CharField(max_length=256)
    app_token = models.CharField(max_length=64)
    wrapped_key_share = models.CharField(max_length=406)
    created_at = created()
    updated_at = updated()
    organisation = owned_by("api.organisation", related_name="apps")
    app_seed = models.CharField(max_length=208)
    app_version = models.IntegerField(default=1)
    deleted_at = deleted()
    is_deleted = models.BooleanField(default=False)
    sse_enabled = models.BooleanField(default=False)
    if since("v2.61.0"):
        description = models.TextField(blank=True, null=True)


class OrganisationMember(models.Model):
    id = identifier()
    identity_key = models.CharField(blank=True, max_length=256, null=True)
    wrapped_keyring = models.TextField(blank=True)
    created_at = created()
    updated_at = updated()
    deleted_at = deleted()
    organisation = owned_by("api.organisation")
    user = owned_by("api.customuser")
    wrapped_recovery = models.TextField(blank=True)
    role = may_name("api.role")
    apps = models.ManyToManyField("api.app", related_name="members")
    if since("v2.41.0"):
        network_policies = models.ManyToManyField("api.networkaccesspolicy", blank=True, related_name="members")


if since("v2.53.0"):

    class Identity(models.Model):
        id = identifier()
        provider = models.CharField(max_length=64)
        name = models.CharField(max_length=100)
        organisation = owned_by("api.organisation")


class ServiceAccount(models.Model):
    id = identifier()
    name = models.CharField(max_length=255)
    identity_key = models.CharField(blank=True, max_length=256, null=True)
    server_wrapped_keyring = models.TextField(null=True)
    server_wrapped_recovery = models.TextField(null=True)
    created_at = created()
    updated_at = updated()
    deleted_at = deleted()
    organisation = owned_by("api.organisation")
    role = may_name("api.role")
    apps = models.ManyToManyField("api.app", related_name="service_accounts")
    if since("v2.41.0"):
        network_policies = models.ManyToManyField(
            "api.networkaccesspolicy", blank=True, related_name="service_accounts"
        )
    if since("v2.53.0"):
        identities = models.ManyToManyField("api.identity", blank=True, related_name="service_accounts")
    if since("v2.68.0"):
        team = may_name("api.team")


class OrganisationMemberInvite(models.Model):
    id = identifier()
    organisation = owned_by("api.organisation")
    invitee_email = models.EmailField(max_length=254)
    valid = models.BooleanField(default=True)
    expires_at = models.DateTimeField()
    invited_by = may_name("api.organisationmember") if since("v2.69.0") else owned_by("api.organisationmember")
    if since("v2.39.1"):
        role = may_name("api.role")
    if since("v2.69.0"):
        invited_by_service_account = may_name("api.serviceaccount")


class Environment(models.Model):
    id = identifier()
    name = models.CharField(max_length=64)
    env_type = models.CharField(default="dev", max_length=7)
    wrapped_seed = models.CharField(max_length=256)
    wrapped_salt = models.CharField(max_length=256)
    created_at = created()
    updated_at = updated()
    deleted_at = deleted()
    is_deleted = models.BooleanField(default=False)
    app = owned_by("api.app", related_name="environments")
    identity_key = models.CharField(max_length=256)
    index = models.IntegerField(default=0)


class EnvironmentKey(models.Model):
    id = identifier()
    environment = owned_by("api.environment")
    user = owned_by("api.organisationmember", blank=True, null=True)
    service_account = owned_by("api.serviceaccount", blank=True, null=True)
    identity_key = models.CharField(max_length=256)
    wrapped_seed = models.CharField(max_length=208)
    wrapped_salt = models.CharField(max_length=208)
    created_at = created()
    deleted_at = deleted()

    class Meta:
        constraints = (
            [
                models.UniqueConstraint(
                    condition=models.Q(deleted_at__isnull=True, user__isnull=False),
                    fields=("environment", "user"),
                    name="unique_envkey_user",
                ),
                models.UniqueConstraint(
                    condition=models.Q(deleted_at__isnull=True, service_account__isnull=False),
                    fields=("environment", "service_account"),
                    name="unique_envkey_service_account",
                ),
            ]
            if since("v2.49.2")
            else []
        )


class ProviderCredentials(models.Model):
    id = identifier()
    name = models.CharField(max_length=64)
    provider = models.CharField(max_length=50)
    credentials = models.JSONField()
    organisation = owned_by("api.organisation")


class EnvironmentSync(models.Model):
    id = identifier()
    environment = owned_by("api.environment")
    path = models.TextField(default="/")
    service = models.CharField(max_length=50)
    status = models.CharField(default="queued" if since("v2.71.0") else "in_progress", max_length=16)
    last_sync = models.DateTimeField(blank=True, null=True)


class EnvironmentSyncEvent(models.Model):
    meta = models.JSONField(null=True)
    id = identifier()
    status = models.CharField(default="queued" if since("v2.71.0") else "in_progress", max_length=16)
    created_at = created()
    completed_at = models.DateTimeField(blank=True, null=True)
    env_sync = owned_by("api.environmentsync")


class ServiceToken(models.Model):
    id = identifier()
    identity_key = models.CharField(max_length=256)
    token = models.CharField(max_length=64)
    wrapped_key_share = models.CharField(max_length=406)
    name = models.CharField(max_length=64)
    created_at = created()
    updated_at = updated()
    deleted_at = deleted()
    expires_at = models.DateTimeField(blank=True, null=True)
    app = owned_by("api.app")
    created_by = owned_by("api.organisationmember", blank=True, null=True)


class ServiceAccountToken(models.Model):
    id = identifier()
    name = models.CharField(max_length=64)
    identity_key = models.CharField(max_length=256)
    token = models.CharField(max_length=64)
    wrapped_key_share = models.CharField(max_length=406)
    created_at = created()
    updated_at = updated()
    deleted_at = deleted()
    expires_at = models.DateTimeField(blank=True, null=True)
    created_by = owned_by("api.organisationmember", blank=True, null=True)
    service_account = owned_by("api.serviceaccount")
    if since("v2.53.0"):
        created_by_service_account = may_name("api.serviceaccount")
    if since("v2.69.0"):
        last_used_at = models.DateTimeField(blank=True, null=True)


class UserToken(models.Model):
    id = identifier()
    name = models.CharField(max_length=64)
    identity_key = models.CharField(max_length=256)
    token = models.CharField(max_length=64)
    wrapped_key_share = models.CharField(max_length=406)
    user = owned_by("api.organisationmember")
    created_at = created()
    updated_at = updated()
    deleted_at = deleted()
    expires_at = models.DateTimeField(blank=True, null=True)


class SecretFolder(models.Model):
    id = identifier()
    name = models.CharField(max_length=64)
    created_at = created()
    updated_at = updated()
    deleted_at = deleted()
    environment = owned_by("api.environment")
    path = models.TextField(default="/")
    folder = owned_by("api.secretfolder", null=True)

    class Meta:
        if since("v2.40.1"):
            constraints = [
                models.UniqueConstraint(
                    condition=models.Q(folder__isnull=False),
                    fields=("environment", "folder", "name", "path"),
                    name="unique_secret_folder",
                ),
                models.UniqueConstraint(
                    condition=models.Q(folder__isnull=True),
                    fields=("environment", "name", "path"),
                    name="unique_root_folder",
                ),
            ]
        else:
            unique_together = [("environment", "folder", "name", "path")]


class SecretTag(models.Model):
    id = identifier()
    name = models.CharField(max_length=64)
    organisation = owned_by("api.organisation")
    created_at = created()
    deleted_at = deleted()
    updated_at = updated()
    color = models.CharField(max_length=64)


class Secret(models.Model):
    id = identifier()
    key = models.TextField()
    key_digest = models.TextField()
    value = models.TextField()
    version = models.IntegerField(default=1)
    comment = models.TextField()
    created_at = created()
    updated_at = updated()
    deleted_at = deleted()
    environment = owned_by("api.environment")
    folder = owned_by("api.secretfolder", null=True)
    path = models.TextField(default="/")
    tags = models.ManyToManyField("api.secrettag")
    if since("v2.64.0"):
        type = models.CharField(default="secret", max_length=10)
    if since("v2.70.0"):
        rotating_output_id = models.CharField(blank=True, default="", max_length=64)
        rotating_secret = owned_by("api.rotatingsecret", blank=True, null=True)


class SecretEvent(models.Model):
    CREATE, READ, UPDATE, DELETE = "C", "R", "U", "D"

    id = identifier()
    key = models.TextField()
    key_digest = models.TextField()
    value = models.TextField()
    version = models.IntegerField(default=1)
    comment = models.TextField()
    event_type = models.CharField(default=CREATE, max_length=1)
    environment = owned_by("api.environment")
    secret = owned_by("api.secret")
    user = may_name("api.organisationmember")
    folder = owned_by("api.secretfolder", null=True)
    timestamp = models.DateTimeField(auto_now_add=True)
    ip_address = models.GenericIPAddressField(blank=True, null=True)
    user_agent = models.TextField(blank=True, null=True)
    path = models.TextField(default="/")
    service_token = may_name("api.servicetoken")
    service_account = may_name("api.serviceaccount")
    service_account_token = may_name("api.serviceaccounttoken")
    tags = models.ManyToManyField("api.secrettag")
    if since("v2.64.0"):
        type = models.CharField(default="secret", max_length=10)

    class Meta:
        indexes = (
            [
                models.Index(fields=["secret_id", "event_type", "timestamp"], name="secret_event_history_idx"),
                models.Index(fields=["environment", "-timestamp"], name="secret_logs_env_idx"),
                models.Index(fields=["service_account_token", "-timestamp"], name="sa_token_last_used_idx"),
            ]
            if since("v2.54.0")
            else []
        )


if since("v2.52.0"):

    class DynamicSecret(models.Model):
        id = identifier()
        name = models.TextField()
        environment = owned_by("api.environment")
        key_map = models.JSONField(default=list)

    class DynamicSecretLease(models.Model):
        id = identifier()
        name = models.TextField()
        status = models.CharField(default="active", max_length=50)
        secret = owned_by("api.dynamicsecret")
        credentials = models.JSONField(default=dict)
        cleanup_job_id = models.TextField(default=uuid.uuid4)

    class DynamicSecretLeaseEvent(models.Model):
        id = models.BigAutoField(primary_key=True)
        lease = owned_by("api.dynamicsecretlease")
        created_at = models.DateTimeField(auto_now_add=True)
        event_type = models.CharField(default="created", max_length=50)
        ip_address = models.GenericIPAddressField(blank=True, null=True)
        metadata = models.JSONField(blank=True, default=dict)
        organisation_member = may_name("api.organisationmember")
        service_account = may_name("api.serviceaccount")
        user_agent = models.TextField(blank=True, null=True)


if since("v2.67.0"):

    class EmailVerification(models.Model):
        token = models.CharField(db_index=True, max_length=64, unique=True)
        verified = models.BooleanField(default=False)
        expires_at = models.DateTimeField()
        user = models.OneToOneField("api.customuser", on_delete=models.CASCADE)

    class OrganisationSSOProvider(models.Model):
        id = identifier()
        provider_type = models.CharField(max_length=50)
        name = models.CharField(max_length=128)
        config = models.JSONField()
        enabled = models.BooleanField(default=True)
        created_at = models.DateTimeField(auto_now_add=True)
        updated_at = updated()
        created_by = may_name("api.organisationmember")
        organisation = owned_by("api.organisation", related_name="sso_providers")
        updated_by = may_name("api.organisationmember")

        class Meta:
            unique_together = [("organisation", "provider_type")]


if since("v2.68.0"):

    class Team(models.Model):
        id = identifier()
        name = models.CharField(max_length=64)
        is_scim_managed = models.BooleanField(default=False)
        created_by = may_name("api.organisationmember")
        organisation = owned_by("api.organisation")
        owner = may_name("api.organisationmember")

    class TeamMembership(models.Model):
        id = identifier()
        org_member = owned_by("api.organisationmember", blank=True, null=True)
        service_account = owned_by("api.serviceaccount", blank=True, null=True)
        team = owned_by("api.team")

        class Meta:
            constraints = [
                models.UniqueConstraint(
                    condition=models.Q(org_member__isnull=False), fields=("team", "org_member"), name="unique_team_user"
                ),
                models.UniqueConstraint(
                    condition=models.Q(service_account__isnull=False),
                    fields=("team", "service_account"),
                    name="unique_team_sa",
                ),
            ]

    class TeamAppEnvironment(models.Model):
        id = identifier()
        app = owned_by("api.app")
        environment = owned_by("api.environment")
        team = owned_by("api.team")

        class Meta:
            constraints = [models.UniqueConstraint(fields=("team", "environment"), name="unique_team_env")]

    class EnvironmentKeyGrant(models.Model):
        id = identifier()
        grant_type = models.CharField(max_length=20)
        environment_key = owned_by("api.environmentkey")
        team = owned_by("api.team", blank=True, null=True)

    class SCIMUser(models.Model):
        id = identifier()
        external_id = models.CharField(max_length=255)
        email = models.EmailField(max_length=254)
        display_name = models.CharField(blank=True, max_length=255)
        active = models.BooleanField(default=True)
        scim_data = models.JSONField(default=dict)
        created_at = created()
        updated_at = updated()
        org_member = owned_by("api.organisationmember", blank=True, null=True)
        organisation = owned_by("api.organisation")
        user = owned_by("api.customuser", blank=True, null=True)

        class Meta:
            constraints = [
                models.UniqueConstraint(fields=("external_id", "organisation"), name="unique_scim_user_external_id"),
                models.UniqueConstraint(fields=("email", "organisation"), name="unique_scim_user_email"),
            ]

    class SCIMToken(models.Model):
        id = identifier()
        name = models.CharField(max_length=64)
        token_hash = models.CharField(db_index=True, max_length=128, unique=True)
        organisation = owned_by("api.organisation")

    class SCIMEvent(models.Model):
        id = identifier()
        event_type = models.CharField(max_length=32)
        status = models.CharField(default="success", max_length=8)
        resource_type = models.CharField(max_length=16)
        resource_id = models.TextField(blank=True)
        resource_name = models.CharField(blank=True, max_length=255)
        detail = models.JSONField(default=dict)
        request_method = models.CharField(blank=True, max_length=8)
        request_path = models.TextField(blank=True)
        request_body = models.JSONField(blank=True, null=True)
        response_status = models.IntegerField(blank=True, null=True)
        response_body = models.JSONField(blank=True, null=True)
        ip_address = models.GenericIPAddressField(blank=True, null=True)
        user_agent = models.TextField(blank=True, null=True)
        timestamp = models.DateTimeField(auto_now_add=True)
        organisation = owned_by("api.organisation")
        scim_token = may_name("api.scimtoken")

        class Meta:
            indexes = [
                models.Index(fields=["organisation", "-timestamp"], name="scim_event_org_ts_idx"),
                models.Index(fields=["scim_token", "-timestamp"], name="scim_event_token_ts_idx"),
            ]


if since("v2.69.0"):

    class AuditEvent(models.Model):
        id = identifier()
        event_type = models.CharField(max_length=1)
        resource_type = models.CharField(max_length=10)
        resource_id = models.TextField()
        actor_type = models.CharField(max_length=10)
        actor_id = models.TextField()
        actor_metadata = models.JSONField(default=dict)
        resource_metadata = models.JSONField(default=dict)
        old_values = models.JSONField(blank=True, null=True)
        new_values = models.JSONField(blank=True, null=True)
        description = models.TextField(blank=True, default="")
        ip_address = models.GenericIPAddressField(blank=True, null=True)
        user_agent = models.TextField(blank=True, default="")
        timestamp = models.DateTimeField(default=timezone.now)
        organisation = owned_by("api.organisation")

        class Meta:
            indexes = [
                models.Index(fields=["resource_type", "resource_id", "-timestamp"], name="audit_resource_history_idx"),
                models.Index(fields=["organisation", "-timestamp"], name="audit_org_activity_idx"),
                models.Index(fields=["actor_type", "actor_id", "-timestamp"], name="audit_actor_activity_idx"),
            ]


if since("v2.70.0"):

    class RotatingSecret(models.Model):
        id = identifier()
        name = models.TextField()
        environment = owned_by("api.environment")
        authentication = may_name("api.providercredentials")
        rotation_interval = models.DurationField(default=datetime.timedelta)
        is_active = models.BooleanField(default=True)
        deleted_at = deleted()

    class RotatingSecretCredential(models.Model):
        id = identifier()
        status = models.CharField(default="pending", max_length=20)
        rotating_secret = owned_by("api.rotatingsecret")

    class RotatingSecretEvent(models.Model):
        id = models.BigAutoField(primary_key=True)
        event_type = models.CharField(max_length=50)
        ip_address = models.GenericIPAddressField(blank=True, null=True)
        user_agent = models.TextField(blank=True, null=True)
        metadata = models.JSONField(blank=True, default=dict)
        created_at = models.DateTimeField(auto_now_add=True)
        credential = owned_by("api.rotatingsecretcredential", blank=True, null=True)
        organisation_member = may_name("api.organisationmember")
        rotating_secret = owned_by("api.rotatingsecret")
        service_account = may_name("api.serviceaccount")


if since("v2.73.0"):

    class LogStream(models.Model):
        id = identifier()
        name = models.CharField(max_length=64)
        provider = models.CharField(max_length=50)
        sources = models.JSONField(default=list)
        options = models.JSONField(default=dict)
        max_attempts = models.PositiveIntegerField(default=5)
        is_active = models.BooleanField(default=True)
        health = models.CharField(default="healthy", max_length=20)
        paused_reason = models.TextField(blank=True, default="")
        cursors = models.JSONField(default=dict)
        ship_job_id = models.TextField(blank=True, null=True)
        last_shipped_at = models.DateTimeField(blank=True, null=True)
        last_failure_at = models.DateTimeField(blank=True, null=True)
        last_failure_reason = models.TextField(blank=True, default="")
        created_at = created()
        updated_at = updated()
        deleted_at = deleted()
        authentication = may_name("api.providercredentials")
        organisation = owned_by("api.organisation")

    class LogStreamDeliveryEvent(models.Model):
        id = identifier()
        source = models.CharField(max_length=32)
        status = models.CharField(max_length=16)
        event_count = models.PositiveIntegerField(default=0)
        payload_bytes = models.PositiveIntegerField(default=0)
        attempts = models.PositiveIntegerField(default=0)
        cursor_from = models.DateTimeField(blank=True, null=True)
        cursor_to = models.DateTimeField(blank=True, null=True)
        resolved_at = models.DateTimeField(blank=True, null=True)
        meta = models.JSONField(null=True)
        created_at = created()
        completed_at = models.DateTimeField(blank=True, null=True)
        retried_from = may_name("api.logstreamdeliveryevent")
        stream = owned_by("api.logstream")
        cursor_from_id = models.TextField(blank=True, default="")
        cursor_to_id = models.TextField(blank=True, default="")

        class Meta:
            indexes = [
                models.Index(fields=["stream", "-created_at"], name="log_stream_delivery_idx"),
                models.Index(
                    condition=models.Q(resolved_at__isnull=True, status__in=["failed", "skipped"]),
                    fields=["stream", "source"],
                    name="log_stream_unresolved_idx",
                ),
            ]
