# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch an organisation's SSO enforcement off or delete its providers, as released since v2.67.0.

Its quirks are part of it: an unknown organisation and a missing action are told on stderr with exit code 0, the success
text comes whether or not anything changed, the decision cached in redis stays, and no audit event is written.
"""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand

from api.models import Organisation, OrganisationSSOProvider


class Command(BaseCommand):
    help = "Switch SSO enforcement off for an organisation, delete its providers, or show both"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--org", required=True)
        parser.add_argument("--show", action="store_true")
        parser.add_argument("--disable-enforcement", action="store_true")
        parser.add_argument("--delete-provider", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        organisation = Organisation.objects.filter(name=options["org"]).first()
        if organisation is None:
            self.stderr.write(f"Organisation '{options['org']}' not found")
            return
        providers = OrganisationSSOProvider.objects.filter(organisation=organisation)
        if options["show"]:
            self.show(organisation, providers)
        elif not (options["disable_enforcement"] or options["delete_provider"]):
            self.stderr.write("Specify --show, --disable-enforcement, and/or --delete-provider")
        else:
            self.act(organisation, providers, options)

    def show(self, organisation: Organisation, providers: Any) -> None:
        self.stdout.write(f"\nOrganisation: {organisation.name} (id={organisation.id})")
        self.stdout.write(f"  require_sso: {organisation.require_sso}")
        self.stdout.write(f"  SSO providers: {providers.count()}")
        for row in providers:
            self.stdout.write(f"    - {row.name} ({row.provider_type}) enabled={row.enabled} id={row.id}")
        self.stdout.write("")

    def act(self, organisation: Organisation, providers: Any, options: dict[str, Any]) -> None:
        if options["disable_enforcement"]:
            organisation.require_sso = False
            organisation.save()
            self.stdout.write(f"SSO enforcement disabled for '{organisation.name}'")
        if options["delete_provider"]:
            count = providers.count()
            providers.delete()
            self.stdout.write(f"Deleted {count} SSO provider(s) for '{organisation.name}'")
