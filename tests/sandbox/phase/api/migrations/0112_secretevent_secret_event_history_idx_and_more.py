# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three builds in one non-atomic migration: cut off, it leaves an invalid index, and its next run stops there."""

from __future__ import annotations

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("api", "0111_identity_serviceaccount_identities")]

    operations = [
        AddIndexConcurrently(
            model_name="secretevent",
            index=models.Index(fields=["secret_id", "event_type", "timestamp"], name="secret_event_history_idx"),
        ),
        AddIndexConcurrently(
            model_name="secretevent",
            index=models.Index(fields=["environment", "-timestamp"], name="secret_logs_env_idx"),
        ),
        AddIndexConcurrently(
            model_name="secretevent",
            index=models.Index(fields=["service_account_token", "-timestamp"], name="sa_token_last_used_idx"),
        ),
    ]
