# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0124_backfill_environment_key_grants")]

    operations = [
        migrations.AddField(model_name="organisation", name="scim_enabled", field=models.BooleanField(default=False)),
        migrations.AddField(
            model_name="serviceaccount",
            name="team",
            field=models.ForeignKey(blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.team"),
        ),
        migrations.AddField(
            model_name="team",
            name="owner",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.organisationmember"
            ),
        ),
        migrations.CreateModel(
            name="SCIMUser",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("external_id", models.CharField(max_length=255)),
                ("email", models.EmailField(max_length=254)),
                ("display_name", models.CharField(blank=True, max_length=255)),
                ("active", models.BooleanField(default=True)),
                ("scim_data", models.JSONField(default=dict)),
                ("created_at", models.DateTimeField(auto_now_add=True, blank=True, null=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "org_member",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=models.CASCADE, related_name="+", to="api.organisationmember"
                    ),
                ),
                ("organisation", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisation")),
                (
                    "user",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=models.CASCADE, related_name="+", to="api.customuser"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SCIMToken",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=64)),
                ("token_hash", models.CharField(db_index=True, max_length=128, unique=True)),
                ("organisation", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisation")),
            ],
        ),
        migrations.CreateModel(
            name="SCIMEvent",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("event_type", models.CharField(max_length=32)),
                ("status", models.CharField(default="success", max_length=8)),
                ("resource_type", models.CharField(max_length=16)),
                ("resource_id", models.TextField(blank=True)),
                ("resource_name", models.CharField(blank=True, max_length=255)),
                ("detail", models.JSONField(default=dict)),
                ("request_method", models.CharField(blank=True, max_length=8)),
                ("request_path", models.TextField(blank=True)),
                ("request_body", models.JSONField(blank=True, null=True)),
                ("response_status", models.IntegerField(blank=True, null=True)),
                ("response_body", models.JSONField(blank=True, null=True)),
                ("ip_address", models.GenericIPAddressField(blank=True, null=True)),
                ("user_agent", models.TextField(blank=True, null=True)),
                ("timestamp", models.DateTimeField(auto_now_add=True)),
                ("organisation", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisation")),
                (
                    "scim_token",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.scimtoken"
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="scimuser",
            constraint=models.UniqueConstraint(
                fields=("external_id", "organisation"), name="unique_scim_user_external_id"
            ),
        ),
        migrations.AddConstraint(
            model_name="scimuser",
            constraint=models.UniqueConstraint(fields=("email", "organisation"), name="unique_scim_user_email"),
        ),
        migrations.AddIndex(
            model_name="scimevent",
            index=models.Index(fields=["organisation", "-timestamp"], name="scim_event_org_ts_idx"),
        ),
        migrations.AddIndex(
            model_name="scimevent",
            index=models.Index(fields=["scim_token", "-timestamp"], name="scim_event_token_ts_idx"),
        ),
    ]
