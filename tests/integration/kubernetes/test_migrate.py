# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrating by a Job, before the rollout: failing fast, planned, done, and disturbed midway in each way."""

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
WAITING = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%%api_organisation%%'"


@pytest.fixture(scope="module")
def instance(module_cluster_instance: Callable[..., Any]) -> Any:
    """One for all: what fails beforehand changes nothing, and the last test migrates it."""
    started = module_cluster_instance(OLD, events=200, replicas=2)
    started.point_to(NEW)
    return started


def made(instance: Any, kinds: str = "jobs,pods") -> list[dict[str, Any]]:
    listed = instance.kubectl("get", kinds, f"--selector={OURS}", "--output=json")
    return list(json.loads(listed)["items"])


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
    try:
        targets.until(lambda: "used" in instance.get("resourcequota", "full").get("status", {}), 30)
        given = {**target(instance), "image": IMAGE}
        result = ansible.module("phase_migrate", given, check=True, expect_failure=True)
    finally:
        instance.kubectl("delete", "resourcequota", "full")
    assert "exceeded quota" in result["msg"] and "ResourceQuota" in result["error"]["next_step"]
    targets.until(lambda: not made(instance), 30)


def test_planned_disturbed_midway_in_each_way_and_done(ansible: Ansible, instance: Any, cluster: Any) -> None:
    """Another session reads a table that a migration alters, so that the migration waits.

    Then the API server is away for 20 s, then the Job's pod is killed, then the next run's caller, and the third joins.
    """
    given = {**target(instance), "image": IMAGE, "lock_retries": 60}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"phase.console.phase_migrate": given}]}]
    ((before,),) = instance.sql(APPLIED)
    checked = ansible.module("phase_migrate", given, check=True)
    assert checked["changed"] and checked["pending"] and instance.sql(APPLIED) == [(before,)]
    assert [one["by"] for one in checked["ran_in"]] == ["job"]

    with targets.locked(instance.database_url, "api_organisation", "access share"):
        run = ansible.popen_playbook(play, verbosity=3)
        run.wait_until(lambda: bool(instance.sql(WAITING)))
        specs = [json.dumps(made(instance)), instance.kubectl("get", "events", "--output=json")]
        assert "Nobody attached" in specs[0]
        assert not any(checked["pending"][-1] in text for text in specs)  # what it is asked comes over its input
        if cluster.node is not None:  # only a cluster of our own may lose its API server
            cluster.node.kill("kube-apiserver", hold=True)
            try:
                time.sleep(20)
            finally:
                cluster.node.release("kube-apiserver")
                cluster.node.wait_ready()
            time.sleep(2)
            assert run.process.poll() is None, run.output()
        specs += [instance.kubectl("logs", one["metadata"]["name"], check=False) for one in made(instance, "pods")]
        instance.kubectl("delete", "pods", f"--selector={OURS}", "--grace-period=0", "--force")
        failed = run.wait()
        # It may still have said that it is being ended.
        assert failed.failed and failed.tasks[-1].result["error"]["kind"] in ("job_failed", "cancelled"), failed.stdout
        for name, secret in instance.secrets.items():
            assert not any(secret in text for text in [*specs, failed.stdout]), name
        targets.until(lambda: targets.ours(instance) == 0, 30)

        second = ansible.popen_playbook(play)
        second.wait_until(lambda: bool(instance.sql(WAITING)))
        targets.kill(second)
        time.sleep(12)
        assert targets.ours(instance) >= 1  # it goes on
        third = ansible.popen_playbook(play)
        third.wait_for_output("Joining Job")
    joined = third.wait()
    assert not joined.failed, joined.message
    result = joined.tasks[-1].result
    assert result["joined"] is True and result["changed"]
    assert ansible.module("phase_migrate", given)["changed"] is False
    targets.until(lambda: not made(instance), 30)
