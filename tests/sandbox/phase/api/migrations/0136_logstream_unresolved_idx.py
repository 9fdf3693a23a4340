# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("api", "0135_sync_provider_service_choices")]

    operations = [
        AddIndexConcurrently(
            model_name="logstreamdeliveryevent",
            index=models.Index(
                condition=models.Q(("resolved_at__isnull", True), ("status__in", ["failed", "skipped"])),
                fields=["stream", "source"],
                name="log_stream_unresolved_idx",
            ),
        ),
    ]
