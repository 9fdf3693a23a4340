# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that lack something: each is one sentence with a next step, whatever was taken away."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration import targets
from integration.harness import Ansible, target
from sandbox.postgresql import programs
from tools.environments import interpreters

Factory = Callable[..., Any]
AMBIENT = {"DATABASE_URL": "postgresql://nobody@192.0.2.1/production", "PGHOST": "192.0.2.1", "KUBECONFIG": "/dev/null"}


@pytest.fixture(scope="module")
def instance(module_local_instance: Factory) -> Any:
    return module_local_instance("v2.73.2")


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python of this host without any package."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return str(folder / "bin" / "python")


@pytest.mark.parametrize("deployment", ["auto", "docker", "compose"])
def test_without_the_docker_package(ansible: Ansible, bare_python: str, deployment: str) -> None:
    options = {"project_name": "phase"} if deployment == "compose" else {}
    task = {"phase.console.phase_info": {**options, **({} if deployment == "auto" else {"deployment": deployment})}}
    for check in (True, False):
        play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
        run = ansible.playbook(play, {"ansible_python_interpreter": bare_python}, check=check, expect_failure=True)
        result = run.failed[0].result
        assert result["error"]["kind"] == "library_missing"
        assert f"package docker is missing for {bare_python}" in result["msg"]
        assert f"{bare_python} -m pip install docker" in result["msg"]
        assert "Traceback" not in run.stdout


def test_on_a_python_that_is_too_old(ansible: Ansible) -> None:
    old = interpreters(("3.8",)).get("3.8")
    if old is None:
        pytest.skip("This machine has no Python 3.8.")
    task = {"phase.console.phase_info": {"deployment": "local", "manage_dir": "/nowhere"}}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
    run = ansible.playbook(play, {"ansible_python_interpreter": str(old)}, expect_failure=True)
    assert run.failed[0].result["error"]["kind"] == "python_too_old"
    assert f"{old} is Python 3.8" in run.failed[0].result["msg"] and "Traceback" not in run.stdout


def test_without_psycopg2(ansible: Ansible, bare_python: str) -> None:
    task = {"phase.console.phase_info": {"deployment": "database", "login_host": "127.0.0.1"}}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
    run = ansible.playbook(play, {"ansible_python_interpreter": bare_python}, expect_failure=True)
    assert run.failed[0].result["error"]["kind"] == "psycopg2_missing" and "Traceback" not in run.stdout


def test_an_engine_by_ssh_without_paramiko(ansible: Ansible) -> None:
    message = targets.refused(ansible, {"docker": {"docker_host": "ssh://nobody@192.0.2.1"}}, "library_missing")
    assert "package paramiko is missing" in message


@pytest.fixture
def silent_engine(tmp_path: Path) -> Iterator[str]:
    """A socket that takes connections and never answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))
        listener.listen(16)
        yield f"unix://{tmp_path}/docker.sock"


def test_an_engine_that_answers_late(ansible: Ansible, silent_engine: str) -> None:
    options = {"deployment": "docker", "docker": {"docker_host": silent_engine, "timeout": 1}}
    message = targets.refused(ansible, options, "engine_unreachable")
    assert "did not answer within 1 s" in message and "Pool" not in message


@pytest.mark.parametrize("host", ["unix:///nonexistent.sock", "tcp://127.0.0.1:1", "npipe://x", "nonsense"])
def test_an_engine_that_is_not_there(ansible: Ansible, host: str) -> None:
    targets.refused(ansible, {"docker": {"docker_host": host}}, "engine_unreachable")


def test_the_environment_chooses_no_instance(ansible: Ansible, instance: Any) -> None:
    """Not even one that would answer: without an option it is the engine that counts."""
    nowhere = {"docker": {"docker_host": "unix:///nonexistent.sock"}}
    for ambient in (AMBIENT, {"DATABASE_URL": instance.database_url}):
        result = ansible.module("phase_info", nowhere, environ=ambient, expect_failure=True)
        assert result["error"]["kind"] == "engine_unreachable"
    named = targets.refused(ansible, {"database_url": instance.database_url}, "bad_option")
    assert "deployment=database" in named


@pytest.fixture(params=["file", "read-only"])
def unusable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder below a file, or on a read-only file system; with the words for it."""
    if request.param == "file":
        (tmp_path / "file").write_text("", encoding="utf-8")
        yield tmp_path / "file" / "backups", "is below a file"
        return
    folder = tmp_path / "read-only"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root and the right to mount")
    try:
        yield folder / "backups", "is on a read-only file system"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_folder_for_backups_that_cannot_be_used(ansible: Ansible, instance: Any, unusable: tuple[Path, str]) -> None:
    folder, words = unusable
    options = {**target(instance), "dest": f"{folder}/", "pg_bin_dir": str(programs())}
    for check in (True, False):
        result = ansible.module("phase_backup", options, check=check, expect_failure=True)
        assert result["error"]["kind"] == "system_refused" and words in result["msg"], result["msg"]
        assert "Errno" not in result["msg"]


def test_a_full_file_system(ansible: Ansible, tmp_path: Path) -> None:
    """The system names no path when a file that is open cannot be written."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root and the right to mount")
    try:
        (tmp_path / "filler").write_bytes(b"x" * 4096)
        state = {"path": f"{tmp_path}/state.json", "action": "begin", "owner": {"id": "a"}}
        result = ansible.module("phase_upgrade_state", state, expect_failure=True)
        assert result["error"]["kind"] == "system_refused", result["msg"]
        assert f"The file system of {tmp_path}/state.json is full" in result["msg"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["filler", "state.json.lock"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
