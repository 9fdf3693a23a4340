# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wipes the key material of deleted service accounts. Its reverse does nothing: what is wiped stays wiped."""

from __future__ import annotations

from django.db import migrations
from django.utils import timezone


def wipe(apps, schema_editor):
    orphans = apps.get_model("api", "EnvironmentKey").objects.filter(
        service_account__deleted_at__isnull=False, deleted_at__isnull=True
    )
    orphans.update(deleted_at=timezone.now(), wrapped_seed="", wrapped_salt="", identity_key="")


class Migration(migrations.Migration):
    dependencies = [("api", "0128_add_team_audit_resource_and_sa_token_last_used")]

    operations = [
        migrations.RunPython(wipe, migrations.RunPython.noop),
    ]
