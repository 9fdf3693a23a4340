# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0119_auditevent_invite_resource_type")]

    operations = [
        migrations.AlterField(
            model_name="organisationmemberinvite",
            name="invited_by",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.organisationmember"
            ),
        ),
        migrations.AddField(
            model_name="organisationmemberinvite",
            name="invited_by_service_account",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.serviceaccount"
            ),
        ),
    ]
