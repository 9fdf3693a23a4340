# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0120_add_emailverification_and_user_full_name")]

    operations = [
        migrations.AddField(model_name="organisation", name="require_sso", field=models.BooleanField(default=False)),
        migrations.CreateModel(
            name="OrganisationSSOProvider",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("provider_type", models.CharField(max_length=50)),
                ("name", models.CharField(max_length=128)),
                ("config", models.JSONField()),
                ("enabled", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=models.CASCADE, related_name="+", to="api.organisationmember"
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(on_delete=models.CASCADE, related_name="sso_providers", to="api.organisation"),
                ),
                (
                    "updated_by",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=models.CASCADE, related_name="+", to="api.organisationmember"
                    ),
                ),
            ],
            options={"unique_together": {("organisation", "provider_type")}},
        ),
    ]
