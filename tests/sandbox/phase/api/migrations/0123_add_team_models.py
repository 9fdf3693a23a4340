# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0122_sso_audit_fks_set_null")]

    operations = [
        migrations.CreateModel(
            name="Team",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=64)),
                ("is_scim_managed", models.BooleanField(default=False)),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.organisationmember"
                    ),
                ),
                ("organisation", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisation")),
            ],
        ),
        migrations.CreateModel(
            name="TeamMembership",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "org_member",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=models.CASCADE, related_name="+", to="api.organisationmember"
                    ),
                ),
                (
                    "service_account",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=models.CASCADE, related_name="+", to="api.serviceaccount"
                    ),
                ),
                ("team", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.team")),
            ],
        ),
        migrations.CreateModel(
            name="TeamAppEnvironment",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("app", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.app")),
                ("environment", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.environment")),
                ("team", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.team")),
            ],
        ),
        migrations.CreateModel(
            name="EnvironmentKeyGrant",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("grant_type", models.CharField(max_length=20)),
                (
                    "environment_key",
                    models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.environmentkey"),
                ),
                (
                    "team",
                    models.ForeignKey(blank=True, null=True, on_delete=models.CASCADE, related_name="+", to="api.team"),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="teammembership",
            constraint=models.UniqueConstraint(
                condition=models.Q(("org_member__isnull", False)),
                fields=("team", "org_member"),
                name="unique_team_user",
            ),
        ),
        migrations.AddConstraint(
            model_name="teammembership",
            constraint=models.UniqueConstraint(
                condition=models.Q(("service_account__isnull", False)),
                fields=("team", "service_account"),
                name="unique_team_sa",
            ),
        ),
        migrations.AddConstraint(
            model_name="teamappenvironment",
            constraint=models.UniqueConstraint(fields=("team", "environment"), name="unique_team_env"),
        ),
    ]
