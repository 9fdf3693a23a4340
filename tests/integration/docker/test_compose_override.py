# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that role migration_job writes beside a Compose project's own: what a check says, whose file is left alone,
and what `up` makes of it. One project for all, which is as it was made until the last test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from integration import upgrades
from integration.harness import Ansible
from sandbox import images

OLD, NEW = "v2.54.0", "v2.73.2"
BREAKS = "api.0119_secretevent_type_field"
OVERRIDE = "docker-compose.override.yml"


@pytest.fixture(scope="module")
def instance(module_compose_instance: Callable[..., Any]) -> Any:
    instance = module_compose_instance(OLD)
    images.ensure(instance.engine, images.for_versions([NEW]))
    return instance


def test_check_changes_nothing(ansible: Ansible, instance: Any) -> None:
    before = (upgrades.tables(instance), upgrades.containers(instance), sorted(instance.project_src.iterdir()))
    variables, environ = upgrades.variables(instance, NEW), instance.engine.variables()
    checked = ansible.playbook("upgrade", variables, environ=environ, check=True, diff=True)
    assert (upgrades.tables(instance), upgrades.containers(instance), sorted(instance.project_src.iterdir())) == before
    plan = checked.custom["phase_upgrade"]["plan"]
    assert plan["reads_fail_from"] == BREAKS and plan["rollout"] == ["backend", "worker", "frontend"]
    assert [result["changed"] for result in checked.results("ansible.builtin.template")] == [True]


def test_an_override_of_the_users_own_is_left_alone(ansible: Ansible, instance: Any) -> None:
    override = instance.project_src / OVERRIDE
    override.write_text("services: {redis: {mem_limit: 64m}}\n", encoding="utf-8")
    variables = upgrades.variables(instance, NEW)
    environ = instance.engine.variables()
    refused = ansible.playbook("upgrade", variables, expect_failure=True, environ=environ, check=True)
    assert "COMPOSE_FILE" in refused.message and "phase_upgrade_compose_override" in refused.message
    assert override.read_text(encoding="utf-8") == "services: {redis: {mem_limit: 64m}}\n"
    override.unlink()


def test_the_migrations_service_and_its_dependents(ansible: Ansible, instance: Any) -> None:
    """The role alone: its file is valid beside the stock one, idempotent, and `up` then migrates once and only then."""
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [
                {
                    "ansible.builtin.include_role": {"name": "phase.console.migration_job"},
                    "vars": {
                        "phase_migration_job_project_src": str(instance.project_src),
                        "phase_migration_job_backend_image": images.backend(NEW),
                    },
                }
            ],
        }
    ]
    environ = instance.engine.variables()
    assert ansible.playbook(play, environ=environ).changed == 1
    assert ansible.playbook(play, environ=environ).changed == 0
    services = yaml.safe_load(instance.compose("config"))["services"]
    for name in ("backend", "worker"):
        assert services[name]["image"] == images.backend(NEW)
        assert services[name]["depends_on"]["migrations"]["condition"] == "service_completed_successfully"
        assert services[name]["depends_on"]["postgres"]["condition"] == "service_healthy"
    instance.compose("up", "--detach", "--no-build", "--pull", "never")
    assert f"api.{upgrades.LEAF[NEW]}" in upgrades.ledger(instance)
    assert "Applying api.0136" in instance.docker("logs", "phase-migrations")
    instance.compose("up", "--detach", "--no-build", "--pull", "never", "--force-recreate", "migrations")
    instance.docker("wait", "phase-migrations")
    assert "No migrations to apply" not in instance.docker("logs", "phase-migrations")
    assert instance.inspect("phase-migrations")["State"]["ExitCode"] == 0
