# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0131_add_queued_sync_status")]

    operations = [
        migrations.AlterField(model_name="auditevent", name="resource_type", field=models.CharField(max_length=10)),
        migrations.AlterField(model_name="providercredentials", name="provider", field=models.CharField(max_length=50)),
        migrations.CreateModel(
            name="LogStream",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=64)),
                ("provider", models.CharField(max_length=50)),
                ("sources", models.JSONField(default=list)),
                ("options", models.JSONField(default=dict)),
                ("max_attempts", models.PositiveIntegerField(default=5)),
                ("is_active", models.BooleanField(default=True)),
                ("health", models.CharField(default="healthy", max_length=20)),
                ("paused_reason", models.TextField(blank=True, default="")),
                ("cursors", models.JSONField(default=dict)),
                ("ship_job_id", models.TextField(blank=True, null=True)),
                ("last_shipped_at", models.DateTimeField(blank=True, null=True)),
                ("last_failure_at", models.DateTimeField(blank=True, null=True)),
                ("last_failure_reason", models.TextField(blank=True, default="")),
                ("created_at", models.DateTimeField(auto_now_add=True, blank=True, null=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("deleted_at", models.DateTimeField(blank=True, null=True)),
                (
                    "authentication",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.providercredentials"
                    ),
                ),
                ("organisation", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisation")),
            ],
        ),
        migrations.CreateModel(
            name="LogStreamDeliveryEvent",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("source", models.CharField(max_length=32)),
                ("status", models.CharField(max_length=16)),
                ("event_count", models.PositiveIntegerField(default=0)),
                ("payload_bytes", models.PositiveIntegerField(default=0)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("cursor_from", models.DateTimeField(blank=True, null=True)),
                ("cursor_to", models.DateTimeField(blank=True, null=True)),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                ("job_id", models.TextField(blank=True, null=True)),
                ("meta", models.JSONField(null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True, blank=True, null=True)),
                ("completed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "retried_from",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=models.SET_NULL,
                        related_name="+",
                        to="api.logstreamdeliveryevent",
                    ),
                ),
                ("stream", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.logstream")),
            ],
            options={"indexes": [models.Index(fields=["stream", "-created_at"], name="log_stream_delivery_idx")]},
        ),
    ]
