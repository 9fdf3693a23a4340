# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0115_migrate_free_tier_to_v2_pricing")]

    operations = [
        migrations.AddField(model_name="app", name="description", field=models.TextField(blank=True, null=True)),
    ]
