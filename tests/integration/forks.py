# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The sandbox's databases as tests of migrations see them, and copies, so that none pays for another instance."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import psycopg2
from integration.harness import target
from psycopg2 import sql

_NUMBERS = itertools.count(1)
CATALOG = """
select 'table', c.relname, pg_relation_filenode(c.oid)::text from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
union all select 'column', c.relname || '.' || a.attname,
  format_type(a.atttypid, a.atttypmod) || a.attnotnull || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
from pg_attribute a join pg_class c on c.oid = a.attrelid
left join pg_attrdef d on (d.adrelid, d.adnum) = (c.oid, a.attnum)
where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0
union all select 'index', indexname, indexdef from pg_indexes where schemaname = 'public'
union all select 'constraint', conname, pg_get_constraintdef(oid) from pg_constraint
union all select 'ledger', app || '.' || name, id::text || applied from django_migrations
order by 1, 2, 3
"""


class Database:
    """A database of the sandbox, looked at past the collection."""

    def __init__(self, url: str) -> None:
        self.url = url

    def connect(self, *, autocommit: bool = True) -> Any:
        connection = psycopg2.connect(self.url, application_name="the test")
        connection.autocommit = autocommit
        return connection

    def sql(self, statement: Any, *values: Any) -> list[tuple[Any, ...]]:
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def catalog(self) -> list[tuple[Any, ...]]:
        """Everything a migration can change, read past the collection."""
        return self.sql(CATALOG)

    def ledger(self) -> list[str]:
        return [row[0] for row in self.sql("select app || '.' || name from django_migrations order by id")]

    def index_state(self, *names: str) -> dict[str, bool]:
        """Whether each of the indexes is valid; those that do not exist are left out."""
        query = "select c.relname, i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid "
        return {row[0]: row[1] for row in self.sql(query + "where c.relname = any(%s)", list(names))}

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Any]:
        """A transaction with a snapshot, which CREATE INDEX CONCURRENTLY waits for; close() ends it early."""
        with contextlib.closing(self.connect(autocommit=False)) as connection:
            connection.set_session(isolation_level="REPEATABLE READ")
            with connection.cursor() as cursor:
                cursor.execute("select count(*) from django_migrations")
            yield connection

    @contextlib.contextmanager
    def reading(self, table: str) -> Iterator[Any]:
        """A transaction that has read a table and goes on: whoever wants it exclusively waits."""
        with contextlib.closing(self.connect(autocommit=False)) as connection:
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL("select 'kept to itself' from {} limit 1").format(sql.Identifier(table)))
            yield connection

    def building(self) -> list[tuple[str, str]]:
        """(index, phase) of what is being built concurrently now."""
        return self.sql(
            "select coalesce(c.relname, ''), p.phase from pg_stat_progress_create_index p "
            "left join pg_class c on c.oid = p.index_relid"
        )

    def sessions(self) -> list[str]:
        """Names of the collection's sessions in this database."""
        query = "select application_name from pg_stat_activity where datname = current_database() "
        return [row[0] for row in self.sql(query + "and application_name like 'phase.console%'")]

    def lingering(self) -> list[str]:
        """The same, once the server has had time to notice that clients have closed, which it does a moment later."""
        deadline = time.monotonic() + 5
        while (found := self.sessions()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found


class Fork(Database):
    """A database of its own on a local instance's server, reached by ``environment`` of the target options."""

    def __init__(self, instance: Any) -> None:
        self.instance = instance
        self.name = f"fork_{next(_NUMBERS)}"
        with instance.server.administrator() as administrator, administrator.cursor() as cursor:
            cursor.execute(f"create database {self.name} template phase owner phase")
        super().__init__(str(instance.database_url).rpartition("/")[0] + "/" + self.name)

    def drop(self) -> None:
        with self.instance.server.administrator() as administrator, administrator.cursor() as cursor:
            cursor.execute(f"drop database {self.name} with (force)")

    def options(self, version: str = "", **more: Any) -> dict[str, Any]:
        """Options of phase_migrate for this database, by the checkout of a release."""
        options = {**target(self.instance), "environment": {"DATABASE_NAME": self.name}, **more}
        if version:
            options["image"] = str(self.instance.release(version))
        return options

    def play(self, version: str, **more: Any) -> list[dict[str, Any]]:
        task = {"phase.console.phase_migrate": self.options(version, **more)}
        return [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]

    def runners(self) -> list[int]:
        """Processes on this host that run the collection's operations on this database."""
        wanted = {f"DATABASE_NAME={self.name}", f"DATABASE_PORT={self.instance.postgres_port}"}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes()
                settings = set((folder / "environ").read_text(errors="replace").split("\0"))
                if b"_operations.core.remote" in command and wanted <= settings:
                    found.append(int(folder.name))
        return found

    def kill_runners(self) -> None:
        for process in self.runners():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


class Beside(ABC):
    """Work of a thread for as long as a block lasts: ``_run`` goes on until ``_over``; the block raises its errors."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    @abstractmethod
    def _run(self) -> None: ...

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _work(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self._failed = error


def eventually(reached: Callable[[], Any], timeout: float = 60, poll: float = 0.1) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + timeout
    while not (found := reached()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(poll)
    return found
