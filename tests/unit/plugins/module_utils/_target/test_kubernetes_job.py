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


def program(env=(), env_from=(), mounts=(), volumes=(), known=None):
    """Container and pod of the Job for a program, for a backend with these."""
    found = backend()
    pod = found["spec"]["template"]["spec"]
    container = dict(pod["containers"][0], env=list(env), envFrom=list(env_from), volumeMounts=list(mounts))
    container.update(workingDir="/app", securityContext={"privileged": True, "capabilities": {"add": ["ALL"]}})
    pod.update(volumes=[{"name": name, "secret": {}} for name in volumes], automountServiceAccountToken=True)
    before = json.dumps([found, container])
    made = jobs.program(jobs.one_off(found, container, "postgres:17", jobs.HOLDER, "n", "pipe"), known or {})
    assert json.dumps([found, container]) == before
    spec = made["spec"]["template"]["spec"]
    return spec["containers"][0], spec


def test_a_program_gets_the_databases_settings_and_their_files_alone():
    password = {"name": "DATABASE_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pw"}}}
    env = [
        {"name": "SECRET_KEY_FILE", "value": "/etc/phase/secrets/SECRET_KEY"},
        {"name": "RELEASE", "value": "blue"},
        {"name": "REDIS_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "redis"}}},
        {"name": "DATABASE_HOST", "value": "$(RELEASE)-postgres"},
        {"name": "DATABASE_PASSWORD_FILE", "value": "/etc/phase/secrets/DATABASE_PASSWORD"},
        password,
        {"name": "PGSSLROOTCERT", "value": "/certs/../certs/deep/ca.pem"},
    ]
    mounts = [
        {"name": "secrets", "mountPath": "/etc/phase/secrets/", "readOnly": True},
        {"name": "root", "mountPath": "/etc"},
        {"name": "certs", "mountPath": "/certs", "subPath": "tls"},
        {"name": "data", "mountPath": "/data"},
    ]
    known = {entry["name"]: entry["value"] for entry in env if "value" in entry}
    container, pod = program(env, (), mounts, ["data", "certs", "root", "secrets"], known)
    assert container["env"] == [env[1], *env[3:]]
    assert container["volumeMounts"] == [
        {
            "name": "secrets",
            "mountPath": "/etc/phase/secrets/DATABASE_PASSWORD",
            "readOnly": True,
            "subPath": "DATABASE_PASSWORD",
        },
        {"name": "certs", "mountPath": "/certs/deep/ca.pem", "readOnly": True, "subPath": "tls/deep/ca.pem"},
    ]
    assert [volume["name"] for volume in pod["volumes"]] == ["certs", "secrets"]
    assert "workingDir" not in container and container["securityContext"] == {"capabilities": {}}
    assert pod["automountServiceAccountToken"] is False and pod["nodeSelector"] == {"disk": "fast"}


def test_of_a_whole_config_map_or_secret_a_program_gets_single_keys():
    """By reference, whether or not a Secret has them; a later source and a literal win, as in the backend."""
    sources = [
        {"configMapRef": {"name": "phase-config"}},
        {"secretRef": {"name": "phase-secrets"}},
        {"prefix": "DATABASE_", "secretRef": {"name": "database"}},
    ]
    literal = {"name": "DATABASE_NAME", "value": "phase"}
    known = {"DATABASE_HOST": "postgres", "DATABASE_OF_OURS": "1", "SECRET_KEY_FILE": "/x", "DATABASE_NAME": "phase"}
    container, _pod = program([literal], sources, known=known)
    assert "envFrom" not in container and container["env"][-1] == literal
    referred = [(*next(iter(one["valueFrom"].items())), one["name"]) for one in container["env"][:-1]]
    assert all(reference["optional"] for _kind, reference, _name in referred)
    by_name = {}
    for kind, reference, name in referred:
        by_name.setdefault(name, []).append((kind, reference["name"], reference["key"]))
    assert not {"SECRET_KEY", "SERVER_SECRET", "SECRET_KEY_FILE"} & set(by_name)
    assert {"DATABASE_OF_OURS", "DATABASE_PASSWORD_FILE", "PGSSLROOTCERT"} <= set(by_name)
    assert by_name["DATABASE_PASSWORD"] == [
        ("configMapKeyRef", "phase-config", "DATABASE_PASSWORD"),
        ("secretKeyRef", "phase-secrets", "DATABASE_PASSWORD"),
        ("secretKeyRef", "database", "PASSWORD"),
    ]
    assert by_name["PGOPTIONS"] == [("configMapKeyRef", "phase-config", "PGOPTIONS")] + [
        ("secretKeyRef", "phase-secrets", "PGOPTIONS")
    ]


def test_a_file_that_is_mounted_alone_comes_as_it_is():
    mount = {"name": "certs", "mountPath": "/certs/ca.pem", "subPathExpr": "$(POD)/ca.pem"}
    assert jobs.file_mounts([mount], ["/certs/ca.pem", "/elsewhere"]) == [dict(mount, readOnly=True)]
    whole = {"name": "certs", "mountPath": "/certs/ca.pem"}
    assert jobs.file_mounts([whole], ["/certs/ca.pem"]) == [dict(whole, readOnly=True)]


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
