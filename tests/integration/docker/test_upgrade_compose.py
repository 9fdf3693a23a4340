# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The upgrade playbook on the Compose project, with a client that reads secrets all the while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from integration import upgrades
from integration.harness import Ansible
from sandbox import images
from sandbox.client import Client
from sandbox.compose import COMPONENTS

Factory = Callable[..., Any]
OLD, NEW = "v2.54.0", "v2.73.2"
BREAKS = "api.0119_secretevent_type_field"
OVERRIDE = "docker-compose.override.yml"


@pytest.fixture
def instance(compose_instance: Factory, request: pytest.FixtureRequest) -> Any:
    instance = compose_instance(OLD, getattr(request, "param", 0))
    images.ensure(instance.engine, images.for_versions([NEW]))
    return instance


def upgrade(ansible: Ansible, instance: Any, **more: Any) -> Any:
    return ansible.playbook("upgrade", upgrades.variables(instance, NEW), environ=instance.engine.variables(), **more)


def runs_the_target(instance: Any) -> None:
    for part, image in (("backend", "backend"), ("worker", "backend"), ("frontend", "frontend")):
        wanted = instance.inspect(f"phasehq/{image}:{NEW}")["Id"]
        assert instance.inspect(f"phase-{part}")["Image"] == wanted
        assert instance.status()[part].startswith("running")
    assert set(upgrades.containers(instance)) == {f"phase-{name}" for name in COMPONENTS}


def test_check_changes_nothing(ansible: Ansible, instance: Any) -> None:
    before = (upgrades.tables(instance), upgrades.containers(instance), sorted(instance.project_src.iterdir()))
    checked = upgrade(ansible, instance, check=True, diff=True)
    assert (upgrades.tables(instance), upgrades.containers(instance), sorted(instance.project_src.iterdir())) == before
    plan = checked.custom["phase_upgrade"]["plan"]
    assert plan["reads_fail_from"] == BREAKS and plan["rollout"] == ["backend", "worker", "frontend"]
    assert [result["changed"] for result in checked.results("ansible.builtin.template")] == [True]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("instance", [1_000_000], indirect=True, ids=["1M"])
def test_reads_fail_only_where_the_plan_says_so(ansible: Ansible, instance: Any) -> None:
    stock = (instance.project_src / "docker-compose.yml").read_text(encoding="utf-8")
    with Client(instance.url) as client:
        done = upgrade(ansible, instance)
        time.sleep(2)
    report = client.report()
    upgrades.settled(instance, NEW)
    runs_the_target(instance)
    assert (instance.project_src / "docker-compose.yml").read_text(encoding="utf-8") == stock

    record = done.custom["phase_upgrade"]
    assert record["plan"]["reads_fail_from"] == BREAKS
    ((broken,),) = instance.sql(
        "select extract(epoch from applied)::float from django_migrations where app || '.' || name = %s", BREAKS
    )
    answered = record["backend_answered"]
    late = [window for window in report.windows if window.begin < broken - 1 or (window.end or 1e12) > answered + 1]
    # Replacing the frontend reloads nginx once more, which fails no read.
    assert late == [], report
    assert report.reads > 100 and report.failing_seconds < answered - broken + 2
    guess = record["plan"]["reads_fail_seconds"]
    print(f"reads failed for {report.failing_seconds:.1f} s of {answered - broken:.1f} s; the plan said {guess} s")

    before = upgrades.containers(instance)
    again = upgrade(ansible, instance)
    assert again.changed == 0 and upgrades.containers(instance) == before


@pytest.mark.parametrize(
    ("task", "phase"),
    [("Migrate with the target's code", "migrate"), ("Recreate the service", "migrate")],
    ids=["migrate", "rollout"],
)
def test_killed_and_run_again(ansible: Ansible, instance: Any, task: str, phase: str) -> None:
    """Where containers come and go; the postgresql tier kills in every phase."""
    variables = upgrades.variables(instance, NEW)
    run = ansible.popen_playbook("upgrade", variables, environ=instance.engine.variables())
    run.wait_for_output(f": {task}]", 240)
    time.sleep(1)  # into the task
    run.kill()
    assert upgrades.state(instance)["phase"] == phase
    upgrade(ansible, instance)
    upgrades.settled(instance, NEW)
    runs_the_target(instance)


def test_latest_is_compared_by_its_image(ansible: Ansible, instance: Any) -> None:
    """The stock file names :latest; after a pull of it the tag is the same and the image is not."""
    variables = upgrades.variables(
        instance,
        NEW,
        phase_upgrade_version="",
        phase_upgrade_backend_image="phasehq/backend:latest",
        phase_upgrade_frontend_image="phasehq/frontend:latest",
        phase_upgrade_pull="never",
    )
    instance.point_to(NEW)
    done = ansible.playbook("upgrade", variables, environ=instance.engine.variables())
    runs_the_target(instance)
    record = done.custom["phase_upgrade"]
    before, after = record["before"]["backend"], record["after"]["backend"]
    assert before["image"] == after["image"] == "phasehq/backend:latest"
    assert before["image_id"] != after["image_id"] == instance.inspect(images.backend(NEW))["Id"]
    assert ansible.playbook("upgrade", variables, environ=instance.engine.variables()).changed == 0


def test_an_override_of_the_users_own_is_left_alone(ansible: Ansible, instance: Any) -> None:
    override = instance.project_src / OVERRIDE
    override.write_text("services: {redis: {mem_limit: 64m}}\n", encoding="utf-8")
    variables = upgrades.variables(instance, NEW)
    environ = instance.engine.variables()
    refused = ansible.playbook("upgrade", variables, expect_failure=True, environ=environ, check=True)
    assert "COMPOSE_FILE" in refused.message and "phase_upgrade_compose_override" in refused.message
    assert override.read_text(encoding="utf-8") == "services: {redis: {mem_limit: 64m}}\n"


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


def test_a_project_without_a_migrations_service(ansible: Ansible, instance: Any) -> None:
    """As older Compose files are: the backend migrates by itself, until the override gives the work to a service."""
    file = instance.project_src / "docker-compose.yml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    del document["services"]["migrations"]
    for name in ("backend", "worker"):
        del document["services"][name]["depends_on"]["migrations"]
    del document["services"]["backend"]["environment"]["EXTERNAL_MIGRATION"]
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    instance.docker("rm", "--force", "phase-migrations")
    instance.compose("up", "--detach", "--no-build", "--pull", "never")
    instance.wait_ready()
    upgrade(ansible, instance)
    upgrades.settled(instance, NEW)
    services = yaml.safe_load(instance.compose("config"))["services"]
    assert services["backend"]["environment"]["EXTERNAL_MIGRATION"] == "true"
    migrations = services["migrations"]
    assert not migrations.get("ports") and "container_name" not in migrations
    assert migrations["environment"]["DATABASE_HOST"] == services["backend"]["environment"]["DATABASE_HOST"]
