# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole schema of v2.37.2 at once, as SQL: its constraints and indexes bear names of a long history.

Django is only told what it is. The ninety-three names that follow up to 0094 are there, and empty.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from django.db import migrations, models

SCHEMA = Path(__file__).resolve().parent.parent / "baseline.sql"


class Migration(migrations.Migration):
    initial = True
    dependencies = []

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(SCHEMA.read_text(encoding="utf-8"))],
            state_operations=[
                migrations.CreateModel(
                    name="CustomUser",
                    fields=[
                        ("password", models.CharField(max_length=128, verbose_name="password")),
                        ("last_login", models.DateTimeField(blank=True, null=True, verbose_name="last login")),
                        (
                            "userId",
                            models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                        ),
                        ("username", models.CharField(max_length=64, unique=True)),
                        ("email", models.EmailField(max_length=100, unique=True)),
                        ("active", models.BooleanField(default=True)),
                        ("is_staff", models.BooleanField(default=False)),
                        ("is_superuser", models.BooleanField(default=False)),
                        ("created_at", models.DateTimeField(auto_now_add=True, null=True)),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                    ],
                    options={
                        "abstract": False,
                    },
                ),
                migrations.CreateModel(
                    name="App",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("name", models.CharField(max_length=64)),
                        ("identity_key", models.CharField(max_length=256)),
                        ("app_token", models.CharField(max_length=64)),
                        ("wrapped_key_share", models.CharField(max_length=406)),
                        ("created_at", models.DateTimeField(auto_now_add=True, null=True)),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                        ("app_seed", models.CharField(max_length=208)),
                        ("app_version", models.IntegerField(default=1)),
                        ("deleted_at", models.DateTimeField(blank=True, null=True)),
                        ("is_deleted", models.BooleanField(default=False)),
                        ("sse_enabled", models.BooleanField(default=False)),
                    ],
                ),
                migrations.CreateModel(
                    name="Environment",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("name", models.CharField(max_length=64)),
                        ("env_type", models.CharField(default="dev", max_length=7)),
                        ("wrapped_seed", models.CharField(max_length=256)),
                        ("wrapped_salt", models.CharField(max_length=256)),
                        ("created_at", models.DateTimeField(auto_now_add=True, null=True)),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                        ("deleted_at", models.DateTimeField(blank=True, null=True)),
                        ("is_deleted", models.BooleanField(default=False)),
                        ("identity_key", models.CharField(max_length=256)),
                        ("index", models.IntegerField(default=0)),
                        ("app", models.ForeignKey(on_delete=models.CASCADE, related_name="environments", to="api.app")),
                    ],
                ),
                migrations.CreateModel(
                    name="EnvironmentSync",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("path", models.TextField(default="/")),
                        ("service", models.CharField(max_length=50)),
                        ("status", models.CharField(default="in_progress", max_length=16)),
                        ("last_sync", models.DateTimeField(blank=True, null=True)),
                        (
                            "environment",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.environment"),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="Organisation",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("created_at", models.DateTimeField(auto_now_add=True, null=True)),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                        ("identity_key", models.CharField(max_length=256)),
                        ("name", models.CharField(max_length=64, unique=True)),
                        ("plan", models.CharField(default="FR", max_length=2)),
                        ("stripe_customer_id", models.CharField(blank=True, max_length=255, null=True)),
                        ("stripe_subscription_id", models.CharField(blank=True, max_length=255, null=True)),
                    ],
                ),
                migrations.CreateModel(
                    name="OrganisationMember",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("identity_key", models.CharField(blank=True, max_length=256, null=True)),
                        ("wrapped_keyring", models.TextField(blank=True)),
                        ("created_at", models.DateTimeField(auto_now_add=True, null=True)),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                        ("deleted_at", models.DateTimeField(blank=True, null=True)),
                        ("wrapped_recovery", models.TextField(blank=True)),
                        ("apps", models.ManyToManyField(related_name="members", to="api.app")),
                        (
                            "organisation",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisation"),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="Role",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("name", models.CharField(max_length=255)),
                        ("description", models.TextField(blank=True, null=True)),
                        ("permissions", models.JSONField()),
                        ("is_default", models.BooleanField(default=False)),
                        ("created_at", models.DateTimeField(auto_now_add=True)),
                        ("color", models.CharField(blank=True, default="", max_length=7)),
                        (
                            "organisation",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisation"),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="Secret",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("key", models.TextField()),
                        ("key_digest", models.TextField()),
                        ("value", models.TextField()),
                        ("version", models.IntegerField(default=1)),
                        ("comment", models.TextField()),
                        ("created_at", models.DateTimeField(auto_now_add=True, null=True)),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                        ("deleted_at", models.DateTimeField(blank=True, null=True)),
                        ("path", models.TextField(default="/")),
                        (
                            "environment",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.environment"),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="ServiceAccount",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("name", models.CharField(max_length=255)),
                        ("identity_key", models.CharField(blank=True, max_length=256, null=True)),
                        ("server_wrapped_keyring", models.TextField(null=True)),
                        ("server_wrapped_recovery", models.TextField(null=True)),
                        ("created_at", models.DateTimeField(auto_now_add=True, null=True)),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                        ("deleted_at", models.DateTimeField(blank=True, null=True)),
                        ("apps", models.ManyToManyField(related_name="service_accounts", to="api.app")),
                        (
                            "organisation",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisation"),
                        ),
                        (
                            "role",
                            models.ForeignKey(
                                blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.role"
                            ),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="UserToken",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("name", models.CharField(max_length=64)),
                        ("identity_key", models.CharField(max_length=256)),
                        ("token", models.CharField(max_length=64)),
                        ("wrapped_key_share", models.CharField(max_length=406)),
                        ("created_at", models.DateTimeField(auto_now_add=True, null=True)),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                        ("deleted_at", models.DateTimeField(blank=True, null=True)),
                        ("expires_at", models.DateTimeField(blank=True, null=True)),
                        (
                            "user",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisationmember"),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="ServiceToken",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("identity_key", models.CharField(max_length=256)),
                        ("token", models.CharField(max_length=64)),
                        ("wrapped_key_share", models.CharField(max_length=406)),
                        ("name", models.CharField(max_length=64)),
                        ("created_at", models.DateTimeField(auto_now_add=True, null=True)),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                        ("deleted_at", models.DateTimeField(blank=True, null=True)),
                        ("expires_at", models.DateTimeField(blank=True, null=True)),
                        ("app", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.app")),
                        (
                            "created_by",
                            models.ForeignKey(
                                blank=True,
                                null=True,
                                on_delete=models.CASCADE,
                                related_name="+",
                                to="api.organisationmember",
                            ),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="ServiceAccountToken",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("name", models.CharField(max_length=64)),
                        ("identity_key", models.CharField(max_length=256)),
                        ("token", models.CharField(max_length=64)),
                        ("wrapped_key_share", models.CharField(max_length=406)),
                        ("created_at", models.DateTimeField(auto_now_add=True, null=True)),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                        ("deleted_at", models.DateTimeField(blank=True, null=True)),
                        ("expires_at", models.DateTimeField(blank=True, null=True)),
                        (
                            "created_by",
                            models.ForeignKey(
                                blank=True,
                                null=True,
                                on_delete=models.CASCADE,
                                related_name="+",
                                to="api.organisationmember",
                            ),
                        ),
                        (
                            "service_account",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.serviceaccount"),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="SecretTag",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("name", models.CharField(max_length=64)),
                        ("created_at", models.DateTimeField(auto_now_add=True, null=True)),
                        ("deleted_at", models.DateTimeField(blank=True, null=True)),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                        ("color", models.CharField(max_length=64)),
                        (
                            "organisation",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisation"),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="SecretFolder",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("name", models.CharField(max_length=64)),
                        ("created_at", models.DateTimeField(auto_now_add=True, null=True)),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                        ("deleted_at", models.DateTimeField(blank=True, null=True)),
                        ("path", models.TextField(default="/")),
                        (
                            "environment",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.environment"),
                        ),
                        (
                            "folder",
                            models.ForeignKey(
                                null=True, on_delete=models.CASCADE, related_name="+", to="api.secretfolder"
                            ),
                        ),
                    ],
                    options={
                        "unique_together": {("environment", "folder", "name", "path")},
                    },
                ),
                migrations.CreateModel(
                    name="SecretEvent",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("key", models.TextField()),
                        ("key_digest", models.TextField()),
                        ("value", models.TextField()),
                        ("version", models.IntegerField(default=1)),
                        ("comment", models.TextField()),
                        ("event_type", models.CharField(default="C", max_length=1)),
                        ("timestamp", models.DateTimeField(auto_now_add=True)),
                        ("ip_address", models.GenericIPAddressField(blank=True, null=True)),
                        ("user_agent", models.TextField(blank=True, null=True)),
                        ("path", models.TextField(default="/")),
                        (
                            "environment",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.environment"),
                        ),
                        (
                            "folder",
                            models.ForeignKey(
                                null=True, on_delete=models.CASCADE, related_name="+", to="api.secretfolder"
                            ),
                        ),
                        ("secret", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.secret")),
                        (
                            "service_account",
                            models.ForeignKey(
                                blank=True,
                                null=True,
                                on_delete=models.SET_NULL,
                                related_name="+",
                                to="api.serviceaccount",
                            ),
                        ),
                        (
                            "service_account_token",
                            models.ForeignKey(
                                blank=True,
                                null=True,
                                on_delete=models.SET_NULL,
                                related_name="+",
                                to="api.serviceaccounttoken",
                            ),
                        ),
                        (
                            "service_token",
                            models.ForeignKey(
                                blank=True,
                                null=True,
                                on_delete=models.SET_NULL,
                                related_name="+",
                                to="api.servicetoken",
                            ),
                        ),
                        ("tags", models.ManyToManyField(to="api.secrettag")),
                        (
                            "user",
                            models.ForeignKey(
                                blank=True,
                                null=True,
                                on_delete=models.SET_NULL,
                                related_name="+",
                                to="api.organisationmember",
                            ),
                        ),
                    ],
                ),
                migrations.AddField(
                    model_name="secret",
                    name="folder",
                    field=models.ForeignKey(
                        null=True, on_delete=models.CASCADE, related_name="+", to="api.secretfolder"
                    ),
                ),
                migrations.AddField(model_name="secret", name="tags", field=models.ManyToManyField(to="api.secrettag")),
                migrations.CreateModel(
                    name="ProviderCredentials",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("name", models.CharField(max_length=64)),
                        ("provider", models.CharField(max_length=50)),
                        ("credentials", models.JSONField()),
                        (
                            "organisation",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisation"),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="OrganisationMemberInvite",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("invitee_email", models.EmailField(max_length=254)),
                        ("valid", models.BooleanField(default=True)),
                        ("expires_at", models.DateTimeField()),
                        (
                            "invited_by",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisationmember"),
                        ),
                        (
                            "organisation",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisation"),
                        ),
                    ],
                ),
                migrations.AddField(
                    model_name="organisationmember",
                    name="role",
                    field=models.ForeignKey(
                        blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.role"
                    ),
                ),
                migrations.AddField(
                    model_name="organisationmember",
                    name="user",
                    field=models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.customuser"),
                ),
                migrations.CreateModel(
                    name="EnvironmentSyncEvent",
                    fields=[
                        ("meta", models.JSONField(null=True)),
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("status", models.CharField(default="in_progress", max_length=16)),
                        ("created_at", models.DateTimeField(auto_now_add=True, null=True)),
                        ("completed_at", models.DateTimeField(blank=True, null=True)),
                        (
                            "env_sync",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.environmentsync"),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="EnvironmentKey",
                    fields=[
                        ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                        ("identity_key", models.CharField(max_length=256)),
                        ("wrapped_seed", models.CharField(max_length=208)),
                        ("wrapped_salt", models.CharField(max_length=208)),
                        ("created_at", models.DateTimeField(auto_now_add=True, null=True)),
                        ("deleted_at", models.DateTimeField(blank=True, null=True)),
                        (
                            "environment",
                            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.environment"),
                        ),
                        (
                            "service_account",
                            models.ForeignKey(
                                blank=True,
                                null=True,
                                on_delete=models.CASCADE,
                                related_name="+",
                                to="api.serviceaccount",
                            ),
                        ),
                        (
                            "user",
                            models.ForeignKey(
                                blank=True,
                                null=True,
                                on_delete=models.CASCADE,
                                related_name="+",
                                to="api.organisationmember",
                            ),
                        ),
                    ],
                ),
                migrations.AddField(
                    model_name="app",
                    name="organisation",
                    field=models.ForeignKey(on_delete=models.CASCADE, related_name="apps", to="api.organisation"),
                ),
            ],
        )
    ]
