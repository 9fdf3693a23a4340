# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0112_secretevent_secret_event_history_idx_and_more")]

    operations = [
        migrations.AddField(model_name="organisation", name="pricing_version", field=models.IntegerField(default=1)),
    ]
