# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0110_serviceaccounttoken_created_by_service_account")]

    operations = [
        migrations.CreateModel(
            name="Identity",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("provider", models.CharField(max_length=64)),
                ("name", models.CharField(max_length=100)),
                ("organisation", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisation")),
            ],
        ),
        migrations.AddField(
            model_name="serviceaccount",
            name="identities",
            field=models.ManyToManyField(blank=True, related_name="service_accounts", to="api.identity"),
        ),
    ]
