# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0107_dynamicsecret_key_map_dynamicsecretlease_credentials_and_more")]

    operations = [
        migrations.AddField(
            model_name="dynamicsecretlease", name="cleanup_job_id", field=models.TextField(default=uuid.uuid4)
        ),
        migrations.AlterField(
            model_name="dynamicsecretlease", name="credentials", field=models.JSONField(default=dict)
        ),
    ]
