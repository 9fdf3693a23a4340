# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("api", "0096_organisationmemberinvite_role")]

    operations = [
        migrations.AlterUniqueTogether(name="secretfolder", unique_together=set()),
    ]
