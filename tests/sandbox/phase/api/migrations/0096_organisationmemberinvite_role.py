# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0095_alter_environmentsync_service")]

    operations = [
        migrations.AddField(
            model_name="organisationmemberinvite",
            name="role",
            field=models.ForeignKey(blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.role"),
        ),
    ]
