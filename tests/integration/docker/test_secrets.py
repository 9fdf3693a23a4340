# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""As in the postgresql tier, where the secrets are in containers: in their environment, and in a mounted file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.harness import Ansible, target
from integration.watch import Watch
from sandbox.compose import ComposeInstance, Variant

MODULES = sorted(path.stem for path in (Path(__file__).parents[3] / "plugins" / "modules").glob("phase_*.py"))
TO = "v2.73.2"


@pytest.fixture(scope="module", params=["environment", "file"])
def instance(request: pytest.FixtureRequest, module_compose_instance: Any) -> Iterator[ComposeInstance]:
    variant = Variant(auth="scram-sha-256", password_file=request.param == "file")
    running = module_compose_instance("v2.66.0", events=1000, variant=variant)
    yield running
    running.stop()


def watch(instance: ComposeInstance, ansible: Ansible) -> Watch:
    return Watch(instance.secrets, [ansible.folder], [instance.directory])


def options(module: str, folder: Path) -> dict[str, Any]:
    return {
        "phase_backup": {"dest": f"{folder}/"},
        "phase_health": {"wait_timeout": 5},
        "phase_info": {},
        "phase_migrate": {"image": f"phasehq/backend:{TO}"},
        "phase_rollout": {"name": "phase-worker", "image": f"phasehq/backend:{TO}"},
        "phase_upgrade_state": {"path": f"{folder}/state.json"},
    }[module]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_shows_none(module: str, ansible: Ansible, instance: ComposeInstance, tmp_path: Path) -> None:
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [{f"phase.console.{module}": {**target(instance), **options(module, tmp_path)}}],
    }
    with watch(instance, ansible) as watching:
        run = ansible.popen_playbook([play], verbosity=3, check=module in ("phase_migrate", "phase_rollout"), diff=True)
        result = run.wait()
    watching.look_at_run(run)
    assert watching.found == []
    assert bool(result.rc) == (module == "phase_rollout")  # which leaves Compose's containers to Compose


@pytest.mark.timeout(900)
def test_an_upgrade_shows_none(ansible: Ansible, instance: ComposeInstance, tmp_path: Path) -> None:
    variables = {
        "phase_hosts": "localhost",
        "phase_target": target(instance),
        "phase_upgrade_version": TO,
        "phase_upgrade_backup_dest": f"{tmp_path}/backup/",
        "phase_upgrade_state_dir": f"{tmp_path}/state",
    }
    with watch(instance, ansible) as watching:
        run = ansible.popen_playbook("upgrade", variables, verbosity=3, diff=True)
        result = run.wait()
    watching.look_at_run(run)
    assert watching.found == []
    assert result.rc == 0, result.message
