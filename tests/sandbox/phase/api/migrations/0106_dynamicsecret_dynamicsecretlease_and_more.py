# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0105_environmentkey_unique_envkey_user_and_more")]

    operations = [
        migrations.CreateModel(
            name="DynamicSecret",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.TextField()),
                ("environment", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.environment")),
            ],
        ),
        migrations.CreateModel(
            name="DynamicSecretLease",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.TextField()),
                ("status", models.CharField(default="active", max_length=50)),
                ("secret", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.dynamicsecret")),
            ],
        ),
        migrations.CreateModel(
            name="DynamicSecretLeaseEvent",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("lease", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.dynamicsecretlease")),
            ],
        ),
    ]
