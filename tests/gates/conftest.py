# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""What the gates ask about: the collection's files, and its modules as ansible-doc sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tools.tree import project_files

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
ROLES = sorted(path.name for path in (ROOT / "roles").glob("*") if path.is_dir())
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def files() -> list[Path]:
    return project_files()


@pytest.fixture(scope="session")
def program() -> Any:
    """A function that runs one of Ansible's programs of this environment, from a folder that is not the checkout."""

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        command = [str(Path(sys.executable).parent / name), *arguments]
        return subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def documentation(program: Any) -> dict[str, dict[str, Any]]:
    """The documentation of each module by its short name, with the fragments merged in."""
    shown = program("ansible-doc", "--json", "-t", "module", *(f"phase.console.{name}" for name in MODULES))
    assert shown.returncode == 0, shown.stderr
    return {name.rpartition(".")[2]: entry for name, entry in json.loads(shown.stdout).items()}
