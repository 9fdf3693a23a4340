# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""An upgrade, a recovery and a proxy's file under the oldest and the newest ansible-core; others use that in .venv."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from integration import lockouts
from integration.harness import Ansible, target, upgrade_variables

FROM, TO = "v2.66.0", "v2.73.2"
CORES: dict[str, dict[str, str]] = json.loads(os.environ.get("PHASE_CONSOLE_CORES") or "{}")


@pytest.fixture(params=["2.18", "2.21"])
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(Ansible of that version, the variable that leads it to the collections)."""
    if request.param not in CORES:
        pytest.skip(f"./test.sh found no Python for ansible-core {request.param}, or was not what started this")
    place = CORES[request.param]
    runner = Ansible(tmp_path_factory.mktemp(f"core-{request.param}"), Path(place["programs"]))
    yield runner, {"ANSIBLE_COLLECTIONS_PATH": place["collections"]}
    runner.close()


@pytest.mark.timeout(600)
def test_an_upgrade_and_a_second_run(core: Any, local_instance: Any, tmp_path: Path) -> None:
    ansible, environ = core
    instance = local_instance(FROM, events=1000)
    variables = upgrade_variables(instance, TO, tmp_path)
    assert ansible.playbook("upgrade", variables, environ=environ).changed
    assert (instance.version, instance.healthy()) == (TO, True)
    assert ansible.playbook("upgrade", variables, environ=environ).changed == 0


@pytest.mark.parametrize("core", ["2.21"], indirect=True)
def test_a_recovery_that_nobody_confirms(core: Any, local_instance: Any, tmp_path: Path) -> None:
    ansible, environ = core
    instance = local_instance(TO)
    lockouts.by_policy(instance)
    before = lockouts.policies(instance)
    variables = {
        "phase_hosts": "localhost",
        "phase_target": target(instance),
        "phase_recover_url": instance.url,
        "phase_recover_organisation": "SpaceX",
        "phase_recover_address": lockouts.HOME,
        "phase_recover_dir": str(tmp_path / "recover"),
        "phase_recover_confirm_within": "1s",
    }
    result = ansible.playbook("recover", variables, environ=environ, expect_failure=True)
    assert result.custom["phase_recover"]["outcome"] == "expired", result.stdout
    assert "not confirmed within 1s" in str(result.custom["phase_recover"]["text"])
    assert lockouts.policies(instance) == before


@pytest.mark.parametrize("core", ["2.18"], indirect=True)
def test_a_proxys_file_is_written_once(core: Any, tmp_path: Path) -> None:
    ansible, environ = core
    file = tmp_path / "default.conf"
    variables = {
        "phase_hosts": "localhost",
        "phase_realip_dest": str(file),
        "phase_realip_sources": [{"name": "aws_alb", "ranges": ["10.0.16.0/20"]}],
    }
    assert ansible.playbook("realip", variables, environ=environ).changed == 1
    assert "set_real_ip_from 10.0.16.0/20;" in file.read_text(encoding="utf-8")
    assert ansible.playbook("realip", variables, environ=environ).changed == 0
