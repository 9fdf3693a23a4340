# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0098_cleanup_duplicate_folders")]

    operations = [
        migrations.AddConstraint(
            model_name="secretfolder",
            constraint=models.UniqueConstraint(
                condition=models.Q(("folder__isnull", False)),
                fields=("environment", "folder", "name", "path"),
                name="unique_secret_folder",
            ),
        ),
        migrations.AddConstraint(
            model_name="secretfolder",
            constraint=models.UniqueConstraint(
                condition=models.Q(("folder__isnull", True)),
                fields=("environment", "name", "path"),
                name="unique_root_folder",
            ),
        ),
    ]
