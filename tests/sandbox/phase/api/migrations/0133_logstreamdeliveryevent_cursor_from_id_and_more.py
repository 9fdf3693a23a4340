# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0132_log_streams")]

    operations = [
        migrations.AddField(
            model_name="logstreamdeliveryevent", name="cursor_from_id", field=models.TextField(blank=True, default="")
        ),
        migrations.AddField(
            model_name="logstreamdeliveryevent", name="cursor_to_id", field=models.TextField(blank=True, default="")
        ),
    ]
