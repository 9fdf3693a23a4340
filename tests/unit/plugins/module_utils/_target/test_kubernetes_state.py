# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which Deployment is the backend, how pods fare, and who manages them."""

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption, PodNotReady, ReleaseMissing
from ansible_collections.phase.console.plugins.module_utils._target import kubernetes_state as state


def deployment(name, labels, containers=("backend",), replicas=1, ready=1, **metadata):
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": one, "image": "phasehq/backend:v2.73.2"} for one in containers]},
    }
    status = {"replicas": replicas, "readyReplicas": ready, "updatedReplicas": replicas}
    return {
        "metadata": dict({"name": name, "namespace": "phase"}, **metadata),
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
        "status": status,
    }


def of_chart(release, component="backend", **more):
    labels = {state.NAME: "phase", state.INSTANCE: release, state.COMPONENT: component}
    return deployment("%s-%s" % (state.full_name(release), component), labels, (component,), **more)


def pod(name="p", labels=None, ready=True, created="2026-11-30T12:00:00Z", **status):
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}, *status.pop("conditions", [])]
    return {
        "metadata": {"name": name, "namespace": "phase", "labels": labels or {}, "creationTimestamp": created},
        "status": dict({"phase": "Running", "conditions": conditions}, **status),
    }


def waiting(reason, message="", **more):
    status = {"name": "backend", "image": "phasehq/backend:v9", "restartCount": 3}
    status.update(more, state={"waiting": {"reason": reason, "message": message}})
    return pod(ready=False, containerStatuses=[status])


def refused(deployments, release=None):
    with pytest.raises(ReleaseMissing) as caught:
        state.choose_backend(deployments, "phase", release)
    return caught.value


# Finding


@pytest.mark.parametrize(
    ("release", "name"),
    [("phase", "phase"), ("my-phase-2", "my-phase-2"), ("prod", "prod-phase"), ("x" * 60, "x" * 60 + "-ph")],
)
def test_the_fullname_rule(release, name):
    assert state.full_name(release) == name


def test_the_only_release_needs_no_name():
    found = state.choose_backend([of_chart("prod"), of_chart("prod", "worker"), deployment("x", {})], "phase", None)
    assert found["metadata"]["name"] == "prod-phase-backend"


def test_two_releases_and_none_are_told_apart():
    two = [of_chart("a"), of_chart("b")]
    assert "2 releases" in refused(two).message and "a, b" in refused(two).next_step
    assert state.choose_backend(two, "phase", "b")["metadata"]["name"] == "b-phase-backend"
    assert refused(two, "c").next_step == "Set release to one of: a, b."
    own = [deployment("api", {"app": "api"})]
    assert "no release" in refused(own).message and "label_selector" in refused(own).next_step
    assert "Deployments there: api." in refused(own).next_step and "api." in refused(own, "c").next_step
    assert "none" in refused([]).next_step


def test_of_several_that_fit_the_chart_s_own_name_is_taken():
    canary = dict(of_chart("phase"), metadata={"name": "canary", "namespace": "phase"})
    assert state.choose_backend([canary, of_chart("phase")], "phase", None)["metadata"]["name"] == "phase-backend"
    assert "canary, canary" in refused([canary, canary]).message


def test_a_release_whose_labels_were_changed_is_found_by_its_name():
    found = state.choose_backend([deployment("prod-phase-backend", {"app": "x"})], "phase", "prod")
    assert found["metadata"]["name"] == "prod-phase-backend"


def test_the_container():
    assert state.container_of(deployment("a", {}, ("proxy", "backend")))["name"] == "backend"
    assert state.container_of(deployment("a", {}, ("api",)))["name"] == "api"
    several = deployment("a", {}, ("proxy", "api"))
    with pytest.raises(BadOption, match="proxy, api"):
        state.container_of(several)
    several["spec"]["template"]["metadata"]["annotations"] = {state.DEFAULT_CONTAINER: "api"}
    assert state.container_of(several)["name"] == "api"


def test_selectors():
    expressions = [
        {"key": "a", "operator": "In", "values": ["x", "y"]},
        {"key": "b", "operator": "Exists"},
        {"key": "c", "operator": "DoesNotExist"},
    ]
    given = {"matchLabels": {"app": "backend"}, "matchExpressions": expressions}
    assert state.selector_text(given) == "app=backend,a in (x,y),b,!c"


# Pods


def test_the_youngest_ready_pod_is_chosen():
    old, new = pod("old"), pod("new", created="2026-11-30T13:00:00Z")
    ending = pod("ending", created="2026-11-30T14:00:00Z")
    ending["metadata"]["deletionTimestamp"] = "2026-11-30T14:01:00Z"
    starting = pod("starting", ready=False, created="2026-11-30T15:00:00Z")
    chosen = state.choose_pod(of_chart("phase"), [old, ending, new, starting])
    assert chosen["metadata"]["name"] == "new"


CRASHED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
UNSCHEDULABLE = pod(
    ready=False,
    phase="Pending",
    conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: cpu."}],
)
NOT_STARTED = {"reason": "StartError", "exitCode": 128, "message": "exec: python3: executable file not found."}
ENDED = pod(
    ready=False,
    containerStatuses=[{"name": "backend", "image": "x", "restartCount": 0, "state": {"terminated": NOT_STARTED}}],
)
UNREADY = pod(ready=False, conditions=[{"type": "ContainersReady", "status": "False", "message": "backend is unready"}])
INITIALISING = pod(
    ready=False,
    phase="Pending",
    initContainerStatuses=[{"name": "wait-for-migrations", "image": "x", "state": {"running": {}}}],
)


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        ([waiting("ImagePullBackOff", "not found")], "phasehq/backend:v9 of pod p cannot be pulled (ImagePullBackOff)"),
        ([waiting("CrashLoopBackOff", lastState=CRASHED)], "keeps ending (OOMKilled, exit code 137, 3 restarts)"),
        ([waiting("CreateContainerConfigError", 'secret "a" not found')], 'secret "a" not found'),
        ([ENDED], "has ended (StartError, exit code 128): exec: python3: executable file not found."),
        ([UNSCHEDULABLE], "no node to run on: 0/1 nodes: cpu."),
        ([INITIALISING], "waits in its init container wait-for-migrations"),
        ([UNREADY], "p: backend is unready"),
        ([], "has no pods"),
    ],
    ids=["image", "crash", "configuration", "ended", "unschedulable", "init", "unready", "none"],
)
def test_no_ready_pod_is_told_with_its_reason(pods, said):
    with pytest.raises(PodNotReady) as caught:
        state.choose_pod(of_chart("phase"), pods)
    assert said in caught.value.message and caught.value.next_step.endswith(".")


def test_why_there_are_no_pods_when_a_quota_refuses_them():
    backend = of_chart("phase")
    backend["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: a."}]
    with pytest.raises(PodNotReady, match="exceeded quota: a"):
        state.choose_pod(backend, [])


# Components


def running(image="docker.io/phasehq/backend:v2.73.2", image_id="docker.io/phasehq/backend@sha256:abc", restarts=0):
    labels = of_chart("phase")["spec"]["selector"]["matchLabels"]
    status = {
        "name": "backend",
        "image": image,
        "imageID": image_id,
        "restartCount": restarts,
        "state": {"running": {}},
    }
    return pod(labels=labels, containerStatuses=[status])


def test_a_component():
    backend = of_chart("phase", replicas=2, ready=2)
    found = state.component(backend, [running(restarts=1), running(restarts=2), pod("other")])
    assert found == {
        "container": "phase-backend",
        "image": "phasehq/backend:v2.73.2",
        "image_id": "docker.io/phasehq/backend@sha256:abc",
        "digest": "sha256:abc",
        "status": "running",
        "health": "healthy",
        "replicas": {"wanted": 2, "ready": 2},
        "restarts": 3,
    }


def test_the_digest_is_of_the_image_that_is_wanted():
    old = running(image="docker.io/phasehq/backend:v2.66.0", image_id="docker.io/phasehq/backend@sha256:old")
    assert state.component(of_chart("phase"), [old])["digest"] is None
    local = running(image_id="sha256:abc")
    assert state.component(of_chart("phase"), [local])["digest"] is None


def test_states_of_a_component():
    assert state.component(of_chart("phase", replicas=0, ready=0), [])["status"] == "stopped"
    rolling = of_chart("phase", replicas=2, ready=2)
    rolling["status"]["updatedReplicas"] = 1
    assert (state.component(rolling, [])["status"], state.component(rolling, [])["health"]) == (
        "rolling out",
        "healthy",
    )
    broken = of_chart("phase", ready=0)
    stuck = waiting("ImagePullBackOff")
    stuck["metadata"]["labels"] = broken["spec"]["selector"]["matchLabels"]
    found = state.component(broken, [stuck])
    assert (found["status"], found["health"]) == ("ImagePullBackOff", "unhealthy")


@pytest.mark.parametrize(
    ("image", "whole"),
    [
        ("postgres", "docker.io/library/postgres:latest"),
        ("phasehq/backend:v1", "docker.io/phasehq/backend:v1"),
        ("localhost/a", "localhost/a:latest"),
        ("registry:5000/a/b", "registry:5000/a/b:latest"),
        ("a/b@sha256:c", "docker.io/a/b@sha256:c"),
    ],
)
def test_image_names(image, whole):
    assert state.qualified(image) == whole


# Managers


def test_who_would_undo_a_change():
    labels = {
        "app.kubernetes.io/managed-by": "Helm",
        "helm.sh/chart": "phase-1.0.1",
        "helm.toolkit.fluxcd.io/name": "phase",
        "helm.toolkit.fluxcd.io/namespace": "flux-system",
    }
    annotations = {
        "meta.helm.sh/release-name": "prod",
        "argocd.argoproj.io/tracking-id": "phase-app:apps/Deployment:a/b",
    }
    managed = of_chart("prod", annotations=annotations)
    managed["metadata"]["labels"] = labels
    assert state.managers(managed) == [
        {"manager": "helm", "name": "prod", "chart": "phase-1.0.1", "revision": None},
        {"manager": "argocd", "name": "phase-app"},
        {"manager": "flux", "name": "flux-system/phase", "kind": "helm"},
    ]
    assert state.managers(of_chart("prod")) == []


def test_the_revision_is_a_number():
    secrets = [{"metadata": {"labels": {"version": number}}} for number in ("9", "10", "x")]
    assert state.revision(secrets) == 10 and state.revision([]) is None


def test_the_environment_that_is_no_secret():
    container = {
        "envFrom": [{"configMapRef": {"name": "config"}}, {"secretRef": {"name": "s"}}],
        "env": [
            {"name": "EXTERNAL_MIGRATION", "value": "true"},
            {"name": "HOST", "valueFrom": {"configMapKeyRef": {"name": "other", "key": "host"}}},
            {"name": "SECRET_KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
    }
    maps = {"config": {"EXTERNAL_MIGRATION": "false", "DATABASE_HOST": "db"}, "other": {"host": "phase"}}
    found = state.environment(container, maps)
    assert found == {"EXTERNAL_MIGRATION": "true", "DATABASE_HOST": "db", "HOST": "phase"}
    assert state.config_maps(container) == ["config", "other"]
