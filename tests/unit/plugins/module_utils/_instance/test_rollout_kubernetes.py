# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._instance import rollout_kubernetes as rollout

OLD, NEW = "docker.io/phasehq/backend:v1", "docker.io/phasehq/backend:v2"
KEPT = rollout.state.KEPT


def deployment(image=OLD, replicas=2, status=None, **metadata):
    containers = [{"name": "backend", "image": image}, {"name": "proxy", "image": "proxy:1"}]
    template = {
        "metadata": {"labels": {"app": "backend"}},
        "spec": {"containers": containers, "initContainers": [{"name": "migrate", "image": image}]},
    }
    whole = {
        "observedGeneration": 3,
        "updatedReplicas": replicas,
        "replicas": replicas,
        "availableReplicas": replicas,
    }
    return {
        "metadata": {"name": "phase-backend", "namespace": "phase", "generation": 3, **metadata},
        "spec": {"replicas": replicas, "template": template},
        "status": whole if status is None else {**whole, **status},
    }


def test_every_container_of_the_old_image_gets_the_new_one():
    step = rollout.replacing(deployment(), NEW)
    assert step.words == [
        "set the image of Deployment phase-backend to " + NEW,
        "wait until its pods are ready",
    ]
    assert step.patch == {
        "spec": {
            "template": {
                "spec": {
                    "containers": [{"name": "backend", "image": NEW}],
                    "initContainers": [{"name": "migrate", "image": NEW}],
                }
            }
        }
    }


def test_nothing_to_do_is_no_step():
    assert rollout.replacing(deployment(), OLD.replace("docker.io/", "")) == ([], None)
    assert rollout.stopping(deployment(replicas=0)) == ([], None)


def test_a_rollout_that_was_cut_off_is_waited_for():
    step = rollout.replacing(deployment(NEW, status={"updatedReplicas": 1}), NEW)
    assert step == (["wait until its pods are ready"], None)


def test_scaled_to_0_and_back():
    down = rollout.stopping(deployment(replicas=3))
    assert down.patch == {"metadata": {"annotations": {KEPT: "3"}}, "spec": {"replicas": 0}}
    up = rollout.replacing(deployment(replicas=0, annotations={KEPT: "3"}), OLD)
    assert up.patch == {"metadata": {"annotations": {KEPT: None}}, "spec": {"replicas": 3}}
    assert up.words[0] == "scale Deployment phase-backend to 3"
    somebody_was_faster = rollout.replacing(deployment(replicas=5, annotations={KEPT: "3"}), OLD)
    assert somebody_was_faster == ([], {"metadata": {"annotations": {KEPT: None}}})


@pytest.mark.parametrize(
    ("status", "settled"),
    [
        ({}, True),
        ({"observedGeneration": 2}, False),
        ({"updatedReplicas": 1}, False),
        ({"replicas": 3}, False),
        ({"availableReplicas": 1}, False),
    ],
)
def test_settled(status, settled):
    assert rollout.settled(deployment(status=status)) is settled


def pod(image=NEW, restarts=0, conditions=(), **state):
    status = {"name": "backend", "image": image, "state": state, "restartCount": restarts, "ready": False}
    return {
        "metadata": {"name": "p", "namespace": "phase"},
        "spec": {"containers": [{"name": "backend", "image": image}]},
        "status": {"phase": "Pending", "containerStatuses": [status], "conditions": list(conditions)},
    }


NO_NODE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
CRASH = {"waiting": {"reason": "CrashLoopBackOff"}}


@pytest.mark.parametrize(
    ("pods", "waited", "reason"),
    [
        ([pod(waiting={"reason": "ErrImagePull"})], 0, "ErrImagePull"),
        ([pod(OLD, waiting={"reason": "ErrImagePull"})], 99, None),
        ([pod(restarts=1, **CRASH)], 99, None),
        ([pod(restarts=2, **CRASH)], 0, "CrashLoopBackOff"),
        ([pod(conditions=[NO_NODE])], 5, None),
        ([pod(conditions=[NO_NODE])], 40, "Unschedulable"),
        ([pod(running={})], 99, None),
    ],
)
def test_why_a_rollout_will_not_end(pods, waited, reason):
    found = rollout.obstacle(deployment(NEW), pods, waited)
    assert (found and found.reason) == reason


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ({"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}, "ReplicaFailure"),
        (
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"},
            "ProgressDeadlineExceeded",
        ),
        ({"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}, None),
    ],
)
def test_what_the_deployment_says(condition, reason):
    found = rollout.obstacle(deployment(NEW, status={"conditions": [condition]}), [], 5)
    assert (found and found.reason) == reason


def scaler(**spec):
    target = {"kind": "Deployment", "name": "phase-backend"}
    return {"metadata": {"name": "hpa", "labels": {}}, "spec": {"scaleTargetRef": target, **spec}}


def test_an_autoscaler_that_would_scale_up_from_0_is_refused():
    down, up = rollout.stopping(deployment()), rollout.replacing(deployment(), NEW)
    assert rollout.refusal(deployment(), down, [scaler()]) is None
    assert "minReplicas" in rollout.refusal(deployment(), down, [scaler(minReplicas=0)]).next_step
    keda = scaler()
    keda["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "keda-operator"}
    assert "paused-replicas" in rollout.refusal(deployment(), down, [keda]).next_step
    assert rollout.refusal(deployment(), up, [keda]) is None
    assert rollout.scaling([keda], "phase-worker") == [] and rollout.scaling([keda], "phase-backend") == [keda]


def test_who_else_manages_it():
    argo = deployment(labels={"argocd.argoproj.io/instance": "phase"})
    assert "Argo CD" in rollout.refusal(argo, rollout.replacing(argo, NEW), []).message
    assert rollout.refusal(argo, rollout.replacing(argo, OLD), []) is None
    helm = deployment(
        labels={"app.kubernetes.io/managed-by": "Helm"}, annotations={"meta.helm.sh/release-name": "phase"}
    )
    assert rollout.refusal(helm, rollout.replacing(helm, NEW), []) is None
    assert "global.version=v2" in rollout.state.helm_warning("phase", NEW)
    assert "global.version=VERSION" in rollout.state.helm_warning("phase", "phasehq/backend@sha256:ab")


def test_the_prediction_and_the_difference():
    component = {"image": OLD, "image_id": "sha256:1", "digest": None, "replicas": {"wanted": 2, "ready": 2}}
    patch = rollout.replacing(deployment(), NEW).patch
    assert rollout.foreseen(component, patch, NEW) == {**component, "image": NEW, "image_id": None}
    told = rollout.difference(deployment(), patch, NEW)
    assert (told["before"], told["after"]) == (
        "phase-backend: %s, 2 replicas\n" % OLD,
        "phase-backend: %s, 2 replicas\n" % NEW,
    )
    down = rollout.stopping(deployment()).patch
    assert rollout.foreseen(component, down, NEW)["replicas"] == {"wanted": 0, "ready": 0}
    assert rollout.difference(deployment(), down, NEW)["after"].endswith(", 0 replicas\n")
