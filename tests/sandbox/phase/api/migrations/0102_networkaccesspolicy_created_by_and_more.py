# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0101_networkaccesspolicy_updated_at")]

    operations = [
        migrations.AddField(
            model_name="networkaccesspolicy",
            name="created_by",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=models.CASCADE, related_name="+", to="api.organisationmember"
            ),
        ),
        migrations.AddField(
            model_name="networkaccesspolicy",
            name="updated_by",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=models.CASCADE, related_name="+", to="api.organisationmember"
            ),
        ),
    ]
