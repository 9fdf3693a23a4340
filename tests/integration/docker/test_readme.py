# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The README's first run, word for word, on the containers it is written for."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from integration.harness import Ansible
from sandbox import images
from tools.pages import blocks

README = Path(__file__).resolve().parents[3] / "README.md"
TO = "v2.73.2"


def first_run() -> list[str]:
    section = README.read_text(encoding="utf-8").partition("## Your first run")[2].partition("\n## ")[0]
    return [line for line in blocks(section, "bash")[0].splitlines() if line.startswith("ansible")]


@pytest.mark.timeout(900)
def test_the_first_run(ansible: Ansible, docker_instance: Any, tmp_path: Path) -> None:
    instance = docker_instance("v2.66.0", events=1000)
    images.ensure(instance.engine, images.for_versions([TO]))
    places = ["-e", f"phase_upgrade_backup_dest={tmp_path}/", "-e", f"phase_upgrade_state_dir={tmp_path}"]
    before = ledger(instance)
    for command in first_run():
        assert ledger(instance) == before, "only the last command changes something"
        words = shlex.split(command) + (places if command.startswith("ansible-playbook") else [])
        env = {**ansible.environment(), "ANSIBLE_INVENTORY": "/dev/null"}
        done = subprocess.run(words, cwd="/", env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert ledger(instance) != before


def ledger(instance: Any) -> tuple[int, str]:
    """(applied migrations, image of the backend)."""
    applied = instance.sql("select count(*) from django_migrations")[0][0]
    return applied, instance.inspect("phase-backend")["Config"]["Image"]
