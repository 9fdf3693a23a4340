# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The targets ``docker`` and ``compose``, on a real engine with the instance's real names.

They differ in how they find the containers; how they work in those is tested with ``docker``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration import targets
from integration.harness import Ansible, target
from sandbox import images
from sandbox.compose import ComposeInstance
from sandbox.docker_instance import DockerInstance, Variant
from sandbox.images import without_psycopg2

VERSION = "v2.73.2"


BOTH = pytest.mark.parametrize(
    "instance", [DockerInstance, ComposeInstance], ids=["docker", "compose"], indirect=True, scope="module"
)


@pytest.fixture(scope="module", params=[DockerInstance], ids=["docker"])
def instance(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    limits = {"backend": {"mem_limit": "512m"}}
    variant = Variant(auth="scram-sha-256", services=limits)
    with request.param.start(tmp_path_factory.mktemp("phase"), VERSION, 0, variant=variant) as started:
        yield started


@BOTH
def test_info(ansible: Ansible, instance: Any) -> None:
    phase = targets.info(ansible, target(instance))
    assert phase["migrations"]["applied"] == 190
    described = phase["instance"]
    assert described["container"] == "phase-backend"
    assert described["image_id"] == instance.inspect("phase-backend")["Image"]
    assert set(described["components"]) >= {"backend", "worker", "frontend", "nginx", "postgres", "redis"}
    assert described["external_migration"] == {"value": "true", "misspelt": False}
    assert phase["storage"]["free_bytes"] > 0


@BOTH
def test_auto_finds_it_and_says_what_it_found(ansible: Ansible, instance: Any) -> None:
    ambient = {"DATABASE_URL": "postgresql://nobody@192.0.2.1/production", "PGHOST": "192.0.2.1", "KUBECONFIG": "/x"}
    result = ansible.module("phase_info", {"gather_subset": ["connection", "migrations"]}, environ=ambient)
    assert result["phase"]["migrations"]["applied"] == 190
    compose = isinstance(instance, ComposeInstance)
    wanted = {
        "deployment": "compose" if compose else "docker",
        "container": "phase-backend",
        "project_name": instance.project_name if compose else None,
        "project_src": str(instance.project_src) if compose else None,
    }
    assert result["target"].items() >= wanted.items() and "phase-backend" in result["target"]["found"]
    assert result["phase"]["connection"].items() >= wanted.items()
    assert ansible.module("phase_info", {"container": "phase-backend"})["target"]["deployment"] == wanted["deployment"]


def test_replicas_are_found_told_and_one_that_is_well_is_used(ansible: Ansible, instance: Any) -> None:
    """Three backends, of which one is unhealthy and one stopped, two workers, and a backend of another database."""
    options = {**target(instance), "docker": {"docker_host": instance.engine.host}}
    stranger = ["--env", "DATABASE_NAME=other"]
    instance.replica("backend", "phase-backend-2")
    instance.replica("backend", "second-backend", "--health-cmd=exit 1", "--health-interval=1s", "--health-retries=1")
    instance.replica("backend", "of-another", *stranger)
    instance.replica("worker", "phase-worker-2", image=f"phasehq/backend:{VERSION}")
    try:
        instance.docker("stop", "phase-backend")
        phase = ansible.module("phase_info", options | {"gather_subset": ["instance", "migrations"]})["phase"]
        assert phase["migrations"]["applied"] == 190
        parts = phase["instance"]["components"]
        found = {name: [one["container"] for one in parts[name]["containers"]] for name in ("backend", "worker")}
        assert found == {
            "backend": ["phase-backend", "phase-backend-2", "second-backend"],
            "worker": ["phase-worker", "phase-worker-2"],
        }
        assert (phase["instance"]["container"], parts["backend"]["status"]) == ("phase-backend-2", "exited")
        image_ids = {one["image_id"] for part in ("backend", "worker") for one in parts[part]["containers"]}
        assert image_ids == {instance.inspect("phase-backend")["Image"]}
        said = ansible.module("phase_health", options | {"wait_timeout": 3}, expect_failure=True)
        assert "backend (phase-backend) is exited" in said["msg"]
        assert "backend (second-backend) is unhealthy" in said["msg"]
    finally:
        names = ("phase-backend-2", "second-backend", "of-another", "phase-worker-2")
        instance.docker("rm", "--force", *names, check=False)
        instance.docker("start", "phase-backend")
        instance.wait_ready()


def test_auto_refuses_to_choose_between_two(ansible: Ansible, instance: Any) -> None:
    instance.docker("create", "--name", "other-backend", f"phasehq/backend:{VERSION}")
    try:
        for module, options in (("phase_info", {}), ("phase_purge_logs", {"all_organisations": True})):
            result = ansible.module(module, options, expect_failure=True)
            assert result["error"]["kind"] == "several_instances"
            assert {one["container"] for one in result["instances"]} == {"phase-backend", "other-backend"}
            assert "deployment=docker container=phase-backend" in result["error"]["next_step"]
        assert ansible.module("phase_info", {"container": "phase-backend"})["target"]["container"] == "phase-backend"
    finally:
        instance.docker("rm", "--force", "other-backend")


def test_nothing_is_written_in_the_container(ansible: Ansible, instance: Any) -> None:
    before = set(instance.docker("diff", "phase-backend").splitlines())
    targets.info(ansible, target(instance))
    assert set(instance.docker("diff", "phase-backend").splitlines()) == before


def test_rows_are_changed_and_put_back(ansible: Ansible, instance: Any, tmp_path: Path) -> None:
    targets.rows_are_changed_and_put_back(ansible, instance, target(instance), tmp_path)


def test_a_table_is_vacuumed(ansible: Ansible, instance: Any) -> None:
    targets.a_table_is_vacuumed(ansible, instance, target(instance))


def test_a_lockout_by_sso_ends_at_once(ansible: Ansible, instance: Any, tmp_path: Path) -> None:
    targets.a_lockout_by_sso_ends_at_once(ansible, instance, target(instance), tmp_path)


@BOTH
def test_old_reads_go(ansible: Ansible, instance: Any) -> None:
    targets.old_reads_go(ansible, instance, target(instance))


def test_most_reads_go_by_a_rewrite(ansible: Ansible, instance: Any) -> None:
    targets.most_reads_go_by_a_rewrite(ansible, instance, target(instance))


def test_containers_killed_under_a_purge(ansible: Ansible, instance: Any) -> None:
    """kill -9 of the backend's container and of the database's: no history is lost, and the next run ends right."""
    targets.purges_that_lose_their_containers(ansible, instance, target(instance))


def test_the_far_end_ends_with_its_caller(ansible: Ansible, instance: Any) -> None:
    targets.ends_when_the_caller_dies(ansible, instance, target(instance))
    targets.until(lambda: "phase_console" not in instance.docker("top", "phase-backend"), 10)


@BOTH
def test_a_one_off_container_is_like_the_backend_and_ends_with_its_caller(ansible: Ansible, instance: Any) -> None:
    options = {**target(instance), "image": f"phasehq/backend:{VERSION}", "timeouts": {"lock": "0"}}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"phase.console.phase_migrate": options}]}]

    def one_offs() -> list[str]:
        return list(instance.docker("ps", "--all", "--quiet", "--filter", "label=phase.console.operation").split())

    with targets.locked(instance.database_url):
        run = ansible.popen_playbook(play, check=True)
        run.wait_until(lambda: targets.ours(instance) == 1)
        (name,) = one_offs()
        made, backend = instance.inspect(name), instance.inspect("phase-backend")
        targets.kill(run)
        targets.until(lambda: targets.ours(instance) == 0 and not one_offs(), 10)
    assert made["HostConfig"]["Memory"] == backend["HostConfig"]["Memory"] == 512 * 1024 * 1024
    assert list(made["NetworkSettings"]["Networks"]) == list(backend["NetworkSettings"]["Networks"])
    assert made["Config"]["User"] == backend["Config"]["User"]
    assert set(made["Config"]["Env"]) == set(backend["Config"]["Env"])
    assert "backend" not in str(made["NetworkSettings"]["Networks"]) and not made["HostConfig"]["PortBindings"]
    assert not any(label.startswith("com.docker.compose") for label in made["Config"]["Labels"])


def test_lock_timeout(ansible: Ansible, instance: Any) -> None:
    targets.a_lock_is_not_waited_for_without_end(ansible, instance, target(instance))


@BOTH
def test_a_missing_backend_is_told_with_what_is_there(ansible: Ansible, instance: Any) -> None:
    options = target(instance)
    wrong = {"service": "nosuch"} if options["deployment"] == "compose" else {"container": "nosuch"}
    message = targets.refused(ansible, {**options, **wrong}, "container_missing")
    assert "phase" in message


def test_no_engine(ansible: Ansible, instance: Any) -> None:
    nowhere = {**target(instance), "docker": {"docker_host": "unix:///nonexistent.sock"}}
    assert "docker_host" in targets.refused(ansible, nowhere, "engine_unreachable")


@BOTH
def test_a_stopped_and_a_paused_backend(ansible: Ansible, instance: Any) -> None:
    instance.docker("pause", "phase-backend")
    try:
        assert "unpause" in targets.refused(ansible, target(instance), "container_not_running")
    finally:
        instance.docker("unpause", "phase-backend")
    instance.docker("stop", "--time", "1", "phase-backend")
    try:
        assert "docker start" in targets.refused(ansible, target(instance), "container_not_running")
    finally:
        instance.start_service("backend")


@pytest.fixture
def impostor(instance: Any) -> Iterator[Callable[..., dict[str, Any]]]:
    """``impostor(image, NAME=value)``: another container in the backend's network; the options that lead to it."""
    made = []

    def start(image: str = f"phasehq/backend:{VERSION}", **environment: str) -> dict[str, Any]:
        env = [f"--env={name}={value}" for name, value in environment.items()]
        arguments = ["run", "--detach", "--network", instance.network, f"--env-file={instance.env_file}", *env]
        made.append(instance.docker(*arguments, "--entrypoint=sleep", image, "600").strip())
        return {"deployment": "docker", "container": made[-1]}

    yield start
    for container in made:
        instance.docker("rm", "--force", container)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("wrong_password", {"DATABASE_PASSWORD": "not the one"}),
        ("tls_refused", {"DATABASE_SSL": "true"}),
        ("database_missing", {"DATABASE_NAME": "nosuch"}),
        ("not_phase", {"DATABASE_NAME": "postgres"}),
        ("database_unreachable", {"DATABASE_HOST": "redis"}),
        ("database_unreachable", {"DATABASE_HOST": "nosuch.invalid"}),
    ],
)
def test_it_says_what_is_in_the_way(
    ansible: Ansible, impostor: Callable[..., dict[str, Any]], kind: str, wrong: dict[str, str]
) -> None:
    targets.refused(ansible, impostor(**wrong), kind)


def test_an_image_without_psycopg2(ansible: Ansible, instance: Any, impostor: Callable[..., dict[str, Any]]) -> None:
    images.ensure(instance.engine, [without_psycopg2(VERSION)])
    targets.refused(ansible, impostor(without_psycopg2(VERSION)), "psycopg2_missing")


def test_a_container_without_python(ansible: Ansible, instance: Any, impostor: Callable[..., dict[str, Any]]) -> None:
    options = impostor(instance.inspect("phase-redis")["Config"]["Image"])
    instance.docker(
        "exec", "--user=0", options["container"], "sh", "-c", "rm -f /usr/bin/python3* /usr/local/bin/python3*"
    )
    targets.refused(ansible, options, "interpreter_missing")
