# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("logs", "0007_alter_kmsdblog_asn_alter_kmsdblog_city_and_more")]

    operations = [
        migrations.CreateModel(
            name="KMSDBLog",
            fields=[
                ("id", models.CharField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("timestamp", models.BigIntegerField()),
                ("app_id", models.TextField()),
                ("phase_node", models.TextField()),
                ("event_type", models.TextField()),
                ("ip_address", models.GenericIPAddressField()),
                ("ph_size", models.BigIntegerField()),
                ("asn", models.BigIntegerField(null=True)),
                ("isp", models.TextField(null=True)),
                ("edge_location", models.TextField(null=True)),
                ("country", models.CharField(max_length=2, null=True)),
                ("city", models.TextField(null=True)),
                ("latitude", models.DecimalField(decimal_places=5, max_digits=9, null=True)),
                ("longitude", models.DecimalField(decimal_places=5, max_digits=9, null=True)),
            ],
        ),
    ]
