# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second branch from 0117, released after 0126 had been."""

from __future__ import annotations

import uuid

from django.db import migrations, models
from django.utils import timezone


class Migration(migrations.Migration):
    dependencies = [("api", "0117_alter_environmentsync_service_and_more")]

    operations = [
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("event_type", models.CharField(max_length=1)),
                ("resource_type", models.CharField(max_length=10)),
                ("resource_id", models.TextField()),
                ("actor_type", models.CharField(max_length=10)),
                ("actor_id", models.TextField()),
                ("actor_metadata", models.JSONField(default=dict)),
                ("resource_metadata", models.JSONField(default=dict)),
                ("old_values", models.JSONField(blank=True, null=True)),
                ("new_values", models.JSONField(blank=True, null=True)),
                ("description", models.TextField(blank=True, default="")),
                ("ip_address", models.GenericIPAddressField(blank=True, null=True)),
                ("user_agent", models.TextField(blank=True, default="")),
                ("timestamp", models.DateTimeField(default=timezone.now)),
                ("organisation", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisation")),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["resource_type", "resource_id", "-timestamp"], name="audit_resource_history_idx"
                    ),
                    models.Index(fields=["organisation", "-timestamp"], name="audit_org_activity_idx"),
                    models.Index(fields=["actor_type", "actor_id", "-timestamp"], name="audit_actor_activity_idx"),
                ]
            },
        ),
    ]
