# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The upgrade playbook on an instance of processes: plan, run, second run, kill -9 in each phase, refusals."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from integration import upgrades
from integration.harness import Ansible

Factory = Callable[..., Any]
OLD, NEW = "v2.66.0", "v2.73.2"


@pytest.fixture
def instance(local_instance: Factory) -> Any:
    return local_instance(OLD, 2000)


def plan_text(result: Any) -> str:
    return "\n".join(result.custom["phase_upgrade"]["plan"]["text"])


def test_check_run_and_second_run(ansible: Ansible, instance: Any) -> None:
    variables = upgrades.variables(instance, NEW)
    before, processes = upgrades.tables(instance), instance.status()
    checked = ansible.playbook("upgrade", variables, check=True, diff=True)
    assert checked.changed == 0
    assert (upgrades.tables(instance), instance.status(), instance.version) == (before, processes, OLD)
    assert upgrades.backups(instance) == [] and not upgrades.state_dir(instance).exists()
    text = plan_text(checked)
    assert "21 pending" in text and "back up, then migrate, then replace backend, then replace worker" in text

    done = ansible.playbook("upgrade", variables)
    upgrades.settled(instance, NEW)
    record = done.custom["phase_upgrade"]
    assert record["pending"] == checked.custom["phase_upgrade"]["plan"]["pending"]
    assert [entry["name"] for entry in record["applied"]] == record["pending"]
    assert Path(record["backup"]["path"]).stat().st_mode & 0o777 == 0o600
    assert instance.status()["backend"] != processes["backend"] and instance.status()["worker"] != processes["worker"]

    processes, files = instance.status(), upgrades.backups(instance)
    again = ansible.playbook("upgrade", variables)
    assert again.changed == 0
    assert (instance.status(), upgrades.backups(instance)) == (processes, files)
    assert not again.custom["phase_upgrade"]["plan"]["needed"]


# A task of each phase in which the run is killed, the phase that the state then names, and whether all that
# ansible-playbook started is killed with it.
PHASES = {
    "backup": ("Dump the database into a verified file", "backup", True),
    "migrate": ("Migrate with the target's code", "migrate", False),
    "rollout": ("Restart the part", "migrate", True),
    "verify": ("Wait until all parts are well", "verify", False),
}


@pytest.mark.parametrize("phase", PHASES)
def test_killed_and_run_again(ansible: Ansible, instance: Any, phase: str) -> None:
    """kill -9 once the phase's task has begun, of ansible-playbook alone or of all that it started."""
    task, reached, everything = PHASES[phase]
    variables = upgrades.variables(instance, NEW)
    run = ansible.popen_playbook("upgrade", variables)
    run.wait_for_output(f": {task}]")
    run.kill(everything=everything)
    assert upgrades.state(instance)["phase"] == reached
    first = upgrades.state(instance)["run"]

    again = ansible.playbook("upgrade", variables)
    upgrades.settled(instance, NEW)
    assert upgrades.state(instance)["run"] == first
    assert "goes on with run" in plan_text(again)


def test_another_target_midway_is_refused(ansible: Ansible, instance: Any) -> None:
    run = ansible.popen_playbook("upgrade", upgrades.variables(instance, NEW))
    run.wait_for_output(": Restart the part]")
    run.kill(everything=True)
    before = upgrades.tables(instance)
    shutil.copytree(instance.release(NEW), instance.directory / "releases" / "other", symlinks=True)
    other = upgrades.variables(instance, NEW, phase_upgrade_release=str(instance.directory / "releases" / "other"))
    for check in (True, False):
        refused = ansible.playbook("upgrade", other, check=check, expect_failure=True)
        assert refused.failed[0].result["error"]["kind"] == "other_target"
        assert "phase_upgrade_abandon" in refused.message and "one-way" in refused.message
    assert upgrades.tables(instance) == before
    ansible.playbook("upgrade", {**other, "phase_upgrade_abandon": True})
    upgrades.settled(instance, NEW)
    assert instance.current.resolve().name == "other"


def test_a_downgrade_is_refused(ansible: Ansible, local_instance: Factory) -> None:
    instance = local_instance(NEW)
    before = (upgrades.tables(instance), instance.status())
    refused = ansible.playbook("upgrade", upgrades.variables(instance, OLD), expect_failure=True)
    assert refused.failed[0].result["error"]["kind"] == "database_ahead"
    assert (upgrades.tables(instance), instance.status()) == before
    assert not upgrades.state_dir(instance).exists()


def test_a_finding_stops_it_before_anything(ansible: Ansible, instance: Any) -> None:
    before = upgrades.tables(instance)
    variables = upgrades.variables(instance, NEW, phase_upgrade_stop_on=["python"])
    refused = ansible.playbook("upgrade", variables, expect_failure=True)
    assert "phase_upgrade_stop_on refuses" in refused.message
    assert upgrades.tables(instance) == before and upgrades.backups(instance) == []


def test_a_backup_has_to_be_present(ansible: Ansible, instance: Any) -> None:
    variables = upgrades.variables(instance, NEW, phase_upgrade_backup="present")
    refused = ansible.playbook("upgrade", variables, expect_failure=True)
    assert "phase_upgrade_backup=made" in refused.message
    backup = {
        **variables["phase_target"],
        "dest": variables["phase_upgrade_backup_dest"],
        "pg_bin_dir": variables["phase_upgrade_backup_pg_bin_dir"],
    }
    made = ansible.module("phase_backup", backup)["manifest"]
    done = ansible.playbook("upgrade", variables)
    upgrades.settled(instance, NEW)
    assert done.custom["phase_upgrade"]["backup"]["sha256"] == made["sha256"]


def test_redis_down_midway_is_told_and_the_upgrade_ends(ansible: Ansible, instance: Any) -> None:
    """migrate ends with exit code 1 after it has applied everything; the ledger decides."""
    instance.redis_stop()
    run = ansible.popen_playbook("upgrade", upgrades.variables(instance, NEW))
    try:
        run.wait_for_output(": Point the link to the release]")
    finally:
        instance.redis_start()
    done = run.wait()
    assert done.rc == 0, done.stdout
    assert "redis" in done.stdout
    upgrades.settled(instance, NEW)


def test_two_at_once(ansible: Ansible, instance: Any) -> None:
    variables = upgrades.variables(instance, NEW)
    first = ansible.popen_playbook("upgrade", variables)
    first.wait_for_output(": Dump the database into a verified file]")
    second = ansible.playbook("upgrade", variables, expect_failure=True)
    assert second.failed[0].result["error"]["kind"] == "upgrade_running"
    assert "run" in second.message and second.changed == 0
    assert first.wait().rc == 0
    upgrades.settled(instance, NEW)


def test_a_run_that_failed_is_continued(ansible: Ansible, instance: Any) -> None:
    """It lets go of the state, so that the next run may come from anywhere."""
    variables = upgrades.variables(instance, NEW)
    wrong = {**variables, "phase_upgrade_health_url": "http://127.0.0.1:9/health/", "phase_upgrade_health_timeout": 1}
    failed = ansible.playbook("upgrade", wrong, expect_failure=True)
    assert failed.failed[0].result["error"]["kind"] == "not_healthy"
    assert upgrades.state(instance)["phase"] == "migrate" and upgrades.state(instance)["owner"] == {}
    done = ansible.playbook("upgrade", variables)
    upgrades.settled(instance, NEW)
    assert done.custom["phase_upgrade"]["pending"] and "goes on with run" in plan_text(done)
