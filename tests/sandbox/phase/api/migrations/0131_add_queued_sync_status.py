# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0130_rotating_secrets")]

    operations = [
        migrations.AlterField(
            model_name="environmentsync", name="status", field=models.CharField(default="queued", max_length=16)
        ),
        migrations.AlterField(
            model_name="environmentsyncevent", name="status", field=models.CharField(default="queued", max_length=16)
        ),
    ]
