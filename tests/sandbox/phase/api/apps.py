# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the backend does around each `migrate`."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate

SCHEDULE = "rq:scheduler:scheduled_jobs"
DAY = 24 * 60 * 60


class ApiConfig(AppConfig):
    name = "api"

    def ready(self) -> None:
        post_migrate.connect(schedule_license_check, sender=self)


def schedule_license_check(**_signal: Any) -> None:
    """Add one more recurring job, as every `migrate` does; without redis it fails here, all committed."""
    import redis

    job = str(uuid.uuid4())
    with redis.Redis.from_url(settings.REDIS_URL) as connection:
        connection.hset(f"rq:job:{job}", "data", json.dumps({"function": "check_existing_licenses", "interval": DAY}))
        connection.zadd(SCHEDULE, {job: time.time() + 15})
