# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""phase_backup in containers: the tools of the database's own image, the password from a file, nothing left running."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from integration.harness import Ansible, target
from sandbox.compose import Variant

Factory = Callable[..., Any]


@pytest.fixture(scope="module")
def instance(module_compose_instance: Factory) -> Any:
    return module_compose_instance("v2.66.0", 10_000, variant=Variant(password_file=True, auth="scram-sha-256"))


@pytest.fixture
def options(instance: Any, tmp_path: Path) -> dict[str, Any]:
    return {**target(instance), "docker": {"docker_host": instance.engine.host}, "dest": f"{tmp_path}/backups/"}


def names(instance: Any) -> list[str]:
    return sorted(
        instance.docker("ps", "--all", "--filter", f"network={instance.network}", "--format", "{{.Names}}").split()
    )


def test_made_by_the_databases_own_tools(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    before = names(instance)
    checked = ansible.module("phase_backup", options, check=True)
    assert not Path(options["dest"]).exists()
    result = ansible.task("phase_backup", {**options, "verify": "full"}, verbosity=3)
    manifest = result["manifest"]
    ((tables,),) = instance.sql("select count(*) from pg_tables where schemaname = 'public'")
    assert manifest["tables"] == tables and manifest["bytes"] <= checked["predicted"]["bytes_at_most"]
    assert names(instance) == before
    output = ansible.runs[-1].output()
    assert not [value for value in instance.secrets.values() if value in output]


def test_killed_midway_leaves_no_container(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    before = names(instance)
    task = {"phase.console.phase_backup": options}
    run = ansible.popen_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}])
    seen: list[dict[str, Any]] = []

    def dumping() -> bool:
        for one in instance.docker("ps", "--all", "--quiet", "--filter", "label=phase.console.operation=pipe").split():
            seen.extend(json.loads(instance.docker("inspect", one, check=False) or "[]"))
        return bool(seen) and Path(options["dest"]).exists() and len(names(instance)) > len(before)

    run.wait_until(dumping, poll=0.02)
    run.kill(everything=True)
    given = instance.inspect("phase-backend")
    assert any(pair.startswith("SERVER_SECRET") for pair in given["Config"]["Env"])
    for one in seen:  # nothing that pg_dump does not read
        own = set(one["Config"]["Env"]) & set(given["Config"]["Env"])
        assert own and all(pair.startswith("DATABASE_") for pair in own), own
        assert not [value for pair in one["Config"]["Env"] for value in instance.secrets.values() if value in pair]
        paths = [mount["Destination"] for mount in one["Mounts"] if mount["Type"] == "bind"]
        assert [path.rpartition("/")[2] for path in paths] == ["DATABASE_PASSWORD"], paths
        assert not one["HostConfig"]["Privileged"] and not one["HostConfig"]["CapAdd"]
    result = ansible.module("phase_backup", options)
    assert [path.name for path in Path(options["dest"]).iterdir() if path.name.startswith(".")] == []
    assert result["changed"]
    deadline = time.monotonic() + 10
    while names(instance) != before and time.monotonic() < deadline:
        time.sleep(0.5)
    assert names(instance) == before


def test_tools_that_are_too_old_or_missing(ansible: Ansible, options: dict[str, Any], instance: Any) -> None:
    without = {**options, "image": "phasehq/frontend:latest"}
    refused = ansible.module("phase_backup", without, check=True, expect_failure=True)
    assert refused["error"]["kind"] in ("backup_failed", "interpreter_missing")
    refused = ansible.module("phase_backup", {**options, "image": "postgres:nowhere"}, check=True, expect_failure=True)
    assert refused["error"]["kind"] == "image_missing"
