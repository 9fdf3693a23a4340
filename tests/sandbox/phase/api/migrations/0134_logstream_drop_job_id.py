# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("api", "0133_logstreamdeliveryevent_cursor_from_id_and_more")]

    operations = [
        migrations.RemoveField(model_name="logstreamdeliveryevent", name="job_id"),
    ]
