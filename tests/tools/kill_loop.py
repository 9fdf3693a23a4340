# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Purges that are killed at random moments, hundreds of times, beside a writer: the next run must end right.

    PYTHONPATH=tests .venv/bin/python -m tools.kill_loop [--rounds 300] [--seed 1] [--only delete set_aside rewrite]
        [--deployment local|docker]

What is killed: the client (kill -9), its sessions (all or one of them, by an administrator); on this host one of its
server processes (kill -9, after which the server restarts all others) and the whole server (kill -9 of the postmaster);
in containers the far end beside the application (kill -9) and the containers of backend and database (docker kill). In
one round of four the next run is killed as well. After each kill every event that the rule keeps must be there; after
the next run events and tags are those of the rule, with all that the writer was told is committed, and the catalog is
as before. Prints what was killed and what the next run found. The first difference ends the loop.
"""

# ruff: noqa: S608 - statements of tests, on databases of their own

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import psycopg2
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    throttle as _purge_throttle,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    walk as _purge_walk,
)
from integration.forks import Beside, eventually
from integration.harness import target
from integration.purging import Instance
from integration.rewriting import STATE, Subject, fork
from sandbox.docker_instance import DockerInstance, InstanceError
from sandbox.local import LocalInstance

WAYS: dict[str, dict[str, Any]] = {
    "delete": {"strategy": "delete", "foreign_key": "keep"},
    "unchecked": {"strategy": "delete"},  # where the role may leave the check out
    "set_aside": {"strategy": "delete", "foreign_key": "set_aside"},
    "rewrite": {"strategy": "rewrite"},
}
RELEASE = "v2.73.2"
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["integration.purging", "integration.rewriting"])  # what takes long to import
SLOWLY = 0.002  # seconds at each step of a deletion, so that there are moments to be killed at
ACTIVITY = """
select pid, application_name, state, wait_event_type, wait_event, query_start::text from pg_stat_activity
where datname = current_database() and application_name <> 'the test'
"""
CHANGED = """
select count(*) from api_secretevent e join kept_events k using (id)
where to_jsonb(e) - 'event_type' <> to_jsonb(k) - 'event_type'
"""
ASTRAY = """
select (select count(*) from api_secretevent_tags where secretevent_id not in (select id from api_secretevent)),
       (select count(*) from api_secretevent where starts_with(id, 'new-')
        and id not in (select secretevent_id from api_secretevent_tags))
"""
# Rows so near to the cutoff that they would cross it while the loop goes on leave first.
SETUP = """
create temporary table near as select id from api_secretevent
where timestamp between now() - interval '32 days' and now() - interval '28 days';
delete from api_secretevent_tags where secretevent_id in (table near);
delete from api_secretevent where id in (table near);
create table kept_events as table api_secretevent;
create table kept_tags as table api_secretevent_tags;
alter table kept_events add primary key (id)
"""
RESTORE = """
truncate api_secretevent_tags, api_secretevent;
insert into api_secretevent select * from kept_events;
insert into api_secretevent_tags overriding system value select * from kept_tags;
update api_serviceaccounttoken set last_used_at = now()
"""


class Writer(Beside):
    """Inserts events with tags, and turns old reads into updates: what was committed, and what may have been."""

    def __init__(self, subject: Subject) -> None:
        self.must: set[str] = set()
        self.may: set[str] = set()
        super().__init__()
        self._subject = subject
        self._reads = [row[0] for row in subject.sql(f"select id from kept_events e where {subject.goes}")]

    def _run(self) -> None:
        chance, number = random.Random(5), 0
        while not self._over.is_set():
            with contextlib.suppress(psycopg2.Error), contextlib.closing(self._subject.connect()) as connection:
                while not self._over.is_set():
                    number += 1
                    self._write(connection, f"new-{number}", chance.choice(self._reads))
                    time.sleep(0.004)
            time.sleep(0.02)

    def _write(self, connection: Any, new: str, old: str) -> None:
        with connection.cursor() as cursor:
            self.may.add(new)
            cursor.execute(
                "with e as (insert into api_secretevent select (jsonb_populate_record(k, jsonb_build_object("
                "'id', %s, 'timestamp', now(), 'event_type', 'C'))).* from kept_events k limit 1 returning id) "
                "insert into api_secretevent_tags (secretevent_id, secrettag_id) "
                "select e.id, (select min(id) from api_secrettag) from e",
                (new,),
            )
            self.must.add(new)
            self.may.add(old)
            cursor.execute("update api_secretevent set event_type = 'U' where id = %s", (old,))
            if cursor.rowcount:
                self.must.add(old)
            elif old not in self.must:
                self.may.discard(old)


Options = dict[str, Any]


def purge(url: str, way: str, options: Options) -> dict[str, Any]:
    """A purge by the target options, in small steps."""
    gate = _purge_throttle.Control.gate

    def slow(control: Any) -> Any:
        time.sleep(SLOWLY)
        return gate(control)

    with (
        mock.patch.multiple(_purge_walk, WORTH_IT=200, SMALLEST=8, LARGEST=8),
        mock.patch.object(_purge_throttle.Control, "gate", slow),
    ):
        return Instance(url).purge(all_organisations=True, **WAYS[way], **options)


def silently(url: str, way: str, options: Options, begins: Any) -> None:
    faulthandler.enable(os.fdopen(os.dup(2), "w"))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    begins.set()
    with contextlib.suppress(PhaseError, psycopg2.Error):
        purge(url, way, options)


class Local:
    """A copy of the database of processes on this host, purged over a direct connection."""

    def __init__(self, instance: LocalInstance) -> None:
        for service in ("backend", "worker"):
            instance.stop_service(service)
        self.server = instance.server
        self.subject = fork(instance)
        self.options: Options = {}
        self.kills: list[Kill] = [client, client, sessions, one_session, self.server_process, self.postmaster]

        if int(self.subject.sql("show server_version_num")[0][0]) >= 150000:
            role = self.subject.sql("select quote_ident(current_user)")[0][0]
            self.subject.administrator(f"grant set on parameter session_replication_role to {role}")

    def answers(self) -> bool:
        return self.server.answers()

    def server_process(self, _subject: Subject, _process: Any) -> None:
        for (pid,) in self.subject.sql(f"{OURS} order by random() limit 1"):
            before = self._checkpointer()
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, signal.SIGKILL)
                self._wait_for_restart(before)

    def _wait_for_restart(self, before: int | None) -> None:
        """The server takes connections for another moment, and ends them all when it notices the death. One that ended
        by itself just before it was killed makes it restart nothing.
        """
        noticed = time.monotonic() + 3

        def restarted() -> bool:
            found = self._checkpointer()
            return found is not None and (found != before or time.monotonic() > noticed)

        eventually(restarted, 60, 0.02)

    def _checkpointer(self) -> int | None:
        """Its process: another one once the server has restarted them all. None while it does not answer."""
        try:
            with self.server.administrator() as connection, connection.cursor() as cursor:
                cursor.execute(CHECKPOINTER)
                found = cursor.fetchone()
                return int(found[0]) if found else None
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            return None

    def postmaster(self, _subject: Subject, _process: Any) -> None:
        postmaster = psutil.Process(int((self.server.data / "postmaster.pid").read_text().split()[0]))
        children = postmaster.children(recursive=True)
        postmaster.kill()
        psutil.wait_procs([*children, postmaster], timeout=30)
        self.server.stop()  # its note
        self.server.start()


# The shell's own arguments do not match its pattern.
KILL_FAR_END = "for p in /proc/[0-9]*; do grep -qs 'phase_consol[e]' $p/cmdline && kill -9 ${p#/proc/}; done; true"


class Contained(Subject):
    """The one database of an instance in containers, whose application's role is a superuser."""

    def administrator(self, *statements: str) -> None:
        for statement in statements:
            self.sql(statement)


class Docker:
    """An instance in containers, purged from within the backend's."""

    def __init__(self, instance: DockerInstance) -> None:
        instance.stop_service("worker")
        self.instance = instance
        self.subject = Contained(instance, instance.environment["DATABASE_NAME"])
        # The far end does not have what `purge` replaces here: this makes its steps small, and pauses between them. The
        # foreign key is set aside once 10,000 events have gone.
        slow = {"transaction_time": 0.01, "throttle": {"wal_rate": "8MB"}}
        self.options: Options = {
            "docker": {"docker_host": instance.engine.host},
            "database_url": None,
            **target(instance),
            **slow,
        }
        self.kills: list[Kill] = [client, sessions, one_session, self.far_end, self.backend, self.database]

    def answers(self) -> bool:
        try:
            self.subject.url = self.instance.database_url  # its address may have changed
            return self.subject.sql("select true") == [(True,)]
        except (psycopg2.OperationalError, InstanceError):
            return False

    def far_end(self, _subject: Subject, _process: Any) -> None:
        self.instance.docker("exec", "--user=0", "phase-backend", "sh", "-c", KILL_FAR_END)

    def backend(self, _subject: Subject, _process: Any) -> None:
        self._container("phase-backend")

    def database(self, _subject: Subject, _process: Any) -> None:
        self._container("phase-postgres")

    def _container(self, name: str) -> None:
        self.instance.docker("kill", name)
        self.instance.docker("start", name)


Place = Local | Docker


class Loop:
    def __init__(self, place: Place, seed: int, ways: list[str]) -> None:
        self.place, self.subject = place, place.subject
        self.chance = random.Random(seed)
        self.ways = ways
        self.seen: Counter[tuple[str, str, str]] = Counter()
        self.subject.sql(SETUP)
        self.kept = self.subject.kept()
        self.state = self.subject.sql(STATE)
        self.whole = {way: self._seconds(way) for way in ways}

    def _seconds(self, way: str) -> float:
        self.subject.sql(RESTORE)
        begun = time.monotonic()
        self.purge(way)
        return time.monotonic() - begun

    def purge(self, way: str) -> dict[str, Any]:
        return purge(self.subject.url, way, self.place.options)

    # One round

    def round(self) -> None:
        way, kill = self.chance.choice(self.ways), self.chance.choice(self.place.kills)
        self.subject.sql(RESTORE)
        with Writer(self.subject) as writer:
            self._killed(way, kill)
            self._nothing_lost(writer)
            found = self._found()
            twice = ""
            if self.chance.random() < 0.25:
                twice = " twice"
                self._killed(self.chance.choice(self.ways), self.chance.choice(self.place.kills))
                self._nothing_lost(writer)
            self._until_done(way)
        again = self.purge(self.chance.choice(self.ways))  # a row that the writer had locked was passed over
        assert again["remaining"] == 0 and not again.get("recovered"), again
        self._is_right(writer)
        self.seen[way + twice, kill.__name__, found] += 1

    def _killed(self, way: str, kill: Kill) -> None:
        """Start it, and kill at some moment; at the end nothing of it runs any more."""
        # Not a fork of this process, whose writer may hold any lock at that moment.
        begins = CHILDREN.Event()
        process = CHILDREN.Process(target=silently, args=(self.subject.url, way, self.place.options, begins))
        process.start()
        assert begins.wait(120), "it does not begin"
        time.sleep(self.chance.uniform(0, 1.05 * self.whole[way]))
        kill(self.subject, process)
        process.join(120)
        if process.exitcode is None:
            os.kill(process.pid or 0, signal.SIGABRT)  # which tells where it is
            raise AssertionError(f"{way}, killed by {kill.__name__}, does not end: {self.subject.sql(ACTIVITY)}")
        eventually(self.place.answers, 60, 0.02)
        eventually(lambda: not self.subject.sessions(), 60, 0.02)

    def _nothing_lost(self, writer: Writer) -> None:
        must = writer.must.copy()
        rows = set(self.subject.rows())
        assert set(self.kept) <= rows, f"lost: {sorted(set(self.kept) - rows)[:5]}"
        assert must <= rows, f"lost of the writer's: {sorted(must - rows)[:5]}"

    def _found(self) -> str:
        left = self.subject.leftovers()
        if left:
            return "forward" if left["swapped"] else "back"
        comment = "select obj_description('api_secretevent_tags'::regclass, 'pg_class') is not null"
        if self.subject.sql(comment) == [(True,)]:
            return "key put back"
        done = self.subject.sql(f"select count(*) from api_secretevent e where {self.subject.goes}") == [(0,)]
        return "nothing, it was done" if done else "some rows to go" if self._some_gone() else "nothing done"

    def _some_gone(self) -> bool:
        gone = f"select id from kept_events e where {self.subject.goes} except select id from api_secretevent"
        return bool(self.subject.sql(gone))

    def _until_done(self, way: str) -> None:
        done = self.purge(way)
        assert done["stopped_by"] is None, done

    def _is_right(self, writer: Writer) -> None:
        subject = self.subject
        rows = subject.rows()
        events = {key for key in rows if not key.startswith("tag ")}
        base = {key for key in self.kept if not key.startswith("tag ")}
        must = base | writer.must
        assert must <= events <= must | writer.may, sorted(must ^ events)[:5]
        assert all(rows[key] == value for key, value in self.kept.items()), "a kept row is not what it was"
        assert subject.sql(CHANGED)[0][0] == 0, "more than the type of an event has changed"
        assert subject.sql(ASTRAY) == [(0, 0)], "a tag without its event, or one of the writer's events without its tag"
        assert subject.sql(STATE) == self.state, set(subject.sql(STATE)) ^ set(self.state)
        assert subject.leftovers() is None and not subject.sessions()

    def table(self) -> str:
        lines = ["| purge | killed | what the next run found | times |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(key)} | {count} |" for key, count in sorted(self.seen.items())]
        return "\n".join([*lines, "", f"{sum(self.seen.values())} rounds ended right."])


# What is killed

Kill = Callable[[Subject, Any], None]
CHECKPOINTER = "select pid from pg_stat_activity where backend_type = 'checkpointer'"
OURS = "select pid from pg_stat_activity where application_name like 'phase.console%'"


def client(_subject: Subject, process: Any) -> None:
    process.kill()


def sessions(subject: Subject, _process: Any) -> None:
    end_sessions(subject, "")


def one_session(subject: Subject, _process: Any) -> None:
    end_sessions(subject, "order by random() limit 1")


def end_sessions(subject: Subject, which: str) -> None:
    subject.administrator(f"select pg_terminate_backend(pid) from ({OURS} {which}) as ours")


# By hand


@contextlib.contextmanager
def local(folder: Path, events: int) -> Iterator[Place]:
    instance = LocalInstance.start(folder, RELEASE, events, superuser=False)
    try:
        yield Local(instance)
    finally:
        instance.remove()


@contextlib.contextmanager
def docker(folder: Path, events: int) -> Iterator[Place]:
    with DockerInstance.start(folder, RELEASE, events) as instance:
        yield Docker(instance)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.kill_loop", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, help="by default 6000, in containers 40000")
    parser.add_argument("--only", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--deployment", choices=["local", "docker"], default="local")
    arguments = parser.parse_args()
    start, events = {"local": (local, 6000), "docker": (docker, 40_000)}[arguments.deployment]
    with tempfile.TemporaryDirectory(prefix="phase-kills-") as scratch:
        Path(scratch).chmod(0o755)
        with start(Path(scratch, "phase"), arguments.events or events) as place:
            loop = Loop(place, arguments.seed, arguments.only)
            try:
                for number in range(1, arguments.rounds + 1):
                    loop.round()
                    if number % 10 == 0:
                        print(f"{number} rounds", file=sys.stderr, flush=True)
            finally:
                print(loop.table())


if __name__ == "__main__":
    main()
