# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""phase_backup on a real server: whole, private, restorable; kept or made anew; cut off and run again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from integration.harness import Ansible, target
from sandbox.postgresql import programs

Factory = Callable[..., Any]


@pytest.fixture(scope="module")
def instance(module_local_instance: Factory) -> Any:
    return module_local_instance("v2.66.0", 2000, superuser=False)


@pytest.fixture
def options(instance: Any, tmp_path: Path) -> dict[str, Any]:
    return {**target(instance), "dest": f"{tmp_path}/backups/", "pg_bin_dir": str(programs())}


def files(options: dict[str, Any]) -> list[str]:
    folder = Path(options["dest"])
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_it_restores_to_the_same_rows(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    manifest = ansible.module("phase_backup", {**options, "verify": "full"})["manifest"]
    path = Path(manifest["path"])
    assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_size == manifest["bytes"]
    assert files(options) == [path.name, path.name + ".json"]
    settings = instance.environment
    environment = {
        **os.environ,
        "PGHOST": settings["DATABASE_HOST"],
        "PGPORT": settings["DATABASE_PORT"],
        "PGUSER": settings["DATABASE_USER"],
        "PGPASSWORD": settings["DATABASE_PASSWORD"],
    }
    with instance.server.administrator() as administrator, administrator.cursor() as cursor:
        cursor.execute("create database restored owner phase")
    try:
        subprocess.run(
            [programs() / "pg_restore", "--dbname=restored", "--exit-on-error", "--no-owner", path],
            env=environment,
            check=True,
        )
        count = "select count(*), sum(hashtext(e::text)) from api_secretevent e"
        restored = subprocess.run(
            [programs() / "psql", "--dbname=restored", "-XAtc", count],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        ((rows, digest),) = instance.sql(count)
        assert restored.stdout.strip() == f"{rows}|{digest}"
    finally:
        with instance.server.administrator() as administrator, administrator.cursor() as cursor:
            cursor.execute("drop database restored")


def test_check_mode_predicts_and_writes_nothing(ansible: Ansible, options: dict[str, Any]) -> None:
    checked = ansible.module("phase_backup", options, check=True)
    assert checked["changed"] and "manifest" not in checked and not Path(options["dest"]).exists()
    made = ansible.module("phase_backup", options)["manifest"]
    assert made["bytes"] <= checked["predicted"]["bytes_at_most"]
    assert (made["leaf"], made["tables"]) == (checked["predicted"]["leaf"], checked["predicted"]["tables"])


def test_a_young_backup_is_kept(ansible: Ansible, options: dict[str, Any]) -> None:
    made = ansible.module("phase_backup", options)["manifest"]
    kept = ansible.module("phase_backup", {**options, "max_age": 600})
    assert not kept["changed"] and kept["manifest"] == made and len(files(options)) == 2
    assert ansible.module("phase_backup", {**options, "max_age": 600, "force": True})["changed"]


def slow(folder: Path, seconds: int) -> Path:
    """A folder in which pg_dump waits a while before it is the real one."""
    folder.mkdir()
    script = folder / "pg_dump"
    wait = f'case "$1" in --format*) sleep {seconds};; esac'
    script.write_text(f'#!/bin/sh\n{wait}\nexec {programs()}/pg_dump "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    (folder / "pg_restore").symlink_to(programs() / "pg_restore")
    return folder


def arguments_of_all() -> str:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append((folder / "cmdline").read_bytes().decode("utf-8", "replace"))
    return "\n".join(found)


def holders(path: Path) -> list[int]:
    """The processes that have a file open."""
    found = []
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if descriptor.readlink() == path:
                found.append(int(descriptor.parts[2]))
    return found


def test_killed_midway(ansible: Ansible, instance: Any, options: dict[str, Any], tmp_path: Path) -> None:
    """Nothing looks like a backup, no process has the password among its arguments, and the next run tidies up."""
    task = {"phase.console.phase_backup": {**options, "pg_bin_dir": str(slow(tmp_path / "slow", 20))}}
    run = ansible.popen_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}])
    run.wait_until(lambda: any(name.endswith(".partial") for name in files(options)))
    assert instance.environment["DATABASE_PASSWORD"] not in arguments_of_all()
    run.kill()
    for process in holders(Path(options["dest"]) / files(options)[0]):
        os.kill(process, signal.SIGKILL)
    assert len(files(options)) == 1 and files(options)[0].startswith(".")
    made = ansible.module("phase_backup", options)
    name = Path(made["manifest"]["path"]).name
    assert files(options) == [name, name + ".json"]


def test_two_to_one_file(ansible: Ansible, options: dict[str, Any], tmp_path: Path) -> None:
    same = {**options, "dest": f"{tmp_path}/backups/one.dump"}
    task = {"phase.console.phase_backup": {**same, "pg_bin_dir": str(slow(tmp_path / "slow", 15))}}
    run = ansible.popen_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}])
    partial = tmp_path / "backups" / ".one.dump.partial"
    run.wait_until(partial.exists)
    refused = ansible.module("phase_backup", same, expect_failure=True)
    assert refused["error"]["kind"] == "backup_running"
    assert run.wait().rc == 0


def test_no_pg_dump(ansible: Ansible, options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "pg_dump").write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    (tmp_path / "empty" / "pg_dump").chmod(0o755)
    lacking = {**options, "pg_bin_dir": str(tmp_path / "empty")}
    for check in (True, False):
        refused = ansible.module("phase_backup", lacking, check=check, expect_failure=True)
        assert refused["error"]["kind"] == "backup_failed" and "pg_bin_dir" in refused["msg"]
    assert files(options) == []
