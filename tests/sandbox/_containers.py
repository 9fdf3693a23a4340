# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox Phase in containers: what the Compose project and the plain containers have in common."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, TypeVar
from urllib.parse import quote

import yaml

from . import _debian, _kept, images
from . import engine as engines
from ._topology import COMPONENTS, FOLDER, SECRETS, STOCK, Document, Variant, run_options, settings, topology
from .engine import Engine
from .ports import free_ports

READY_TIMEOUT = 180.0
OTHER_RUN_TIMEOUT = 540.0

T = TypeVar("T", bound="ContainerInstance")


class InstanceError(Exception):
    """The instance cannot be started or has not become ready; the message says why."""


class ContainerInstance:
    """A sandbox Phase in containers with Phase's own names: so there is one at a time on an engine.

    `directory`, also `project_src`: the folder with docker-compose.yml, .env and nginx/default.conf; `http_port` and
    `https_port`: nginx on loopback; `environment`: what .env says, planted secrets included (`secrets`: those alone);
    `version`: the release that `:latest` stands for; `engine`: the Docker engine.
    """

    _running: ClassVar[ContainerInstance | None] = None

    def __init__(self, directory: Path, version: str, engine: Engine, variant: Variant) -> None:
        self.directory = self.project_src = directory.absolute()
        self.version = version
        self.engine = engine
        self.variant = variant
        self.topology = topology(variant)
        self.http_port, self.https_port = free_ports(2)
        self.environment = settings(variant, (self.http_port, self.https_port))
        self._lock: IO[str] | None = None

    @classmethod
    def start(
        cls: type[T],
        directory: Path,
        version: str = images.VERSIONS[-1],
        events: int = 0,
        *,
        variant: Variant = STOCK,
        engine: Engine | None = None,
    ) -> T:
        """Start a whole instance at `version`, with seeded organisations and so many events; return when it answers.

        The database is a copy of one that was made before, where there is one of the same day (`_kept`).
        What an earlier run has left behind is removed first. Raises InstanceError when somebody else's containers bear
        the names, or when it does not become ready: then nothing of it is left.
        """
        engine = engine or engines.ensure()
        images.ensure(engine, images.for_versions([version]))
        instance = cls(directory, version, engine, variant)
        instance._become_the_only_one()
        try:
            refuse_foreign(engine)
            remove_ours(engine)
            instance._write_files()
            images.point_latest(engine, version)
            instance._make_volume()
            _kept.start_database(instance, events)
            instance._up()
            instance.wait_ready()
        except BaseException:
            instance.stop()
            raise
        return instance

    def stop(self) -> None:
        """Remove its containers (also one-off ones on its network), volumes, networks and the `:latest` tags."""
        if self._lock is None:
            return
        try:
            remove_ours(self.engine)
            images.forget_latest(self.engine)
        finally:
            self._lock.close()
            self._lock = None
            ContainerInstance._running = None

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    # What the two kinds do in their own way.

    @property
    def project_name(self) -> str:
        raise NotImplementedError

    @property
    def network(self) -> str:
        raise NotImplementedError

    @property
    def volume(self) -> str:
        """The database's."""
        raise NotImplementedError

    def _make_volume(self) -> None:
        """The network, too."""
        raise NotImplementedError

    def _start_database(self) -> None:
        """redis as well, which `migrate` asks for; return when the database is healthy."""
        raise NotImplementedError

    def _up(self) -> None:
        """Everything else."""
        raise NotImplementedError

    def _replace(self, services: Sequence[str]) -> None:
        raise NotImplementedError

    # What it consists of.

    @property
    def url(self) -> str:
        """The API behind nginx."""
        return f"http://127.0.0.1:{self.http_port}/service"

    @property
    def env_file(self) -> Path:
        return self.directory / ".env"

    @property
    def secrets(self) -> dict[str, str]:
        return {name: self.environment[name] for name in SECRETS}

    def status(self) -> dict[str, str]:
        """The state of each component's container, `missing` where there is none."""
        found = {name: state for _identity, name, _labels, state in _named(self.engine)}
        return {component: found.get(f"phase-{component}", "missing") for component in COMPONENTS}

    def things(self) -> Things:
        """Its containers, network and volumes; not what somebody else has put on its network."""
        mine = {identity for identity, _name, _labels, _state in _named(self.engine)}
        return Things(frozenset(mine), things(self.engine).networks, things(self.engine).volumes)

    def mend(self) -> None:
        """Start again what a test has stopped or killed."""
        stopped = [name for name, state in self.status().items() if state not in ("missing", "running")]
        for component in [name for name in reversed(COMPONENTS) if name in stopped and name != "migrations"]:
            self.docker("start", f"phase-{component}", check=False)
        if stopped:
            self.wait_ready()

    def inspect(self, name: str) -> Document:
        """docker's description of a container, network or volume of that name."""
        described: list[Document] = json.loads(self.docker("inspect", name))
        return described[0]

    def docker(self, *argv: str, check: bool = True) -> str:
        """`docker ARGV` on this engine; its standard output."""
        return self.engine.docker(*argv, check=check)

    # What can be done to it.

    def point_to(self, version: str) -> None:
        """Let `:latest` be another release, as after a pull; what runs goes on as it is."""
        images.ensure(self.engine, images.for_versions([version]))
        images.point_latest(self.engine, version)
        self.version = version

    def use(self, version: str) -> None:
        """New code, no migration: `point_to`, and backend, worker and frontend replaced."""
        self.point_to(version)
        self._replace(["backend", "worker", "frontend"])
        self.restart("nginx")  # it looks up the backend's address only when it starts
        self.wait_ready()

    def restart(self, service: str) -> None:
        self.docker("restart", f"phase-{service}")

    def start_service(self, service: str) -> None:
        self.docker("start", f"phase-{service}")

    def stop_service(self, service: str) -> None:
        self.docker("stop", f"phase-{service}")

    def redis_start(self) -> None:
        self.start_service("redis")

    def redis_stop(self) -> None:
        self.stop_service("redis")

    def manage(
        self, *arguments: str, version: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run manage.py of the current release, or of another one, in a container of its own beside the instance's."""
        version = version or self.version
        images.ensure(self.engine, images.for_versions([version]))
        return self.run_once("migrations", images.backend(version), "python", "manage.py", *arguments, check=check)

    def run_once(self, service: str, image: str, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `argv` in a one-off container made like the service's, from another image."""
        options, environment = run_options(self.topology["services"][service], self.environment, self.directory)
        options = [option for option in options if not option.startswith(("--restart", "--publish", "--health"))]
        done = subprocess.run(
            ["docker", "run", "--rm", "--network", self.network, *options, image, *argv],
            env={**self.engine.environment(), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise InstanceError(f"{shlex.join(argv)} exited with {done.returncode}: {done.stderr.strip()[-2000:]}")
        return done

    # The database, reached from this host over the engine's bridge.

    @property
    def database_url(self) -> str:
        """Raises InstanceError while phase-postgres does not run."""
        networks = self.inspect("phase-postgres")["NetworkSettings"]["Networks"].values()
        address = next((network["IPAddress"] for network in networks if network["IPAddress"]), None)
        if address is None:
            raise InstanceError("phase-postgres has no address: it does not run.")
        user, password, name = (self.environment[f"DATABASE_{key}"] for key in ("USER", "PASSWORD", "NAME"))
        return f"postgresql://{user}:{quote(password, safe='')}@{address}:5432/{name}"

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement as the application's role, a superuser as in the stock instance, and return its rows."""
        import psycopg2

        with contextlib.closing(psycopg2.connect(self.database_url, connect_timeout=10)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []

    # Waiting.

    def wait_database(self, timeout: float = READY_TIMEOUT) -> None:
        """Wait until phase-postgres is healthy."""

        def healthy() -> bool:
            return bool(self.inspect("phase-postgres")["State"]["Health"]["Status"] == "healthy")

        wait_for(healthy, timeout, "phase-postgres is not healthy", self.trouble)

    def wait_ready(self, timeout: float = READY_TIMEOUT) -> None:
        """Wait until /health/ answers through nginx."""
        wait_for(self.healthy, timeout, f"{self.url}/health/ does not answer", self.trouble)

    def healthy(self) -> bool:
        """Tell whether the web process answers on /health/, through nginx."""
        try:
            # `backend` is allowed whatever the instance's own name is; before v2.68.0 that counts here, too.
            asked = urllib.request.Request(f"{self.url}/health/", headers={"Host": "backend"})  # noqa: S310 - our own nginx
            with urllib.request.urlopen(asked, timeout=5) as answer:  # noqa: S310 - our own nginx
                return bool(json.load(answer)["status"] == "alive")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def trouble(self) -> str:
        """The state of every container and the last lines of those that do not run, for a reader of a failure."""
        lines = []
        for component, state in self.status().items():
            lines.append(f"phase-{component}: {state}")
            if state != "missing" and not state.startswith("running"):
                lines.append(engines.logs(self.engine, f"phase-{component}"))
        return "\n".join(lines)

    # Getting there.

    def _become_the_only_one(self) -> None:
        """Wait until no other run has an instance on this engine."""
        if ContainerInstance._running is not None:
            raise InstanceError(f"The instance in {ContainerInstance._running.directory} is still up. Stop it first.")
        folder = _debian.cache_folder() / "docker"
        folder.mkdir(parents=True, exist_ok=True)
        key = hashlib.sha256(self.engine.host.encode()).hexdigest()[:8]
        handle = (folder / f"instance-{key}.lock").open("w", encoding="ascii")
        try:
            wait_for(lambda: _locked(handle), OTHER_RUN_TIMEOUT, "another run's instance is still up", lambda: "")
        except BaseException:
            handle.close()
            raise
        self._lock = handle
        ContainerInstance._running = self

    def _write_files(self) -> None:
        """The operator's folder."""
        (self.directory / "nginx").mkdir(parents=True, exist_ok=True)
        shutil.copy2(FOLDER / "nginx" / "default.conf", self.directory / "nginx" / "default.conf")
        compose = self.directory / "docker-compose.yml"
        if self.variant == STOCK:
            shutil.copy2(FOLDER / "docker-compose.yml", compose)
        else:
            compose.write_text(yaml.safe_dump(self.topology, sort_keys=False), encoding="utf-8")
        hidden = {"DATABASE_PASSWORD"} if self.variant.password_file else set()
        lines = [f"{name}={value}\n" for name, value in self.environment.items() if name not in hidden]
        self.env_file.touch(mode=0o600)
        self.env_file.write_text("".join(lines), encoding="utf-8")
        if self.variant.password_file:
            folder = self.directory / "secrets"
            folder.mkdir(exist_ok=True)
            # No newline at the end, as orchestrators mount a secret; the container's own user must be able to read it.
            (folder / "DATABASE_PASSWORD").write_text(self.environment["DATABASE_PASSWORD"], encoding="utf-8")
        if self.variant.tls != "off":
            self._make_certificate()

    def _make_certificate(self) -> None:
        """A key and a self-signed certificate for the host name `postgres`, made where PostgreSQL's group is known."""
        script = (
            "cd /tls && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=postgres "
            "-addext subjectAltName=DNS:postgres,DNS:phase-postgres -keyout server.key -out server.crt 2>&1 "
            "&& chgrp postgres server.key && chmod 640 server.key && chmod 644 server.crt"
        )
        folder = self.directory / "tls"
        folder.mkdir(exist_ok=True)
        self.docker("run", "--rm", f"--volume={folder}:/tls", "--entrypoint=sh", images.POSTGRES, "-c", script)


def wait_for(done: Callable[[], bool], timeout: float, complaint: str, details: Callable[[], str]) -> None:
    """Raise InstanceError with the complaint and the details when it is not done in that many seconds."""
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            raise InstanceError(f"After {timeout:.0f} s {complaint}. {details()}".strip())
        time.sleep(0.2)


def _locked(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# --- whose containers they are --------------------------------------------------------------------------------------


def _named(engine: Engine) -> Iterator[tuple[str, str, dict[str, str], str]]:
    """Identity, name, labels and state of the containers that bear Phase's names."""
    names = [f"phase-{component}" for component in COMPONENTS]
    form = "{{json .Id}}\t{{json .Name}}\t{{json .Config.Labels}}\t{{json .State}}"
    for line in engine.docker("container", "inspect", "--format", form, *names, check=False).splitlines():
        identity, name, labels, state = (json.loads(part) for part in line.split("\t"))
        running = state["Status"] != "exited"
        yield identity, name.lstrip("/"), labels or {}, state["Status"] + ("" if running else f" ({state['ExitCode']})")


def refuse_foreign(engine: Engine) -> None:
    """Raise InstanceError when one of Phase's names is borne by a container that the sandbox has not made."""
    foreign = [name for _identity, name, labels, _state in _named(engine) if images.LABEL not in labels]
    if foreign:
        raise InstanceError(
            f"The Docker engine {engine.host} has {', '.join(foreign)} already, not from the sandbox: "
            f"somebody's real Phase. {images.ANOTHER_ENGINE}"
        )


def remove_ours(engine: Engine) -> None:
    """Remove the sandbox's containers, whatever hangs on its networks, its networks and its volumes.

    They are known by their labels alone, so this also clears what a killed run has left behind.
    """
    with engines.lock("images"):  # a container in which another run builds an image bears the label, too
        _remove(engine, things(engine))


@dataclass(frozen=True)
class Things:
    """Identities of containers, networks and volumes on an engine."""

    containers: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    volumes: frozenset[str] = frozenset()

    def without(self, others: Things) -> Things:
        return Things(
            self.containers - others.containers, self.networks - others.networks, self.volumes - others.volumes
        )

    def __bool__(self) -> bool:
        return bool(self.containers or self.networks or self.volumes)


def things(engine: Engine) -> Things:
    """What bears the sandbox's label, and every container on one of its networks."""

    def listed(*argv: str) -> frozenset[str]:
        return frozenset(engine.docker(*argv).split())

    ours = ("--filter", f"label={images.LABEL}")
    networks = listed("network", "ls", "--quiet", "--no-trunc", *ours)
    every = ("ps", "--all", "--quiet", "--no-trunc")
    containers = listed(*every, *ours)
    for network in networks:
        containers |= listed(*every, "--filter", f"network={network}")
    return Things(containers, networks, listed("volume", "ls", "--quiet", *ours))


def _remove(engine: Engine, found: Things) -> None:
    if found.containers:
        # One that is being removed already, by its --rm or by another client, is an error and no trouble.
        engine.docker("rm", "--force", "--volumes", *found.containers, check=False)
        wait_for(lambda: not (things(engine).containers & found.containers), 60, "containers stay", lambda: "")
    for network in found.networks:
        described = json.loads(engine.docker("network", "inspect", network, check=False) or "[]")
        # An engine can keep the endpoint of a container that is gone, and refuses to remove its network then.
        for endpoint in [endpoint["Name"] for one in described for endpoint in one["Containers"].values()]:
            engine.docker("network", "disconnect", "--force", network, endpoint, check=False)
    for command, names in ((("network", "rm"), found.networks), (("volume", "rm", "--force"), found.volumes)):
        if names:
            engine.docker(*command, *names)


def remove_left(engine: Engine, before: Things) -> list[str]:
    """Remove what has come since `before` and belongs to no running instance; its names."""
    running = ContainerInstance._running
    left = things(engine).without(before)
    if running is not None:
        left = left.without(running.things())
    if not left:
        return []
    names = [
        engine.docker("inspect", "--format", "{{.Name}}", name, check=False).lstrip("/") or name
        for kind in (left.containers, left.networks, left.volumes)
        for name in sorted(kind)
    ]
    with engines.lock("images"):
        _remove(engine, left)
    return names
