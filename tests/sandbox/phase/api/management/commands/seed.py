# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill the instance with organisations and events; the same seed gives the same rows, but for the time of day.

Of the events 95 % are reads, or another share. They are spread over 180 days roughly in the order of their time, each
with a copy of its secret's ciphertext (about 1 KB a row). Every fiftieth has a tag. The server makes them itself, over
several connections. Many at once come into a table without indexes and foreign keys, which are built afterwards:
millions take seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from backend.release import since
from django.contrib.auth.hashers import make_password
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, models, transaction

from api.models import (
    App,
    CustomUser,
    Environment,
    EnvironmentKey,
    Organisation,
    OrganisationMember,
    Role,
    Secret,
    SecretFolder,
    SecretTag,
    ServiceAccount,
    ServiceAccountToken,
    ServiceToken,
    UserToken,
)
from api.names import LAYOUT, PASSWORD, digest, identifier, token

SECRETS = 40  # in each environment
DAYS = 180
EVENT_TABLES = ("api_secretevent_tags", "api_secretevent")
CHUNK = 20_000  # events that one statement makes
CONNECTIONS = min(os.cpu_count() or 1, 4)

EVENTS = """
WITH actors AS MATERIALIZED (
  SELECT DISTINCT ON (environment.id) environment.id AS environment, member.id AS member,
    service_token.id AS service_token, account.id AS account, account_token.id AS account_token
  FROM api_environment environment
  JOIN api_app app ON app.id = environment.app_id
  JOIN api_organisationmember member ON member.organisation_id = app.organisation_id
  JOIN api_servicetoken service_token ON service_token.app_id = app.id
  JOIN api_serviceaccount account ON account.organisation_id = app.organisation_id
  JOIN api_serviceaccounttoken account_token ON account_token.service_account_id = account.id
  ORDER BY environment.id, member.id, account.id
), secrets AS MATERIALIZED (
  SELECT *, row_number() OVER (ORDER BY id) - 1 AS number, count(*) OVER () AS total FROM api_secret
)
INSERT INTO api_secretevent (id, key, key_digest, value, version, comment, event_type, environment_id, secret_id,
  user_id, folder_id, timestamp, ip_address, user_agent, path, service_token_id, service_account_id,
  service_account_token_id {type})
SELECT md5(%(seed)s || '/event/' || n)::uuid::text, s.key, s.key_digest, s.value, s.version, s.comment,
  CASE WHEN n <= s.total THEN 'C' WHEN chance < %(reads)s THEN 'R'
    WHEN 5 * (100 - chance) > 2 * (100 - %(reads)s) THEN 'U' WHEN 5 * (100 - chance) > 100 - %(reads)s THEN 'D'
    ELSE 'C' END,
  s.environment_id, s.id, CASE WHEN actor < 2 THEN a.member END, s.folder_id,
  now() - make_interval(secs => %(days)s * 86400.0 * (%(newest)s - n) / greatest(%(newest)s - %(oldest)s, 1)),
  ('10.' || n %% 200 || '.' || n %% 251 || '.7')::inet, 'phase-cli/1.21.' || n %% 5, s.path,
  CASE WHEN actor = 2 THEN a.service_token END, CASE WHEN actor > 2 THEN a.account END,
  CASE WHEN actor > 2 THEN a.account_token END {value}
FROM (
  SELECT n, (n * 7919) %% 100 AS chance, (n / 10 * 3 + n * 7) %% 10 AS actor,
    (n * 31) %% (SELECT count(*) FROM api_secret) AS number
  FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n OFFSET 0
) AS event
JOIN secrets s USING (number)
JOIN actors a ON a.environment = s.environment_id
"""
TAGS = """
INSERT INTO api_secretevent_tags (secretevent_id, secrettag_id)
SELECT md5(%(seed)s || '/event/' || n)::uuid::text, (SELECT min(id) FROM api_secrettag)
FROM generate_series(%(first)s, %(last)s) AS n WHERE n %% %(tagged)s = 0
"""


class Command(BaseCommand):
    help = "Fill the instance with organisations and events"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--events", type=int, default=0, help="events to add")
        parser.add_argument("--seed", type=int, default=1, help="another seed gives other ids")
        parser.add_argument("--reads", type=int, default=95, help="how many of 100 events are reads")
        parser.add_argument("--tagged", type=int, default=50, help="each event of so many has a tag")

    def handle(self, *args: Any, **options: Any) -> None:
        seed, events = options["seed"], options["events"]
        with connection.cursor() as cursor:
            if not Organisation.objects.filter(id=identifier(seed, "organisation", LAYOUT[0][0])).exists():
                with transaction.atomic():
                    Inventory(seed).make()
                cursor.execute("ANALYZE")
            cursor.execute("SELECT count(*) FROM api_secretevent")
            (before,) = cursor.fetchone()
            if events > 0:
                many = events > max(CHUNK, before // 4)  # fewer come quicker past the indexes
                with indexes_afterwards(cursor) if many else contextlib.nullcontext():
                    self.add_events(seed, before + 1, before + events, options["reads"], options["tagged"])
                cursor.execute("VACUUM ANALYZE api_secretevent, api_secretevent_tags")
        self.stdout.write(json.dumps({"events": before + events}))

    def add_events(self, seed: int, first: int, last: int, reads: int, tagged: int) -> None:
        kind = {"type": ", type", "value": ", s.type"} if since("v2.64.0") else {"type": "", "value": ""}
        values = {"seed": str(seed), "oldest": first, "newest": last, "days": DAYS, "reads": reads, "tagged": tagged}
        for statement in (EVENTS.format(**kind), TAGS):
            side_by_side(
                (statement, {**values, "first": chunk, "last": min(chunk + CHUNK - 1, last)})
                for chunk in range(first, last + 1, CHUNK)
            )


def side_by_side(statements: Iterable[tuple[str, Any]]) -> None:
    """Run statements over several connections, each taking the next as it is free; all their errors are raised."""

    def run(statement: tuple[str, Any]) -> None:
        with connection.cursor() as cursor:  # Django's connection is the thread's own
            cursor.execute("SET maintenance_work_mem = '256MB'")
            cursor.execute("SET max_parallel_maintenance_workers = 0")
            cursor.execute(*statement)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in [pool.submit(run, statement) for statement in statements]:
            done.result()


@contextlib.contextmanager
def indexes_afterwards(cursor: Any) -> Iterator[None]:
    """Take indexes and constraints off the two event tables, and put them back by their own definitions.

    It is no transaction, for the sake of several connections. Raises CommandError where one was interrupted.
    """
    tables = [list(EVENT_TABLES)]
    cursor.execute(
        "SELECT conrelid::regclass::text, quote_ident(conname), contype::text, pg_get_constraintdef(oid) "
        "FROM pg_constraint WHERE contype IN ('p', 'u', 'f') AND conrelid = ANY (%s::regclass[]) "
        "ORDER BY contype = 'f', conrelid <> 'api_secretevent'::regclass",
        tables,
    )
    constraints = cursor.fetchall()
    if not any(kind == "p" for _table, _name, kind, _definition in constraints):
        raise CommandError("An earlier seeding was interrupted and left no indexes: make the instance anew.")
    cursor.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid = ANY (%s::regclass[]) ORDER BY indrelid <> 'api_secretevent'::regclass, indnatts DESC",
        tables,
    )
    indexes = cursor.fetchall()
    with transaction.atomic():
        for table, name, _kind, _definition in reversed(constraints):
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        for name, _definition in indexes:
            cursor.execute(f"DROP INDEX IF EXISTS {name}")  # a constraint's own is gone with it
    yield
    cursor.execute("ANALYZE api_secretevent, api_secretevent_tags")
    side_by_side((definition, None) for _name, definition in indexes)
    for table, name, kind, definition in constraints:
        how = {"p": f"PRIMARY KEY USING INDEX {name}", "u": f"UNIQUE USING INDEX {name}"}.get(kind, definition)
        cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {how}")


def ciphertext(text: str, length: int) -> str:
    """Something of that length that looks like it, and is the same each time."""
    digests = (hashlib.sha256(f"{text}/{part}".encode()).hexdigest() for part in range(length // 64 + 1))
    return ("ph:v1:" + "".join(digests))[:length]


class Inventory:
    """Everything but the events."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def id(self, kind: str, number: object) -> str:
        return identifier(self.seed, kind, number)

    def make(self) -> None:
        password = make_password(PASSWORD, salt=f"seeded-{self.seed}")
        for name, plan, apps in LAYOUT:
            organisation = self.organisation(name, plan, password)
            for app, environments in apps.items():
                self.app(organisation, f"{name}/{app}", app, environments)

    def organisation(self, name: str, plan: str, password: str) -> Organisation:
        organisation = Organisation.objects.create(
            id=self.id("organisation", name), name=name, plan=plan, identity_key=ciphertext(name, 64)
        )
        role = Role.objects.create(
            id=self.id("role", name), name="Owner", organisation=organisation, permissions={}, is_default=True
        )
        for person in ("alice", "bob"):
            account = f"{person}.{name.lower()}.{self.seed}"
            user = CustomUser.objects.create(
                userId=self.id("user", account), username=account, email=f"{account}@example.com", password=password
            )
            member = OrganisationMember.objects.create(
                id=self.id("member", account), user=user, organisation=organisation, role=role
            )
            UserToken.objects.create(
                id=self.id("usertoken", account), user=member, **self.token_of("User", f"{name}/{person}")
            )
        account = ServiceAccount.objects.create(
            id=self.id("serviceaccount", name), name="deploy", organisation=organisation, role=role
        )
        ServiceAccountToken.objects.create(
            id=self.id("serviceaccounttoken", name), service_account=account, **self.token_of("ServiceAccount", name)
        )
        SecretTag.objects.create(id=self.id("tag", name), name="pci", organisation=organisation, color="red")
        if since("v2.67.0"):
            self.sso_provider(organisation)
        return organisation

    def token_of(self, kind: str, number: str) -> dict[str, str]:
        secret = token(self.seed, kind, number)
        return {"name": "seeded", "token": secret, "identity_key": secret, "wrapped_key_share": ciphertext(secret, 200)}

    def sso_provider(self, organisation: Organisation) -> None:
        from api.models import OrganisationSSOProvider

        OrganisationSSOProvider.objects.create(
            id=self.id("ssoprovider", organisation.name),
            organisation=organisation,
            provider_type="entra_id",
            name="Entra ID",
            config={"client_secret": ciphertext("sso", 128)},
        )

    def app(self, organisation: Organisation, key: str, name: str, environments: tuple[str, ...]) -> None:
        app = App.objects.create(
            id=self.id("app", key),
            name=name,
            organisation=organisation,
            identity_key=ciphertext(key, 64),
            app_token=token(self.seed, "App", key),
            wrapped_key_share=ciphertext(key, 406),
            app_seed=ciphertext(key, 208),
        )
        ServiceToken.objects.create(id=self.id("servicetoken", key), app=app, **self.token_of("Service", key))
        for index, environment in enumerate(environments):
            self.environment(app, f"{key}/{environment}", environment, index)

    def environment(self, app: App, key: str, name: str, index: int) -> None:
        environment = Environment.objects.create(
            id=self.id("environment", key),
            app=app,
            name=name,
            index=index,
            env_type={"Development": "dev", "Staging": "staging"}.get(name, "prod"),
            identity_key=ciphertext(key, 64),
            wrapped_seed=ciphertext(key, 208),
            wrapped_salt=ciphertext(key, 208),
        )
        holders: dict[str, type[models.Model]] = {"user": OrganisationMember, "service_account": ServiceAccount}
        EnvironmentKey.objects.bulk_create(
            EnvironmentKey(
                id=self.id("environmentkey", f"{key}/{account.pk}"),
                environment=environment,
                identity_key=ciphertext(key, 64),
                wrapped_seed=ciphertext(key, 208),
                wrapped_salt=ciphertext(key, 208),
                **{holder: account},
            )
            for holder, model in holders.items()
            for account in model.objects.filter(organisation_id=app.organisation_id)
        )
        folder = SecretFolder.objects.create(id=self.id("folder", key), environment=environment, name="db", path="/")
        Secret.objects.bulk_create(
            Secret(
                id=self.id("secret", f"{key}/{number}"),
                environment=environment,
                key=ciphertext(f"key/{number}", 190),
                key_digest=digest(number),
                value=ciphertext(f"{key}/{number}", 330),
                version=1 + number % 3,
                comment="",
                folder=folder if number % 4 == 0 else None,
                path="/db" if number % 4 == 0 else "/",
            )
            for number in range(1, SECRETS + 1)
        )
