# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""phase_backup and phase_restore in containers: the tools of the database's own image, the password from a file."""

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


DIGEST = "select count(*), sum(hashtextextended(e::text, 0))::text from api_secretevent e"


def test_restored_by_the_playbook_and_taken_back(
    ansible: Ansible, instance: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    """Backend and worker are stopped while it restores, and no secret is shown by who stops them."""
    before, ((*then,),) = names(instance), instance.sql(DIGEST)
    ansible.module("phase_backup", options)
    instance.sql(
        "delete from api_secretevent e where event_type = 'R'"
        " and not exists (select from api_secretevent_tags t where t.secretevent_id = e.id)"
    )
    ((*now,),) = instance.sql(DIGEST)
    assert now != then
    where = {key: value for key, value in options.items() if key != "dest"}
    variables = {"phase_hosts": "localhost", "phase_target": where, "phase_restore_src": options["dest"]}
    checked = ansible.playbook("restore", variables, check=True)
    assert checked.changed == 0 and [tuple(now)] == instance.sql(DIGEST) and names(instance) == before
    started = instance.inspect("phase-backend")["State"]["StartedAt"]
    done = ansible.playbook("restore", variables, verbosity=3, diff=True)
    assert [tuple(then)] == instance.sql(DIGEST) and instance.healthy() and names(instance) == before
    assert instance.inspect("phase-backend")["State"]["StartedAt"] != started
    assert not [name for name, value in instance.secrets.items() if value in done.stdout]
    assert ansible.playbook("restore", variables).changed == 0

    instance.docker("stop", "phase-backend")
    back = ansible.module("phase_restore", {**where, "state": "returned"})
    assert back["changed"] and [tuple(now)] == instance.sql(DIGEST)
    instance.docker("start", "phase-backend")
    assert ansible.module("phase_restore", {**where, "state": "dropped"})["dropped"] == [back["old_database"]]
    found = instance.sql("select datname::text from pg_database where datname like 'phase%'")
    assert found == [(back["database"],)]
    instance.wait_ready()
