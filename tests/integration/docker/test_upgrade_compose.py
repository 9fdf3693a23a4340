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
from integration.watch import Watch
from sandbox import images
from sandbox.client import Client
from sandbox.compose import COMPONENTS, Variant

Factory = Callable[..., Any]
OLD, NEW = "v2.54.0", "v2.73.2"
BREAKS = "api.0119_secretevent_type_field"
OVERRIDE = "docker-compose.override.yml"


@pytest.fixture
def instance(compose_instance: Factory, request: pytest.FixtureRequest) -> Any:
    """Parametrized with a variant, or with a number of events."""
    given = getattr(request, "param", 0)
    options = {"variant": given} if isinstance(given, Variant) else {"events": given}
    instance = compose_instance(OLD, **options)
    images.ensure(instance.engine, images.for_versions([NEW]))
    return instance


def upgrade(ansible: Ansible, instance: Any, **more: Any) -> Any:
    return ansible.playbook("upgrade", upgrades.variables(instance, NEW), environ=instance.engine.variables(), **more)


def watched_upgrade(ansible: Ansible, instance: Any, variables: dict[str, Any]) -> Any:
    """Nothing of it shows a secret."""
    with Watch(instance.secrets, [ansible.folder], [instance.directory]) as watching:
        run = ansible.popen_playbook("upgrade", variables, verbosity=3, diff=True, environ=instance.engine.variables())
        done = run.wait()
    watching.look_at_run(run)
    assert (watching.found, watching.samples > 0) == ([], True)
    assert done.rc == 0, done.message
    return done


def runs_the_target(instance: Any) -> None:
    for part, image in (("backend", "backend"), ("worker", "backend"), ("frontend", "frontend")):
        wanted = instance.inspect(f"phasehq/{image}:{NEW}")["Id"]
        assert instance.inspect(f"phase-{part}")["Image"] == wanted
        assert instance.status()[part].startswith("running")
    assert set(upgrades.containers(instance)) == {f"phase-{name}" for name in COMPONENTS}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("instance", [10_000], indirect=True, ids=["10k"])
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


STOCK_HOST = Variant(environment={"HOST": "phase.example"})


@pytest.mark.timeout(900)
@pytest.mark.parametrize("instance", [STOCK_HOST], indirect=True, ids=["stock"])
def test_the_project_is_found_and_composes_next_start_recreates_nothing(ansible: Ansible, instance: Any) -> None:
    """Replaced beside Compose, its next start would run the old version on the new database: that is refused.

    OLD answers on /health/ for hosts in ALLOWED_HOSTS only, and 127.0.0.1 is none of them in the stock Compose file.
    """
    variables = upgrades.variables(instance, NEW)
    engine = {"docker": variables["phase_target"]["docker"]}
    environ = instance.engine.variables()
    before = upgrades.containers(instance), upgrades.ledger(instance)
    beside = {**variables, "phase_target": {**engine, "deployment": "docker"}}
    refused = ansible.playbook("upgrade", beside, environ=environ, expect_failure=True)
    result = refused.failed[0].result
    failures = [item for item in result.get("results", [result]) if item.get("failed")]
    assert {item["error"]["kind"] for item in failures} == {"managed_elsewhere"}
    assert "belongs to Compose" in failures[0]["msg"] and "deployment=compose" in failures[0]["msg"]
    assert (upgrades.containers(instance), upgrades.ledger(instance)) == before

    found = {**variables, "phase_target": engine}
    done = ansible.playbook("upgrade", found, environ=environ)
    assert done.custom["phase_upgrade"]["plan"]["needed"]
    upgrades.settled(instance, NEW)
    runs_the_target(instance)

    after = upgrades.containers(instance)
    instance.compose("up", "--detach", "--no-build", "--pull", "never")
    started = upgrades.containers(instance)
    changed = {name for name in after if after[name] != started[name]}
    assert changed <= {"phase-migrations"}, changed
    assert after["phase-migrations"][0] == started["phase-migrations"][0]  # started again, not made again
    runs_the_target(instance)


@pytest.mark.timeout(900)
def test_killed_twice_without_a_migrations_service(ansible: Ansible, instance: Any) -> None:
    """As older Compose files are: the backend migrates by itself, until the override gives the work to a service.

    Killed where containers come and go; the postgresql tier kills in every phase.
    """
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
    variables = upgrades.variables(instance, NEW)
    for task in ("Migrate with the target's code", "Recreate the service"):
        run = ansible.popen_playbook("upgrade", variables, environ=instance.engine.variables())
        run.wait_for_output(f": {task}]")
        time.sleep(1)  # into the task
        run.kill()
        assert upgrades.state(instance)["phase"] == "migrate"
    watched_upgrade(ansible, instance, variables)
    upgrades.settled(instance, NEW)
    for part, image in (("backend", "backend"), ("worker", "backend"), ("frontend", "frontend")):
        assert instance.inspect(f"phase-{part}")["Image"] == instance.inspect(f"phasehq/{image}:{NEW}")["Id"]
    services = yaml.safe_load(instance.compose("config"))["services"]
    assert services["backend"]["environment"]["EXTERNAL_MIGRATION"] == "true"
    migrations = services["migrations"]
    assert not migrations.get("ports") and "container_name" not in migrations
    assert migrations["environment"]["DATABASE_HOST"] == services["backend"]["environment"]["DATABASE_HOST"]


FILE = Variant(auth="scram-sha-256", password_file=True)


@pytest.mark.parametrize("instance", [FILE], indirect=True, ids=["password file"])
def test_latest_is_compared_by_its_image(ansible: Ansible, instance: Any) -> None:
    """The stock file names :latest; after a pull of it the tag is the same and the image is not. No secret shows."""
    variables = upgrades.variables(
        instance,
        NEW,
        phase_upgrade_version="",
        phase_upgrade_backend_image="phasehq/backend:latest",
        phase_upgrade_frontend_image="phasehq/frontend:latest",
        phase_upgrade_pull="never",
    )
    instance.point_to(NEW)
    done = watched_upgrade(ansible, instance, variables)
    runs_the_target(instance)
    record = done.custom["phase_upgrade"]
    before, after = record["before"]["backend"], record["after"]["backend"]
    assert before["image"] == after["image"] == "phasehq/backend:latest"
    assert before["image_id"] != after["image_id"] == instance.inspect(images.backend(NEW))["Id"]
    running = upgrades.containers(instance)
    assert ansible.playbook("upgrade", variables, environ=instance.engine.variables()).changed == 0
    assert upgrades.containers(instance) == running


@pytest.mark.trial
def test_two_workers_are_replaced(ansible: Ansible, instance: Any) -> None:
    file = instance.project_src / "docker-compose.yml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    del document["services"]["worker"]["container_name"]
    document["services"]["worker"]["deploy"] = {"replicas": 2}
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    instance.docker("rm", "--force", "phase-worker")
    instance.compose("up", "--detach", "--no-build", "--pull", "never")
    done = upgrade(ansible, instance)
    upgrades.settled(instance, NEW)
    workers = done.custom["phase_upgrade"]["after"]["worker"]["containers"]
    assert [one["container"].rpartition("-")[2] for one in workers] == ["1", "2"]
    for one in workers:
        found = instance.inspect(one["container"])
        assert found["Image"] == instance.inspect(images.backend(NEW))["Id"] and found["State"]["Running"]
