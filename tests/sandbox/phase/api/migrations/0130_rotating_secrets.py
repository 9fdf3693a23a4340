# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0129_wipe_orphan_envkeys_from_deleted_sas")]

    operations = [
        migrations.CreateModel(
            name="RotatingSecret",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.TextField()),
                ("rotation_interval", models.DurationField(default=datetime.timedelta)),
                ("is_active", models.BooleanField(default=True)),
                ("deleted_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="RotatingSecretCredential",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("status", models.CharField(default="pending", max_length=20)),
                (
                    "rotating_secret",
                    models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.rotatingsecret"),
                ),
            ],
        ),
        migrations.AddField(
            model_name="secret",
            name="rotating_output_id",
            field=models.CharField(blank=True, default="", max_length=64),
        ),
        migrations.AlterField(model_name="auditevent", name="resource_type", field=models.CharField(max_length=10)),
        migrations.AlterField(model_name="providercredentials", name="provider", field=models.CharField(max_length=50)),
        migrations.CreateModel(
            name="RotatingSecretEvent",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("event_type", models.CharField(max_length=50)),
                ("ip_address", models.GenericIPAddressField(blank=True, null=True)),
                ("user_agent", models.TextField(blank=True, null=True)),
                ("metadata", models.JSONField(blank=True, default=dict)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "credential",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=models.CASCADE,
                        related_name="+",
                        to="api.rotatingsecretcredential",
                    ),
                ),
                (
                    "organisation_member",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.organisationmember"
                    ),
                ),
                (
                    "rotating_secret",
                    models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.rotatingsecret"),
                ),
                (
                    "service_account",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.serviceaccount"
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="rotatingsecret",
            name="authentication",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.providercredentials"
            ),
        ),
        migrations.AddField(
            model_name="rotatingsecret",
            name="environment",
            field=models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.environment"),
        ),
        migrations.AddField(
            model_name="secret",
            name="rotating_secret",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=models.CASCADE, related_name="+", to="api.rotatingsecret"
            ),
        ),
    ]
