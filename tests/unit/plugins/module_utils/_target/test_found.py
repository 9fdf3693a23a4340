# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import ContainerMissing
from ansible_collections.phase.console.plugins.module_utils._target.engine import manager
from ansible_collections.phase.console.plugins.module_utils._target.found import (
    Found,
    SeveralInstances,
    choose,
    instances,
    is_phase,
    of_others,
)

SETTINGS = ["SERVER_SECRET=s", "DATABASE_NAME=phase"]
PROJECT = {
    "com.docker.compose.project": "phase",
    "com.docker.compose.project.working_dir": "/opt/phase",
    "com.docker.compose.service": "backend",
}


def container(name, image="phasehq/backend:latest", env=(), running=True, **labels):
    return {
        "Name": "/" + name,
        "Config": {"Image": image, "Env": list(env), "Labels": labels},
        "State": {"Running": running},
    }


@pytest.mark.parametrize(
    ("image", "env", "phase"),
    [
        ("phasehq/backend:v2.73.2", [], True),
        ("registry.example:5000/phasehq/backend@sha256:00", [], True),
        ("registry.example/mirror/phase:1", SETTINGS, True),
        ("registry.example/mirror/phase:1", ["SERVER_SECRET_FILE=/s", "DATABASE_NAME=phase"], True),
        ("shop/backend:1", ["DATABASE_NAME=shop"], False),
        ("notphasehq/backends:1", [], False),
        ("sha256:0123", [], False),
    ],
)
def test_whose_container_it_is(image, env, phase):
    assert is_phase(container("x", image, env)) is phase


def test_replicas_of_plain_containers_are_one_instance():
    given = [*SETTINGS, "DATABASE_HOST=postgres"]
    replicas = [container(name, env=given) for name in ("phase-backend", "second-backend")]
    elsewhere = container("other-backend", env=[*SETTINGS, "DATABASE_HOST=elsewhere"])
    assert instances(replicas, "backend") == [Found("docker", "phase-backend")]
    assert len(instances([*replicas, elsewhere], "backend")) == 2


def test_compose_is_found_by_its_labels_and_one_project_counts_once():
    stopped = container("phase-backend-1", running=False, **PROJECT)
    running = container("phase-backend-2", **PROJECT)
    others = [
        container("phase-worker-1", **{**PROJECT, "com.docker.compose.service": "worker"}),
        container("phase-backend-run-1", **{**PROJECT, "com.docker.compose.oneoff": "True"}),
        container("shop-backend-1", "shop/backend", **{**PROJECT, "com.docker.compose.project": "shop"}),
        container("frontend", "phasehq/frontend", SETTINGS),
    ]
    found = instances([stopped, running, *others], "backend")
    assert found == [Found("compose", "phase-backend-2", "phase", "/opt/phase")]
    assert "Compose project phase in /opt/phase" in found[0].sentence()


@pytest.mark.parametrize("name", ["phase-backend", "phase-backend-previous", "phase-backend-next"])
def test_a_rollout_that_was_interrupted_does_not_hide_the_instance(name):
    assert instances([container(name), container("phase-worker")], "backend") == [Found("docker", "phase-backend")]


def test_a_name_chooses_among_several():
    several = [container("a-backend"), container("b-backend"), container("c", **PROJECT)]
    assert [one.container for one in instances(several, "backend")] == ["a-backend", "b-backend", "c"]
    assert instances(several, "backend", "b-backend") == [Found("docker", "b-backend")]
    assert instances(several, "backend", "c") == [Found("compose", "c", "phase", "/opt/phase")]
    assert instances(several, "backend", "d") == []


def test_two_are_refused_with_what_to_set():
    with pytest.raises(SeveralInstances) as refused:
        choose([Found("docker", "phase-backend"), Found("compose", "x", "phase", "/opt/phase")], "unix:///x")
    assert refused.value.next_step == (
        "Name one: deployment=docker container=phase-backend, or deployment=compose project_name=phase."
    )
    assert [one["container"] for one in refused.value.partial["instances"]] == ["phase-backend", "x"]


def test_none_is_a_sentence_with_what_to_set():
    with pytest.raises(ContainerMissing, match="unix:///x") as refused:
        choose([], "unix:///x")
    for word in ("compose", "database", "docker_host"):
        assert word in refused.value.next_step


def test_an_option_of_another_deployment_is_not_ignored():
    assert of_others({"manage_dir": "/srv", "database_url": None}) == "manage_dir belongs to deployment=local"
    assert of_others({"login_host": "db"}) == "login_host belongs to deployment=database"
    assert of_others({"container": "x"}) is None


@pytest.mark.parametrize(
    ("label", "who"),
    [
        ("com.docker.compose.project", "Compose"),
        ("com.docker.swarm.service.name", "Swarm"),
        ("io.kubernetes.pod.name", "Kubernetes"),
        ("PODMAN_SYSTEMD_UNIT", "a systemd unit"),
        ("maintainer", None),
    ],
)
def test_who_makes_a_container_anew(label, who):
    found = manager(container("x", **{label: "1"}))
    assert (found and found[0]) == who and (found is None or found[1].endswith("."))
