# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's Kubernetes does what the other tests rely on, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from typing import Any

import pytest
from integration.targets import until
from sandbox import images
from sandbox.client import Client, fetch, secret_url, service_account
from sandbox.cluster import Cluster, KubectlError, instance
from sandbox.cluster._chart import Chart, full_name
from sandbox.cluster.instance import OWNER, SECRET, ClusterInstance, Variant

BACKEND = "deployment/phase-backend"


@pytest.fixture(scope="module")
def phase(module_cluster_instance) -> ClusterInstance:
    return module_cluster_instance("v2.66.0", events=200)


def python(phase: ClusterInstance, code: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    return phase.exec(BACKEND, "python", "-c", code, stdin=stdin)


def container_states(phase: ClusterInstance, pod: str) -> dict[str, Any]:
    (status,) = phase.get("pod", pod)["status"]["containerStatuses"]
    return dict(status)


# --- the cluster ----------------------------------------------------------------------------------------------------


def test_names_resolve_and_services_answer(phase: ClusterInstance) -> None:
    asked = """
import json, socket, time, urllib.request
found = {name: socket.gethostbyname(name) for name in ("phase-backend", "phase-postgres", "kubernetes.default.svc")}
begin = time.monotonic()
try:
    socket.gethostbyname("nobody.example.org")
except socket.gaierror:
    found["nobody"] = time.monotonic() - begin
found["health"] = json.load(urllib.request.urlopen("http://phase-backend:8000/health/"))["version"]
socket.create_connection(("kubernetes.default.svc", 443), timeout=5)
print(json.dumps(found))
"""
    found = json.loads(python(phase, asked).stdout)
    assert found["nobody"] < 2, "a name that does not exist must not be waited for"
    assert found["health"] == "v2.66.0"
    addresses = [phase.get("service", name)["spec"]["clusterIP"] for name in ("phase-backend", "phase-postgres")]
    assert [found["phase-backend"], found["phase-postgres"]] == addresses


def test_this_machine_reaches_backend_and_database(phase: ClusterInstance) -> None:
    assert phase.sql("select count(*) from api_secretevent") == [(200,)]
    assert fetch(secret_url(phase.url), {"Authorization": service_account()}, 5) == ""
    assert phase.sql("select count(*) from api_secretevent") == [(201,)]


def test_exec_has_input_streams_and_exit_code(phase: ClusterInstance) -> None:
    code = "import sys; n = len(sys.stdin.buffer.read()); print(n); print('bad', file=sys.stderr); sys.exit(7)"
    done = python(phase, code, b"x" * 3_000_000)
    assert (done.returncode, done.stdout) == (7, "3000000\n") and "bad\n" in done.stderr


def test_logs_stream(phase: ClusterInstance) -> None:
    talker = phase.chart.manage_pod("talker")
    talker["spec"]["containers"][0]["command"] = ["sh", "-c", "for n in 1 2 3 4 5 6; do echo line $n; sleep 0.5; done"]
    phase.apply([talker])
    phase.kubectl("wait", "pod/talker", "--for=condition=Ready", "--timeout=60s")
    command = phase.cluster.command(f"--namespace={phase.namespace}", "logs", "--follow", "talker")
    follow = subprocess.Popen(command, env=phase.cluster.environment(), stdout=subprocess.PIPE, text=True)
    assert follow.stdout is not None
    lines = {line.strip(): time.monotonic() for line in follow.stdout}
    assert follow.wait() == 0 and list(lines) == [f"line {number}" for number in range(1, 7)]
    assert lines["line 6"] - lines["line 4"] > 0.5, "they all came at the end"
    phase.kubectl("delete", "pod", "talker")


@pytest.mark.parametrize(("code", "condition"), [(0, "Complete"), (3, "Failed")])
def test_jobs_end_well_or_not(phase: ClusterInstance, code: int, condition: str) -> None:
    job = phase.chart.migration_job()
    job["metadata"]["name"] = name = f"ends-with-{code}"
    job["spec"]["backoffLimit"] = 0
    job["spec"]["template"]["spec"].update(restartPolicy="Never")
    job["spec"]["template"]["spec"]["containers"][0]["command"] = ["sh", "-c", f"echo ending; exit {code}"]
    phase.apply([job])
    phase.kubectl("wait", f"job/{name}", f"--for=condition={condition}", "--timeout=60s")
    assert phase.kubectl("logs", f"job/{name}") == "ending"
    (pod,) = json.loads(phase.kubectl("get", "pods", f"--selector=job-name={name}", "--output=json"))["items"]
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == code
    phase.kubectl("delete", f"job/{name}")


def test_a_rollout_replaces_every_pod_and_readers_see_nothing_of_it(phase: ClusterInstance) -> None:
    before = {pod["metadata"]["uid"] for pod in phase.pods("backend")}
    with Client(phase.url) as client:
        phase.restart("backend")
        until(lambda: len(phase.pods("backend")) == 2, 60)
    after = {pod["metadata"]["uid"] for pod in phase.pods("backend")}
    assert len(before) == len(after) == 2 and not before & after
    assert client.report().reads > 5 and client.report().failing_seconds < 1


def test_a_missing_image_is_reported_and_the_old_pods_stay(phase: ClusterInstance) -> None:
    before = {pod["metadata"]["uid"] for pod in phase.pods("backend")}
    phase.kubectl("set", "image", BACKEND, "backend=docker.io/phasehq/backend:v9.9.9")

    def reasons() -> set[str]:
        found = [pod["status"].get("containerStatuses", []) for pod in phase.pods("backend")]
        return {status["state"].get("waiting", {}).get("reason", "") for statuses in found for status in statuses}

    until(lambda: bool(reasons() & {"ErrImagePull", "ImagePullBackOff"}), 20)
    ready = {pod["metadata"]["uid"] for pod in phase.pods("backend") if container_ready(pod)}
    assert ready == before and phase.healthy()
    phase.kubectl("rollout", "undo", BACKEND)
    phase.wait_ready()


def container_ready(pod: dict[str, Any]) -> bool:
    return all(status["ready"] for status in pod["status"].get("containerStatuses", [{"ready": False}]))


def test_probes_count(phase: ClusterInstance) -> None:
    """Who does not live is started again, and who is not ready is not asked."""
    pod = phase.chart.manage_pod("probed")
    pod["metadata"]["labels"] = {**phase.chart.selector, "app": "frontend"}
    pod["spec"]["restartPolicy"] = "Always"
    asks = {"periodSeconds": 1, "failureThreshold": 1}
    pod["spec"]["containers"][0].update(
        command=["sh", "-c", "touch /tmp/well; exec sleep infinity"],
        livenessProbe={"exec": {"command": ["test", "-e", "/tmp/well"]}, **asks},
        readinessProbe={"exec": {"command": ["test", "-e", "/tmp/ready"]}, **asks},
    )
    phase.apply([pod])
    until(lambda: "running" in container_states_or_none(phase, "probed"), 30)

    def served() -> bool:
        address = phase.get("pod", "probed")["status"].get("podIP")
        slices = json.loads(phase.kubectl("get", "endpointslices", "--output=json"))["items"]
        endpoints = [endpoint for one in slices for endpoint in one.get("endpoints") or []]
        return any(address in each["addresses"] and each["conditions"]["ready"] for each in endpoints)

    time.sleep(2)
    assert not served()
    phase.exec("probed", "touch", "/tmp/ready")
    until(served, 20)
    assert container_states(phase, "probed")["restartCount"] == 0
    phase.exec("probed", "rm", "/tmp/well")
    until(lambda: container_states(phase, "probed")["restartCount"] == 1, 30)
    phase.kubectl("delete", "pod", "probed", "--force", "--grace-period=0")


def container_states_or_none(phase: ClusterInstance, pod: str) -> dict[str, Any]:
    statuses = phase.get("pod", pod)["status"].get("containerStatuses", [{"state": {}}])
    return dict(statuses[0]["state"])


def test_a_killed_kubelet_comes_again_and_a_held_api_server_is_away(phase: ClusterInstance) -> None:
    node = phase.cluster.node
    if node is None:
        pytest.skip("the components of a user's cluster are left alone")
    kubelet = node.component("kubelet")
    node.kill("kubelet")
    until(lambda: node.component("kubelet") not in (None, kubelet), 10)
    node.kill("kube-apiserver", hold=True)
    try:
        time.sleep(2)
        with pytest.raises(KubectlError):
            phase.kubectl("get", "pods")
        assert phase.healthy(), "what runs goes on without it"
    finally:
        node.release("kube-apiserver")
    until(lambda: node.ready() and phase.kubectl("get", "pods", check=False) != "", 60)
    phase.wait_ready()


# --- the chart's layout ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("phase", "phase"),
        ("my-phase-console", "my-phase-console"),
        ("prod", "prod-phase"),
        ("p" * 60, "p" * 60 + "-ph"),
        ("p" * 62, "p" * 62),
    ],
)
def test_full_names_follow_the_charts_rule(release: str, expected: str) -> None:
    assert full_name(release) == expected


def test_names_labels_and_mounts_are_the_charts(phase: ClusterInstance) -> None:
    listed = json.loads(phase.kubectl("get", "deployments,statefulsets,services,configmaps", "--output=json"))
    names = {f"{each['kind']}/{each['metadata']['name']}" for each in listed["items"]}
    assert names - {"ConfigMap/kube-root-ca.crt"} == {
        *(f"Deployment/phase-{component}" for component in ("backend", "worker", "frontend", "redis")),
        "StatefulSet/phase-postgres",
        *(f"Service/phase-{component}" for component in ("backend", "frontend", "postgres", "redis")),
        "ConfigMap/phase-config",
    }
    backend = phase.get("deployment", "phase-backend")
    assert backend["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    assert backend["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "phase",
        "app.kubernetes.io/instance": "phase",
        "app": "backend",
    }
    pod = backend["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsUser"] == 1000
    assert [container["name"] for container in pod["containers"]] == ["backend"]
    seen = python(
        phase,
        "import os; print(os.getuid(), os.environ['DATABASE_PASSWORD_FILE'], 'DATABASE_PASSWORD' in os.environ, "
        "os.path.exists('/var/run/secrets/kubernetes.io'), open('/etc/phase/secrets/DATABASE_PASSWORD').read())",
    ).stdout.split()
    password = phase.secrets["DATABASE_PASSWORD"]
    assert seen == ["1000", "/etc/phase/secrets/DATABASE_PASSWORD", "False", "False", password]


def test_the_namespace_refuses_what_is_not_restricted(phase: ClusterInstance) -> None:
    pod = phase.chart.manage_pod("root")
    pod["spec"]["securityContext"] = {"runAsUser": 0}
    with pytest.raises(KubectlError, match="restricted"):
        phase.apply([pod])


def test_a_successful_migration_job_vanishes(phase: ClusterInstance) -> None:
    phase.migrate("v2.73.2")
    assert phase.kubectl("get", "jobs", "--output=name") == ""
    applied = phase.sql("select count(*) from django_migrations where name = '0136_logstream_unresolved_idx'")
    assert applied == [(1,)]
    phase.use("v2.73.2")
    with urllib.request.urlopen(f"{phase.url}/health/", timeout=5) as answer:  # noqa: S310
        assert json.load(answer)["version"] == "v2.73.2"


def test_the_instance_of_a_killed_run_is_removed_by_the_next(cluster: Cluster) -> None:
    alive = instance._process(os.getpid())
    for name, owner in (("alive", alive), ("ended", alive.replace(f" {os.getpid()} ", " 4194304 "))):
        metadata = {"name": f"phase-{name}", "labels": {images.LABEL: "instance"}, "annotations": {OWNER: owner}}
        document = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        cluster.kubectl("create", "--filename=-", stdin=json.dumps(document).encode())
    instance.remove_orphans(cluster)
    left = "--output=jsonpath={.metadata.deletionTimestamp}"
    until(lambda: cluster.kubectl("get", "namespace", "phase-ended", "--ignore-not-found") == "", 60)
    assert cluster.kubectl("get", "namespace", "phase-alive", left) == ""
    cluster.kubectl("delete", "namespace", "phase-alive", "--wait=false")


def test_an_external_database_an_autoscaler_and_a_budget(cluster_instance) -> None:
    variant = Variant(external=True, autoscaling=(2, 3), disruption_budget=True)
    phase = cluster_instance("v2.73.2", release="prod", variant=variant)
    assert phase.chart.migration_job()["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert phase.get("statefulset", "external-postgres")["metadata"].get("labels") is None
    until(lambda: phase.get("pdb", "prod-phase-backend")["status"].get("disruptionsAllowed") == 1, 30)
    phase.kubectl("scale", "deployment/prod-phase-backend", "--replicas=1")
    until(lambda: phase.get("deployment", "prod-phase-backend")["spec"]["replicas"] == 2, 30)


def test_the_mode_of_the_hook_follows_database_and_redis(phase: ClusterInstance) -> None:
    chart = phase.chart
    assert isinstance(chart, Chart)
    assert chart.migration_job()["metadata"]["annotations"] == {
        "helm.sh/hook": "post-install,post-upgrade",
        "helm.sh/hook-weight": "1",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    assert phase.get("secret", SECRET)["metadata"].get("labels") is None
