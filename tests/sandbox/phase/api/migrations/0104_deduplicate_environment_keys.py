# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of several live keys of one account in one environment only the newest stays."""

from __future__ import annotations

from django.db import migrations
from django.utils import timezone


def retire_duplicates(apps, schema_editor):
    keys = apps.get_model("api", "EnvironmentKey").objects
    for holder in ("user_id", "service_account_id"):
        seen = set()
        live = keys.filter(deleted_at__isnull=True, **{f"{holder}__isnull": False})
        for key in live.order_by("environment_id", holder, "-created_at"):
            place = (key.environment_id, getattr(key, holder))
            if place in seen:
                keys.filter(id=key.id).update(deleted_at=timezone.now())
            seen.add(place)


class Migration(migrations.Migration):
    dependencies = [("api", "0103_alter_environmentsync_service_and_more")]

    operations = [
        migrations.RunPython(retire_duplicates, migrations.RunPython.noop),
    ]
