# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0104_deduplicate_environment_keys")]

    operations = [
        migrations.AddConstraint(
            model_name="environmentkey",
            constraint=models.UniqueConstraint(
                condition=models.Q(("deleted_at__isnull", True), ("user__isnull", False)),
                fields=("environment", "user"),
                name="unique_envkey_user",
            ),
        ),
        migrations.AddConstraint(
            model_name="environmentkey",
            constraint=models.UniqueConstraint(
                condition=models.Q(("deleted_at__isnull", True), ("service_account__isnull", False)),
                fields=("environment", "service_account"),
                name="unique_envkey_service_account",
            ),
        ),
    ]
