# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The purge on a schedule: by a systemd timer, and by AWX with the surveys that the collection brings."""

from __future__ import annotations

import datetime
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration.harness import Ansible, PlayResult, answers, target
from sandbox import facts
from sandbox.local import LocalInstance


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    return module_local_instance(facts.LEVELS[-1], events=2000, superuser=False)


# A systemd timer


def timer(ansible: Ansible, folder: Path, *variables: dict[str, Any], **options: Any) -> PlayResult:
    """The role's entry point, once for each set of variables. It leaves systemd alone, and writes into ``folder``."""
    where = {
        "phase_log_retention_timer_folder": str(folder),
        "phase_log_retention_timer_variables": str(folder / "etc" / "variables.yml"),
        "phase_log_retention_timer_start": False,
        "phase_log_retention_timer_program": str(ansible.programs / "ansible-playbook"),
    }
    role = {"name": "phase.console.log_retention", "tasks_from": "timer"}
    tasks = [{"ansible.builtin.include_role": role, "vars": {**where, **one}} for one in variables]
    if len(variables) > 1:  # each whatever became of the one before
        tasks = [{"block": [task], "rescue": [{"ansible.builtin.meta": "noop"}]} for task in tasks]
    return ansible.playbook([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}], **options)


def changes(run: PlayResult) -> list[str]:
    return [task.name.rpartition(" : ")[2] for task in run.tasks if task.status == "changed"]


def run_as_the_unit_does(ansible: Ansible, unit: str) -> str:
    """What the command of the service says. An inventory is not what makes it run."""
    (command,) = [line.partition("=")[2].split() for line in unit.splitlines() if line.startswith("ExecStart=")]
    (more,) = [line.partition("=")[2].split() for line in unit.splitlines() if line.startswith("Environment=")]
    env = ansible.environment(dict(one.split("=", 1) for one in more))
    del env["ANSIBLE_INVENTORY"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd="/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_timer_from_its_check_to_its_end(ansible: Ansible, instance: LocalInstance, tmp_path: Path) -> None:
    folder = tmp_path / "units"
    folder.mkdir()
    variables = {
        "phase_target": target(instance),
        "phase_log_retention_all_organisations": True,
        "phase_log_retention_retain_days": 60,
        "phase_log_retention_timer_reclaim": True,
        "phase_log_retention_reclaim_free_space": "50GB",
        "phase_log_retention_timer_calendar": "Mon..Fri *-*-* 02:30:00",
    }
    foreseen = timer(ansible, folder, variables, check=True, diff=True)
    assert "+OnCalendar=Mon..Fri *-*-* 02:30:00" in foreseen.stdout
    assert "+phase_log_retention_retain_days: 60" in foreseen.stdout
    assert foreseen.changed > 0 and list(folder.iterdir()) == []

    assert changes(timer(ansible, folder, variables, variables)) == [
        "Make the folder for the variables",
        "Write the variables",
        "Write the units",
    ]
    written = folder / "etc" / "variables.yml"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    given = yaml.safe_load(written.read_text(encoding="utf-8"))
    assert given["phase_hosts"] == "localhost" and given["phase_target"] == target(instance)
    assert not [name for name in given if "timer" in name]

    units = sorted(folder.glob("phase-log-retention.*"))
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    summary = run_as_the_unit_does(ansible, units[0].read_text(encoding="utf-8")).partition("CUSTOM STATS")[2]
    assert '"phase_log_retention": ' in summary and '"phase_reclaim_space": ' in summary
    ((left,),) = instance.sql(
        "select count(*) from api_secretevent where event_type = 'R' and timestamp < now() - interval '61 days'"
    )
    assert left == 0

    gone = {**variables, "phase_log_retention_timer_state": "absent"}
    assert timer(ansible, folder, gone, check=True).changed > 0 and len(list(folder.rglob("*.*"))) == 3
    assert changes(timer(ansible, folder, gone, gone)) == ["Remove the units", "Remove the variables"]
    assert list(folder.rglob("*.*")) == []


def test_a_timer_that_is_refused(ansible: Ansible, tmp_path: Path) -> None:
    cases = [
        ({"phase_target": {"deployment": "database", "login_password": "hunter2"}}, "phase_target has login_password"),
        ({"phase_log_retention_timer_calendar": "daily\nUnit=x.service"}, "no calendar event"),
        ({"phase_log_retention_timer_arguments": ["-e", "a=$HOME"]}, "a word that systemd would read otherwise"),
        ({"phase_log_retention_retain_days": "ninety"}, "phase_log_retention_retain_days"),
    ]
    if not Path("/run/systemd/system").exists():
        cases.append(({"phase_log_retention_timer_start": True}, "systemd does not run on localhost"))
    refused = timer(ansible, tmp_path, *(variables for variables, why in cases))
    assert len(refused.failed) == len(cases)
    for failure, (variables, why) in zip(refused.failed, cases):
        assert why in str(failure.result), variables
    assert "hunter2" not in refused.stdout
    assert list(tmp_path.glob("phase-*")) == []


# AWX


def test_by_a_survey(ansible: Ansible, instance: LocalInstance, tmp_path: Path) -> None:
    """As AWX starts it when only one question is answered otherwise; as a check, with an archive, and once more."""
    variables = {
        **answers("purge_logs", phase_log_retention_all_organisations="true", phase_log_retention_retain_days=15),
        "phase_hosts": "localhost",
        "phase_target": target(instance),
        "phase_log_retention_archive_dest": str(tmp_path),
        "phase_log_retention_other_logs": {"sync_events": 30, "sessions": 0},
    }
    checked = ansible.playbook("purge_logs", variables, check=True)
    foreseen = checked.custom["phase_log_retention"]
    assert "Would archive them in " in checked.stdout and list(tmp_path.iterdir()) == []
    made = ansible.playbook("purge_logs", variables)
    done = made.custom["phase_log_retention"]
    assert done["deleted"] == foreseen["eligible"] == foreseen["remaining"] > 0
    assert done["logs"]["read_events"]["deleted"] > 0
    assert (foreseen["check"], done["check"], done["remaining"], done["stopped_by"]) == (True, False, 0, None)
    assert done["archive"]["rows"] >= done["deleted"] and Path(done["archive"]["path"]).stat().st_size > 0
    assert f"are archived in {done['archive']['path']}" in made.stdout
    assert set(done["logs"]) == {"read_events", "sync_events", "sessions"}
    assert f"Deleted {done['logs']['sync_events']['deleted'] or 'no'} sync events older than " in made.stdout
    again = ansible.playbook("purge_logs", variables)
    assert again.changed == 0 and again.custom["phase_log_retention"]["deleted"] == 0
    floor = {"phase_log_retention_minimum_retain_days": 90}
    refused = ansible.playbook("purge_logs", {**variables, **floor}, expect_failure=True)
    assert "at least 90 days" in refused.message


def test_an_untouched_survey_keeps_the_days_of_the_inventory(ansible: Ansible, instance: LocalInstance) -> None:
    """With 365 days in the inventory, a survey that is clicked through purges nothing younger; an answer counts."""
    inventory = {
        "phase_log_retention_all_organisations": True,
        "phase_log_retention_retain_days": 365,
        "phase_target": target(instance),
    }
    role = {"ansible.builtin.include_role": {"name": "phase.console.log_retention"}}
    plays = [{"hosts": "localhost", "gather_facts": False, "vars": inventory, "tasks": [role]}]
    kept = []
    for given in ({}, {"phase_log_retention_retain_days": 15}):
        (done,) = ansible.playbook(plays, answers("purge_logs", **given), check=True).results("phase_purge_logs")
        cutoff = datetime.datetime.fromisoformat(done["logs"]["read_events"]["cutoff"])
        kept.append(round((datetime.datetime.now(tz=datetime.timezone.utc) - cutoff).total_seconds() / 86400))
    assert kept == [365, 15]


def test_whatever_is_answered(ansible: Ansible, instance: LocalInstance, tmp_path: Path) -> None:
    """Each question answered, empty texts among them, and none for reclaiming."""
    ((app,),) = instance.sql("select a.id from api_app a join api_organisation o on o.id = organisation_id limit 1")
    purges = [
        answers("purge_logs", phase_log_retention_organisation="SpaceX", phase_log_retention_max_duration=""),
        answers(
            "purge_logs",
            phase_log_retention_app_id=app,
            phase_log_retention_retain_days=0,
            phase_log_retention_max_duration="4h",
            phase_log_retention_strategy="delete",
            phase_log_retention_foreign_key="set_aside",
            phase_log_retention_log_streams="ignore",
            phase_log_retention_pause_file=str(tmp_path / "pause"),
        ),
    ]
    reclaims = [
        answers("reclaim_space"),
        answers(
            "reclaim_space",
            phase_log_retention_reclaim_mode="full",
            phase_log_retention_reclaim_max_duration="",
            phase_log_retention_reclaim_max_lock_wait="",
            phase_log_retention_reclaim_confirm_full="true",
            phase_log_retention_reclaim_free_space="50GB",
        ),
    ]
    role = {"name": "phase.console.log_retention"}
    tasks = [{"ansible.builtin.include_role": role, "vars": given} for given in purges]
    role = {**role, "tasks_from": "reclaim"}
    tasks += [{"ansible.builtin.include_role": role, "vars": given} for given in reclaims]
    plays = [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    run = ansible.playbook(plays, {"phase_target": target(instance)}, check=True)
    one, other = run.results("phase_purge_logs")
    assert one["organisations"] == ["SpaceX"] and other["strategy"] == "delete" and other["eligible"] > 0
    assert [result["free_bytes"] == 50 * 10**9 for result in run.results("phase_vacuum")] == [False, True]
