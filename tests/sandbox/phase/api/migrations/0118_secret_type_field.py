# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0117_alter_environmentsync_service_and_more")]

    operations = [
        migrations.AddField(model_name="secret", name="type", field=models.CharField(default="secret", max_length=10)),
    ]
