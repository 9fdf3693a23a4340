# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""NOT NULL, and Django drops the default again: an older release's inserts of events fail from here on."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0118_secret_type_field")]

    operations = [
        migrations.AddField(
            model_name="secretevent", name="type", field=models.CharField(default="secret", max_length=10)
        ),
    ]
