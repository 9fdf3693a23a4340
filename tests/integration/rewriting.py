# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Online rewrites of the sandbox's events, in this process or in one that dies on the way, and what they must leave."""

# ruff: noqa: S608 - statements of tests, on databases of their own

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import psycopg2.extensions
from ansible_collections.phase.console.plugins.module_utils._operations.core.api import Context
from ansible_collections.phase.console.plugins.module_utils._operations.core.database import connect
from ansible_collections.phase.console.plugins.module_utils._operations.rewrite import (
    recovery as _rewrite_recovery,
)
from ansible_collections.phase.console.plugins.module_utils._operations.rewrite import (
    rewrite as _rewrite,
)
from ansible_collections.phase.console.plugins.module_utils._operations.rewrite.catalog import EVENTS
from integration.forks import Database, eventually
from sandbox.local import LocalInstance
from sandbox.postgresql import programs

_NUMBERS = itertools.count(1)

ROWS = """
select e.id, md5(e::text) from api_secretevent e where {where}
union all select 'tag ' || t.id, md5(t::text) from api_secretevent_tags t
where t.secretevent_id in (select e.id from api_secretevent e where {where}) order by 1
"""

# Besides what pg_dump shows: what is valid, what fires, and what else is there.
STATE = """
select 'constraint', conname, concat(conrelid::regclass, convalidated) from pg_constraint
union all select 'index', indexrelid::regclass::text, concat(indisvalid, indisready, indisclustered) from pg_index
  where indexrelid::regclass::text !~ '^pg_toast'
union all select 'trigger', tgrelid::regclass::text,
    concat(tgfoid::regproc, tgname !~ '^RI_' and tgisinternal, tgenabled, tgdeferrable, count(*))
  from pg_trigger group by tgrelid, tgfoid, tgname !~ '^RI_' and tgisinternal, tgenabled, tgdeferrable
union all select 'schema', nspname, obj_description(oid, 'pg_namespace') from pg_namespace
union all select 'function', oid::regprocedure::text, '' from pg_proc
  where pronamespace::regnamespace::text !~ '^pg_|^info'
union all select 'table', relname, concat(relpersistence, relkind, relnamespace::regnamespace) from pg_class
  where relnamespace::regnamespace::text !~ '^pg_|^info'
order by 1, 2, 3
"""


class Subject(Database):
    """A database whose old read events go: those of GOES, a condition with a cutoff that does not move."""

    def __init__(self, instance: Any, name: str) -> None:
        super().__init__(str(instance.database_url).rpartition("/")[0] + "/" + name)
        self.instance, self.name = instance, name
        (moment,) = self.sql("select (now() - interval '30 days')::text")
        self.goes = f"e.event_type = 'R' and e.timestamp <= '{moment[0]}'"
        self.told: list[str] = []

    def administrator(self, *statements: str) -> None:
        with self.instance.server.administrator(self.name) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    # What is there

    def rows(self, where: str = "true") -> dict[str, str]:
        """A digest of each event and each tag of one."""
        return dict(self.sql(ROWS.format(where=where)))

    def kept(self) -> dict[str, str]:
        return self.rows(f"({self.goes}) is not true")

    def catalog(self) -> list[tuple[Any, ...]]:
        """What is there, line by line: as pg_dump tells it of the two tables, and STATE of everything."""
        return self.sql(STATE) + [("dump", number, line) for number, line in enumerate(self.dump())]

    def dump(self) -> list[str]:
        """The definition of the two tables by pg_dump, without the server's own number in each column's options."""
        tables = ["--table=api_secretevent", "--table=api_secretevent_tags"]
        command = [programs() / "pg_dump", "--schema-only", *tables, self.url]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        lines = [line for line in found.stdout.splitlines() if line and not line.startswith(("\\", "--"))]
        return [re.sub(r"pg_attver=\d+", "pg_attver=its own", line) for line in lines]

    # Rewrites

    def context(self, **more: Any) -> Context:
        settings = psycopg2.extensions.parse_dsn(self.url)
        self.told = []

        def report(message: str, **counters: Any) -> None:
            self.told.append(message)

        parts: dict[str, Any] = {
            "connect": lambda purpose="": connect(settings, purpose, {"connect": 10, "statement": 0, "lock": 0}),
            "report": report,
            "clock": time.monotonic,
            "sleep": time.sleep,
            "caller_lost": lambda: False,
            "cancelled": lambda: False,
            "paused": lambda: False,
        }
        return Context(**{**parts, **more})

    def rewrite(self, goes: str | None = "", **options: Any) -> dict[str, Any]:
        """``goes`` None keeps all rows."""
        context = options.pop("context", None) or self.context()
        return dict(_rewrite.apply(context, EVENTS, self.goes if goes == "" else goes, **options))

    def plan(self) -> dict[str, Any]:
        with contextlib.closing(self.connect()) as connection:
            return dict(_rewrite.plan(connection, EVENTS, 0.25))

    def recover(self) -> Any:
        return _rewrite_recovery.recover(self.context(), {})["recovered"]

    def leftovers(self) -> Any:
        return _rewrite_recovery.find_leftovers(self.context(), {})["leftovers"]


def fork(instance: LocalInstance, template: str = "phase") -> Subject:
    """A copy of a database of the instance, of the application's role."""
    name = f"rewrite_{next(_NUMBERS)}"
    with instance.server.administrator() as connection, connection.cursor() as cursor:
        cursor.execute(f"create database {name} template {template} owner phase")
    return Subject(instance, name)


class Dying:
    """Ends this process at its nth statement: before it, or some time into it."""

    def __init__(self, statement: int, delay: float | None) -> None:
        self.statement, self.delay, self.count = statement, delay, 0

    def connect(self, connection: Any) -> Any:
        watcher = self

        class Cursor(psycopg2.extensions.cursor):
            def execute(self, *arguments: Any) -> Any:
                watcher.another()
                return super().execute(*arguments)

        connection.cursor_factory = Cursor
        return connection

    def another(self) -> None:
        self.count += 1
        if self.count == self.statement:
            if self.delay is None:
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                threading.Timer(self.delay, os.kill, (os.getpid(), signal.SIGKILL)).start()


def killed(subject: Subject, statement: int, delay: float | None = None, message: str = "") -> bool:
    """Rewrite in a child that is killed at a statement, or at a message; whether it was, or came to its end before."""
    child = os.fork()
    if child == 0:
        dying = Dying(statement, delay)
        context = subject.context()
        code = 3

        def counted(purpose: str = "") -> Any:
            return dying.connect(context.connect(purpose))

        def report(text: str, **counters: Any) -> None:
            if message and message in text:
                os.kill(os.getpid(), signal.SIGKILL)

        with contextlib.suppress(BaseException):
            subject.rewrite(context=subject.context(connect=counted, report=report))
            code = 0
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    # The server notices that the lock's session has gone a moment later; a busy one may go on for a while.
    eventually(lambda: not any(name.startswith("phase.console rewriting") for name in subject.sessions()), 10, 0.01)
    return os.WIFSIGNALED(status)


class Writers:
    """Sessions that insert, change, move, tag and delete events, old ones too, and roll some of it back.

    What they did is done to a mirror of both tables in the same statements, so only where it took effect.
    """

    def __init__(self, subject: Subject, count: int = 3) -> None:
        self.subject = subject
        self.errors: list[str] = []
        self.done = 0
        self.longest = 0.0
        self._stop = threading.Event()
        subject.sql("create table mirror as select * from api_secretevent")
        subject.sql("alter table mirror add primary key (id)")
        subject.sql("create table mirror_tags as select * from api_secretevent_tags")
        self._ids = [row[0] for row in subject.sql("select id from mirror order by md5(id)")]
        self._tags = [row[0] for row in subject.sql("select id from api_secrettag")]
        columns = "select attname from pg_attribute where attrelid = 'mirror'::regclass and attnum > 0 order by attnum"
        self._columns = [row[0] for row in subject.sql(columns)]
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(count)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, seed: int) -> None:
        chance = random.Random(seed)
        with contextlib.closing(self.subject.connect(autocommit=False)) as connection:
            while not self._stop.is_set():
                begun = time.monotonic()
                try:
                    with connection.cursor() as cursor:
                        for _number in range(chance.choice((1, 1, 1, 3))):
                            self._act(cursor, chance, seed)
                    if chance.random() < 0.15:
                        connection.rollback()
                    else:
                        connection.commit()
                    self.done += 1
                except psycopg2.Error as error:
                    # A tag for an event that has just been purged: the application would be told the same.
                    if error.pgcode not in ("23503", "40P01"):
                        self.errors.append(str(error))
                    connection.rollback()
                self.longest = max(self.longest, time.monotonic() - begun)
                time.sleep(0.002)

    def _act(self, cursor: Any, chance: random.Random, seed: int) -> None:
        act = chance.choice(("insert", "insert", "update", "turn", "delete", "tag", "untag", "rename"))
        some = chance.choice(self._ids)
        both = "with x as ({}) "
        if act == "insert":
            fresh = f"new-{seed}-{chance.random()}"
            values = ", ".join({"id": "%s", "timestamp": "now()"}.get(name, f'"{name}"') for name in self._columns)
            one = f"select {values} from mirror where id = %s"
            query = both.format(f"insert into api_secretevent {one} returning *") + "insert into mirror table x"
            cursor.execute(query, (fresh, some))
            self._ids.append(fresh)
        elif act in ("update", "turn", "rename"):
            change = {
                "update": "path = path || 'x'",
                "turn": "event_type = case event_type when 'R' then 'U' else 'R' end",
                "rename": "id = id || '~'",
            }[act]
            tagless = " and not exists (select from api_secretevent_tags t where t.secretevent_id = e.id)"
            query = f"update api_secretevent e set {change} where id = %s" + (tagless if act == "rename" else "")
            follow = f"update mirror m set {change} from x where m.id = %s"
            cursor.execute(both.format(query + " returning 1") + follow, (some, some))
        elif act == "delete":
            for table, column in (("_tags", "secretevent_id"), ("", "id")):
                query = f"delete from api_secretevent{table} where {column} = %s returning id"
                cursor.execute(
                    both.format(query) + f"delete from mirror{table} where id in (select id from x)", (some,)
                )
        elif act == "tag":
            query = (
                "insert into api_secretevent_tags (secretevent_id, secrettag_id) select id, %s from api_secretevent "
            )
            query += "where id = %s on conflict do nothing returning *"
            cursor.execute(both.format(query) + "insert into mirror_tags table x", (chance.choice(self._tags), some))
        else:
            query = "delete from api_secretevent_tags where secretevent_id = %s returning id"
            cursor.execute(both.format(query) + "delete from mirror_tags where id in (select id from x)", (some,))

    def check(self) -> None:
        """The events are those that were written, without those that the rewrite left out; so are their tags."""
        goes = self.subject.goes
        assert not self.errors, self.errors[:3]
        every = "select {columns}, ({goes}) is true from {table} e order by id"
        columns = ", ".join(f'"{name}"' for name in self._columns)
        live = self.subject.sql(every.format(columns=columns, goes=goes, table="api_secretevent"))
        mirror = self.subject.sql(every.format(columns=columns, goes=goes, table="mirror"))
        assert [row for row in live if not row[-1]] == [row for row in mirror if not row[-1]]
        assert {row for row in live if row[-1]} <= {row for row in mirror if row[-1]}
        here = "where secretevent_id in (select id from api_secretevent) order by id"
        assert self.subject.sql("table api_secretevent_tags order by id") == self.subject.sql(
            f"select * from mirror_tags {here}"
        )


@contextlib.contextmanager
def in_background(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run something meanwhile; its result, or its error, is in the list afterwards."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield outcome
    finally:
        thread.join()
