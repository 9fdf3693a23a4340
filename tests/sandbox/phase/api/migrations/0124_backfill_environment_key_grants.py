# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations


def grant_individually(apps, schema_editor):
    grants = apps.get_model("api", "EnvironmentKeyGrant")
    live = apps.get_model("api", "EnvironmentKey").objects.filter(deleted_at__isnull=True)
    grants.objects.bulk_create(
        (grants(environment_key=key, grant_type="individual") for key in live.iterator()), batch_size=1000
    )


def withdraw(apps, schema_editor):
    apps.get_model("api", "EnvironmentKeyGrant").objects.filter(grant_type="individual", team__isnull=True).delete()


class Migration(migrations.Migration):
    dependencies = [("api", "0123_add_team_models")]

    operations = [
        migrations.RunPython(grant_individually, withdraw),
    ]
