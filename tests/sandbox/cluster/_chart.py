# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of a Phase in Kubernetes as Phase's Helm chart 1.0.1 lays it out, on the sandbox's images.

The names, labels, hooks, mounts and conditions are the chart's; the manifests are our own. Otherwise than by its
defaults, requests are small, so that a rollout fits on two processors, and probes and waits come every second.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import images

Document = dict[str, Any]

CHART = "phase-1.0.1"
SECRET = "phase-console-secret"
SECRETS = "/etc/phase/secrets"
DATABASE_SECRETS = ("SECRET_KEY", "SERVER_SECRET", "DATABASE_PASSWORD", "REDIS_PASSWORD")
BACKEND_PORT, FRONTEND_PORT, POSTGRES_PORT, REDIS_PORT = 8000, 3000, 5432, 6379
DATA = "/var/lib/postgresql/data"


@dataclass(frozen=True)
class Variant:
    """What the chart's values say otherwise than by default.

    `external`: database and redis are not the chart's own (here they are beside it, without its labels), so that the
    migration Job is a hook before the upgrade instead of after it.
    `autoscaling`: HorizontalPodAutoscalers for backend, worker and frontend, with these limits.
    `disruption_budget`: a PodDisruptionBudget for each of them.
    `max_surge`, `max_unavailable`, `min_ready_seconds`: of their rollouts; the chart's are 1, 0 and 5.
    `environment`: more lines for the ConfigMap.
    `labels`, `annotations`: of the objects and not of the pods, as from whoever else manages them.
    `requests`: of each container.
    """

    external: bool = False
    autoscaling: tuple[int, int] | None = None
    disruption_budget: bool = False
    max_surge: int = 1
    max_unavailable: int = 0
    min_ready_seconds: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    requests: Mapping[str, str] = field(default_factory=lambda: {"cpu": "10m", "memory": "32Mi"})


STOCK = Variant()


def full_name(release: str) -> str:
    """What the names of a release's objects begin with."""
    name = release if "phase" in release else f"{release}-phase"
    return name[:63].rstrip("-")


@dataclass(frozen=True)
class Chart:
    """One release of the chart: all its objects can be made from this."""

    namespace: str
    release: str
    version: str
    replicas: int
    host: str
    """What clients call it by; the backend accepts it in requests."""
    secrets: Mapping[str, str]
    database: Mapping[str, str]
    """DATABASE_NAME and DATABASE_USER."""
    variant: Variant = STOCK

    @property
    def name(self) -> str:
        return full_name(self.release)

    @property
    def hook(self) -> str:
        return "pre-install,pre-upgrade" if self.variant.external else "post-install,post-upgrade"

    @property
    def postgres(self) -> str:
        return "external-postgres" if self.variant.external else f"{self.name}-postgres"

    @property
    def redis(self) -> str:
        return "external-redis" if self.variant.external else f"{self.name}-redis"

    @property
    def selector(self) -> dict[str, str]:
        return {"app.kubernetes.io/name": "phase", "app.kubernetes.io/instance": self.release}

    # --- all of it

    def services(self) -> list[Document]:
        """What has to be there first: the others' configuration says how to reach them."""
        return [
            self._service(self.postgres, "postgres", POSTGRES_PORT, own=self.variant.external),
            self._service(self.redis, "redis", REDIS_PORT, own=self.variant.external),
            self._service(f"{self.name}-backend", "backend", BACKEND_PORT),
            self._service(f"{self.name}-frontend", "frontend", FRONTEND_PORT),
        ]

    def configuration(self) -> list[Document]:
        config = {
            "HOST": self.host,
            "HTTP_PROTOCOL": "http://",
            "ENABLE_PASSWORD_AUTH": "true",
            "DATABASE_HOST": self.postgres,
            "DATABASE_PORT": str(POSTGRES_PORT),
            **self.database,
            "REDIS_HOST": self.redis,
            "REDIS_PORT": str(REDIS_PORT),
            **self.variant.environment,
        }
        hook = {}
        if self.variant.external:
            hook = {
                "helm.sh/hook": self.hook,
                "helm.sh/hook-weight": "0",
                "helm.sh/hook-delete-policy": "before-hook-creation",
            }
        # The Secret is made by whoever installs the chart, so it bears none of its labels.
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": self.namespace}}
        return [
            {**self._object("v1", "ConfigMap", f"{self.name}-config", hook), "data": config},
            {**secret, "type": "Opaque", "stringData": dict(self.secrets)},
        ]

    def stores(self) -> list[Document]:
        """Database and redis."""
        own = self.variant.external
        postgres = self._workload("apps/v1", "StatefulSet", self.postgres, "postgres", self._postgres_pod(), own=own)
        postgres["spec"].update(serviceName=self.postgres, replicas=1)
        redis = self._workload("apps/v1", "Deployment", self.redis, "redis", self._redis_pod(), own=own)
        redis["spec"]["replicas"] = 1
        return [postgres, redis]

    def application(self) -> list[Document]:
        """Backend, worker, frontend, and what is asked for them."""
        found = []
        for component, replicas in (("backend", self.replicas), ("worker", 1), ("frontend", 1)):
            name = f"{self.name}-{component}"
            deployment = self._workload("apps/v1", "Deployment", name, component, self._application_pod(component))
            rolling = {"maxSurge": self.variant.max_surge, "maxUnavailable": self.variant.max_unavailable}
            deployment["spec"].update(
                minReadySeconds=self.variant.min_ready_seconds,
                strategy={"type": "RollingUpdate", "rollingUpdate": rolling},
            )
            if self.variant.autoscaling is None:
                deployment["spec"]["replicas"] = replicas
            found += [deployment, *self._around(name, component)]
        return found

    def migration_job(self) -> Document:
        hook = {
            "helm.sh/hook": self.hook,
            "helm.sh/hook-weight": "1",
            "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
        }
        pod = self._application_pod("migrations")
        pod["restartPolicy"] = "OnFailure"
        job = self._object("batch/v1", "Job", f"{self.name}-migrations", hook)
        template = {"metadata": {"labels": {**self.selector, "app": "migrations"}}, "spec": pod}
        return {**job, "spec": {"backoffLimit": 6, "template": template}}

    def manage_pod(self, name: str) -> Document:
        """A pod of the migration Job's kind that waits for commands; nothing selects it."""
        pod = self._application_pod("migrations")
        (container,) = pod["containers"]
        container.update(name="manage", command=["sleep", "infinity"])
        pod.update(restartPolicy="Never", terminationGracePeriodSeconds=0, initContainers=[])
        metadata = {"name": name, "namespace": self.namespace, "labels": {images.LABEL: "manage"}}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}

    # --- pieces

    def _object(
        self, version: str, kind: str, name: str, annotations: Mapping[str, str] | None = None, *, own: bool = False
    ) -> Document:
        """`own`: not of the chart."""
        metadata: Document = {"name": name, "namespace": self.namespace}
        if not own:
            metadata["labels"] = {
                "helm.sh/chart": CHART,
                **self.selector,
                "app.kubernetes.io/managed-by": "Helm",
                **self.variant.labels,
            }
            metadata["annotations"] = {**(annotations or {}), **self.variant.annotations}
        return {"apiVersion": version, "kind": kind, "metadata": metadata}

    def _labels(self, component: str, own: bool) -> dict[str, str]:
        return {"app": f"external-{component}"} if own else {**self.selector, "app": component}

    def _service(self, name: str, component: str, port: int, *, own: bool = False) -> Document:
        ports = [{"name": component, "port": port, "targetPort": port}]
        spec = {"type": "ClusterIP", "selector": self._labels(component, own), "ports": ports}
        return {**self._object("v1", "Service", name, own=own), "spec": spec}

    def _workload(
        self, version: str, kind: str, name: str, component: str, pod: Document, *, own: bool = False
    ) -> Document:
        labels = self._labels(component, own)
        spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
        return {**self._object(version, kind, name, own=own), "spec": spec}

    def _around(self, name: str, component: str) -> list[Document]:
        found = []
        if self.variant.autoscaling is not None:
            least, most = self.variant.autoscaling
            target = {"type": "Utilization", "averageUtilization": 80}
            scaler = self._object("autoscaling/v2", "HorizontalPodAutoscaler", name)
            scaler["spec"] = {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": least,
                "maxReplicas": most,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            }
            found.append(scaler)
        if self.variant.disruption_budget:
            budget = self._object("policy/v1", "PodDisruptionBudget", name)
            budget["spec"] = {"maxUnavailable": 1, "selector": {"matchLabels": self._labels(component, False)}}
            found.append(budget)
        return found

    def _pod(self, user: int, containers: list[Document], **more: Any) -> Document:
        security = {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        return {
            "automountServiceAccountToken": False,
            "securityContext": security,
            "containers": containers,
            **more,
        }

    def _container(self, name: str, image: str, **more: Any) -> Document:
        return {
            "name": name,
            "image": f"docker.io/{image}",
            "imagePullPolicy": "IfNotPresent",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "resources": {"requests": dict(self.variant.requests)},
            **more,
        }

    def _from_secret(self, variable: str, key: str) -> Document:
        return {"name": variable, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": key, "optional": True}}}

    def _postgres_pod(self) -> Document:
        ready = ["/bin/sh", "-c", "exec pg_isready -h 127.0.0.1 -U $POSTGRES_USER -d $POSTGRES_DB"]
        container = self._container(
            "postgres",
            images.POSTGRES,
            env=[
                {"name": "POSTGRES_DB", "value": self.database["DATABASE_NAME"]},
                {"name": "POSTGRES_USER", "value": self.database["DATABASE_USER"]},
                self._from_secret("POSTGRES_PASSWORD", "DATABASE_PASSWORD"),
                {"name": "PGDATA", "value": f"{DATA}/pgdata"},
            ],
            ports=[{"name": "postgres", "containerPort": POSTGRES_PORT}],
            volumeMounts=[{"name": "postgres-data", "mountPath": DATA}],
            readinessProbe={"exec": {"command": ready}, "periodSeconds": 1, "timeoutSeconds": 5},
            livenessProbe={
                "exec": {"command": ready},
                "initialDelaySeconds": 30,
                "periodSeconds": 10,
                "timeoutSeconds": 5,
                "failureThreshold": 6,
            },
        )
        return self._pod(999, [container], volumes=[{"name": "postgres-data", "emptyDir": {}}])

    def _redis_pod(self) -> Document:
        # By its standard input: everyone can read arguments.
        start = (
            "printf 'requirepass %s\\n' \"$REDIS_PASSWORD\" | "
            "exec redis-server - --bind 0.0.0.0 --protected-mode no --save '' --dir /tmp"
        )
        container = self._container(
            "redis",
            images.REDIS,
            command=["sh", "-c", start],
            env=[self._from_secret("REDIS_PASSWORD", "REDIS_PASSWORD")],
            ports=[{"name": "redis", "containerPort": REDIS_PORT}],
            readinessProbe={"tcpSocket": {"port": REDIS_PORT}, "periodSeconds": 1},
        )
        return self._pod(999, [container], terminationGracePeriodSeconds=2)

    def _application_pod(self, component: str) -> Document:
        if component == "frontend":
            return self._frontend_pod()
        env = [
            {"name": "ALLOWED_HOSTS", "value": f"$(HOST),{self.name}-{component.replace('migrations', 'worker')}"},
            {"name": "ALLOWED_ORIGINS", "value": "$(HTTP_PROTOCOL)$(HOST)"},
        ]
        container = self._container(component, images.backend(self.version), env=env)
        container["envFrom"] = [{"configMapRef": {"name": f"{self.name}-config"}}]
        if component == "migrations":
            container["command"] = ["python", "manage.py", "migrate"]
            container["envFrom"].append({"secretRef": {"name": SECRET}})
            return self._pod(1000, [container], initContainers=[self._wait_for_redis(), self._wait_for_database()])
        if component == "backend":
            env.append({"name": "EXTERNAL_MIGRATION", "value": "true"})
            host = [{"name": "Host", "value": f"{self.name}-backend"}]
            probe = {"httpGet": {"path": "/health/", "port": BACKEND_PORT, "httpHeaders": host}, "timeoutSeconds": 5}
            container["readinessProbe"] = {**probe, "periodSeconds": 1}
            container["livenessProbe"] = {**probe, "initialDelaySeconds": 15, "periodSeconds": 20}
            container["ports"] = [{"name": "backend", "containerPort": BACKEND_PORT}]
        else:
            container["command"] = ["python", "manage.py", "rqworker", "default"]
        env += [{"name": f"{key}_FILE", "value": f"{SECRETS}/{key}"} for key in DATABASE_SECRETS]
        container["volumeMounts"] = [{"name": "phase-secrets", "mountPath": SECRETS, "readOnly": True}]
        sources = [
            {"secret": {"name": SECRET, "optional": True, "items": [{"key": key, "path": key}]}}
            for key in DATABASE_SECRETS
        ]
        volume = {"name": "phase-secrets", "projected": {"sources": sources}}
        waits = [self._wait_for_redis()] if component == "worker" else []
        waits.append(self._wait_for_migrations())
        return self._pod(1000, [container], initContainers=waits, volumes=[volume])

    def _frontend_pod(self) -> Document:
        container = self._container(
            "frontend",
            images.frontend(self.version),
            envFrom=[{"configMapRef": {"name": f"{self.name}-config"}}],
            env=[self._from_secret("NEXTAUTH_SECRET", "NEXTAUTH_SECRET")],
            ports=[{"name": "frontend", "containerPort": FRONTEND_PORT}],
            readinessProbe={"httpGet": {"path": "/", "port": FRONTEND_PORT}, "periodSeconds": 1},
        )
        return self._pod(1000, [container], initContainers=[self._wait_for_migrations()])

    # --- waiting

    def _wait(self, name: str, image: str, password: str, key: str, *question: str) -> Document:
        ask = f"until {shlex.join(question)} >/dev/null 2>&1; do echo waiting; sleep 1; done"
        # Without it, a connection from before kube-proxy knew the Service is tried again for two minutes.
        patience = {"name": "PGCONNECT_TIMEOUT", "value": "3"}
        return self._container(name, image, command=["sh", "-c", ask], env=[self._from_secret(password, key), patience])

    def _database(self) -> list[str]:
        user = self.database["DATABASE_USER"]
        return ["-h", self.postgres, "-p", str(POSTGRES_PORT), "-U", user, "-d", self.database["DATABASE_NAME"]]

    def _wait_for_migrations(self) -> Document:
        """Always true in an upgrade: with the Job as a hook after it, new code serves before the migrations."""
        ask = ["psql", *self._database(), "-c", "SELECT 1 FROM django_migrations LIMIT 1"]
        return self._wait("wait-for-migrations", images.POSTGRES, "PGPASSWORD", "DATABASE_PASSWORD", *ask)

    def _wait_for_database(self) -> Document:
        ask = ["pg_isready", *self._database(), "-t", "5"]
        return self._wait("check-db-ready", images.POSTGRES, "PGPASSWORD", "DATABASE_PASSWORD", *ask)

    def _wait_for_redis(self) -> Document:
        ask = ["redis-cli", "-e", "-h", self.redis, "-p", str(REDIS_PORT), "ping"]
        return self._wait("wait-for-redis", images.REDIS, "REDISCLI_AUTH", "REDIS_PASSWORD", *ask)
