# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker: takes jobs off a queue in redis and says every few seconds that it lives."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import time
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

HEARTBEAT_SECONDS = 2


class Command(BaseCommand):
    help = "Take jobs off a queue"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("queue", nargs="?", default="default")

    def handle(self, *args: Any, **options: Any) -> None:
        import redis

        signal.signal(signal.SIGTERM, stop)
        connection = redis.Redis.from_url(settings.REDIS_URL)
        name = f"rq:worker:{socket.gethostname()}.{os.getpid()}"
        self.stdout.write(f"Worker {name} listens on {options['queue']}")
        try:
            while True:
                connection.hset(name, mapping={"heartbeat": time.time(), "version": settings.PHASE_VERSION})
                connection.expire(name, 10 * HEARTBEAT_SECONDS)
                job = connection.blpop([f"rq:queue:{options['queue']}"], timeout=HEARTBEAT_SECONDS)
                if job:
                    connection.incr("sandbox:jobs_done")
        except Stopped:
            connection.delete(name)
        except redis.RedisError as error:
            raise CommandError(f"Redis is gone: {error}") from error


class Stopped(Exception):
    """SIGTERM came."""


def stop(_signal: int, _frame: FrameType | None) -> None:
    raise Stopped
