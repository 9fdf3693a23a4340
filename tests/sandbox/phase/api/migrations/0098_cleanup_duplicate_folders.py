# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of one place and name become one, the oldest. There is no way back."""

from __future__ import annotations

from django.db import migrations


def merge_duplicates(apps, schema_editor):
    folders = apps.get_model("api", "SecretFolder").objects
    kept = {}
    for folder in folders.order_by("created_at", "id"):
        place = (folder.environment_id, folder.folder_id, folder.name, folder.path)
        if place not in kept:
            kept[place] = folder
            continue
        for model in ("Secret", "SecretEvent", "SecretFolder"):
            apps.get_model("api", model).objects.filter(folder_id=folder.id).update(folder_id=kept[place].id)
        folder.delete()


class Migration(migrations.Migration):
    dependencies = [("api", "0097_alter_secretfolder_unique_together_and_more")]

    operations = [
        migrations.RunPython(merge_duplicates),
    ]
