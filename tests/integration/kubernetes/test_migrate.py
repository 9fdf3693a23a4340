# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrating by a Job, before the rollout: planned, done, joined after a kill, and failing fast."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from integration import targets
from integration.harness import Ansible, target

OLD, NEW = "v2.66.0", "v2.73.2"
IMAGE = f"docker.io/phasehq/backend:{NEW}"
OURS = "phase.console/backend"
APPLIED = "select count(*) from django_migrations"


@pytest.fixture
def instance(cluster_instance: Callable[..., Any]) -> Any:
    started = cluster_instance(OLD, events=200, replicas=2)
    started.point_to(NEW)
    return started


def made(instance: Any, kinds: str = "jobs,pods") -> list[dict[str, Any]]:
    listed = instance.kubectl("get", kinds, f"--selector={OURS}", "--output=json")
    return list(json.loads(listed)["items"])


def test_a_job_migrates_and_leaves_nothing(ansible: Ansible, instance: Any) -> None:
    given = {**target(instance), "image": IMAGE}
    ((before,),) = instance.sql(APPLIED)
    checked = ansible.module("phase_migrate", given, check=True)
    assert checked["changed"] and checked["pending"] and instance.sql(APPLIED) == [(before,)]
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"phase.console.phase_migrate": given}]}]
    specs: list[str] = []

    def migrating() -> bool:
        specs.append(json.dumps(made(instance)))
        ((now,),) = instance.sql(APPLIED)
        return bool(now > before)

    run = ansible.popen_playbook(play, verbosity=3)
    run.wait_until(migrating, poll=0.2)
    specs.append(instance.kubectl("get", "events", "--output=json"))
    pods = [one["metadata"]["name"] for one in made(instance, "pods")]
    logs = [instance.kubectl("logs", pod, check=False) for pod in pods]
    done = run.wait()
    assert not done.failed, done.message
    assert [one["name"] for one in done.tasks[-1].result["applied"]] == checked["pending"]
    assert any("Nobody attached" in text for text in specs)
    assert not any(checked["pending"][-1] in text for text in specs)  # what it is asked comes over its input
    for name, secret in instance.secrets.items():
        assert not any(secret in text for text in [*specs, *logs, done.stdout]), name
    assert ansible.module("phase_migrate", given)["changed"] is False
    targets.until(lambda: not made(instance), 30)
    instance.use(NEW)


def test_a_migration_goes_on_without_its_caller_and_is_joined(ansible: Ansible, instance: Any) -> None:
    given = {**target(instance), "image": IMAGE, "lock_retries": 60}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"phase.console.phase_migrate": given}]}]
    waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%%api_secretevent%%'"
    with targets.locked(instance.database_url, "api_secretevent"):
        run = ansible.popen_playbook(play)
        run.wait_until(lambda: bool(instance.sql(waiting)))
        targets.kill(run)
        time.sleep(12)
        (job,) = made(instance, "jobs")
        assert job["status"].get("active") == 1
        second = ansible.popen_playbook(play)
        second.wait_for_output("Joining Job")
    joined = second.wait()
    assert not joined.failed, joined.message
    result = joined.tasks[-1].result
    assert result["joined"] is True and result["changed"]
    assert ansible.module("phase_migrate", given)["changed"] is False
    targets.until(lambda: not made(instance), 30)


def test_a_job_whose_pod_is_killed_is_told_and_the_next_one_ends_right(ansible: Ansible, instance: Any) -> None:
    given = {**target(instance), "image": IMAGE, "lock_retries": 60}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"phase.console.phase_migrate": given}]}]
    waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%%api_secretevent%%'"
    with targets.locked(instance.database_url, "api_secretevent"):
        run = ansible.popen_playbook(play)
        run.wait_until(lambda: bool(instance.sql(waiting)))
        instance.kubectl("delete", "pods", f"--selector={OURS}", "--grace-period=0", "--force")
        failed = run.wait()
    assert failed.failed and failed.tasks[-1].result["error"]["kind"] == "job_failed", failed.stdout
    targets.until(lambda: targets.ours(instance) == 0, 30)
    assert ansible.module("phase_migrate", given)["changed"]
    targets.until(lambda: not made(instance), 30)


def test_a_migration_outlives_the_api_server(ansible: Ansible, instance: Any, cluster: Any) -> None:
    """It is away for 20 s midway: the same call, or the next one, sees the end."""
    if cluster.node is None:
        pytest.skip("only a cluster of our own may lose its API server")
    given = {**target(instance), "image": IMAGE, "lock_retries": 60}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"phase.console.phase_migrate": given}]}]
    waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%%api_secretevent%%'"
    with targets.locked(instance.database_url, "api_secretevent"):
        run = ansible.popen_playbook(play)
        run.wait_until(lambda: bool(instance.sql(waiting)))
        cluster.node.kill("kube-apiserver", hold=True)
        try:
            time.sleep(20)
        finally:
            cluster.node.release("kube-apiserver")
            cluster.node.wait_ready()
    done = run.wait()
    assert not done.failed, done.message
    assert ansible.module("phase_migrate", given)["changed"] is False
    targets.until(lambda: not made(instance), 30)


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
def test_an_image_that_is_not_there_fails_fast(ansible: Ansible, instance: Any, check: bool) -> None:
    given = {**target(instance), "image": "docker.io/phasehq/backend:nosuch"}
    started = time.monotonic()
    result = ansible.module("phase_migrate", given, check=check, expect_failure=True)
    assert result["error"]["kind"] == "job_failed" and "cannot be pulled" in result["msg"]
    assert result["failed_job"]["reason"] in ("ErrImagePull", "ImagePullBackOff") and result["failed_job"]["events"]
    assert time.monotonic() - started < 60
    targets.until(lambda: not made(instance), 30)


def test_a_quota_that_refuses_the_pod_is_told(ansible: Ansible, instance: Any) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full", "namespace": instance.namespace}}
    instance.apply([{**quota, "spec": {"hard": {"pods": "1"}}}])
    time.sleep(2)
    result = ansible.module("phase_migrate", {**target(instance), "image": IMAGE}, check=True, expect_failure=True)
    assert "exceeded quota" in result["msg"] and "ResourceQuota" in result["error"]["next_step"]
    targets.until(lambda: not made(instance), 30)
