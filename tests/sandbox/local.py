# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The sandbox on this machine: embedded PostgreSQL, a real redis, the web process and the worker, each a process.

A directory is an instance. `releases/<version>` are checkouts, `current` is a link to the running one, `env` its
environment (0600), `run` the notes of its processes and `log` what they print.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2

from sandbox import prepared, processes
from sandbox.ports import free_port
from sandbox.postgresql import Server, reachable, server_user, wanted
from sandbox.redis_server import redis_server
from sandbox.render import render

SERVICES = ("postgres", "redis", "backend", "worker")
DATABASE = USER = "phase"


class LocalInstance:
    """An instance in a directory. `start` makes one; `LocalInstance(directory)` takes hold of one that exists."""

    def __init__(self, directory: Path) -> None:
        """Raises FileNotFoundError where there is none."""
        self.directory = directory.absolute()
        state = json.loads((self.directory / "state.json").read_text(encoding="utf-8"))
        self.python = Path(sys.executable)
        self.http_port: int = state["http_port"]
        self.redis_port: int = state["redis_port"]
        self.postgres_port: int = state["postgres_port"]
        self.server = Server(
            Path(state["postgres_home"]),
            self.postgres_port,
            self._note("postgres"),
            self._log("postgres"),
            state.get("postgresql", ""),
        )

    @classmethod
    def start(cls, directory: Path, version: str, events: int = 0, *, superuser: bool = True) -> LocalInstance:
        """Make an instance at that release, with that many events, and start all of it.

        `superuser=False` gives the application the rights it has on a managed server: an owner's, no more.
        Whatever fails, nothing is left running.
        """
        directory = directory.absolute()
        directory.mkdir(parents=True, exist_ok=True)
        home = directory / "postgresql"
        # A socket's path has a limit near a hundred characters, and the server's account must be able to get there.
        if len(str(home)) > 80 or (server_user() is not None and not reachable(directory)):
            home = Path(tempfile.mkdtemp(prefix="phase-sandbox-"))
        state = {
            "postgres_home": str(home),
            "postgres_port": free_port(),
            "redis_port": free_port(),
            "http_port": free_port(),
            "postgresql": wanted(),
        }
        (directory / "state.json").write_text(json.dumps(state), encoding="utf-8")
        instance = cls(directory)
        try:
            instance._create(version, events, superuser)
        except BaseException:
            instance.stop()
            raise
        return instance

    def _create(self, version: str, events: int, superuser: bool) -> None:
        password = secrets.token_urlsafe(18)
        self._write_environment(password)
        self.point_to(version)
        self.redis_start()
        kept = prepared.place(self.current.resolve(), events, superuser, self.server.version)
        self.server.make_home()
        if prepared.take(kept, self.server.data):
            self.server.start()
            self.server.set_password(USER, password)
        else:
            self._fill(password, events, superuser)
            if events <= prepared.MOST_EVENTS:
                self.server.stop()
                prepared.keep(self.server.data, kept)
                self.server.start()
        for service in ("backend", "worker"):
            self._launch(service)
        for service in ("backend", "worker"):
            self._wait(service)

    def _fill(self, password: str, events: int, superuser: bool) -> None:
        """Make the cluster and everything in it."""
        self.server.create()
        self.server.start()
        self.server.add_database(DATABASE, USER, superuser=superuser)
        self.server.set_password(USER, password)
        self.manage("migrate", "--verbosity", "0")
        self.manage("seed", "--events", str(events))

    def _write_environment(self, password: str) -> None:
        values = {
            "DATABASE_HOST": "127.0.0.1",
            "DATABASE_PORT": str(self.postgres_port),
            "DATABASE_NAME": DATABASE,
            "DATABASE_USER": USER,
            "DATABASE_PASSWORD": password,
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(self.redis_port),
            "SECRET_KEY": secrets.token_urlsafe(32),
            "SERVER_SECRET": secrets.token_hex(32),
            "ALLOWED_HOSTS": "127.0.0.1,backend",
            "ALLOWED_ORIGINS": f"http://127.0.0.1:{self.http_port}",
            "EXTERNAL_MIGRATION": "true",
        }
        self.env_file.touch(mode=0o600)
        self.env_file.write_text("".join(f"{key}={value}\n" for key, value in values.items()), encoding="utf-8")

    # What it consists of.

    @property
    def current(self) -> Path:
        """The link to the checkout that the services run from when they are started next."""
        return self.directory / "current"

    @property
    def env_file(self) -> Path:
        return self.directory / "env"

    @property
    def environment(self) -> dict[str, str]:
        """The application's own settings, without this process's environment."""
        lines = self.env_file.read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines)

    @property
    def database_url(self) -> str:
        password = quote(self.environment["DATABASE_PASSWORD"], safe="")
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.postgres_port}/{DATABASE}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def version(self) -> str:
        """The release that `current` points to."""
        return (self.current / "version.txt").read_text(encoding="utf-8").strip()

    def release(self, version: str) -> Path:
        """The checkout of a release, written when first asked for."""
        checkout = self.directory / "releases" / version
        return checkout if checkout.exists() else render(version, checkout)

    def point_to(self, version: str) -> None:
        """Let `current` point to a release; what runs goes on as it is."""
        link = self.directory / ".current"
        link.unlink(missing_ok=True)
        link.symlink_to(self.release(version))
        link.replace(self.current)

    def manage(
        self,
        *arguments: str,
        version: str | None = None,
        environment: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run manage.py of the current release, or of another one, with the instance's settings and `environment`.

        With `check`, StartError on an exit code other than 0.
        """
        result = subprocess.run(
            [self.python, "manage.py", *arguments],
            cwd=(self.release(version) if version else self.current).resolve(),
            env={**self._process_environment(), **(environment or {})},
            check=False,
            capture_output=True,
            text=True,
        )
        if check and result.returncode:
            output = result.stderr[-3000:]
            raise processes.StartError(f"manage.py {arguments[0]} ended with {result.returncode}.\n{output}")
        return result

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement as the application's role and return its rows."""
        connection = psycopg2.connect(self.database_url)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    # What can be done to it.

    def restart(self, service: str) -> None:
        """Stop a service and start it again, from what `current` points to now; return once it answers."""
        self.stop_service(service)
        self.start_service(service)

    def start_service(self, service: str) -> None:
        """Start a service and wait until it answers: the backend on /health/, the worker by its heartbeat."""
        if service == "postgres":
            self.server.start()
            return
        self._launch(service)
        self._wait(service)

    def stop_service(self, service: str) -> None:
        if service == "postgres":
            self.server.stop()
        else:
            processes.end(self._note(service))

    def redis_start(self) -> None:
        self.start_service("redis")

    def redis_stop(self) -> None:
        self.stop_service("redis")

    def up(self) -> None:
        """Start what does not run."""
        for service in SERVICES:
            if processes.find(self._note(service)) is None:
                self.start_service(service)

    def stop(self) -> None:
        """Stop everything. The data stay in the directory, so `up` takes it up again."""
        for service in reversed(SERVICES):
            self.stop_service(service)

    def remove(self) -> None:
        """Stop everything and delete the directory."""
        self.stop()
        shutil.rmtree(self.server.home, ignore_errors=True)
        shutil.rmtree(self.directory)

    def status(self) -> dict[str, int | None]:
        """The process id of each service that runs."""
        found = {service: processes.find(self._note(service)) for service in SERVICES}
        return {service: process.pid if process else None for service, process in found.items()}

    def __enter__(self) -> LocalInstance:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def _note(self, service: str) -> Path:
        return self.directory / "run" / f"{service}.json"

    def _log(self, service: str) -> Path:
        return self.directory / "log" / f"{service}.log"

    def _process_environment(self) -> dict[str, str]:
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
        return {**inherited, **self.environment, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}

    def _launch(self, service: str) -> None:
        processes.launch(
            self._command(service),
            self._note(service),
            self._log(service),
            cwd=self.directory if service == "redis" else self.current.resolve(),
            env=self._process_environment(),
        )

    def _command(self, service: str) -> list[str | Path]:
        if service == "redis":
            program = redis_server(prepared.cache_folder())
            return [program, "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        if service == "worker":
            return [self.python, "manage.py", "rqworker", "default"]
        if service == "backend":
            bind = f"127.0.0.1:{self.http_port}"
            return [self.python, "-m", "gunicorn", "--bind", bind, "--workers", "2", "backend.wsgi:application"]
        raise ValueError(f"{service!r} is none of {', '.join(SERVICES)}.")

    def _wait(self, service: str) -> None:
        ready: dict[str, Callable[[], bool]] = {
            "redis": self._redis_answers,
            "backend": self.healthy,
            "worker": self._worker_beats,
        }
        processes.wait_ready(self._note(service), self._log(service), ready[service])

    def healthy(self) -> bool:
        """Tell whether the web process answers on /health/."""
        try:
            # `backend` is allowed whatever the instance's own name is; before v2.68.0 that counts here, too.
            asked = urllib.request.Request(f"{self.url}/health/", headers={"Host": "backend"})  # noqa: S310 - http, its own
            with urllib.request.urlopen(asked, timeout=2) as answer:  # noqa: S310 - http, its own
                return bool(json.load(answer)["status"] == "alive")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _redis_answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.redis_port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _worker_beats(self) -> bool:
        import redis

        process = processes.find(self._note("worker"))
        with redis.Redis(port=self.redis_port) as connection:
            name = f"rq:worker:{socket.gethostname()}.{process.pid if process else 0}"
            return bool(connection.exists(name))
