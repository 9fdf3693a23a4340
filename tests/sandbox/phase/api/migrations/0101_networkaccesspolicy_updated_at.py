# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0100_networkaccesspolicy_and_more")]

    operations = [
        migrations.AddField(
            model_name="networkaccesspolicy", name="updated_at", field=models.DateTimeField(auto_now=True)
        ),
    ]
