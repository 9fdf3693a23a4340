# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox Phase in Kubernetes, laid out as Phase's Helm chart lays it out; see `_chart` for its objects."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import hashlib
import json
import os
import secrets as tokens
import shlex
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .. import images, ports
from .._containers import InstanceError, wait_for
from . import Cluster, KubectlError, _programs
from ._chart import BACKEND_PORT, POSTGRES_PORT, SECRET, STOCK, Chart, Document, Variant, full_name

__all__ = ["SECRET", "STOCK", "Chart", "ClusterInstance", "InstanceError", "Variant", "full_name"]

READY_TIMEOUT = 180.0
ROLLED = ("backend", "worker", "frontend")
DATABASE = {"DATABASE_NAME": "phase-db", "DATABASE_USER": "phase-user"}
MOST_EVENTS = 20_000  # above that a dump takes as long as seeding
KEPT = 16  # dumps
OWNER = f"{images.LABEL}/owner"  # an annotation of the namespace: the process that made it

Pod = dict[str, Any]


class ClusterInstance:
    """A sandbox Phase in a namespace of its own. There may be several on a cluster.

    `namespace`, `release`, `version`, `replicas` (of the backend); `kubeconfig`: the administrator's; `secrets`: what
    the Secret holds, planted so that no log, result or argument may ever show it; `url`: the API.
    """

    def __init__(self, directory: Path, cluster: Cluster, chart: Chart) -> None:
        self.directory = directory.absolute()
        self.cluster = cluster
        self.chart = chart
        self._forwards: dict[str, subprocess.Popen[bytes]] = {}
        self._addresses: dict[str, tuple[str, int]] = {}

    @classmethod
    def start(
        cls,
        directory: Path,
        version: str = images.VERSIONS[-1],
        events: int = 0,
        *,
        cluster: Cluster,
        replicas: int = 2,
        release: str = "phase",
        namespace: str = "",
        variant: Variant = STOCK,
    ) -> ClusterInstance:
        """Start a whole instance at `version`, with seeded organisations and so many events; return when it is ready.

        Its database is restored from a dump that was made before, where there is one of the same day: events are seeded
        up to now. `directory` is for what the caller wants to keep beside it. Raises InstanceError.
        """
        namespace = namespace or f"phase-{tokens.token_hex(3)}"
        chart = Chart(namespace, release, version, replicas, "", _secrets(), DATABASE, variant)
        instance = cls(directory, cluster, chart)
        cluster.load(needed_images([version]))
        remove_orphans(cluster)
        try:
            instance._install(events)
        except KubectlError as error:
            trouble = instance.trouble()
            instance.stop()
            raise InstanceError(f"{error}\n{trouble}") from error
        except BaseException:
            instance.stop()
            raise
        return instance

    def _install(self, events: int) -> None:
        self._make_namespace()
        self.apply(self.chart.services())
        backend = self._reach(f"{self.name}-backend", BACKEND_PORT)
        self.chart = replace(self.chart, host=backend[0])
        dump = _dump_place(self.version, events)
        self.apply([*self.chart.configuration(), *self.chart.stores(), *self.chart.application()])
        self._wait_rolled(f"statefulset/{self.chart.postgres}")
        if events <= MOST_EVENTS and dump.exists():
            self._restore(dump)
        else:
            self.migrate()
            self.manage("seed", "--events", str(events))
            if events <= MOST_EVENTS:
                self._dump(dump)
        self.wait_ready()

    def stop(self) -> None:
        """Remove it and its namespace."""
        for forward in self._forwards.values():
            forward.terminate()
            forward.wait()
        self._forwards.clear()
        _delete(self.cluster, self.namespace)

    def __enter__(self) -> ClusterInstance:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    # What it consists of.

    @property
    def namespace(self) -> str:
        return self.chart.namespace

    @property
    def release(self) -> str:
        return self.chart.release

    @property
    def name(self) -> str:
        """What the names of its objects begin with."""
        return self.chart.name

    @property
    def version(self) -> str:
        return self.chart.version

    @property
    def secrets(self) -> Mapping[str, str]:
        return self.chart.secrets

    @property
    def kubeconfig(self) -> Path:
        return self.cluster.kubeconfig

    @property
    def url(self) -> str:
        """The API, at the backend's Service."""
        host, port = self._reach(f"{self.name}-backend", BACKEND_PORT)
        return f"http://{host}:{port}"

    def kubectl(self, *argv: str, stdin: bytes = b"", check: bool = True, namespaced: bool = True) -> str:
        """`kubectl ARGV` in its namespace; standard output, stripped."""
        where = [f"--namespace={self.namespace}"] if namespaced else []
        return self.cluster.kubectl(*where, *argv, stdin=stdin, check=check)

    def get(self, kind: str, name: str) -> Document:
        """An object; KubectlError where there is none."""
        found: Document = json.loads(self.kubectl("get", kind, name, "--output=json"))
        return found

    def pods(self, component: str) -> list[Document]:
        """The pods of a component that are not ending."""
        listed = json.loads(self.kubectl("get", "pods", f"--selector={self.selector(component)}", "--output=json"))
        return [pod for pod in listed["items"] if "deletionTimestamp" not in pod["metadata"]]

    def selector(self, component: str) -> str:
        return ",".join(f"{key}={value}" for key, value in {**self.chart.selector, "app": component}.items())

    def apply(self, documents: Iterable[Document]) -> None:
        """Have the objects be like these."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        options = ["--server-side", "--force-conflicts", "--field-manager=sandbox"]
        self.kubectl("apply", *options, "--filename=-", stdin=json.dumps(listed).encode())

    # What can be done to it.

    def point_to(self, version: str) -> None:
        """Have another release on the node, for `migrate` and `manage` from now on; what runs goes on as it is."""
        self.cluster.load(needed_images([version]))
        self.chart = replace(self.chart, version=version)

    def use(self, version: str) -> None:
        """New code, no migration: `point_to`, and backend, worker and frontend rolled."""
        self.point_to(version)
        self.apply(self.chart.application())
        self.wait_ready()

    def restart(self, component: str) -> None:
        """Replace its pods one by one."""
        self.kubectl("rollout", "restart", self._workload(component))
        self._wait_rolled(self._workload(component))

    def stop_service(self, component: str) -> None:
        """Scale it to none; wait until it has gone."""
        self.kubectl("scale", "--replicas=0", self._workload(component))
        self.kubectl("wait", "pods", f"--selector={self._label(component)}", "--for=delete", "--timeout=120s")

    def start_service(self, component: str) -> None:
        """Scale it up again. A database comes back empty: its data were in the pod."""
        replicas = self.chart.replicas if component == "backend" else 1
        self.kubectl("scale", f"--replicas={replicas}", self._workload(component))
        self._wait_rolled(self._workload(component))

    def redis_start(self) -> None:
        self.start_service("redis")

    def redis_stop(self) -> None:
        self.stop_service("redis")

    def migrate(self, version: str | None = None) -> None:
        """The migration Job as Helm runs hooks: a former one deleted before, a successful one afterwards."""
        chart = replace(self.chart, version=version or self.version)
        self.cluster.load([images.backend(chart.version)])
        job = chart.migration_job()
        name = f"job/{job['metadata']['name']}"
        self.kubectl("delete", name, "--ignore-not-found")
        self.apply([job])

        def ended() -> bool:
            conditions = self.get("job", job["metadata"]["name"])["status"].get("conditions", [])
            kinds = {condition["type"] for condition in conditions if condition["status"] == "True"}
            if "Failed" in kinds:
                raise InstanceError(f"{name} has failed.\n{self.trouble()}")
            return "Complete" in kinds

        wait_for(ended, READY_TIMEOUT, f"{name} has not ended", self.trouble)
        self.kubectl("delete", name)

    def manage(
        self, *arguments: str, version: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run manage.py of the current release, or of another one, in a pod of its own beside the instance's."""
        chart = replace(self.chart, version=version or self.version)
        self.cluster.load([images.backend(chart.version)])
        name = f"manage-{tokens.token_hex(3)}"
        self.apply([chart.manage_pod(name)])
        try:
            self.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=120s")
            done = self.exec(name, "python", "manage.py", *arguments)
        finally:
            self.kubectl("delete", "pod", name, "--force", "--grace-period=0", "--wait=false", check=False)
        if check and done.returncode:
            said = done.stderr.strip()[-2000:]
            raise InstanceError(f"manage.py {shlex.join(arguments)} exited with {done.returncode}: {said}")
        return done

    def exec(self, pod: str, *argv: str, stdin: bytes = b"", container: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in a pod, or in one of a workload's (`deploy/phase-backend`)."""
        which = [f"--container={container}"] if container else []
        command = [f"--namespace={self.namespace}", "exec", "--stdin", pod, *which, "--", *argv]
        done = self.cluster.kubectl_run(*command, stdin=stdin)
        text = [stream.decode(errors="replace") for stream in (done.stdout, done.stderr)]
        return subprocess.CompletedProcess(done.args, done.returncode, *text)

    # The database.

    @property
    def database_url(self) -> str:
        host, port = self._reach(self.chart.postgres, POSTGRES_PORT)
        user, name = DATABASE["DATABASE_USER"], DATABASE["DATABASE_NAME"]
        return f"postgresql://{user}:{quote(self.secrets['DATABASE_PASSWORD'], safe='')}@{host}:{port}/{name}"

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement as the application's role, a superuser as in the stock instance, and return its rows."""
        import psycopg2

        with contextlib.closing(psycopg2.connect(self.database_url, connect_timeout=10)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []

    def _dump(self, place: Path) -> None:
        command = ["pg_dump", f"--username={DATABASE['DATABASE_USER']}", "--no-owner", DATABASE["DATABASE_NAME"]]
        made = self.cluster.kubectl_run(
            f"--namespace={self.namespace}", "exec", f"{self.chart.postgres}-0", "--", *command
        )
        if made.returncode:
            raise InstanceError(f"pg_dump exited with {made.returncode}: {made.stderr.decode(errors='replace')}")
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_suffix(f".{tokens.token_hex(3)}")
        fresh.write_bytes(gzip.compress(made.stdout, 1))
        fresh.replace(place)
        for old in sorted(place.parent.glob("*.gz"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            old.unlink()

    def _restore(self, place: Path) -> None:
        """All of it or nothing: the application's pods start when they see a row of django_migrations."""
        command = ["psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--single-transaction"]
        command += ["--output=/dev/null", f"--username={DATABASE['DATABASE_USER']}", DATABASE["DATABASE_NAME"]]
        dump = gzip.decompress(place.read_bytes())
        done = self.exec(f"{self.chart.postgres}-0", *command, stdin=dump + b"\nANALYZE;\n")
        if done.returncode:
            raise InstanceError(f"psql exited with {done.returncode}: {done.stderr.strip()[-2000:]}")

    # Waiting.

    def wait_ready(self, timeout: float = READY_TIMEOUT) -> None:
        """Wait until everything is rolled out and /health/ answers."""
        for component in ROLLED:
            self._wait_rolled(self._workload(component), timeout)
        wait_for(self.healthy, timeout, f"{self.url}/health/ does not answer", self.trouble)

    def healthy(self) -> bool:
        """Whether a web process answers on /health/."""
        try:
            with urllib.request.urlopen(f"{self.url}/health/", timeout=5) as answer:  # noqa: S310 - our own
                return bool(json.load(answer)["status"] == "alive")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def trouble(self) -> str:
        """What there is, the events, and the last lines of the pods that are not ready, for a reader of a failure."""
        found = [self.kubectl("get", "all", "--output=wide", check=False)]
        found.append(self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)[-3000:])
        with contextlib.suppress(KubectlError, ValueError):
            for pod in json.loads(self.kubectl("get", "pods", "--output=json"))["items"]:
                conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
                if conditions.get("Ready") != "True":
                    name = pod["metadata"]["name"]
                    found += [f"--- {name}", self.kubectl("logs", name, "--all-containers", "--tail=20", check=False)]
        return "\n".join(found)

    def _workload(self, component: str) -> str:
        if component == "postgres":
            return f"statefulset/{self.chart.postgres}"
        return f"deployment/{self.chart.redis if component == 'redis' else f'{self.name}-{component}'}"

    def _label(self, component: str) -> str:
        own = self.chart.variant.external and component in ("postgres", "redis")
        return f"app=external-{component}" if own else self.selector(component)

    def _wait_rolled(self, workload: str, timeout: float = READY_TIMEOUT) -> None:
        try:
            self.kubectl("rollout", "status", workload, f"--timeout={timeout:.0f}s")
        except KubectlError as error:
            raise InstanceError(f"{error}\n{self.trouble()}") from error

    # Getting there.

    def _make_namespace(self) -> None:
        metadata = {
            "name": self.namespace,
            "labels": {images.LABEL: "instance", "pod-security.kubernetes.io/enforce": "restricted"},
            "annotations": {OWNER: _process(os.getpid())},
        }
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        self.kubectl("create", "--filename=-", stdin=json.dumps(namespace).encode(), namespaced=False)

        def account() -> bool:
            # Until then, pods are refused.
            return bool(self.kubectl("get", "serviceaccount", "default", "--ignore-not-found", "--output=name"))

        wait_for(account, READY_TIMEOUT, "the namespace has no service account", lambda: "")

    def _reach(self, service: str, port: int) -> tuple[str, int]:
        """Where a Service answers on this machine: its own address, or a forwarded port for a user's cluster."""
        if service not in self._addresses:
            if self.cluster.node is not None:
                self._addresses[service] = (self.get("service", service)["spec"]["clusterIP"], port)
            else:
                self._addresses[service] = ("127.0.0.1", ports.free_port())
        address = self._addresses[service]
        if self.cluster.node is None:
            self._forward(service, port, address[1])
        return address

    def _forward(self, service: str, port: int, local: int) -> None:
        """It ends with the pod that it has chosen, and is then started again."""
        running = self._forwards.get(service)
        if running is not None and running.poll() is None:
            return
        command = ["port-forward", f"--namespace={self.namespace}", f"service/{service}", f"{local}:{port}"]
        forward = subprocess.Popen(
            self.cluster.command(*command),
            env=self.cluster.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._forwards[service] = forward
        deadline = time.monotonic() + 10
        while forward.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", local), timeout=1):
                return
            time.sleep(0.1)


def _process(pid: int) -> str:
    """Machine, id and time of start of a process: no later one has the same. Empty when there is none."""
    try:
        started = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""
    return f"{socket.gethostname()} {pid} {started}"


def _delete(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
    # Without this, each pod would have half a minute to end in.
    now = ["--force", "--grace-period=0", "--wait=false"]
    cluster.kubectl("delete", "pods", f"--namespace={namespace}", "--all", *now, check=False)


def remove_orphans(cluster: Cluster) -> None:
    """Remove the instances of this machine's runs that were killed."""
    ours = json.loads(cluster.kubectl("get", "namespaces", f"--selector={images.LABEL}=instance", "--output=json"))
    for namespace in ours["items"]:
        owner = namespace["metadata"].get("annotations", {}).get(OWNER, "")
        machine, _space, rest = owner.partition(" ")
        if machine == socket.gethostname() and _process(int(rest.split()[0])) != owner:
            _delete(cluster, namespace["metadata"]["name"])


def needed_images(versions: Iterable[str]) -> list[str]:
    """For instances that may run these releases. There is no nginx: an ingress would be in its place."""
    return images.for_versions(versions, (images.POSTGRES, images.REDIS))


def _secrets() -> dict[str, str]:
    return {
        "SECRET_KEY": tokens.token_hex(32),
        "SERVER_SECRET": tokens.token_hex(32),
        "NEXTAUTH_SECRET": tokens.token_hex(32),
        # Characters that a URL, a shell or a format string would trip over.
        "DATABASE_PASSWORD": f"planted:p@ss/w%rd-{tokens.token_hex(8)}",
        "REDIS_PASSWORD": f"planted:redis-{tokens.token_hex(8)}",
    }


def _dump_place(version: str, events: int) -> Path:
    made_of = [images.content(images.POSTGRES), images.content(images.backend(version)), str(events)]
    key = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:20]
    today = datetime.datetime.now(tz=datetime.timezone.utc).date()
    return _programs.folder() / "databases" / f"{today}-{version}-{key}.gz"
