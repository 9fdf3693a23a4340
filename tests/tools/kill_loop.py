# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Purges that are killed at random moments, hundreds of times, beside a writer: the next run must end right.

    PYTHONPATH=tests .venv/bin/python -m tools.kill_loop [--rounds 300] [--seed 1] [--only delete set_aside rewrite]

What is killed: the client (kill -9), its sessions (all or one of them, by an administrator), one of its server
processes (kill -9, after which the server restarts all others), the whole server (kill -9 of the postmaster). In one
round of four the next run is killed as well. After each kill every event that the rule keeps must be there; after the
next run events and tags are those of the rule, with all that the writer was told is committed, and the catalog is as
before. Prints what was killed and what the next run found. The first difference ends the loop.
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
from ansible_collections.phase.console.plugins.module_utils._operations import _purge_throttle, _purge_walk
from integration.forks import eventually
from integration.purging import Instance
from integration.rewriting import STATE, Beside, Subject, fork
from sandbox.local import LocalInstance

WAYS: dict[str, dict[str, Any]] = {
    "delete": {"strategy": "delete"},
    "set_aside": {"strategy": "delete", "foreign_key": "set_aside"},
    "rewrite": {"strategy": "rewrite"},
}
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
        super().__init__(subject)
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


def purge(purges: Instance, way: str) -> dict[str, Any]:
    gate = _purge_throttle.Control.gate

    def slow(control: Any) -> Any:
        time.sleep(SLOWLY)
        return gate(control)

    with (
        mock.patch.multiple(_purge_walk, WORTH_IT=200, SMALLEST=8, LARGEST=8),
        mock.patch.object(_purge_throttle.Control, "gate", slow),
    ):
        return purges.purge(all_organisations=True, **WAYS[way])


def silently(url: str, way: str, begins: Any) -> None:
    faulthandler.enable(os.fdopen(os.dup(2), "w"))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    purges = Instance(url)
    begins.set()
    with contextlib.suppress(PhaseError, psycopg2.Error):
        purge(purges, way)


class Loop:
    def __init__(self, instance: LocalInstance, seed: int, ways: list[str]) -> None:
        self.instance = instance
        self.chance = random.Random(seed)
        self.ways = ways
        self.seen: Counter[tuple[str, str, str]] = Counter()
        self.subject = fork(instance)
        self.purges = Instance(self.subject.url)
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
        return purge(self.purges, way)

    # One round

    def round(self) -> None:
        way, kill = self.chance.choice(self.ways), self.chance.choice(KILLS)
        self.subject.sql(RESTORE)
        with Writer(self.subject) as writer:
            self._killed(way, kill)
            self._nothing_lost(writer)
            found = self._found()
            twice = ""
            if self.chance.random() < 0.25:
                twice = " twice"
                self._killed(self.chance.choice(self.ways), self.chance.choice(KILLS))
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
        process = CHILDREN.Process(target=silently, args=(self.subject.url, way, begins))
        process.start()
        assert begins.wait(120), "it does not begin"
        time.sleep(self.chance.uniform(0, 1.05 * self.whole[way]))
        kill(self, process)
        process.join(120)
        if process.exitcode is None:
            os.kill(process.pid or 0, signal.SIGABRT)  # which tells where it is
            raise AssertionError(f"{way}, killed by {kill.__name__}, does not end: {self.subject.sql(ACTIVITY)}")
        eventually(self.instance.server.answers, 60, 0.02)
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

Kill = Callable[[Loop, Any], None]
OURS = "select pid from pg_stat_activity where application_name like 'phase.console%'"


def client(loop: Loop, process: Any) -> None:
    process.kill()


def sessions(loop: Loop, process: Any) -> None:
    end_sessions(loop, "")


def one_session(loop: Loop, process: Any) -> None:
    end_sessions(loop, "order by random() limit 1")


def end_sessions(loop: Loop, which: str) -> None:
    loop.subject.administrator(f"select pg_terminate_backend(pid) from ({OURS} {which}) as ours")


def server_process(loop: Loop, process: Any) -> None:
    for (pid,) in loop.subject.sql(f"{OURS} order by random() limit 1"):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGKILL)


def server(loop: Loop, process: Any) -> None:
    postmaster = psutil.Process(int((loop.instance.server.data / "postmaster.pid").read_text().split()[0]))
    children = postmaster.children(recursive=True)
    postmaster.kill()
    psutil.wait_procs([*children, postmaster], timeout=30)
    loop.instance.server.stop()  # its note
    loop.instance.server.start()


KILLS: list[Kill] = [client, client, sessions, one_session, server_process, server]


# By hand


@contextlib.contextmanager
def instance_at(folder: Path, events: int) -> Iterator[LocalInstance]:
    instance = LocalInstance.start(folder, "v2.73.2", events, superuser=False)
    try:
        for service in ("backend", "worker"):
            instance.stop_service(service)
        yield instance
    finally:
        instance.remove()


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.kill_loop", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=6000)
    parser.add_argument("--only", nargs="*", choices=list(WAYS), default=list(WAYS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="phase-kills-") as scratch:
        Path(scratch).chmod(0o755)
        with instance_at(Path(scratch, "phase"), arguments.events) as instance:
            loop = Loop(instance, arguments.seed, arguments.only)
            try:
                for number in range(1, arguments.rounds + 1):
                    loop.round()
                    if number % 10 == 0:
                        print(f"{number} rounds", file=sys.stderr, flush=True)
            finally:
                print(loop.table())


if __name__ == "__main__":
    main()
