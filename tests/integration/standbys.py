# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""A real second server that follows a local instance's."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg2
from integration.forks import eventually
from sandbox.local import LocalInstance, free_port
from sandbox.postgresql import server_user


class Standby:
    """Its server, which the administrator reaches over the socket and everybody by the instance's own passwords."""

    def __init__(self, instance: LocalInstance, port: int) -> None:
        self.port = port
        self._primary = instance.server

    def url(self, database_url: str) -> str:
        """Where the standby has that database of the primary."""
        return database_url.replace(f":{self._primary.port}/", f":{self.port}/")

    def administrator(self, statement: str) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(host=str(self._primary.home), port=self.port, user="postgres", dbname="postgres")
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def caught_up(self) -> None:
        """Return when it has applied what the primary had written until now."""
        with self._primary.administrator() as administrator, administrator.cursor() as cursor:
            cursor.execute("select pg_current_wal_lsn()")
            (position,) = cursor.fetchone()
        query = f"select pg_last_wal_replay_lsn() >= '{position}'"
        eventually(lambda: self.administrator(query) == [(True,)], 30, 0.02)


@contextlib.contextmanager
def standby(instance: LocalInstance, **settings: str) -> Iterator[Standby]:
    """One that streams from the instance's server; ``settings`` are its own."""
    server = instance.server
    (server.data / "pg_hba.conf").open("a", encoding="utf-8").write("local replication postgres trust\n")
    with server.administrator() as administrator, administrator.cursor() as cursor:
        cursor.execute("select pg_reload_conf()")
    copy = server.home / "standby"
    user = server_user()
    account: dict[str, Any] = {"user": user, "extra_groups": []} if user else {}
    where = ["--host", str(server.home), "--port", str(server.port), "--username", "postgres"]
    backup = [server.programs / "pg_basebackup", *where, "--pgdata", copy, "--write-recovery-conf", "--checkpoint=fast"]
    subprocess.run(backup, check=True, cwd="/", **account)
    port = free_port()
    own = {"port": port, "fsync": "off", "unix_socket_directories": server.home, "listen_addresses": "127.0.0.1"}
    command = [server.programs / "postgres", "-D", copy]
    command += [f"--{name}={value}" for name, value in {**own, **settings}.items()]
    with subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL, **account) as process:
        try:
            with server.administrator() as administrator, administrator.cursor() as cursor:
                query = "select 1 from pg_stat_replication where state = 'streaming'"
                eventually(lambda: cursor.execute(query) or cursor.fetchall(), 20)
            follower = Standby(instance, port)
            eventually(lambda: answers(follower), 20)
            yield follower
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(20)
            shutil.rmtree(copy)


def answers(follower: Standby) -> bool:
    try:
        return follower.administrator("select pg_is_in_recovery()") == [(True,)]
    except psycopg2.OperationalError:
        return False
