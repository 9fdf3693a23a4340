# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""phase_migrate on a real server, with the sandbox's own manage.py: what it does, and what it refuses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from integration.forks import Fork
from integration.harness import Ansible

FIRST, LAST = "v2.53.0", "v2.73.2"
BUILDS = ("secret_event_history_idx", "secret_logs_env_idx", "sa_token_last_used_idx")


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., Any]) -> Any:
    """At a release before 0112 and its concurrent builds; nothing but the server and redis stays up."""
    started = module_local_instance(FIRST, 5000)
    started.sql("analyze")
    for service in ("worker", "backend"):
        started.stop_service(service)
    return started


@pytest.fixture
def fork(instance: Any) -> Iterator[Fork]:
    made = Fork(instance)
    yield made
    made.kill_runners()


def entry(result: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [entry for entry in result["plan"] if entry["name"] == name]
    return dict(found)


def test_check_mode_tells_all_and_changes_nothing(ansible: Ansible, fork: Fork) -> None:
    before = fork.catalog()
    result = ansible.module("phase_migrate", fork.options(LAST), check=True, diff=True)
    assert fork.catalog() == before
    assert result["changed"] and not result["applied"]
    assert len(result["pending"]) == 29
    assert result["pending"][0] == "api.0112_secretevent_secret_event_history_idx_and_more"
    assert "api.0136_logstream_unresolved_idx" in result["to_leaves"]
    assert (result["from_release"], result["to_release"]) == ("v2.53.0", "v2.73.0")

    wedge = entry(result, "api.0112_secretevent_secret_event_history_idx_and_more")
    assert wedge["class"] == "concurrent_index_build" and not wedge["atomic"]
    assert [item["index"] for item in wedge["concurrent_indexes"]] == list(BUILDS)
    assert wedge["tables"][0]["rows"] == 5000 and wedge["tables"][0]["bytes"] > 1_000_000
    assert "three concurrent index builds on api_secretevent (5000 rows," in wedge["summary"]
    assert "writes go on" in wedge["summary"]

    event_type = entry(result, "api.0119_secretevent_type_field")
    assert event_type["breaks_secret_reads"] and "reads and changes of secrets fail" in event_type["summary"]
    assert event_type["class"] == "catalog_only"
    assert entry(result, "api.0115_migrate_free_tier_to_v2_pricing")["irreversible"]
    assert entry(result, "api.0129_wipe_orphan_envkeys_from_deleted_sas")["runs_python"]
    assert "pending api.0112" in result["diff"]["before"] and "pending" not in result["diff"]["after"]


def test_migrates_once_and_then_not_again(ansible: Ansible, fork: Fork, instance: Any) -> None:
    first = ansible.module("phase_migrate", fork.options(LAST))
    assert first["changed"]
    assert [item["name"] for item in first["applied"]] == first["pending"]
    assert all(item["seconds"] is not None for item in first["applied"])
    assert fork.index_state(*BUILDS) == dict.fromkeys(BUILDS, True)
    migrated = fork.catalog()
    second = ansible.module("phase_migrate", fork.options(LAST), diff=True)
    assert (
        not second["changed"]
        and second["pending"] == []
        and second["summary"] == ["Nothing is pending; the database is at v2.73.0 or later."]
    )
    assert second["diff"]["before"] == second["diff"]["after"]
    assert fork.catalog() == migrated
    assert fork.lingering() == []


def test_one_licence_check_for_all_migrations_and_none_for_none(ansible: Ansible, fork: Fork, instance: Any) -> None:
    """Every migrate of Phase adds a recurring job to the scheduler in redis, even one that does nothing."""
    import redis

    with redis.Redis(port=instance.redis_port) as connection:

        def jobs() -> int:
            return int(connection.zcard("rq:scheduler:scheduled_jobs"))

        before = jobs()
        ansible.module("phase_migrate", fork.options("v2.66.0"))
        assert jobs() == before + 1
        ansible.module("phase_migrate", fork.options("v2.66.0"))
        assert jobs() == before + 1


def test_an_older_image_is_refused(ansible: Ansible, fork: Fork) -> None:
    before = fork.catalog()
    result = ansible.module("phase_migrate", fork.options("v2.42.0"), expect_failure=True)
    assert result["error"]["kind"] == "database_ahead"
    assert "restoring a backup" in result["msg"] and "only way back" in result["msg"]
    assert "api.0111_identity_serviceaccount_identities" in result["unknown"]
    assert fork.catalog() == before


def test_each_release_runs_on_its_own_packages(ansible: Ansible, fork: Fork, instance: Any) -> None:
    """The new release's code on the old one's packages is refused; a path in `current` is a place in each."""
    new, before = instance.release(LAST), fork.catalog()
    for release in (new, instance.release(FIRST)):
        (release / ".venv").symlink_to(sys.prefix)
    given = {**fork.options(LAST), "python": ".venv/bin/python"}
    inside = {**given, "python": f"{given['manage_dir']}/.venv/bin/python"}
    pins = new / "requirements.txt"
    try:
        for options in (fork.options(LAST), given, inside):
            pins.write_text("Django==99.1\npsycopg2-binary==2.0\nnosuch-package[x]==1.0  # why\n", encoding="utf-8")
            for check in (True, False):
                refused = ansible.module("phase_migrate", options, check=check, expect_failure=True)
                assert refused["error"]["kind"] == "packages_differ"
                assert "instead of 99.1, nosuch-package 1.0 is missing" in refused["msg"]
                assert str(new) in refused["msg"] and ".venv/bin/python" in refused["error"]["next_step"]
            pins.write_text(f"Django=={django.__version__}\n", encoding="utf-8")
            assert len(ansible.module("phase_migrate", options, check=True)["pending"]) == 29
        (new / ".venv").unlink()
        for options in (given, inside):
            refused = ansible.module("phase_migrate", options, check=True, expect_failure=True)
            assert refused["error"]["kind"] == "interpreter_missing"
            assert f"{new}/.venv/bin/python cannot be run" in refused["msg"]
    finally:
        pins.unlink()
    assert fork.catalog() == before


def test_a_row_that_the_image_does_not_know_is_refused_in_check_mode_too(ansible: Ansible, fork: Fork) -> None:
    fork.sql("insert into django_migrations (app, name, applied) values ('api', '0999_from_the_future', now())")
    result = ansible.module("phase_migrate", fork.options(LAST), check=True, expect_failure=True)
    assert result["error"]["kind"] == "database_ahead" and result["unknown"] == ["api.0999_from_the_future"]


def test_a_gap_in_the_ledger_is_refused(ansible: Ansible, fork: Fork) -> None:
    fork.sql("delete from django_migrations where app = 'api' and name like '0110%%'")
    result = ansible.module("phase_migrate", fork.options(LAST), expect_failure=True)
    assert result["error"]["kind"] == "inconsistent_history"
    assert result["inconsistent"] == [
        {
            "migration": "api.0111_identity_serviceaccount_identities",
            "dependency": "api.0110_serviceaccounttoken_created_by_service_account",
        }
    ]


def test_duplicate_rows_are_told(ansible: Ansible, fork: Fork) -> None:
    fork.sql(
        "insert into django_migrations (app, name, applied) select app, name, now() from django_migrations "
        "where app = 'sites'"
    )
    result = ansible.module("phase_migrate", fork.options(FIRST))
    assert not result["changed"]
    assert [item["name"] for item in result["duplicates"]] == ["sites.0001_initial", "sites.0002_alter_domain_unique"]
    assert any("2 rows in django_migrations" in warning for warning in result["warnings"])


def test_stop_on_refuses_by_finding_and_by_size(ansible: Ansible, fork: Fork) -> None:
    before = fork.catalog()
    result = ansible.module(
        "phase_migrate", fork.options(LAST, stop_on=["breaks_running_version"]), expect_failure=True
    )
    assert result["error"]["kind"] == "stopped_by_finding"
    assert {item["finding"] for item in result["stopped_by"]} == {"breaks_running_version"}
    locked = ansible.module(
        "phase_migrate", fork.options(LAST, stop_on=["access_exclusive"], stop_on_min_rows=4000), expect_failure=True
    )
    assert {item["table"] for item in locked["stopped_by"]} == {"api_secretevent"}
    assert fork.catalog() == before
    passed = ansible.module("phase_migrate", fork.options(LAST, stop_on=["rewrite", "unknown_sql"]))
    assert passed["changed"]


def test_redis_down_at_the_end_is_no_failed_migration(ansible: Ansible, fork: Fork, instance: Any) -> None:
    instance.redis_stop()
    try:
        result = ansible.module("phase_migrate", fork.options(LAST))
    finally:
        instance.redis_start()
    assert [item["name"] for item in result["applied"]] == result["pending"]
    assert result["post_migrate_failed"]["exit_code"] == 1
    assert any("All migrations were applied" in warning and "redis" in warning for warning in result["warnings"])
    assert not ansible.module("phase_migrate", fork.options(LAST))["changed"]


def test_a_failing_migration_says_what_was_applied_and_the_next_run_goes_on(ansible: Ansible, fork: Fork) -> None:
    fork.sql("create table api_team (id text)")
    result = ansible.module("phase_migrate", fork.options(LAST), expect_failure=True)
    assert result["error"]["kind"] == "migration_failed"
    assert result["failed_migration"] == "api.0123_add_team_models"
    assert 'relation "api_team" already exists' in result["msg"]
    assert [item["name"] for item in result["applied"]] == fork.ledger()[-len(result["applied"]) :]
    assert any("api_team" in line for line in result["output"])
    fork.sql("drop table api_team")
    rest = ansible.module("phase_migrate", fork.options(LAST))
    assert rest["pending"][0] == "api.0123_add_team_models" and rest["applied"]


def test_no_secret_comes_out(ansible: Ansible, fork: Fork, instance: Any, tmp_path: Path) -> None:
    secrets = [instance.environment[name] for name in ("DATABASE_PASSWORD", "SECRET_KEY", "SERVER_SECRET")]
    instance.redis_stop()
    try:
        options = fork.options(LAST)
        options["environment"] = {**options["environment"], "REDIS_PASSWORD": "a-planted-redis-password"}
        run = ansible.popen_playbook(
            [{"hosts": "localhost", "gather_facts": False, "tasks": [{"phase.console.phase_migrate": options}]}],
            verbosity=3,
        )
        result = run.wait()
    finally:
        instance.redis_start()
    for secret in [*secrets, "a-planted-redis-password"]:
        assert secret not in result.stdout


def test_the_database_alone_is_not_enough(ansible: Ansible, instance: Any) -> None:
    options = {"deployment": "database", "database_url": instance.database_url}
    result = ansible.module("phase_migrate", options, expect_failure=True)
    assert result["error"]["kind"] == "not_supported" and "needs the application" in result["msg"]


def test_the_misspelt_setting_is_found(ansible: Ansible, fork: Fork) -> None:
    options = fork.options(FIRST)
    options["environment"] = {**options["environment"], "EXTERNAL_MIGRATIONS": "true"}
    result = ansible.module("phase_migrate", options, check=True)
    assert result["external_migration"]["misspelt"]
    assert any("EXTERNAL_MIGRATIONS" in warning for warning in result["warnings"])
