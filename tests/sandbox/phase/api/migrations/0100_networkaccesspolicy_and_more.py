# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0099_remove_secretfolder_unique_secret_folder_and_more")]

    operations = [
        migrations.CreateModel(
            name="NetworkAccessPolicy",
            fields=[
                ("id", models.TextField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=100)),
                ("allowed_ips", models.TextField()),
                ("is_global", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("organisation", models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.organisation")),
            ],
        ),
        migrations.AddField(
            model_name="organisationmember",
            name="network_policies",
            field=models.ManyToManyField(blank=True, related_name="members", to="api.networkaccesspolicy"),
        ),
        migrations.AddField(
            model_name="serviceaccount",
            name="network_policies",
            field=models.ManyToManyField(blank=True, related_name="service_accounts", to="api.networkaccesspolicy"),
        ),
    ]
