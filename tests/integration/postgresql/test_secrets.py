# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Secrets stay where they are: no output, result, argument or file shows the database's password or Phase's keys.

test_upgrade.py looks for them while an upgrade runs.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from integration.harness import Ansible, PlayResult, targeted
from integration.watch import Watch
from sandbox.local import LocalInstance


@pytest.fixture(scope="module")
def instance(module_local_instance: Any) -> LocalInstance:
    return module_local_instance("v2.66.0", events=1000)


def options(module: str, instance: LocalInstance, folder: Path) -> dict[str, Any]:
    return {
        "phase_archive_check": {"path": f"{folder}/archives"},
        "phase_backup": {"dest": f"{folder}/", "pg_bin_dir": str(instance.server.programs)},
        "phase_confirm": {"path": f"{folder}/snapshot", "answer": "ask", "within": "1"},
        "phase_health": {"url": f"{instance.url}/health/", "wait_timeout": 5},
        "phase_info": {"gather_subset": ["all", "access"], "organisation": "SpaceX", "url": instance.url},
        "phase_migrate": {"image": str(instance.release("v2.73.2"))},
        "phase_network_policy": {"state": "allowed", "allow": ["192.0.2.1"], "snapshot_dir": f"{folder}/snapshots"},
        "phase_nginx": {"content": "events {}", "path": "/nowhere/nginx.conf"},
        "phase_realip_ranges": {"source": "cloudflare", "urls": ["http://127.0.0.1:1/ips"], "timeout": 1},
        "phase_purge_logs": {"organisation": "SpaceX", "archive_dest": f"{folder}/archives"},
        "phase_restore": {"src": f"{folder}/", "pg_bin_dir": str(instance.server.programs)},
        "phase_rollout": {"name": "phase-backend", "image": "phasehq/backend:v2.73.2"},
        "phase_sso": {"organisation": "SpaceX", "state": "enforcement_disabled", "snapshot_dir": f"{folder}/snapshots"},
        "phase_upgrade_state": {"path": f"{folder}/state.json"},
        "phase_vacuum": {"mode": "plain", "force": True},
    }[module]


FOR_CONTAINERS = {"phase_nginx", "phase_rollout"}
FOR_LATER_RELEASES = {"phase_sso"}  # test_sso.py looks for what it could show of a release that has it
# They need none, so they do not fail without.
WITHOUT_DATABASE = {"phase_confirm", "phase_realip_ranges", "phase_upgrade_state"}
MODULES = sorted(path.stem for path in (Path(__file__).parents[3] / "plugins" / "modules").glob("phase_*.py"))
MODULES.append(MODULES.pop(MODULES.index("phase_archive_check")))  # after the purge that writes one


def run_watched(
    ansible: Ansible, instance: LocalInstance, tasks: list[dict[str, Any]], **more: Any
) -> tuple[Watch, PlayResult]:
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    with Watch.for_local(instance, ansible) as watching:
        run = ansible.popen_playbook([play], verbosity=3, **more)
        result = run.wait()
    watching.look_at_run(run)
    return watching, result


def test_no_module_shows_one(ansible: Ansible, instance: LocalInstance, tmp_path: Path) -> None:
    (tmp_path / "archives").mkdir()
    tasks = [
        {
            "name": module,
            f"phase.console.{module}": {**targeted(module, instance), **options(module, instance, tmp_path)},
            "check_mode": module == "phase_migrate",
            "ignore_errors": True,
        }
        for module in MODULES
    ]
    watching, result = run_watched(ansible, instance, tasks, diff=True)
    assert (watching.found, watching.samples > 0) == ([], True)
    assert {task.name for task in result.tasks if task.status == "failed"} == FOR_CONTAINERS | FOR_LATER_RELEASES


def test_no_module_that_fails_shows_one(ansible: Ansible, instance: LocalInstance, tmp_path: Path) -> None:
    """With the right secrets and a database that is not there: what fails holds them all in its hands."""
    elsewhere = tmp_path / "env"
    wrong = {**instance.environment, "DATABASE_PORT": "1"}
    elsewhere.write_text("".join(f"{name}={value}\n" for name, value in wrong.items()), encoding="utf-8")
    tasks = []
    for module in MODULES:
        where = targeted(module, instance)
        given = {**where, **({"env_file": str(elsewhere)} if where else {}), **options(module, instance, tmp_path)}
        if module == "phase_health":
            given["url"] = "http://127.0.0.1:1/health/"
        tasks.append({"name": module, f"phase.console.{module}": given, "ignore_errors": True})
    watching, result = run_watched(ansible, instance, tasks)
    assert [place for place in watching.found if str(elsewhere) not in place] == []
    assert {task.name for task in result.tasks if task.status != "failed"} == WITHOUT_DATABASE


def test_a_url_as_an_option_shows_none(ansible: Ansible, instance: LocalInstance) -> None:
    """Ansible itself hands options to a module in a file of the owner's; so files are looked at afterwards alone."""
    database = {"deployment": "database", "database_url": instance.database_url}
    refused = {"deployment": "database", "database_url": instance.database_url + "_of_nobody"}
    tasks = [
        {"phase.console.phase_info": database},
        {"phase.console.phase_info": refused, "register": "refused", "ignore_errors": True},
        {"ansible.builtin.assert": {"that": ["refused is failed"]}},
    ]
    run = ansible.popen_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}], verbosity=3)
    result = run.wait()
    after = Watch.for_local(instance, ansible)
    after.folders = [ansible.folder]
    with after:
        after.look_at_run(run)
    assert (result.rc, after.found) == (0, [])


def test_the_watch_sees_what_it_should(instance: LocalInstance, ansible: Ansible, tmp_path: Path) -> None:
    """Each leak that the tests above deny is made here once."""
    password = instance.environment["DATABASE_PASSWORD"]
    with Watch({"password": password}, [tmp_path]) as watching:
        (tmp_path / "leak").write_text(f"postgresql://phase:{quote(password)}@db/", encoding="utf-8")
        subprocess.run([sys.executable, "-c", "import time; time.sleep(1)", password], check=True)
    watching.look_at("the output", f"password={password}")
    assert {place.partition(" in ")[2][:13] for place in watching.found} >= {"the arguments", "the output"}
    assert any("leak" in place for place in watching.found)
