# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""As in the postgresql tier, where the secrets are in the environment of containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.harness import Ansible, targeted
from integration.watch import Watch
from sandbox.compose import ComposeInstance, Variant

MODULES = sorted(path.stem for path in (Path(__file__).parents[3] / "plugins" / "modules").glob("phase_*.py"))
MODULES.append(MODULES.pop(MODULES.index("phase_archive_check")))  # after the purge that writes one
REFUSED = {"phase_rollout", "phase_sso"}  # Compose's containers are left to it; the release has no SSO yet
TO = "v2.73.2"
NGINX = """server {
    listen 80;
    proxy_set_header Host $http_host;
    proxy_set_header X-Real-IP $remote_addr;
    location /service/ { rewrite ^/service/(.*) /$1 break; proxy_pass http://backend:8000; }
    location / { proxy_pass http://frontend:3000; }
}
"""


@pytest.fixture(scope="module")
def instance(module_compose_instance: Any) -> Iterator[ComposeInstance]:
    running = module_compose_instance("v2.66.0", events=1000, variant=Variant(auth="scram-sha-256"))
    yield running
    running.stop()


def watch(instance: ComposeInstance, ansible: Ansible) -> Watch:
    return Watch(instance.secrets, [ansible.folder], [instance.directory])


def options(module: str, folder: Path) -> dict[str, Any]:
    return {
        "phase_archive_check": {"path": f"{folder}/archives"},
        "phase_backup": {"dest": f"{folder}/"},
        "phase_confirm": {"path": f"{folder}/snapshot", "answer": "ask", "within": "1"},
        "phase_health": {"wait_timeout": 5},
        "phase_info": {"gather_subset": ["all", "access"], "organisation": "SpaceX"},
        "phase_migrate": {"image": f"phasehq/backend:{TO}"},
        "phase_network_policy": {"state": "allowed", "allow": ["192.0.2.1"], "snapshot_dir": f"{folder}/snapshots"},
        "phase_nginx": {"content": NGINX, "attempts": 20},
        "phase_purge_logs": {"organisation": "SpaceX", "archive_dest": f"{folder}/archives"},
        "phase_realip_ranges": {"source": "cloudflare", "urls": ["http://127.0.0.1:1/ips"], "timeout": 1},
        "phase_restore": {"src": f"{folder}/"},
        "phase_rollout": {"name": "phase-worker", "image": f"phasehq/backend:{TO}"},
        "phase_sso": {"organisation": "SpaceX", "state": "enforcement_disabled", "snapshot_dir": f"{folder}/snapshots"},
        "phase_upgrade_state": {"path": f"{folder}/state.json"},
        "phase_vacuum": {"mode": "plain", "force": True},
    }[module]


@pytest.mark.timeout(900)
def test_no_module_shows_one(ansible: Ansible, instance: ComposeInstance, tmp_path: Path) -> None:
    (tmp_path / "archives").mkdir()
    tasks = [
        {
            "name": module,
            f"phase.console.{module}": {**targeted(module, instance), **options(module, tmp_path)},
            "check_mode": module in ("phase_migrate", "phase_rollout"),
            "ignore_errors": True,
        }
        for module in MODULES
    ]
    with watch(instance, ansible) as watching:
        play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
        run = ansible.popen_playbook([play], verbosity=3, diff=True)
        result = run.wait()
    watching.look_at_run(run)
    assert watching.found == []
    assert {task.name for task in result.tasks if task.status == "failed"} == REFUSED
