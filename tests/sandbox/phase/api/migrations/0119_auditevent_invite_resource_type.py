# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0118_auditevent")]

    operations = [
        migrations.AlterField(model_name="auditevent", name="resource_type", field=models.CharField(max_length=10)),
    ]
