# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recoveries of the Compose project: an owner who comes through nginx, and a migrations container that was killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from integration import lockouts
from integration.forks import Database, eventually
from integration.harness import Ansible, target
from sandbox.compose import Variant

INDEX, MIGRATION = "log_stream_unresolved_idx", "0136_logstream_unresolved_idx"


@pytest.fixture(scope="module")
def instance(module_compose_instance: Callable[..., Any]) -> Any:
    return module_compose_instance("v2.73.2", variant=Variant(environment={"ENABLE_PASSWORD_AUTH": "true"}))


@pytest.fixture
def recover(ansible: Ansible, instance: Any, tmp_path: Path) -> Callable[..., Any]:
    def run(*, fails: bool = False, check: bool = False, **more: Any) -> Any:
        variables = {
            "phase_hosts": "localhost",
            "phase_target": target(instance),
            "phase_recover_organisation": "SpaceX",
            "phase_recover_dir": str(tmp_path / "recover"),
            "phase_recover_confirmed": True,
            **more,
        }
        environ = instance.engine.variables()
        return ansible.playbook("recover", variables, expect_failure=fails, check=check, environ=environ)

    return run


def outcome(result: Any) -> str:
    return str(result.custom["phase_recover"]["outcome"])


def gateway(instance: Any) -> str:
    """The address that nginx sees for whoever comes from this host."""
    return str(instance.inspect(instance.network)["IPAM"]["Config"][0]["Gateway"])


def test_an_owner_whom_a_policy_keeps_out(instance: Any, recover: Callable[..., Any]) -> None:
    lockouts.by_policy(instance)
    before = lockouts.policies(instance)
    assert lockouts.enter(instance.url) == "IP_RESTRICTED"
    done = recover(phase_recover_address=gateway(instance))
    assert outcome(done) == "kept" and lockouts.enter(instance.url) == "in"
    again = recover(phase_recover_address=gateway(instance))
    assert (again.changed, outcome(again)) == (0, "nothing")
    recover(phase_recover_restore=done.custom["phase_recover"]["restore"])
    assert lockouts.policies(instance) == before and lockouts.enter(instance.url) == "IP_RESTRICTED"
    instance.sql("delete from api_networkaccesspolicy")


def migrations(instance: Any) -> dict[str, Any]:
    return dict(instance.inspect("phase-migrations")["State"])


def make_pending(database: Database) -> None:
    """As if v2.73.2 had just come: its last migration, which builds an index concurrently, is to be applied."""
    database.sql(f"drop index if exists {INDEX}")
    database.sql("delete from django_migrations where name = %s", MIGRATION)


def test_a_migrations_container_that_was_killed(instance: Any, recover: Callable[..., Any]) -> None:
    """It works: left alone. Killed, it leaves an INVALID index, over which Compose's next start fails."""
    database = Database(instance.database_url)
    make_pending(database)
    with database.snapshot():
        instance.docker("start", "phase-migrations")
        eventually(database.building)
        refused = recover(fails=True, phase_recover_organisation="")
        assert (
            INDEX in refused.message
            and "the test" in refused.message
            and refused.message.startswith("Let the migration finish")
        )
        assert migrations(instance)["Running"] and refused.changed == 0
        instance.docker("kill", "phase-migrations")
        # PostgreSQL itself notices only when it next speaks to the client, which is after the snapshot.
        database.sql("select pg_terminate_backend(pid) from pg_stat_progress_create_index")
        eventually(lambda: not database.building())
    assert database.index_state(INDEX) == {INDEX: False}
    instance.compose("rm", "--stop", "--force", "backend", "worker")
    instance.compose("up", "--detach", "--no-build", "--pull", "never", check=False)
    assert migrations(instance)["ExitCode"] == 1 and instance.status()["backend"].startswith("created")

    checked = recover(check=True, phase_recover_organisation="")
    told = " ".join(checked.custom["phase_recover"]["found"])
    assert outcome(checked) == "check" and f"INVALID index {INDEX}" in told and "Not started: backend" in told
    assert database.index_state(INDEX) == {INDEX: False}

    done = recover(phase_recover_organisation="")
    assert outcome(done) == "recovered" and database.index_state(INDEX) == {INDEX: True}
    assert {"backend", "worker"} <= set(done.custom["phase_recover"]["started"])
    instance.restart("nginx")  # it looks up the backend's address only when it starts
    instance.wait_ready()
    assert recover(phase_recover_organisation="").changed == 0


def test_a_migrations_container_that_lost_redis(instance: Any, recover: Callable[..., Any]) -> None:
    """It applies everything and fails after that; what waits for it is started, without one more migrate."""
    database = Database(instance.database_url)
    make_pending(database)
    instance.docker("stop", "phase-redis")
    instance.docker("start", "phase-migrations")
    eventually(lambda: not migrations(instance)["Running"])
    assert migrations(instance)["ExitCode"] == 1 and database.index_state(INDEX) == {INDEX: True}
    instance.docker("start", "phase-redis")
    instance.compose("rm", "--stop", "--force", "worker")
    instance.compose("create", "--no-build", "--pull", "never", "worker")
    done = recover(phase_recover_organisation="")
    told = " ".join(done.custom["phase_recover"]["found"])
    assert outcome(done) == "recovered" and "Every migration is applied" in told, told
    assert done.custom["phase_recover"]["started"] == ["worker"] and migrations(instance)["ExitCode"] == 1
    assert recover(phase_recover_organisation="").changed == 0


def test_a_migrations_container_that_waits_for_a_lock(
    ansible: Ansible, instance: Any, recover: Callable[..., Any]
) -> None:
    database = Database(instance.database_url)
    with database.connect(autocommit=False) as blocker:
        blocker.cursor().execute("lock table django_migrations in access exclusive mode")
        instance.docker("start", "phase-migrations")
        waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        eventually(lambda: database.sql(waits)[0][0] == 1)
        options = {**target(instance), "stuck_after": "1s"}
        eventually(lambda: database.sql(waits + " and state_change < now() - interval '2 s'")[0][0] == 1)
        environ = instance.engine.variables()
        found = ansible.module("phase_migrate", {**options, "state": "info"}, environ=environ)
        assert (
            found["job"]["state"] == "blocked"
            and f"pid {blocker.info.backend_pid} (the test" in found["job"]["sentence"]
        )
        cleared = ansible.module("phase_migrate", {**options, "state": "cleared"}, environ=environ)
        assert cleared["changed"] and not migrations(instance)["Running"]
        assert database.sql(waits)[0][0] == 0
    blocker.close()
    done = recover(phase_recover_organisation="")
    told = " ".join(done.custom["phase_recover"]["found"])
    assert (outcome(done), done.changed) == ("nothing", 0) and "Every migration is applied" in told
