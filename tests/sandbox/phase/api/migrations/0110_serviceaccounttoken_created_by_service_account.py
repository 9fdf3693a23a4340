# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0109_alter_dynamicsecret_key_map")]

    operations = [
        migrations.AddField(
            model_name="serviceaccounttoken",
            name="created_by_service_account",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.serviceaccount"
            ),
        ),
    ]
