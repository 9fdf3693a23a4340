# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox Phase in containers: what the Compose project and the plain containers have in common.

The topology is written once, in docker/compose/docker-compose.yml; `Variant` bends it for a test.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import hashlib
import json
import secrets
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar, Protocol, TypeVar

import yaml

from . import _debian, images
from . import engine as engines
from .engine import Engine

COMPOSE = images.HERE / "docker" / "compose"
COMPONENTS = ("nginx", "frontend", "migrations", "backend", "worker", "postgres", "redis")
READY_TIMEOUT = 90.0
LOCK_TIMEOUT = 900.0
PASSWORD_FILE = "/etc/phase/secrets/DATABASE_PASSWORD"
TLS_FOLDER = "/etc/postgresql/tls"

Document = dict[str, Any]
T = TypeVar("T", bound="ContainerInstance")


class InstanceError(Exception):
    """The instance cannot be started or has not become ready; the message says why."""


@dataclass(frozen=True)
class Variant:
    """How an instance differs from the stock one.

    `password_file`: the database password comes as DATABASE_PASSWORD_FILE, a mounted file; no environment has it.
    `auth`: PostgreSQL's method for the network: trust, scram-sha-256, md5.
    `tls`: off (the server refuses it), on, required (it refuses everything else). A running server that has it on can
    refuse it from then on: `ALTER SYSTEM SET ssl = off` and `SELECT pg_reload_conf()`.
    `database_ssl`: what the backend asks for: "", require, verify-full.
    `environment`: more lines for the .env file.
    `services`: Compose keys merged into services, such as {"backend": {"mem_limit": "512m"}}.
    """

    password_file: bool = False
    auth: str = "trust"
    tls: str = "off"
    database_ssl: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


STOCK = Variant()
HEALTH_CHECK = Variant(
    services={
        "backend": {
            "healthcheck": {
                "test": [
                    "CMD",
                    "python",
                    "-c",
                    "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/', timeout=4)",
                ],
                "interval": "1s",
                "timeout": "5s",
                "retries": 30,
            }
        }
    }
)


class Seeder(Protocol):
    """Fills a migrated database with an organisation, its accounts and so many events."""

    def __call__(self, connection: Any, events: int) -> Any: ...


# --- the topology as data -------------------------------------------------------------------------------------------


def topology(variant: Variant) -> Document:
    """The Compose document of this variant."""
    document: Document = yaml.safe_load((COMPOSE / "docker-compose.yml").read_text(encoding="utf-8"))
    services = document["services"]
    database = services["postgres"]
    database["environment"]["POSTGRES_HOST_AUTH_METHOD"] = variant.auth
    if variant.password_file:
        mount = f"./secrets/DATABASE_PASSWORD:{PASSWORD_FILE}:ro"
        for name in ("migrations", "backend", "worker"):
            services[name].setdefault("volumes", []).append(mount)
        del database["environment"]["POSTGRES_PASSWORD"]
        database["environment"]["POSTGRES_PASSWORD_FILE"] = PASSWORD_FILE
        database["volumes"].append(mount)
    if variant.tls != "off":
        database["environment"]["POSTGRES_TLS"] = variant.tls
        database["volumes"].append(f"./tls:{TLS_FOLDER}:ro")
    if variant.database_ssl == "verify-full":
        for name in ("migrations", "backend", "worker"):
            services[name].setdefault("volumes", []).append(f"./tls/server.crt:{TLS_FOLDER}/server.crt:ro")
    return _merged(document, {"services": variant.services})


def _merged(base: Document, changes: Mapping[str, Any]) -> Document:
    result = copy.copy(base)
    for key, value in changes.items():
        inner = result.get(key)
        both = isinstance(inner, dict) and isinstance(value, Mapping)
        result[key] = _merged(inner, value) if both and isinstance(inner, dict) else value
    return result


def settings(variant: Variant, ports: Sequence[int]) -> dict[str, str]:
    """The .env file, with secrets planted that no log, result or argument may ever show."""
    values = {
        "HOST": "127.0.0.1",
        "HTTP_PROTOCOL": "http://",
        "HTTP_PORT": str(ports[0]),
        "HTTPS_PORT": str(ports[1]),
        "NEXTAUTH_SECRET": secrets.token_hex(32),
        "SECRET_KEY": secrets.token_hex(32),
        "SERVER_SECRET": secrets.token_hex(32),
        "DATABASE_HOST": "postgres",
        "DATABASE_PORT": "5432",
        "DATABASE_NAME": "phase-db",
        "DATABASE_USER": "phase-user",
        # Characters that a URL, a shell or a format string would trip over.
        "DATABASE_PASSWORD": f"planted:p@ss/w%rd-{secrets.token_hex(8)}",
        "REDIS_HOST": "redis",
        "REDIS_PORT": "6379",
        "ENABLE_PASSWORD_AUTH": "true",
    }
    if variant.database_ssl:
        values["DATABASE_SSL"] = "true"
    if variant.database_ssl == "verify-full":
        values["DATABASE_SSL_CA_PATH"] = f"{TLS_FOLDER}/server.crt"
    if variant.password_file:
        values["DATABASE_PASSWORD_FILE"] = PASSWORD_FILE
    return {**values, **variant.environment}


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens on; taken together, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


# --- the instance ---------------------------------------------------------------------------------------------------


class ContainerInstance:
    """A sandbox Phase in containers with Phase's own names: so there is one at a time on an engine.

    `directory` and `project_src`: the folder with docker-compose.yml, .env and nginx/default.conf; `project_name`:
    Compose's name for it; `http_port`, `https_port`: nginx on loopback; `url`: the API's address behind nginx;
    `secrets`: the planted values by name; `engine`: the Docker engine.
    """

    _running: ClassVar[ContainerInstance | None] = None

    def __init__(self, directory: Path, version: str, engine: Engine, variant: Variant) -> None:
        self.directory = directory
        self.project_src = directory
        self.version = version
        self.engine = engine
        self.variant = variant
        self.http_port, self.https_port = free_ports(2)
        self.settings = settings(variant, (self.http_port, self.https_port))
        self._lock: IO[str] | None = None

    # What the two kinds do in their own way.

    @property
    def project_name(self) -> str:
        raise NotImplementedError

    def _up(self) -> None:
        raise NotImplementedError

    def _replace(self, services: Sequence[str]) -> None:
        raise NotImplementedError

    @classmethod
    def start(
        cls: type[T],
        directory: Path,
        version: str = images.VERSIONS[-1],
        events: int = 0,
        *,
        variant: Variant = STOCK,
        engine: Engine | None = None,
        seed: Seeder | None = None,
        ready: bool = True,
    ) -> T:
        """Start a whole instance at `version` with so many events in its database and return it when it answers.

        `ready=False`: do not wait for the web process, for variants where it cannot work. What an earlier run has left
        behind is removed first; containers of somebody else are not: then, and when nothing answers, InstanceError.
        """
        engine = engine or engines.ensure()
        images.ensure(engine, images.for_versions([version]))
        instance = cls(directory, version, engine, variant)
        instance._take()
        try:
            refuse_foreign(engine)
            remove_ours(engine)
            instance._write()
            images.point_latest(engine, version)
            instance._up()
            if ready:
                instance.wait_ready()
            if events or seed:
                instance.seed(events, seed)
        except BaseException:
            instance.stop()
            raise
        return instance

    def stop(self) -> None:
        """Remove its containers (also one-off ones on its network), volumes, networks and the `:latest` tags."""
        if self._lock is None:
            return
        remove_ours(self.engine)
        images.forget_latest(self.engine)
        self._lock.close()
        self._lock = None
        ContainerInstance._running = None

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/service"

    @property
    def secrets(self) -> dict[str, str]:
        names = ("DATABASE_PASSWORD", "SECRET_KEY", "SERVER_SECRET", "NEXTAUTH_SECRET")
        return {name: self.settings[name] for name in names}

    def docker(self, *argv: str, check: bool = True) -> str:
        """`docker ARGV` on this engine; its standard output."""
        return self.engine.docker(*argv, check=check)

    def inspect(self, container: str) -> Document:
        """docker's description of a container, network or volume of that name."""
        described: list[Document] = json.loads(self.docker("inspect", container))
        return described[0]

    def use(self, version: str) -> None:
        """New code, no migration: `:latest` becomes this version, and backend, worker and frontend run it."""
        images.ensure(self.engine, images.for_versions([version]))
        images.point_latest(self.engine, version)
        self.version = version
        self._replace(["backend", "worker", "frontend"])
        self.restart("nginx")  # it has looked up the backend's address when it started
        self.wait_ready()

    def restart(self, service: str) -> None:
        self.docker("restart", f"phase-{service}")

    def redis_stop(self) -> None:
        self.docker("stop", "phase-redis")

    def redis_start(self) -> None:
        self.docker("start", "phase-redis")

    # The database, reached from this host through the engine's bridge.

    def connect(self) -> Any:
        """A new psycopg2 connection in autocommit mode, as the instance's own user, who is a superuser."""
        import psycopg2

        networks = self.inspect("phase-postgres")["NetworkSettings"]["Networks"].values()
        address = next((network["IPAddress"] for network in networks if network["IPAddress"]), None)
        if address is None:
            raise InstanceError("phase-postgres has no address: it does not run.")
        connection = psycopg2.connect(
            host=address,
            port=5432,
            dbname=self.settings["DATABASE_NAME"],
            user=self.settings["DATABASE_USER"],
            password=self.settings["DATABASE_PASSWORD"],
            connect_timeout=10,
        )
        connection.autocommit = True
        return connection

    def sql(self, statement: str, *args: Any) -> list[tuple[Any, ...]]:
        """Run a statement; the rows it returns, if it does."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, args or None)
            return cursor.fetchall() if cursor.description else []

    def seed(self, events: int, seeder: Seeder | None = None) -> None:
        with contextlib.closing(self.connect()) as connection:
            (seeder or _seeder())(connection, events)

    # Waiting.

    def wait_ready(self, timeout: float = READY_TIMEOUT) -> None:
        """Wait until /health/ answers through nginx."""
        wait_for(self._answers, timeout, f"{self.url}/health/ does not answer", self.trouble)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health/", timeout=5) as answer:  # noqa: S310 - our own loopback
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def trouble(self) -> str:
        """State of every container and the last lines of those that do not run, for an error message."""
        lines = []
        for component in COMPONENTS:
            name = f"phase-{component}"
            state = self.docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name, check=False)
            lines.append(f"{name}: {state or 'missing'}")
            if state and not state.startswith("running") and state != "exited 0":
                lines.append(engines.logs(self.engine, name))
        return "\n".join(lines)

    # Being the only one.

    def _take(self) -> None:
        """Become the instance of this engine: the names are Phase's own, so there can be only one. Other runs wait."""
        if ContainerInstance._running is not None:
            raise InstanceError(
                f"This run's instance in {ContainerInstance._running.directory} is still up. Stop it first."
            )
        folder = _debian.cache_folder() / "docker"
        folder.mkdir(parents=True, exist_ok=True)
        key = hashlib.sha256(self.engine.host.encode()).hexdigest()[:8]
        handle = (folder / f"instance-{key}.lock").open("w", encoding="ascii")
        try:
            wait_for(lambda: _locked(handle), LOCK_TIMEOUT, "another run's instance is up on this engine", lambda: "")
        except BaseException:
            handle.close()
            raise
        self._lock = handle
        ContainerInstance._running = self

    def _write(self) -> None:
        """The operator's files."""
        (self.directory / "nginx").mkdir(parents=True, exist_ok=True)
        shutil.copy2(COMPOSE / "nginx" / "default.conf", self.directory / "nginx" / "default.conf")
        compose = self.directory / "docker-compose.yml"
        if self.variant == STOCK:
            shutil.copy2(COMPOSE / "docker-compose.yml", compose)
        else:
            compose.write_text(yaml.safe_dump(topology(self.variant), sort_keys=False), encoding="utf-8")
        shown = {
            k: v for k, v in self.settings.items() if not (self.variant.password_file and k == "DATABASE_PASSWORD")
        }
        environment = self.directory / ".env"
        environment.write_text("".join(f"{name}={value}\n" for name, value in shown.items()), encoding="utf-8")
        environment.chmod(0o600)
        if self.variant.password_file:
            folder = self.directory / "secrets"
            folder.mkdir(exist_ok=True)
            # No newline at the end: as the secret mounts of orchestrators write it. The container's user reads it.
            (folder / "DATABASE_PASSWORD").write_text(self.settings["DATABASE_PASSWORD"], encoding="utf-8")
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
        image = "phase-console-sandbox/postgres"
        self.docker("run", "--rm", "--volume", f"{folder}:/tls", "--entrypoint", "sh", image, "-c", script)


def wait_for(done: Callable[[], bool], timeout: float, what: str, details: Callable[[], str]) -> None:
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            raise InstanceError(f"After {timeout:.0f} s {what}. {details()}".strip())
        time.sleep(0.2)


def _locked(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _seeder() -> Seeder:
    from . import seed

    return seed.seed


# --- cleaning up ----------------------------------------------------------------------------------------------------


def refuse_foreign(engine: Engine) -> None:
    """Raise InstanceError when one of Phase's container names belongs to a container that the sandbox has not made."""
    foreign = [name for _, name, labels in _named(engine) if images.LABEL not in labels]
    if foreign:
        raise InstanceError(
            f"The Docker engine {engine.host} has {', '.join(foreign)} already, not from the sandbox: "
            f"somebody's real Phase. {images.ANOTHER_ENGINE}"
        )


def _named(engine: Engine) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Identity, name and labels of the containers that bear Phase's names."""
    names = [f"phase-{component}" for component in COMPONENTS]
    form = "{{json .Id}}\t{{json .Name}}\t{{json .Config.Labels}}"
    for line in engine.docker("container", "inspect", "--format", form, *names, check=False).splitlines():
        identity, name, labels = (json.loads(part) for part in line.split("\t"))
        yield identity, name.lstrip("/"), labels or {}


def remove_ours(engine: Engine) -> None:
    """Remove the sandbox's containers, whatever hangs on its networks, its networks and its volumes.

    They are known by their labels alone, so this also clears what a killed run has left behind.
    """

    def listed(*argv: str) -> list[str]:
        return engine.docker(*argv).split()

    label = f"label={images.LABEL}"
    networks = listed("network", "ls", "--quiet", "--filter", label)
    attached = [
        one for network in networks for one in listed("ps", "-aq", "--no-trunc", "--filter", f"network={network}")
    ]
    named = [identity for identity, _, labels in _named(engine) if images.LABEL in labels]
    for command, things in (
        (("rm", "--force", "--volumes"), list(dict.fromkeys([*attached, *named]))),
        (("network", "rm"), networks),
        (("volume", "rm", "--force"), listed("volume", "ls", "--quiet", "--filter", label)),
    ):
        if things:
            engine.docker(*command, *things)
