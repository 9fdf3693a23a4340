# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Free organisations move to the second price list. There is no way back."""

from __future__ import annotations

from django.db import migrations


def reprice(apps, schema_editor):
    apps.get_model("api", "Organisation").objects.filter(plan="FR", pricing_version=1).update(pricing_version=2)


class Migration(migrations.Migration):
    dependencies = [("api", "0114_alter_environmentsync_service")]

    operations = [
        migrations.RunPython(reprice),
    ]
