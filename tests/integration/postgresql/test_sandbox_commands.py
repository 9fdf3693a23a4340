# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The sandbox's commands and settings behave as Phase Console's: outputs, exit codes and quirks of each release."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import redis
from sandbox import facts
from sandbox.local import LocalInstance
from sandbox.phase.api.names import identifier

SCHEDULE = "rq:scheduler:scheduled_jobs"
IRREVERSIBLE = "0020 0034 0035 0048 0073 0074 0077 0084 0091 0098 0115"


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    return module_local_instance("v2.73.2", events=2000)


class Database:
    """One more database of the instance, at an older release and seeded."""

    def __init__(self, instance: LocalInstance, version: str) -> None:
        self.instance, self.version, self.name = instance, version, f"at_{version.replace('.', '_')}"
        with instance.server.administrator() as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {self.name}")
            cursor.execute(f"CREATE DATABASE {self.name} OWNER phase")
        self.manage("migrate", check=True)
        self.manage("seed", "--events", "2000", check=True)

    def manage(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        settings = {"DATABASE_NAME": self.name}
        return self.instance.manage(*arguments, version=self.version, environment=settings, check=check)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg2.connect(self.instance.database_url, dbname=self.name) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def events(self) -> dict[str, int]:
        """Events of SpaceX that are older than 30 days, by type."""
        return dict(
            self.sql(
                "SELECT event_type, count(*) FROM api_secretevent e JOIN api_environment n ON n.id = e.environment_id "
                "JOIN api_app a ON a.id = n.app_id JOIN api_organisation o ON o.id = a.organisation_id "
                "WHERE o.name = 'SpaceX' AND e.timestamp <= now() - interval '30 days' GROUP BY 1"
            )
        )


def test_the_oldest_purge_stumbles_over_tags(instance: LocalInstance) -> None:
    old = Database(instance, "v2.40.1")
    before = old.events()
    failed = old.manage("purge_app_logs", "SpaceX")
    assert failed.returncode == 1
    assert "IntegrityError" in failed.stderr
    assert "api_secretevent_tags" in failed.stderr
    old.sql("DELETE FROM api_secretevent_tags")
    done = old.manage("purge_app_logs", "SpaceX")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "Log deletion completed successfully."
    assert set(before) == {"C", "R", "U", "D"}
    assert old.events() == {"C": before["C"]}


def test_the_middle_purge_deletes_history(instance: LocalInstance) -> None:
    middle = Database(instance, "v2.54.0")
    before = middle.events()
    assert middle.manage("purge_app_logs", "SpaceX").returncode == 0
    assert middle.events() == {"C": before["C"]}
    refused = middle.manage("purge_app_logs", "SpaceX", "--batch-size", "10")
    assert refused.returncode == 2


def test_the_newest_purge_deletes_reads_alone(instance: LocalInstance) -> None:
    newest = Database(instance, "v2.73.0")
    before = newest.events()
    done = newest.manage("purge_app_logs", "SpaceX", "--batch-size", "100", "--sleep-ms", "0")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith(f"Log deletion completed: {before['R']} rows in ")
    assert newest.events() == {kind: count for kind, count in before.items() if kind != "R"}
    orphans = "SELECT count(*) FROM api_secretevent_tags t LEFT JOIN api_secretevent e ON e.id = t.secretevent_id"
    assert newest.sql(f"{orphans} WHERE e.id IS NULL") == [(0,)]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["Nobody"], 1, "CommandError: Organisation 'Nobody' does not exist."),
        (["SpaceX", "--retain", "-1"], 1, "CommandError: The --retain argument must be a non-negative integer."),
        (["SpaceX", "--app-id", "none"], 1, "CommandError: App with id 'none' not found in organisation 'SpaceX'."),
        (["SpaceX", "--retain", "abc"], 2, "invalid int value"),
        ([], 2, "required"),
        (["Initech"], 0, "Organisation 'Initech' has no apps; nothing to do."),
        (["SpaceX", "--batch-size", "0"], 0, "Log deletion completed: 0 rows in 0."),
    ],
)
def test_purge_answers(instance: LocalInstance, arguments: list[str], code: int, says: str) -> None:
    before = instance.sql("SELECT count(*) FROM api_secretevent")
    result = instance.manage("purge_app_logs", *arguments, check=False)
    assert result.returncode == code
    assert says in result.stdout + result.stderr
    assert instance.sql("SELECT count(*) FROM api_secretevent") == before


def test_sso_command_and_its_quirks(instance: LocalInstance) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        result = instance.manage("disable_org_sso", *arguments, check=False)
        return result.returncode, result.stdout, result.stderr

    instance.sql("UPDATE api_organisation SET require_sso = true WHERE name = 'SpaceX'")
    assert run("--org", "Nobody", "--show") == (0, "", "Organisation 'Nobody' not found\n")
    code, out, err = run("--org", "SpaceX")
    assert (code, out) == (0, "")
    assert "Specify --show" in err
    assert run("--org", "SpaceX", "--disable-providers")[0] == 2
    code, out, _err = run("--org", "SpaceX", "--show", "--disable-enforcement", "--delete-provider")
    assert (code, "require_sso: True" in out, "SSO providers: 1" in out) == (0, True, True)
    for _time in range(2):
        assert run("--org", "SpaceX", "--disable-enforcement")[:2] == (0, "SSO enforcement disabled for 'SpaceX'\n")
    assert instance.sql("SELECT require_sso FROM api_organisation WHERE name = 'SpaceX'") == [(False,)]
    instance.sql("UPDATE api_organisation SET require_sso = true WHERE name = 'SpaceX'")
    assert run("--org", "SpaceX", "--delete-provider")[:2] == (0, "Deleted 1 SSO provider(s) for 'SpaceX'\n")
    assert run("--org", "SpaceX", "--delete-provider")[:2] == (0, "Deleted 0 SSO provider(s) for 'SpaceX'\n")
    assert instance.sql("SELECT require_sso FROM api_organisation WHERE name = 'SpaceX'") == [(True,)]
    assert instance.sql("SELECT count(*) FROM api_auditevent") == [(0,)]
    instance.sql("UPDATE api_organisation SET require_sso = false")


@pytest.mark.parametrize(("version", "known"), [("v2.66.0", False), ("v2.67.0", True)])
def test_the_sso_command_came_with_a_release(instance: LocalInstance, version: str, known: bool) -> None:
    assert ("disable_org_sso" in instance.manage("help", "--commands", version=version).stdout.split()) is known


def test_migrate_adds_a_job_even_when_there_is_nothing_to_do(instance: LocalInstance) -> None:
    with redis.Redis(port=instance.redis_port) as connection:
        before = connection.zcard(SCHEDULE)
        assert "  No migrations to apply." in instance.manage("migrate").stdout
        assert connection.zcard(SCHEDULE) == before + 1


def test_migrate_without_redis_commits_everything_and_fails(instance: LocalInstance) -> None:
    database = Database(instance, "v2.66.0")
    instance.redis_stop()
    try:
        # A release's own list of pending ones needs no redis.
        assert instance.manage("migrate", "--check", environment={"DATABASE_NAME": database.name}, check=False) == (
            ANY_RUN(1, "", "")
        )
        failed = instance.manage("migrate", environment={"DATABASE_NAME": database.name}, check=False)
        assert failed.returncode == 1
        assert "redis" in failed.stderr
        assert "  Applying api.0136_logstream_unresolved_idx... OK" in failed.stdout
    finally:
        instance.redis_start()
    assert database.sql("SELECT count(*) FROM django_migrations") == [(190,)]
    assert instance.manage("migrate", "--check", environment={"DATABASE_NAME": database.name}).returncode == 0


class ANY_RUN:  # noqa: N801 - compares like a value
    """Equal to a finished process of that exit code and output."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.seen = (code, out, err)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, subprocess.CompletedProcess) and self.seen == (
            other.returncode,
            other.stdout,
            other.stderr,
        )

    __hash__ = None  # type: ignore[assignment]


def test_a_database_ahead_goes_unnoticed(instance: LocalInstance) -> None:
    assert "  No migrations to apply." in instance.manage("migrate", version="v2.66.0").stdout
    assert instance.manage("migrate", "--check", version="v2.66.0").returncode == 0


def test_sql_of_a_migration(instance: LocalInstance) -> None:
    concurrent = instance.manage("sqlmigrate", "api", "0112").stdout
    assert concurrent.count("CREATE INDEX CONCURRENTLY") == 3
    assert "BEGIN" not in concurrent
    column = instance.manage("sqlmigrate", "api", "0119_secretevent_type_field").stdout
    assert """ADD COLUMN "type" varchar(10) DEFAULT 'secret' NOT NULL""" in column
    assert 'ALTER COLUMN "type" DROP DEFAULT' in column
    assert "THIS OPERATION CANNOT BE WRITTEN AS SQL" in instance.manage("sqlmigrate", "api", "0115").stdout
    assert "DROP COLUMN" in instance.manage("sqlmigrate", "api", "0134").stdout


def test_the_graph_has_one_leaf_and_the_irreversible_ones_of_the_facts(instance: LocalInstance) -> None:
    script = (
        "from django.db import connection; from django.db.migrations.loader import MigrationLoader; "
        "l = MigrationLoader(connection); print(l.graph.leaf_nodes('api')); "
        "print(*sorted(n[:4] for (a, n), m in l.disk_migrations.items() if a == 'api' "
        "and not all(o.reversible for o in m.operations)))"
    )
    leaf, irreversible = instance.manage("shell", "-c", script).stdout.splitlines()
    assert leaf == f"[('api', '{facts.level(facts.NEWEST)['api_leaf']}')]"
    assert irreversible == IRREVERSIBLE


@pytest.mark.parametrize(
    ("variable", "code"),
    [
        ("ALLOWED_HOSTS", 1),
        ("ALLOWED_ORIGINS", 1),
        ("DATABASE_HOST", 1),
        ("DATABASE_NAME", 1),
        ("DATABASE_USER", 1),
        ("SECRET_KEY", 0),
        ("SERVER_SECRET", 0),
    ],
)
def test_a_missing_setting(instance: LocalInstance, variable: str, code: int) -> None:
    assert migrate_with(instance, {variable: None}).returncode == code


def test_a_secret_comes_from_its_file_or_else_from_the_variable(instance: LocalInstance, tmp_path: Path) -> None:
    password = instance.environment["DATABASE_PASSWORD"]
    file = tmp_path / "password"
    file.write_text(f"{password}\n")
    assert migrate_with(instance, {"DATABASE_PASSWORD_FILE": str(file), "DATABASE_PASSWORD": "wrong"}).returncode == 0
    missing = migrate_with(instance, {"DATABASE_PASSWORD_FILE": str(tmp_path / "missing")})
    assert (missing.returncode, missing.stderr) == (0, "")
    assert migrate_with(instance, {"DATABASE_PASSWORD": "wrong"}).returncode == 1


def test_tls_is_asked_for(instance: LocalInstance) -> None:
    refused = migrate_with(instance, {"DATABASE_SSL": "true"})
    assert (refused.returncode, "server does not support SSL" in refused.stderr) == (1, True)
    options = "from django.conf import settings; print(settings.DATABASES['default']['OPTIONS'])"
    checked = {"DATABASE_SSL": "True", "DATABASE_SSL_CA_PATH": "/ca.pem"}
    assert instance.manage("shell", "-c", options, environment=checked).stdout == (
        "{'sslmode': 'verify-full', 'sslrootcert': '/ca.pem'}\n"
    )


def test_libpq_options_reach_the_database(instance: LocalInstance) -> None:
    shown = (
        "from django.db import connection as c; k = c.cursor(); k.execute('SHOW lock_timeout'); print(k.fetchone()[0])"
    )
    options = {"PGOPTIONS": "-c lock_timeout=2s"}
    assert instance.manage("shell", "-c", shown, environment=options).stdout == "2s\n"


def migrate_with(instance: LocalInstance, changes: dict[str, str | None]) -> subprocess.CompletedProcess[str]:
    """`migrate` with settings changed, or left out (None)."""
    settings = {**instance.environment, **changes}
    return subprocess.run(
        [instance.python, "manage.py", "migrate", "--verbosity", "0"],
        cwd=instance.current.resolve(),
        env={key: value for key, value in settings.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
    )


def test_seeding_is_repeatable_and_realistic(instance: LocalInstance) -> None:
    (rows, reads, days, tagged) = instance.sql(
        "SELECT count(*), avg((event_type = 'R')::int), extract(day FROM max(timestamp) - min(timestamp)), "
        "(SELECT count(*) FROM api_secretevent_tags) FROM api_secretevent"
    )[0]
    assert rows == 2000
    assert 0.8 < reads < 0.95  # the first event of each of the 280 secrets is its creation
    assert 178 <= days <= 180
    assert tagged == 40
    assert instance.sql("SELECT count(DISTINCT event_type) FROM api_secretevent") == [(4,)]
    assert instance.sql("SELECT id FROM api_organisation WHERE name = 'SpaceX'") == [
        (identifier(1, "organisation", "SpaceX"),)
    ]
    other = Database(instance, "v2.54.0")
    same = "SELECT id, key, value, event_type, secret_id, user_id FROM api_secretevent ORDER BY id"
    first = other.sql(same)
    again = Database(instance, "v2.54.0")
    assert again.sql(same) == first
