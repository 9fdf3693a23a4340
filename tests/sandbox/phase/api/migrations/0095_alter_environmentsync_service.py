# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0094_alter_app_organisation_alter_environment_app")]

    operations = [
        migrations.AlterField(model_name="environmentsync", name="service", field=models.CharField(max_length=50)),
    ]
