# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


def creator_owns(apps, schema_editor):
    teams = apps.get_model("api", "Team").objects
    teams.filter(owner__isnull=True, created_by__isnull=False).update(owner=models.F("created_by"))


class Migration(migrations.Migration):
    dependencies = [("api", "0125_teams_and_scim")]

    operations = [
        migrations.RunPython(creator_owns, migrations.RunPython.noop),
    ]
