# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re

import pytest
from ansible_collections.phase.console.plugins.module_utils._target import kubernetes_job as jobs

LABELS = {"app.kubernetes.io/name": "phase", "app.kubernetes.io/instance": "phase", "app": "backend"}


def backend():
    """With everything that a pod template of Phase's chart, or of somebody's own, may have."""
    container = {
        "name": "backend",
        "image": "phasehq/backend:v2.66.0",
        "command": ["serve"],
        "args": ["--all"],
        "env": [{"name": "SECRET_KEY_FILE", "value": "/etc/phase/secrets/SECRET_KEY"}],
        "envFrom": [{"configMapRef": {"name": "phase-config"}}],
        "volumeMounts": [{"name": "secrets", "mountPath": "/etc/phase/secrets", "readOnly": True}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "512Mi"}},
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": 8000}],
        "livenessProbe": {"httpGet": {}},
        "readinessProbe": {"httpGet": {}},
        "startupProbe": {"httpGet": {}},
        "lifecycle": {"preStop": {}},
    }
    pod = {
        "containers": [container, {"name": "proxy", "image": "proxy"}],
        "initContainers": [{"name": "wait", "image": "wait"}],
        "volumes": [{"name": "secrets", "secret": {"secretName": "phase-console-secret"}}],
        "serviceAccountName": "phase",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsUser": 1000, "runAsNonRoot": True},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "phase"}],
        "imagePullSecrets": [{"name": "registry"}],
        "affinity": {"nodeAffinity": {"required": 1}, "podAntiAffinity": {"required": 1}},
        "topologySpreadConstraints": [{"maxSkew": 1}],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
    }
    template = {"metadata": {"labels": LABELS, "annotations": {"sidecar": "yes"}}, "spec": pod}
    return {"metadata": {"name": "phase-backend", "namespace": "phase"}, "spec": {"template": template}}


def made(purpose="_operations.migration.operation:apply"):
    found = backend()
    before = json.dumps(found)
    name = jobs.job_name("phase-backend", purpose, "abc123")
    container = found["spec"]["template"]["spec"]["containers"][0]
    job = jobs.one_off(found, container, "phasehq/backend:v2.73.2", jobs.RUNNER, name, purpose)
    assert json.dumps(found) == before
    return job


def test_it_runs_as_the_backend_does():
    pod, given = made()["spec"]["template"]["spec"], backend()["spec"]["template"]["spec"]
    for key in jobs._SHARED_POD:
        assert pod.get(key) == given.get(key), key
    (container,) = pod["containers"]
    for key in jobs._SHARED_CONTAINER:
        assert container.get(key) == given["containers"][0].get(key), key
    assert container["image"] == "phasehq/backend:v2.73.2"
    assert pod["affinity"] == {"nodeAffinity": {"required": 1}}


def test_it_serves_nobody_and_runs_once():
    job = made()
    template, spec = job["spec"]["template"], job["spec"]
    (container,) = template["spec"]["containers"]
    assert not {"ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "args"} & set(container)
    assert not {"initContainers", "topologySpreadConstraints"} & set(template["spec"])
    assert (
        not set(LABELS) & set(template["metadata"]["labels"]) and "sidecar" not in template["metadata"]["annotations"]
    )
    assert (spec["backoffLimit"], template["spec"]["restartPolicy"]) == (0, "Never")
    assert container["stdin"] and container["stdinOnce"] and spec["ttlSecondsAfterFinished"] == jobs.KEPT_SECONDS


@pytest.mark.parametrize("backend_name", ["phase-backend", "x" * 63, "ph.ase_Backend"])
@pytest.mark.parametrize("purpose", ["_operations.migration.operation:apply", "pipe", "a" * 80])
def test_names_and_labels_are_valid(backend_name, purpose):
    name = jobs.job_name(backend_name, purpose, "abc123")
    assert re.match(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", name) and len(name) <= 63 and name.endswith("-abc123")
    assert (
        re.match(r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", jobs.label(purpose)) and len(jobs.label(purpose)) < 64
    )


def test_an_earlier_run_is_found_by_its_labels():
    purpose = "_operations.migration.operation:apply"
    labels = made(purpose)["metadata"]["labels"]
    wanted = dict(term.split("=") for term in jobs.selector("phase-backend", purpose).split(","))
    assert wanted.items() <= labels.items()
