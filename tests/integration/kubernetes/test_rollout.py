# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""phase_rollout on a cluster: images that do not come up, none for a while, and who else manages a Deployment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from integration.harness import Ansible, target
from sandbox.cluster.instance import Variant

NEW = "v2.73.2"


@pytest.fixture(scope="module")
def instance(module_cluster_instance: Callable[..., Any]) -> Any:
    """Two of each part, by an autoscaler, and a budget."""
    variant = Variant(autoscaling=(2, 4), disruption_budget=True)
    return module_cluster_instance(NEW, replicas=2, variant=variant)


def image_of(instance: Any, part: str) -> str:
    deployment = instance.get("deployment", f"{instance.name}-{part}")
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def options(instance: Any, image: str, **more: Any) -> dict[str, Any]:
    image = f"docker.io/phasehq/{image}"
    return {**target(instance), "name": f"{instance.name}-worker", "image": image, "wait_timeout": 60, **more}


def test_an_image_that_cannot_be_pulled_is_told_at_once_and_goes_back(ansible: Ansible, instance: Any) -> None:
    before = image_of(instance, "worker")
    given = options(instance, "backend:nosuch", rollback=True)
    checked = ansible.module("phase_rollout", given, check=True, diff=True)
    assert checked["changed"] and "backend:nosuch" in checked["diff"]["after"] and "Helm" in checked["warnings"][0]
    begun = time.monotonic()
    failed = ansible.module("phase_rollout", given, expect_failure=True)
    assert failed["error"]["kind"] == "rollout_failed" and "cannot be pulled" in failed["msg"] and failed["rolled_back"]
    assert time.monotonic() - begun < 60 and image_of(instance, "worker") == before
    assert ansible.module("phase_rollout", options(instance, f"backend:{NEW}"))["changed"] is False


def test_pods_that_keep_ending_are_told_with_their_log(ansible: Ansible, instance: Any) -> None:
    """An image without the program: the old pods stay, and nothing goes back by itself."""
    given = options(instance, f"frontend:{NEW}")
    failed = ansible.module("phase_rollout", given, expect_failure=True)
    assert failed["error"]["kind"] == "rollout_failed" and "rollout undo" in failed["msg"], failed["msg"]
    assert len([pod for pod in instance.pods("worker") if _ready(pod)]) == 2
    assert ansible.module("phase_rollout", options(instance, f"backend:{NEW}"))["changed"] is True


def _ready(pod: dict[str, Any]) -> bool:
    return all(status["ready"] for status in pod["status"].get("containerStatuses", [{"ready": False}]))


def test_stopped_and_put_back(ansible: Ansible, instance: Any) -> None:
    """While the backend is scaled to 0, a Job of its own image does what else would be done in a pod."""
    backend = {**target(instance), "name": f"{instance.name}-backend"}
    stopped = ansible.module("phase_rollout", {**backend, "state": "stopped"})
    assert stopped["changed"] and instance.pods("backend") == []
    assert ansible.module("phase_rollout", {**backend, "state": "stopped"})["changed"] is False
    seen = ansible.module("phase_info", {**target(instance), "gather_subset": ["migrations"]})
    assert seen["phase"]["migrations"]["applied"] == 190 and seen["ran_in"][0]["by"] == "job"
    image = image_of(instance, "backend")
    back = ansible.module("phase_rollout", {**backend, "image": image})
    assert back["changed"] and back["after"]["replicas"] == {"wanted": 2, "ready": 2}


@pytest.mark.parametrize(
    ("labels", "notes", "said"),
    [
        ({}, {"argocd.argoproj.io/tracking-id": "phase:apps/Deployment:x/y"}, "Argo CD (phase)"),
        ({"helm.toolkit.fluxcd.io/name": "phase", "helm.toolkit.fluxcd.io/namespace": "flux"}, {}, "Flux (flux/phase)"),
    ],
    ids=["argocd", "flux"],
)
def test_what_would_be_undone_is_refused(
    ansible: Ansible, instance: Any, labels: dict[str, str], notes: dict[str, str], said: str
) -> None:
    name = f"deployment/{instance.name}-worker"
    change = {"metadata": {"labels": labels, "annotations": notes}}
    instance.kubectl("patch", name, "--patch", json.dumps(change))
    try:
        failed = ansible.module("phase_rollout", options(instance, "backend:v9"), expect_failure=True)
        assert failed["error"]["kind"] == "managed_elsewhere" and said in failed["msg"]
    finally:
        gone = {"labels": dict.fromkeys(labels), "annotations": dict.fromkeys(notes)}
        instance.kubectl("patch", name, "--patch", json.dumps({"metadata": gone}))
