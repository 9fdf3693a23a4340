# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""phase_rollout on a real engine: what is kept, what is not touched, runs that are cut off between any two steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.phase.console.plugins.module_utils._instance import rollout as _rollout
from ansible_collections.phase.console.plugins.module_utils._target.base import Limits
from ansible_collections.phase.console.plugins.module_utils._target.docker import DockerTarget
from ansible_collections.phase.console.plugins.module_utils._target.engine import find_by_name, make_client
from integration.harness import Ansible, target
from sandbox import images

Factory = Callable[..., Any]
OLD, NEW = "v2.66.0", "v2.73.2"
NAMES = ("phase-worker", "phase-worker-next", "phase-worker-previous")


@pytest.fixture(scope="module")
def instance(module_docker_instance: Factory) -> Any:
    instance = module_docker_instance(OLD)
    images.ensure(instance.engine, [images.backend(NEW), images.without_psycopg2(NEW)])
    return instance


SLOW = 15  # seconds in which a container that cannot run has ended on a busy machine, too


@pytest.fixture(autouse=True)
def worker_of_the_old_release(ansible: Ansible, instance: Any) -> Iterator[None]:
    """Each test begins with a worker of OLD and nothing beside it."""
    yield
    for name in NAMES:
        instance.docker("rm", "--force", name, check=False)
    instance._run("worker")


@pytest.fixture
def options(instance: Any) -> dict[str, Any]:
    return {
        **target(instance),
        "docker": {"docker_host": instance.engine.host},
        "name": "phase-worker",
        "image": images.backend(NEW),
        "settle": 1,
        "stop_timeout": 5,
    }


def present(instance: Any) -> list[str]:
    listed = instance.docker("ps", "--all", "--format", "{{.Names}}").split()
    return sorted(set(listed) & set(NAMES))


def runs(instance: Any, image: str, name: str = "phase-worker") -> bool:
    """Whether the container was made from that image, whatever name it was given by."""
    return bool(instance.inspect(name)["Image"] == instance.inspect(image)["Id"])


def test_keeps_what_was_given_to_the_container(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    old = instance.inspect("phase-worker")
    result = ansible.module("phase_rollout", options)
    new = instance.inspect("phase-worker")
    assert (
        result["changed"]
        and result["after"]["image_id"] == new["Image"] != old["Image"] == result["before"]["image_id"]
    )
    given = set(old["Config"]["Env"]) - set(instance.inspect(old["Image"])["Config"]["Env"])
    assert given and given <= set(new["Config"]["Env"])
    assert new["Config"]["Cmd"] == old["Config"]["Cmd"]
    assert new["HostConfig"]["RestartPolicy"] == old["HostConfig"]["RestartPolicy"]
    assert new["HostConfig"]["Binds"] == old["HostConfig"]["Binds"]
    assert "worker" in new["NetworkSettings"]["Networks"][instance.network]["Aliases"]
    assert new["State"]["Running"] and present(instance) == ["phase-worker"]


def test_the_second_run_changes_nothing(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    ansible.module("phase_rollout", options)
    before = instance.inspect("phase-worker")["Id"]
    result = ansible.module("phase_rollout", options)
    assert not result["changed"] and result["steps"] == []
    assert instance.inspect("phase-worker")["Id"] == before


def test_check_mode_tells_the_steps_and_takes_none(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    before = instance.inspect("phase-worker")
    result = ansible.module("phase_rollout", options, check=True, diff=True)
    after = instance.inspect("phase-worker")
    assert result["changed"] and images.backend(NEW) in result["diff"]["after"]
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    assert present(instance) == ["phase-worker"]
    assert ansible.module("phase_rollout", options)["steps"] == result["steps"]


@pytest.mark.parametrize("taken", range(1, 6))
def test_goes_on_after_any_step(ansible: Ansible, instance: Any, options: dict[str, Any], taken: int) -> None:
    """As a kill -9 between two steps leaves it: the first steps are taken here, the module finds what they made."""
    client = make_client(options["docker"])
    engine = DockerTarget("docker", lambda: client, find_by_name("phase-backend"), Limits())
    params = {**options, "wait_timeout": 60, "stop_timeout": 10, "rollback": False}
    work = _rollout.Rollout(engine, params, lambda message: None, time.monotonic, time.sleep)
    steps = _rollout.foresee(work.see(), work.image_id())
    assert len(steps) == 6
    for step in steps[:taken]:
        work.take(step, work.see())
    result = ansible.module("phase_rollout", options)
    assert result["steps"] == _rollout.in_words(steps[taken:], "phase-worker", options["image"])
    assert runs(instance, images.backend(NEW)) and instance.inspect("phase-worker")["State"]["Running"]
    assert present(instance) == ["phase-worker"]


def test_a_container_that_does_not_come_up(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    broken = {**options, "image": images.without_psycopg2(NEW), "wait_timeout": 30, "settle": SLOW}
    result = ansible.module("phase_rollout", broken, expect_failure=True)
    assert result["error"]["kind"] == "rollout_failed"
    assert "psycopg2" in "\n".join(result["log_tail"])
    assert not set(instance.secrets.values()) & set("\n".join(result["log_tail"]).split())
    assert present(instance) == ["phase-worker", "phase-worker-previous"]
    assert runs(instance, images.backend(OLD), "phase-worker-previous")
    ansible.module("phase_rollout", options)
    assert runs(instance, images.backend(NEW)) and present(instance) == ["phase-worker"]


def test_rollback_puts_the_old_container_back(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    before = instance.inspect("phase-worker")["Id"]
    broken = {**options, "image": images.without_psycopg2(NEW), "wait_timeout": 30, "settle": SLOW, "rollback": True}
    result = ansible.module("phase_rollout", broken, expect_failure=True)
    assert result["rolled_back"] and "migrations" in result["msg"]
    assert instance.inspect("phase-worker")["Id"] == before
    assert instance.inspect("phase-worker")["State"]["Running"] and present(instance) == ["phase-worker"]


def test_a_strangers_container_is_left_alone(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    instance.docker("create", "--name", "phase-worker-next", images.backend(OLD))
    result = ansible.module("phase_rollout", options, expect_failure=True)
    assert result["error"]["kind"] == "name_taken" and "phase-worker-next" in result["msg"]
    assert runs(instance, images.backend(OLD)) and present(instance) == ["phase-worker", "phase-worker-next"]


def test_an_image_that_is_not_here(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    result = ansible.module("phase_rollout", {**options, "image": "phasehq/backend:v0.0.1"}, expect_failure=True)
    assert result["error"]["kind"] == "image_missing" and present(instance) == ["phase-worker"]
