# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The sandbox's tables equal Phase Console's, at five releases: made from nothing, and upgraded with rows in them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sandbox import facts
from sandbox.local import LocalInstance

COLUMNS = """
SELECT attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS not_null, attidentity AS identity
FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
# PostgreSQL 18 keeps NOT NULL as constraints too ('n'); the facts have it with the columns.
CONSTRAINTS = """
SELECT conname AS name, CASE contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' WHEN 'f' THEN 'foreign key'
  ELSE 'check' END AS type, pg_get_constraintdef(oid) AS definition
FROM pg_constraint WHERE conrelid = %s::regclass AND contype <> 'n'
"""
INDEXES = "SELECT quote_ident(indexname) AS name, indexdef AS definition FROM pg_indexes WHERE tablename = %s"


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    return module_local_instance(facts.LEVELS[0], events=300)


def rows(cursor: Any, query: str, table: str) -> list[dict[str, Any]]:
    cursor.execute(query, [table])
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def described(connection: Any, tables: list[str]) -> dict[str, dict[str, Any]]:
    """What the catalog says, in the facts' own shape; constraints and indexes in the order of their names."""
    with connection.cursor() as cursor:
        return {
            table: {
                "columns": [without_empty_identity(row) for row in rows(cursor, COLUMNS, table)],
                "constraints": by_name(rows(cursor, CONSTRAINTS, table)),
                "indexes": by_name(rows(cursor, INDEXES, table)),
            }
            for table in tables
        }


def without_empty_identity(column: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in column.items() if key != "identity" or value}


def by_name(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=lambda item: str(item["name"]))


def expected(level: str) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "columns": [without_empty_identity(column) for column in table["columns"]],
            "constraints": by_name(table["constraints"]),
            "indexes": by_name(table["indexes"]),
        }
        for name, table in facts.level(level)["tables"].items()
    }


def ledger(connection: Any) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT app || '.' || name FROM django_migrations ORDER BY id")
        return [name for (name,) in cursor.fetchall()]


def assert_equals_facts(instance: LocalInstance, level: str, database: str = "phase") -> None:
    wanted = expected(level)
    with closing(psycopg2.connect(instance.database_url, dbname=database)) as connection:
        found, names = described(connection, list(wanted)), ledger(connection)
    for table, description in wanted.items():
        for kind, items in description.items():
            assert [item for item in found[table][kind] if item not in items] == [], f"{table}: more {kind}"
            assert found[table][kind] == items, f"{table}: fewer {kind}, or in another order"
    assert len(names) == len(set(names))
    api = {name for name in facts.level(level)["migrations"] if name.startswith("api.")}
    assert {name for name in names if name.startswith("api.")} == api
    assert set(facts.level(level)["migrations"]) <= set(names)


@pytest.mark.parametrize("level", facts.LEVELS)
def test_made_from_nothing(instance: LocalInstance, level: str) -> None:
    name = f"scratch_{level.replace('.', '_')}"
    with instance.server.administrator() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} OWNER phase")
    instance.manage("migrate", version=level, environment={"DATABASE_NAME": name})
    assert_equals_facts(instance, level, name)


def test_upgraded_from_level_to_level_with_rows(instance: LocalInstance) -> None:
    before = instance.sql("SELECT id, key, value, event_type, timestamp FROM api_secretevent ORDER BY id")
    assert len(before) == 300
    for level in facts.LEVELS:
        instance.manage("migrate", version=level)
        assert_equals_facts(instance, level)
    assert instance.sql("SELECT id, key, value, event_type, timestamp FROM api_secretevent ORDER BY id") == before
    assert instance.sql("SELECT DISTINCT type FROM api_secretevent") == [("secret",)]
    assert instance.sql("SELECT count(*) FROM django_migrations") == [(190,)]


@pytest.mark.parametrize("release", [release.version for release in facts.releases()])
def test_models_and_migrations_of_a_release_agree(instance: LocalInstance, release: str) -> None:
    """So `migrate` has nothing to say about models that it would like to have migrations for."""
    result = instance.manage("makemigrations", "--check", "--dry-run", version=release, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "No changes detected")


@pytest.mark.parametrize("level", facts.LEVELS)
def test_a_checkout_is_the_same_each_time(tmp_path: Path, level: str) -> None:
    from sandbox.render import render

    first, second = render(level, tmp_path / "first"), render(level, tmp_path / "second")
    assert contents(first) == contents(second)
    assert (first / "version.txt").read_text() == f"{level}\n"


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mode, path.read_bytes()) for path in files}


def test_an_unknown_release_is_refused(tmp_path: Path) -> None:
    from sandbox.render import render

    with pytest.raises(ValueError, match="oldest release"):
        render("v2.30.0", tmp_path / "old")
    assert list(tmp_path.iterdir()) == []


def test_seeding_many_puts_indexes_and_constraints_back(module_local_instance: Callable[..., LocalInstance]) -> None:
    instance = module_local_instance("v2.73.2")
    instance.manage("seed", "--events", "30000")
    assert_equals_facts(instance, "v2.73.2")
    assert instance.sql("SELECT count(*), count(DISTINCT id) FROM api_secretevent") == [(30000, 30000)]
    assert instance.sql("SELECT count(*) FROM pg_constraint WHERE NOT convalidated") == [(0,)]
