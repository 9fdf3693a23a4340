# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The upgrade playbook on plain containers: the whole of it, and kill -9 while the backend is nowhere."""

from __future__ import annotations

import functools
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from integration import upgrades
from integration.harness import Ansible
from sandbox import images
from sandbox.client import Client
from sandbox.docker_instance import COMPONENTS

Factory = Callable[..., Any]
OLD, NEW = "v2.54.0", "v2.73.2"


@pytest.fixture
def instance(docker_instance: Factory) -> Any:
    instance = docker_instance(OLD, 10_000)
    images.ensure(instance.engine, images.for_versions([NEW]))
    return instance


def runs_the_target(instance: Any, replicas: tuple[str, ...] = ()) -> None:
    for part in ("backend", "worker", "frontend", *replicas):
        image = "frontend" if part == "frontend" else "backend"
        found = instance.inspect(f"phase-{part}")
        assert found["Image"] == instance.inspect(f"phasehq/{image}:{NEW}")["Id"] and found["State"]["Running"]
    assert set(upgrades.containers(instance)) == {f"phase-{name}" for name in (*COMPONENTS, *replicas)}


def test_check_upgrade_from_an_archive_and_second_run(ansible: Ansible, instance: Any) -> None:
    """A host without a registry: the target is not on the engine, and comes from a file."""
    archive = instance.directory / "images.tar"
    names = [images.backend(NEW), images.frontend(NEW)]
    ids = [instance.inspect(name)["Id"] for name in names]
    instance.docker("save", "--output", str(archive), *names)
    assert tarfile.is_tarfile(archive)
    variables = upgrades.variables(instance, NEW, phase_upgrade_images_archive=str(archive))
    environ = instance.engine.variables()
    before = (upgrades.tables(instance), upgrades.containers(instance))

    instance.docker("tag", names[0], "kept/backend:new")
    instance.docker("tag", names[1], "kept/frontend:new")
    instance.docker("rmi", *names)
    try:
        checked = ansible.playbook("upgrade", variables, check=True, diff=True, environ=environ)
        assert (upgrades.tables(instance), upgrades.containers(instance)) == before and checked.changed == 1
        assert "not on this engine yet" in "\n".join(checked.custom["phase_upgrade"]["plan"]["text"])
        with Client(instance.url) as client:
            done = ansible.playbook("upgrade", variables, environ=environ)
        upgrades.settled(instance, NEW)
        runs_the_target(instance)
        record = done.custom["phase_upgrade"]
        assert record["before"]["backend"]["image_id"] != record["after"]["backend"]["image_id"]
        report = client.report()
        assert report.windows[-1].end is not None
        assert report.failing_seconds <= record["reads_failed_seconds"] + 5
        after = upgrades.containers(instance)
        assert ansible.playbook("upgrade", variables, environ=environ).changed == 0
        assert upgrades.containers(instance) == after
    finally:
        for name, image_id in zip(names, ids):
            instance.docker("tag", image_id, name, check=False)
        instance.docker("rmi", "kept/backend:new", "kept/frontend:new", check=False)


def test_killed_twice_while_containers_are_replaced(ansible: Ansible, instance: Any) -> None:
    """Once while the backend is nowhere, once while there are two workers."""
    variables, environ = upgrades.variables(instance, NEW), instance.engine.variables()

    def is_there(name: str) -> bool:
        return name in instance.docker("ps", "--all", "--format", "{{.Names}}").split()

    for left in ("phase-backend-previous", "phase-worker-next"):
        run = ansible.popen_playbook("upgrade", variables, environ=environ)
        run.wait_until(functools.partial(is_there, left))
        run.kill(everything=True)
    ansible.playbook("upgrade", variables, environ=environ)
    upgrades.settled(instance, NEW)
    runs_the_target(instance)


@pytest.mark.trial
def test_replicas_are_replaced_one_after_the_other(ansible: Ansible, instance: Any) -> None:
    """Killed while a second worker is nowhere; a third one runs the target already."""
    variables, environ = upgrades.variables(instance, NEW), instance.engine.variables()
    instance.replica("backend", "phase-backend-2")
    instance.replica("worker", "phase-worker-2")
    instance.replica("worker", "phase-worker-3", image=images.backend(NEW))
    third = instance.inspect("phase-worker-3")["Id"]
    run = ansible.popen_playbook("upgrade", variables, environ=environ)
    run.wait_until(
        lambda: "phase-worker-2-previous" in instance.docker("ps", "--all", "--format", "{{.Names}}").split()
    )
    run.kill(everything=True)
    ansible.playbook("upgrade", variables, environ=environ)
    upgrades.settled(instance, NEW)
    runs_the_target(instance, ("backend-2", "worker-2", "worker-3"))
    assert instance.inspect("phase-worker-3")["Id"] == third
