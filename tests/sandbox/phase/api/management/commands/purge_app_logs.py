# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete old events of an organisation the way the release at hand does it.

Up to v2.41.x: everything but create events, in one statement an app, and it fails on an event that has a tag. From
v2.42.0: the same with the tags first, so updates and deletions, the secrets' history, go too. From v2.73.0: read events
only, an environment at a time, in batches with a pause in between.
"""

from __future__ import annotations

import argparse
import datetime
import time
from typing import Any

from backend.release import since
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from django.utils import timezone

from api.models import App, Environment, Organisation, SecretEvent

IN_BATCHES = since("v2.73.0")


class Command(BaseCommand):
    help = "Delete an organisation's or an app's logs that are older than a number of days"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("org_name")
        parser.add_argument("--retain", type=int, default=30, help="days to keep; 0 deletes all")
        parser.add_argument("--app-id", help="only this app")
        if IN_BATCHES:
            parser.add_argument("--batch-size", type=int, default=10_000, help="rows a transaction")
            parser.add_argument("--sleep-ms", type=int, default=500, help="pause after each")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["retain"] < 0:
            raise CommandError("The --retain argument must be a non-negative integer.")
        cutoff = timezone.now() - datetime.timedelta(days=options["retain"])
        if not IN_BATCHES:
            self.announce("logs", cutoff, options)
        organisation = Organisation.objects.filter(name=options["org_name"]).first()
        if organisation is None:
            raise CommandError(f"Organisation '{options['org_name']}' does not exist.")
        chosen = {"id": options["app_id"]} if options["app_id"] else {}
        apps = list(App.objects.filter(organisation=organisation, **chosen))
        if IN_BATCHES:
            self.purge_in_batches(organisation, apps, cutoff, options)
        else:
            self.purge_at_once(organisation, apps, cutoff, options)

    def announce(self, what: str, cutoff: datetime.datetime, options: dict[str, Any]) -> None:
        if not options["app_id"]:
            self.stdout.write(
                f"Deleting {what} older than {cutoff} (retaining {options['retain']} days) "
                f"for organisation '{options['org_name']}'."
            )

    def purge_at_once(
        self, organisation: Organisation, apps: list[App], cutoff: datetime.datetime, options: dict[str, Any]
    ) -> None:
        if not apps:
            raise CommandError(
                f"No apps found matching the criteria (app_id: {options['app_id']}) "
                f"in organisation '{organisation.name}'."
            )
        doomed = "environment_id IN (SELECT id FROM api_environment WHERE app_id = %s) AND timestamp <= %s"
        for app in apps:
            with connection.cursor() as cursor:
                where, values = f"{doomed} AND event_type <> 'C'", [app.id, cutoff]
                if since("v2.42.0"):
                    cursor.execute(
                        "DELETE FROM api_secretevent_tags WHERE secretevent_id IN "
                        f"(SELECT id FROM api_secretevent WHERE {where})",
                        values,
                    )
                cursor.execute(f"DELETE FROM api_secretevent WHERE {where}", values)
                self.stdout.write(f"Deleted {cursor.rowcount} logs for app '{app.name}' (id: {app.id})")
        self.stdout.write("Log deletion completed successfully.")

    def purge_in_batches(
        self, organisation: Organisation, apps: list[App], cutoff: datetime.datetime, options: dict[str, Any]
    ) -> None:
        if not apps and options["app_id"]:
            raise CommandError(f"App with id '{options['app_id']}' not found in organisation '{organisation.name}'.")
        if not apps:
            self.stdout.write(f"Organisation '{organisation.name}' has no apps; nothing to do.")
            return
        self.announce("READ logs", cutoff, options)
        begin, total = time.monotonic(), 0
        for app in apps:
            app_begin, app_total = time.monotonic(), 0
            for environment in Environment.objects.filter(app=app):
                count = self.purge_environment(environment, cutoff, options)
                self.stdout.write(f"  env '{environment.name}' ({environment.id}): deleted {count} READ events")
                app_total += count
            seconds = time.monotonic() - app_begin
            self.stdout.write(f"Deleted {app_total} logs for app '{app.name}' (id: {app.id}) in {seconds:.1f}s")
            total += app_total
        self.stdout.write(f"Log deletion completed: {total} rows in {time.monotonic() - begin:.1f}s.")

    def purge_environment(self, environment: Environment, cutoff: datetime.datetime, options: dict[str, Any]) -> int:
        """Oldest first, past rows that somebody has locked. A batch size of zero ends at once, and says nothing."""
        reads = SecretEvent.objects.filter(environment=environment, event_type=SecretEvent.READ, timestamp__lte=cutoff)
        total = batch = 0
        while True:
            with transaction.atomic():
                oldest = reads.order_by("timestamp").select_for_update(skip_locked=True)
                ids = list(oldest.values_list("id", flat=True)[: options["batch_size"]])
                if not ids:
                    return total
                SecretEvent.tags.through.objects.filter(secretevent_id__in=ids)._raw_delete("default")
                count = SecretEvent.objects.filter(id__in=ids)._raw_delete("default")
            total, batch = total + count, batch + 1
            self.stdout.write(f"    {environment.name} batch {batch}: deleted={count} total={total}")
            time.sleep(options["sleep_ms"] / 1000)
