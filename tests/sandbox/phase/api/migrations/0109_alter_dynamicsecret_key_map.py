# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0108_dynamicsecretlease_cleanup_job_id_and_more")]

    operations = [
        migrations.AlterField(model_name="dynamicsecret", name="key_map", field=models.JSONField(default=list)),
    ]
