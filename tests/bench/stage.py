# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where purges are timed: copies of one seeded database, another client that writes, and a look at our processes."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from integration.forks import Beside, Database
from integration.harness import target
from psycopg2 import sql
from sandbox.docker_instance import DockerInstance
from sandbox.local import LocalInstance

PACE = 0.02  # seconds between two writes
SAMPLE = 0.2  # seconds between two looks at our processes
PROCESSES = {
    "module": "AnsiballZ_phase_purge_logs",
    "far end": "_operations.core.remote",
    "manage.py": "purge_app_logs",
}
"""What tells our processes, in their arguments. The module and the far end are one where the connection is direct."""

_NUMBERS = itertools.count(1)


class Local:
    """The sandbox as processes: a database for each seeding, and a copy of it for each contender."""

    reaches = ("local",)

    def __init__(self, instance: LocalInstance) -> None:
        self.instance = instance
        for service in ("backend", "worker"):
            instance.stop_service(service)  # a database is copied only when nobody is in it
        for (left,) in instance.sql("select datname from pg_database where datname like 'bench_copy_%'"):
            self.drop(left)

    def administrator(self) -> contextlib.AbstractContextManager[Any]:
        return self.instance.server.administrator()

    def seeded(self, events: int, reads: int, tagged: int) -> str:
        """The name of a database with so many events, of which so many of 100 are reads and each of so many has a tag;
        made where there is none.
        """
        name = f"bench_{events}_{reads}_{tagged}"
        if not self.instance.sql("select 1 from pg_database where datname = %s", name):
            run(self.administrator, sql.SQL("create database {} owner phase").format(sql.Identifier(name)))
            environment = {"DATABASE_NAME": name}
            self.instance.manage("migrate", "--verbosity", "0", environment=environment)
            counts = ("--events", events, "--reads", reads, "--tagged", tagged)
            self.instance.manage("seed", *map(str, counts), environment=environment)
        return name

    def database(self, name: str) -> Database:
        return Database(self.instance.database_url.rpartition("/")[0] + "/" + name)

    def drop(self, name: str) -> None:
        run(self.administrator, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    @contextlib.contextmanager
    def copy(self, seeded: str) -> Iterator[Database]:
        name = f"bench_copy_{next(_NUMBERS)}"
        copied(self.administrator, seeded, name)
        try:
            yield self.database(name)
        finally:
            self.drop(name)

    def options(self, database: Database, reach: str) -> dict[str, Any]:
        return {**target(self.instance), "environment": {"DATABASE_NAME": database.url.rpartition("/")[2]}}

    def stock(self, database: Database, *arguments: str) -> None:
        self.instance.manage(*arguments, environment={"DATABASE_NAME": database.url.rpartition("/")[2]})

    def processes(self) -> list[psutil.Process]:
        return psutil.Process().children(recursive=True)


class Docker:
    """The sandbox in containers, whose backend knows one database: a copy takes its place for each contender."""

    reaches = ("direct", "exec")

    def __init__(self, instance: DockerInstance) -> None:
        """``instance`` holds the events, and is reached from here over the engine's bridge."""
        self.instance = instance
        self.seeded = "bench_seeded"
        self._name = sql.Identifier(instance.environment["DATABASE_NAME"])
        for service in ("worker", "backend"):
            instance.stop_service(service)
        rename = sql.SQL("alter database {} rename to {}").format(self._name, sql.Identifier(self.seeded))
        run(self.administrator, rename)
        self._replace()
        instance.start_service("backend")

    def _replace(self) -> None:
        run(self.administrator, sql.SQL("drop database if exists {} with (force)").format(self._name))
        copied(self.administrator, self.seeded, self._name.string, self.instance.environment["DATABASE_USER"])

    @contextlib.contextmanager
    def administrator(self) -> Iterator[Any]:
        url = self.instance.database_url.rpartition("/")[0] + "/postgres"
        with contextlib.closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            yield connection

    @contextlib.contextmanager
    def copy(self, seeded: str) -> Iterator[Database]:
        self._replace()
        yield Database(self.instance.database_url)

    def options(self, database: Database, reach: str) -> dict[str, Any]:
        return target(self.instance) if reach == "exec" else {"deployment": "database", "database_url": database.url}

    def processes(self) -> list[psutil.Process]:
        """Ours, and those within the backend's container, which are in the container's own process namespace."""
        first = self.instance.inspect("phase-backend")["State"]["Pid"]
        inside = Path(f"/proc/{first}/ns/pid").readlink()
        found = psutil.Process().children(recursive=True)
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, psutil.NoSuchProcess):
                if (folder / "ns/pid").readlink() == inside:
                    found.append(psutil.Process(int(folder.name)))
        return found


Stage = Local | Docker


def run(administrator: Callable[[], contextlib.AbstractContextManager[Any]], statement: Any) -> None:
    with administrator() as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def copied(
    administrator: Callable[[], contextlib.AbstractContextManager[Any]], source: str, name: str, owner: str = "phase"
) -> None:
    """File by file, past the WAL; written out, so that the disk is idle when something is timed."""
    statement = sql.SQL("create database {} template {} owner {} strategy file_copy")
    run(administrator, statement.format(*map(sql.Identifier, (name, source, owner))))
    os.sync()


class Writer(Beside):
    """Writes a read event like those that are there, 50 times a second; ``latencies`` in milliseconds."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.latencies: list[float] = []
        self._database = database
        self._number = itertools.count(time.time_ns())

    def taken(self) -> list[float]:
        """The latencies since it was asked last."""
        found, self.latencies = self.latencies, []
        return found

    def _run(self) -> None:
        query = (
            "select column_name::text from information_schema.columns where table_name = 'api_secretevent' "
            "and table_schema = 'public' and column_name not in ('id', 'timestamp') order by ordinal_position"
        )
        others = sql.SQL(", ").join(sql.Identifier(row[0]) for row in self._database.sql(query))
        with contextlib.closing(self._database.connect()) as connection, connection.cursor() as cursor:
            one = sql.SQL("select {} from api_secretevent where event_type = 'R' limit 1").format(others)
            cursor.execute(one)
            row = cursor.fetchone()
            places = sql.SQL(", ").join(sql.Placeholder() * len(row))
            insert = "insert into api_secretevent (id, timestamp, {}) values (%s, now(), {})"
            statement = sql.SQL(insert).format(others, places)
            due = time.perf_counter()
            while not self._over.is_set():
                begun = time.perf_counter()
                cursor.execute(statement, (f"writer-{next(self._number)}", *row))
                self.latencies.append((time.perf_counter() - begun) * 1000)
                due = max(due + PACE, begun)
                time.sleep(max(0.0, due - time.perf_counter()))


class Memory(Beside):
    """The largest resident set of each of our processes, in MB, as the kernel keeps it."""

    def __init__(self, processes: Callable[[], list[psutil.Process]]) -> None:
        super().__init__()
        self.peaks: dict[str, float] = {}
        self._processes = processes

    def _run(self) -> None:
        while not self._over.wait(SAMPLE):
            for process in self._processes():
                with contextlib.suppress(psutil.NoSuchProcess, OSError):
                    self._look(process)

    def _look(self, process: psutil.Process) -> None:
        arguments = process.cmdline()
        if not arguments or "python" not in Path(arguments[0]).name:
            return
        for name, mark in PROCESSES.items():
            if any(mark in argument for argument in arguments):
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
                kilobytes = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")]
                self.peaks[name] = max([self.peaks.get(name, 0.0), *(count * 1024 / 1e6 for count in kilobytes)])
