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
from integration.harness import Ansible, answers
from integration.watch import Watch

Factory = Callable[..., Any]
OLD, NEW = "v2.66.0", "v2.73.2"


@pytest.fixture
def instance(local_instance: Factory) -> Any:
    return local_instance(OLD, 2000)


def plan_text(result: Any) -> str:
    return "\n".join(result.custom["phase_upgrade"]["plan"]["text"])


def test_check_two_at_once_and_another_run(ansible: Ansible, instance: Any) -> None:
    """Of the two the first goes on, and shows no secret meanwhile."""
    variables = {**answers("upgrade", phase_upgrade_stop_on=[]), **upgrades.variables(instance, NEW)}
    before, processes = upgrades.tables(instance), instance.status()
    checked = ansible.playbook("upgrade", variables, check=True, diff=True)
    assert checked.changed == 1  # an upgrade is due
    assert (upgrades.tables(instance), instance.status(), instance.version) == (before, processes, OLD)
    assert upgrades.backups(instance) == [] and not upgrades.state_dir(instance).exists()
    text = plan_text(checked)
    releases = checked.custom["phase_upgrade"]["plan"]["releases"]
    assert [one["release"] for one in releases] == ["v2.67.0", "v2.68.0", "v2.69.0", "v2.70.0", "v2.71.0", "v2.73.0"]
    assert sum(len(one["migrations"]) for one in releases) == 21
    assert "v2.71.0 (1 migration): https://github.com/phasehq/console/releases/tag/v2.71.0" in text
    assert "21 pending" in text and "back up, then migrate, then replace backend, then replace worker" in text

    with Watch.for_local(instance, ansible) as watching:
        first = ansible.popen_playbook("upgrade", variables, verbosity=3, diff=True)
        first.wait_for_output(": Dump the database into a verified file]")
        second = ansible.playbook("upgrade", variables, expect_failure=True)
        assert second.failed[0].result["error"]["kind"] == "upgrade_running"
        assert "run" in second.message and second.changed == 0
        done = first.wait()
    assert done.rc == 0, done.stdout
    watching.look_at_run(first)
    assert (watching.found, watching.samples > 0) == ([], True)
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


def test_killed_in_every_phase_and_failed_once(ansible: Ansible, instance: Any) -> None:
    """One upgrade by six runs. kill -9 comes once the phase's task has begun, to ansible-playbook alone or to all that
    it started; a run that fails lets go of the state, so that the next one may come from anywhere."""
    variables = upgrades.variables(instance, NEW)

    def killed(task: str, *, everything: bool) -> tuple[str, str]:
        """(phase, run) of the state that it leaves."""
        run = ansible.popen_playbook("upgrade", variables)
        run.wait_for_output(f": {task}]")
        run.kill(everything=everything)
        state = upgrades.state(instance)
        return state["phase"], state["run"]

    phase, begun = killed("Dump the database into a verified file", everything=True)
    assert phase == "backup"
    assert killed("Migrate with the target's code", everything=False) == ("migrate", begun)
    assert killed("Restart the part", everything=True) == ("migrate", begun)
    wrong = {**variables, "phase_upgrade_health_url": "http://127.0.0.1:9/health/", "phase_upgrade_health_timeout": 1}
    failed = ansible.playbook("upgrade", wrong, expect_failure=True)
    assert failed.failed[0].result["error"]["kind"] == "not_healthy"
    assert upgrades.state(instance)["phase"] == "migrate" and upgrades.state(instance)["owner"] == {}
    assert killed("Wait until all parts are well", everything=False) == ("verify", begun)

    done = ansible.playbook("upgrade", variables)
    upgrades.settled(instance, NEW)
    assert upgrades.state(instance)["run"] == begun
    assert done.custom["phase_upgrade"]["pending"] and "goes on with run" in plan_text(done)


def test_another_target_midway_is_refused(ansible: Ansible, instance: Any) -> None:
    run = ansible.popen_playbook("upgrade", upgrades.variables(instance, NEW))
    run.wait_for_output(": Restart the part]")
    run.kill(everything=True)
    before = upgrades.tables(instance)
    shutil.copytree(instance.release(NEW), instance.directory / "releases" / "other", symlinks=True)
    other = upgrades.variables(instance, NEW, phase_upgrade_release=str(instance.directory / "releases" / "other"))
    refused = ansible.playbook("upgrade", other, expect_failure=True)
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


def test_a_backup_has_to_be_present_and_redis_may_be_down(ansible: Ansible, instance: Any) -> None:
    """migrate ends with exit code 1 without redis, after it has applied everything; the ledger decides."""
    variables = upgrades.variables(instance, NEW, phase_upgrade_backup="present")
    refused = ansible.playbook("upgrade", variables, expect_failure=True)
    assert "phase_upgrade_backup=made" in refused.message
    backup = {
        **variables["phase_target"],
        "dest": variables["phase_upgrade_backup_dest"],
        "pg_bin_dir": variables["phase_upgrade_backup_pg_bin_dir"],
    }
    made = ansible.module("phase_backup", backup)["manifest"]
    instance.redis_stop()
    run = ansible.popen_playbook("upgrade", variables)
    try:
        run.wait_for_output(": Point the link to the release]")
    finally:
        instance.redis_start()
    done = run.wait()
    assert done.rc == 0, done.stdout
    assert "redis" in done.stdout
    upgrades.settled(instance, NEW)
    assert done.custom["phase_upgrade"]["backup"]["sha256"] == made["sha256"]
