# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.migration.plan import Migration, Walk, refused


def column(type_name="text", not_null=False, default=False):
    return {"type": type_name, "not_null": not_null, "default": default}


def catalog():
    return {
        "server_version": 150004,
        "tables": {
            "api_secretevent": {"rows": 1992592, "bytes": 3280000000},
            "api_app": {"rows": 12, "bytes": 81920},
            "api_new": {"rows": None, "bytes": None},
        },
        "columns": {
            "api_secretevent": {"id": column(not_null=True), "name": column(), "env_id": column()},
            "api_app": {"id": column(not_null=True)},
            "api_new": {"id": column(not_null=True)},
        },
        "constraints": [],
        "indexes": [],
    }


def plan(*migrations):
    """Plan (migration or name, SQL...) tuples."""
    walk = Walk(catalog())
    for migration, *statements in migrations:
        for sql in statements:
            walk.observe(sql)
        walk.finish(migration if isinstance(migration, Migration) else Migration(migration))
    return walk.entries


def entry(*statements, **facts):
    return plan((Migration("api.0999_x", **facts), *statements))[0]


def found(migration):
    return sorted({item["finding"] for item in migration["findings"]})


def test_concurrent_builds():
    builds = ['CREATE INDEX CONCURRENTLY "i%d" ON "api_secretevent" ("name")' % number for number in range(3)]
    migration = entry(*builds, atomic=False)
    assert migration["summary"] == (
        "api.0999_x: three concurrent index builds on api_secretevent (2.0 M rows, 3.3 GB): writes go on"
    )
    assert migration["class"] == "concurrent_index_build" and found(migration) == []
    assert [item["index"] for item in migration["concurrent_indexes"]] == ["i0", "i1", "i2"]


def test_a_required_column_breaks_inserts_of_the_running_version():
    migration = entry(
        'ALTER TABLE "api_secretevent" ADD COLUMN "type" varchar(10) DEFAULT \'secret\' NOT NULL',
        'ALTER TABLE "api_secretevent" ALTER COLUMN "type" DROP DEFAULT',
    )
    assert migration["breaks_running_version"] and migration["breaks_secret_reads"]
    assert "reads and changes of secrets fail" in migration["summary"]
    assert found(migration) == ["access_exclusive", "breaks_running_version"]
    assert migration["class"] == "catalog_only"


def test_a_default_that_stays_breaks_nothing():
    sql = 'ALTER TABLE "api_secretevent" ADD COLUMN "type" varchar(10) DEFAULT \'secret\' NOT NULL'
    assert not entry(sql)["breaks_running_version"]


def test_an_insert_into_another_table_does_not_stop_reads():
    migration = entry(
        'ALTER TABLE "api_app" ADD COLUMN "x" text DEFAULT \'\' NOT NULL',
        'ALTER TABLE "api_app" ALTER "x" DROP DEFAULT',
    )
    assert migration["breaks_running_version"] and not migration["breaks_secret_reads"]


def test_what_was_required_before_is_no_news():
    migration = entry(
        'ALTER TABLE "api_app" ALTER COLUMN "id" SET DEFAULT \'x\'',
        'ALTER TABLE "api_app" ALTER COLUMN "id" DROP DEFAULT',
    )
    assert not migration["breaks_running_version"]


def test_a_break_is_told_once_where_it_begins():
    first, second = plan(
        (
            "api.1",
            'ALTER TABLE "api_app" ADD COLUMN "x" text DEFAULT \'\' NOT NULL; ALTER TABLE api_app ALTER x DROP DEFAULT',
        ),
        ("api.2", "COMMENT ON TABLE api_app IS 'x'"),
    )
    assert first["breaks_running_version"] and not second["breaks_running_version"]


def test_locks_on_a_table_that_the_plan_makes_do_not_matter():
    create, later = plan(
        ("api.1", 'CREATE TABLE "api_log" ("id" text PRIMARY KEY, "app" text REFERENCES "api_app" ("id"))'),
        ("api.2", 'ALTER TABLE "api_log" ADD COLUMN "x" text NOT NULL; CREATE INDEX "i" ON "api_log" ("x")'),
    )
    assert create["summary"] == "api.1: makes one table; short lock on api_app: writes wait for a moment"
    assert later["summary"] == "api.2: touches only tables that this upgrade makes"
    assert later["class"] == "none" and later["findings"] == [] and not later["breaks_running_version"]
    assert [table["new"] for table in later["tables"]] == [True]


def test_an_atomic_migration_keeps_its_locks_while_it_works():
    sqls = ('ALTER TABLE "api_secretevent" ADD COLUMN "x" text NULL', 'CREATE INDEX "i" ON "api_secretevent" ("x")')
    held = entry(*sqls, 'ALTER TABLE "api_app" ADD COLUMN "y" text NULL')
    assert "one index build on api_secretevent (2.0 M rows, 3.3 GB): reads and writes wait" in held["summary"]
    assert "locks api_app until it commits: reads and writes wait" in held["summary"]
    alone = entry(*sqls, atomic=False)
    assert "one index build on api_secretevent (2.0 M rows, 3.3 GB): writes wait" in alone["summary"]


def test_python_names_its_tables_and_cannot_say_how_long():
    migration = entry(runs_python=True, irreversible=True, mentions=["api_app", "api_new"])
    assert migration["summary"] == (
        "api.0999_x: runs Python on api_app (12 rows, 82 kB), api_new (unknown number of rows): how long is not known; "
        "cannot be reversed"
    )
    assert found(migration) == ["irreversible", "python"]


def test_sql_that_cannot_be_known_is_the_worst_case():
    walk = Walk(catalog())
    walk.assume("api_app", "its SQL cannot be shown")
    walk.finish(Migration("api.1"))
    assert walk.entries[0]["class"] == "unknown"
    assert found(walk.entries[0]) == ["access_exclusive", "unknown_sql"]
    assert "taken as the worst case" in walk.entries[0]["summary"]


def test_nothing_to_do_in_the_database():
    assert entry()["summary"] == "api.0999_x: changes nothing in the database"
    assert entry("SET CONSTRAINTS ALL IMMEDIATE")["summary"] == "api.0999_x: changes nothing in the tables"


@pytest.mark.parametrize(
    ("sql", "finding"),
    [
        ('ALTER TABLE "api_secretevent" ALTER COLUMN "name" TYPE integer', "rewrite"),
        ('ALTER TABLE "api_secretevent" ALTER COLUMN "name" SET NOT NULL', "scan"),
        ('CREATE INDEX "i" ON "api_secretevent" ("name")', "blocking_index"),
        ("DO $$ begin end $$", "unknown_sql"),
    ],
)
def test_findings_can_be_refused(sql, finding):
    (item,) = refused([entry(sql)], [finding], 1)
    assert (item["migration"], item["finding"]) == ("api.0999_x", finding)
    assert refused([entry(sql)], [], 1) == []


def test_small_tables_can_be_let_through_but_not_those_of_unknown_size():
    small = entry('CREATE INDEX "i" ON "api_app" ("id")')
    assert len(refused([small], ["blocking_index"], 12)) == 1
    assert refused([small], ["blocking_index"], 13) == []
    unknown = entry('CREATE INDEX "i" ON "api_new" ("id")')
    assert len(refused([unknown], ["blocking_index"], 10**9)) == 1
