# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``deployment: docker`` and ``compose``: operations by exec in the backend's container, or in a one-off container."""

from __future__ import annotations

import contextlib
import functools
from datetime import datetime
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from .._errors import (
    ContainerMissing,
    ContainerNotRunning,
    EngineUnreachable,
    ImageMissing,
    InterpreterMissing,
    RemoteError,
)
from .._operations.core.api import Deliveries, Operation, Request, Result
from .._operations.core.package import STARTER, reference
from .._operations.core.secrets import masker, secret_values
from . import clone as _clone
from .base import Limits, Lost, Report, Sink, Target, external_migration
from .engine import FOLDER_LABEL, ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, Find, Inspect, engine_errors
from .session import Channel, converse, first_words, never_lost
from .streams import LogChannel, StreamChannel, events, pump

LABEL = "phase.console.operation"
BACKEND_LABEL = "phase.console.backend"
PROGRAM = "pipe"  # the purpose of a one-off container that runs a PostgreSQL program
MOMENT = 5.0  # seconds after which a program that ended is nobody's any more
ROLLING = ("-next", "-previous")  # what phase_rollout adds to the name of a container while it replaces one
REPLICATED = ("backend", "worker", "frontend")
COMPONENTS = ("nginx", "frontend", "backend", "worker", "migrations", "postgres", "redis")


def _seconds(timestamp: str) -> float:
    """Unix seconds of a timestamp of the engine's: RFC 3339 with nanoseconds, in UTC or with an offset."""
    offset = timestamp[-6:] if timestamp[-6] in "+-" else "+00:00"
    return datetime.strptime(timestamp[:19] + offset, "%Y-%m-%dT%H:%M:%S%z").timestamp()


class DockerTarget(Target):
    """The engine is asked once for the backend's container; everything else is modelled on what it answers."""

    def __init__(
        self, deployment: str, connect: Callable[[], Any], find: Find, limits: Limits, lost: Lost = never_lost
    ) -> None:
        self.deployment = deployment
        self.named: Mapping[str, Optional[str]] = {}  # what connection tells: container, project_name, project_src
        self._lost = lost
        self._connect = connect
        self._find = find
        self._limits = limits

    @functools.cached_property
    def client(self) -> Any:
        """The API client, made when it is first needed: a module that only keeps a file needs no engine."""
        return self._connect()

    # Facts

    def backend(self) -> Inspect:
        """The backend's container; of several, one that is well."""
        with engine_errors():
            found = self._find(self.client)
            if self.deployment == "compose" or _clone.well(found):
                return found
            replicas = [one for one in self._others(found) if _clone.same_part(one, found)]
            return _clone.best_first([found, *replicas])[0]

    def _owner(self, backend: Inspect) -> str:
        """The instance's name on what runs beside it, the same whichever replica was chosen."""
        labels = backend["Config"].get("Labels") or {}
        if self.deployment == "compose":
            return str(labels[PROJECT_LABEL])
        return str(self.named.get("container") or backend["Name"]).lstrip("/")

    def connection(self) -> Dict[str, Any]:
        known = {"deployment": self.deployment, "container": None, "project_name": None, "project_src": None}
        known.update(self.named)
        try:
            container = self.backend()
        except ContainerMissing:
            return known  # a rollout that was interrupted while it replaced the backend
        labels = container["Config"].get("Labels") or {}
        if self.deployment == "compose":
            known.update(container=container["Name"].lstrip("/"), project_name=labels.get(PROJECT_LABEL))
            known["project_src"] = known["project_src"] or labels.get(FOLDER_LABEL)
        return known

    def image_of(self, container: Inspect) -> Inspect:
        """The container's image; bare where it was removed from the engine since."""
        import docker

        try:
            image: Inspect = self.client.inspect_image(container["Image"])
            return image
        except docker.errors.NotFound:
            return {"Id": container["Image"], "RepoDigests": [], "Config": {}}

    def part(self, replicas: List[Inspect]) -> Dict[str, Any]:
        """One part in the words of ``describe``: its worst status and health, and each of its ``containers``."""
        told = [self.component(one) for one in replicas]
        worst = max(replicas, key=lambda one: (not one["State"]["Running"], not _clone.well(one)))
        return dict(
            told[0],
            status=worst["State"]["Status"],
            health=_clone.healthy(worst),
            containers=sorted(told, key=lambda one: _clone.natural(one["container"])),
        )

    def component(self, container: Inspect) -> Dict[str, Any]:
        image = self.image_of(container)
        digests = [entry.partition("@")[2] for entry in image.get("RepoDigests") or []]
        return {
            "container": container["Name"].lstrip("/"),
            "image": container["Config"]["Image"],
            "image_id": container["Image"],
            "digest": digests[0] if digests else None,
            "status": container["State"]["Status"],
            "health": _clone.healthy(container),
        }

    def siblings(self, backend: Inspect) -> Dict[str, Inspect]:
        """The instance's containers by component, of several the best: see ``parts``."""
        return {name: replicas[0] for name, replicas in self.parts(backend).items()}

    def parts(self, backend: Inspect) -> Dict[str, List[Inspect]]:
        """All containers of the instance by component, the best first: of the Compose project, else those named like
        the backend and, in its network, those that share image, database and work with one of them."""
        import docker

        found: Dict[str, Dict[str, Inspect]] = {"backend": {backend["Id"]: backend}}
        labels = backend["Config"].get("Labels") or {}
        if self.deployment == "compose":
            wanted = PROJECT_LABEL + "=" + labels[PROJECT_LABEL]
            for entry in self.client.containers(all=True, filters={"label": wanted}):
                if entry["Labels"].get(ONE_OFF_LABEL) != "True":  # of `docker compose run`
                    replicas = found.setdefault(entry["Labels"][SERVICE_LABEL], {})
                    replicas[entry["Id"]] = self.client.inspect_container(entry["Id"])
            return {name: _clone.best_first(replicas.values()) for name, replicas in found.items()}
        stem = self._stem(backend)
        for name in COMPONENTS if stem is not None else ():
            try:
                inspect = self.client.inspect_container("%s%s" % (stem, name))
                found.setdefault(name, {})[inspect["Id"]] = inspect
            except docker.errors.NotFound:
                pass  # an external database, say
        for inspect in self._others(backend):
            for name in REPLICATED:
                if any(_clone.same_part(inspect, known) for known in found.get(name, {}).values()):
                    found[name][inspect["Id"]] = inspect
                    break
        return {name: _clone.best_first(replicas.values()) for name, replicas in found.items()}

    def _stem(self, backend: Inspect) -> Optional[str]:
        """What the names of plain containers begin with, by the name that was given or found."""
        for name in (self.named.get("container"), backend["Name"]):
            stem, backend_name, rest = str(name or "").lstrip("/").rpartition("backend")
            if backend_name and not rest:
                return stem
        return None

    def _others(self, backend: Inspect) -> Iterator[Inspect]:
        """Containers beside the backend that may be replicas: none of ours, none that a rollout is about to name."""
        import docker

        networks = _clone.networks(backend)[:1]
        for entry in self.client.containers(all=True, filters={"network": networks} if networks else None):
            if LABEL in (entry.get("Labels") or {}) or entry["Names"][0].endswith(ROLLING):
                continue
            try:
                yield self.client.inspect_container(entry["Id"])
            except docker.errors.NotFound:
                pass  # it has ended meanwhile

    def describe(self) -> Dict[str, Any]:
        backend = self.backend()
        with engine_errors():
            components = {name: self.part(replicas) for name, replicas in sorted(self.parts(backend).items())}
        return dict(
            components["backend"],
            deployment=self.deployment,
            components=components,
            external_migration=external_migration(_clone.environment(backend)),
        )

    def database_container(self, backend: Inspect) -> Optional[Inspect]:
        """The container that DATABASE_HOST names, when the database runs on this engine."""
        host = _clone.environment(backend).get("DATABASE_HOST")
        for name, inspect in self.siblings(backend).items():
            known = {name, inspect["Name"].lstrip("/")}.union(*_clone.aliases(inspect).values())
            if host in known:
                return inspect
        return None

    def free_disk(self) -> Optional[int]:
        with engine_errors():
            database = self.database_container(self.backend())
            if database is None or not database["State"]["Running"]:
                return None
            script = 'df -Pk "${PGDATA:-/var/lib/postgresql/data}"'
            made = self.client.exec_create(database["Id"], ["sh", "-c", script], stderr=False)
            fields = self.client.exec_start(made["Id"]).decode().splitlines()[-1:]
        words = fields[0].split() if fields else []
        return int(words[3]) * 1024 if len(words) > 3 and words[3].isdigit() else None

    # Running

    def run(
        self,
        operation: Operation,
        request: Request,
        report: Report,
        *,
        image: Optional[str] = None,
        detached: bool = False,
        deliveries: Optional[Deliveries] = None,
    ) -> Result:
        backend = self.backend()
        timeouts, paused = self._limits.timeouts(), self._limits.paused()
        start = first_words(operation, request, timeouts, detached, paused, deliveries is not None)
        name = reference(operation)
        if detached:
            with engine_errors():
                joined = self._earlier(backend, name, report)
            if joined is not None:
                return self._follow(joined, backend, report)
        if image is None and not detached:
            with self._exec(backend) as channel:
                return self._converse(channel, start, report, backend, detached, deliveries)
        chosen = image or backend["Image"]
        argv = ["python3", "-c", STARTER]
        with self._one_off(backend, chosen, argv, name, keep=detached, log=detached) as (channel, _container):
            return self._converse(channel, start, report, backend, detached, deliveries)

    def _converse(
        self,
        channel: Channel,
        start: bytes,
        report: Report,
        backend: Inspect,
        detached: bool,
        deliveries: Optional[Deliveries] = None,
    ) -> Dict[str, Any]:
        return converse(
            channel,
            start,
            report,
            idle=self._limits.idle,
            total=self._limits.total,
            mask=masker(secret_values(_clone.environment(backend), read=lambda path: "")),
            detached=detached,
            lost=self._lost,
            paused=self._limits.paused,
            deliveries=deliveries,
        )

    @contextlib.contextmanager
    def _exec(self, backend: Inspect) -> Iterator[Channel]:
        name, state = backend["Name"].lstrip("/"), backend["State"]
        if not state["Running"] or state.get("Paused"):
            how = "paused" if state.get("Paused") else "%s (exit code %s)" % (state["Status"], state.get("ExitCode"))
            raise ContainerNotRunning(
                "Container %s is %s." % (name, how),
                "See `docker logs %s`, then start it (`docker %s %s`)."
                % (name, "unpause" if state.get("Paused") else "start", name),
            )
        with engine_errors():
            made = self.client.exec_create(backend["Id"], ["python3", "-c", STARTER], stdin=True)
            hijacked = self.client.exec_start(made["Id"], socket=True)
        channel = StreamChannel(hijacked, lambda: self._exec_code(made["Id"], name))
        try:
            yield channel
        finally:
            channel.close()

    def _exec_code(self, exec_id: str, name: str) -> Optional[int]:
        code: Optional[int] = self.client.exec_inspect(exec_id)["ExitCode"]
        if code in (126, 127):
            raise InterpreterMissing(
                "Container %s has no python3 on its PATH." % name,
                "Point container (or service) at Phase's backend: its image brings Python and psycopg2.",
            )
        return code

    @contextlib.contextmanager
    def _one_off(
        self, backend: Inspect, image: str, argv: List[str], purpose: str, *, keep: bool, log: bool
    ) -> Iterator[Tuple[StreamChannel, str]]:
        """A container beside the backend, attached before it starts and removed at the end."""
        import docker

        labels = {LABEL: purpose, BACKEND_LABEL: self._owner(backend)}
        if purpose == PROGRAM:
            body = _clone.program(backend, self.image_of(backend), image, argv, labels)
        else:
            body = _clone.one_off(backend, self.image_of(backend), image, argv, labels, keep=keep, log=log)
        with engine_errors():
            try:
                container = self.client.create_container_from_config(body)["Id"]
            except docker.errors.ImageNotFound as error:
                raise ImageMissing(
                    "Image %s is not on this Docker engine." % image, "Pull it (or load it from an archive) first."
                ) from error
        ended = False
        try:
            with engine_errors():
                for network in _clone.networks(backend)[1:]:
                    self.client.connect_container_to_network(container, network)
                hijacked = self.client.attach_socket(
                    container, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
                )
            channel = StreamChannel(hijacked, lambda: self._container_code(container))
            try:
                self._start(container, image, argv[0])
                yield channel, container
                ended = True
            except RemoteError:
                ended = True
                raise
            finally:
                channel.close()
        finally:
            if ended or not log or not self._running(container):
                if ended:
                    self._container_code(container)
                self._remove(container)

    def _running(self, container: str) -> bool:
        import docker

        try:
            return bool(self.client.inspect_container(container)["State"]["Running"])
        except docker.errors.NotFound:
            return False

    def _start(self, container: str, image: str, program: str) -> None:
        import docker

        try:
            with engine_errors():
                self.client.start(container)
        except EngineUnreachable as error:
            cause = error.__cause__
            if isinstance(cause, docker.errors.APIError) and "executable file not found" in str(cause):
                raise InterpreterMissing(
                    "Image %s has no %s on its PATH." % (image, program), "Name an image that has it."
                ) from error
            raise

    def _container_code(self, container: str) -> Optional[int]:
        import docker

        try:
            code: Optional[int] = self.client.wait(container, timeout=10)["StatusCode"]
            return code
        except docker.errors.NotFound:
            return None  # removed by the engine at its end

    def _remove(self, container: str) -> None:
        import docker

        try:
            self.client.remove_container(container, force=True, v=True)
        except docker.errors.NotFound:
            pass
        except docker.errors.APIError as error:
            if error.status_code != 409:
                raise
            with contextlib.suppress(docker.errors.NotFound, OSError):  # the engine is removing it already
                self.client.wait(container, timeout=10, condition="removed")

    # Runs that outlived their caller

    def _earlier(self, backend: Inspect, name: str, report: Report) -> Optional[str]:
        """A run of this operation that goes on without its caller. Ended ones are told of and removed."""
        labels = ["%s=%s" % (LABEL, name), "%s=%s" % (BACKEND_LABEL, self._owner(backend))]
        for entry in self.client.containers(all=True, filters={"label": labels}):
            said = events(self.client.logs(entry["Id"], stderr=False))
            kinds = [event["event"] for event in said]
            if entry["State"] == "running":
                if "caller_lost" in kinds:
                    return str(entry["Id"])
                continue  # another call's, alive: the database lock decides
            if entry["State"] == "exited":
                how = kinds[-1] if kinds and kinds[-1] in ("result", "error") else "nothing, it was killed"
                report("An earlier run ended with: %s. Its container is removed." % how)
                self._remove(entry["Id"])
        return None

    def _follow(self, container: str, backend: Inspect, report: Report) -> Result:
        report("Joining a run that goes on since an earlier call was cut off.")
        try:
            result = self._converse(LogChannel(self.client, container), b"", report, backend, True)
        finally:
            if not self._running(container) or self._container_code(container) is not None:
                self._remove(container)
        return dict(result, joined=True)

    # Other programs

    def _tidy(self, backend: Inspect) -> None:
        """Remove containers of programs whose caller was killed. A living one removes its own within a moment."""
        labels = ["%s=%s" % (LABEL, PROGRAM), "%s=%s" % (BACKEND_LABEL, self._owner(backend))]
        with engine_errors():
            now = _seconds(self.client.info()["SystemTime"])
            for entry in self.client.containers(all=True, filters={"label": labels, "status": "exited"}):
                state = self.client.inspect_container(entry["Id"])["State"]
                if now - _seconds(state["FinishedAt"]) >= MOMENT:
                    self._remove(entry["Id"])

    def database_image(self) -> Optional[str]:
        with engine_errors():
            database = self.database_container(self.backend())
        return None if database is None else str(database["Config"]["Image"])

    def pipe(
        self, argv: List[str], sink: Sink, *, image: Optional[str] = None, stdin: Optional[Iterable[bytes]] = None
    ) -> Tuple[int, str]:
        backend = self.backend()
        chosen = image or self.database_image()
        if not chosen:
            raise ImageMissing(
                "The database runs outside this Docker engine, so no image with PostgreSQL's tools is known.",
                "Set image to one of the server's major version, such as postgres:17.",
            )
        mask = masker(secret_values(_clone.environment(backend), read=lambda path: ""))
        self._tidy(backend)
        with self._one_off(backend, chosen, argv, PROGRAM, keep=True, log=False) as (channel, container):
            stderr = pump(channel, sink, iter(stdin or ()))
            code = self._container_code(container)
        return (-1 if code is None else code), mask(stderr)
