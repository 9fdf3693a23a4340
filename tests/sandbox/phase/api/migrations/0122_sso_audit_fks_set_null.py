# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0121_organisation_require_sso_organisationssoprovider")]

    operations = [
        migrations.AlterField(
            model_name="organisationssoprovider",
            name="created_by",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.organisationmember"
            ),
        ),
        migrations.AlterField(
            model_name="organisationssoprovider",
            name="updated_by",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.organisationmember"
            ),
        ),
    ]
