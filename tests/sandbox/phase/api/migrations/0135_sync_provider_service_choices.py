# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0134_logstream_drop_job_id")]

    operations = [
        migrations.AlterField(model_name="environmentsync", name="service", field=models.CharField(max_length=50)),
        migrations.AlterField(model_name="providercredentials", name="provider", field=models.CharField(max_length=50)),
    ]
