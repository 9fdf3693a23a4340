# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Purging read events: phase_purge_logs against the stock command and against one DELETE, in the same run.

    PYTHONPATH=tests .venv/bin/python -m bench.purge [--events 2000000] [--retain 30] [--only NAME ...]

Retaining 30 days purges 78 % of the events, 3 days 93 %, none 95 %.

Each contender gets a copy of the same database, and a second client writes 50 events a second all the while. Prints a
Markdown table: seconds of the whole command, Ansible's start included, WAL, the writer's latencies and how many times
faster than the stock command without its sleep. Fails unless all leave the same events and tags.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from integration.forks import Fork
from integration.harness import Ansible, target
from psycopg2 import sql
from sandbox.local import LocalInstance

PACE = 0.02  # seconds between two writes
# What lies within minutes of the cutoff depends on when a contender began.
SURVIVORS = """
select count(*), md5(string_agg(id, ',' order by id)) from api_secretevent
where id not like 'writer-%%' and not (event_type = 'R' and abs(extract(epoch from timestamp - %s)) < 7200)
"""
TAGS = """
select count(*), md5(string_agg(t.secretevent_id, ',' order by t.secretevent_id)) from api_secretevent_tags t
left join api_secretevent e on e.id = t.secretevent_id
where e.id is null or not (e.event_type = 'R' and abs(extract(epoch from e.timestamp - %s)) < 7200)
"""
DELETE = """
with gone as (
  delete from api_secretevent where event_type = 'R' and timestamp <= now() - make_interval(days => %s) returning id
)
delete from api_secretevent_tags t using gone where t.secretevent_id = gone.id
"""


class Outcome(NamedTuple):
    seconds: float
    wal: float
    latencies: list[float]
    survivors: tuple[Any, ...]
    size: int


class Writer(threading.Thread):
    """Writes an event like those that are there, 50 times a second, and remembers how long each took."""

    def __init__(self, fork: Fork) -> None:
        super().__init__(daemon=True)
        self.latencies: list[float] = []
        self._fork, self._stop_asked = fork, threading.Event()
        self._columns = [
            row[0]
            for row in fork.sql(
                "select column_name::text from information_schema.columns where table_name = 'api_secretevent' "
                "and table_schema = 'public' and column_name not in ('id', 'timestamp') order by ordinal_position"
            )
        ]

    def run(self) -> None:
        others = sql.SQL(", ").join(sql.Identifier(name) for name in self._columns)
        with contextlib.closing(self._fork.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("select {} from api_secretevent limit 1").format(others))
            row = cursor.fetchone()
            places = sql.SQL(", ").join(sql.Placeholder() * len(row))
            statement = sql.SQL("insert into api_secretevent (id, timestamp, {}) values (%s, now(), {})").format(
                others, places
            )
            number, due = 0, time.perf_counter()
            while not self._stop_asked.is_set():
                begun = time.perf_counter()
                cursor.execute(statement, (f"writer-{number}", *row))
                self.latencies.append((time.perf_counter() - begun) * 1000)
                number, due = number + 1, max(due + PACE, begun)
                time.sleep(max(0.0, due - time.perf_counter()))

    def stop(self) -> list[float]:
        self._stop_asked.set()
        self.join()
        return sorted(self.latencies)


@contextlib.contextmanager
def writing(fork: Fork) -> Iterator[Writer]:
    writer = Writer(fork)
    writer.start()
    try:
        yield writer
    finally:
        writer.stop()


def measured(instance: LocalInstance, fork: Fork, cutoff: Any, work: Callable[[Fork], None]) -> Outcome:
    with instance.server.administrator() as connection, connection.cursor() as cursor:
        cursor.execute("checkpoint")
    fork.sql("select count(*) from api_secretevent")  # the copy into memory
    ((before,),) = fork.sql("select pg_current_wal_lsn()")
    with writing(fork) as writer:
        begun = time.perf_counter()
        work(fork)
        seconds = time.perf_counter() - begun
    ((wal,),) = fork.sql("select pg_wal_lsn_diff(pg_current_wal_lsn(), %s)::float8", before)
    survivors = (*fork.sql(SURVIVORS, cutoff), *fork.sql(TAGS, cutoff))
    ((size,),) = fork.sql("select pg_total_relation_size('api_secretevent')")
    return Outcome(seconds, wal, sorted(writer.latencies), survivors, size)


def contenders(ansible: Ansible, instance: LocalInstance, retain: int) -> dict[str, Callable[[Fork], None]]:
    def stock(*more: str) -> Callable[[Fork], None]:
        def work(fork: Fork) -> None:
            for (name,) in fork.sql("select name from api_organisation order by name"):
                instance.manage(
                    "purge_app_logs", name, "--retain", str(retain), *more, environment={"DATABASE_NAME": fork.name}
                )

        return work

    def ours(**more: Any) -> Callable[[Fork], None]:
        def work(fork: Fork) -> None:
            options = {**target(instance), "environment": {"DATABASE_NAME": fork.name}}
            ansible.module(
                "phase_purge_logs", {**options, "all_organisations": True, "retain_days": retain, **more}, timeout=3600
            )

        return work

    def and_full(purge: Callable[[Fork], None]) -> Callable[[Fork], None]:
        def work(fork: Fork) -> None:
            purge(fork)
            fork.sql("vacuum (full, analyze) api_secretevent")

        return work

    return {
        "stock": stock(),
        "stock, no sleep": stock("--sleep-ms", "0"),
        "stock, VACUUM FULL": and_full(stock()),
        "stock, no sleep, VACUUM FULL": and_full(stock("--sleep-ms", "0")),
        "rewrite": ours(strategy="rewrite"),
        "one DELETE": lambda fork: fork.sql(DELETE, retain) and None,
        "delete": ours(strategy="delete"),
        "delete, foreign_key=set_aside": ours(strategy="delete", foreign_key="set_aside"),
    }


def percentile(values: list[float], part: float) -> float:
    return values[min(len(values) - 1, int(len(values) * part))] if values else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.purge", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--retain", type=int, default=30, help="days")
    parser.add_argument("--only", nargs="*", help="contenders, by their names in the table")
    parser.add_argument("--dir", type=Path, help="keep the instance there, for the next run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="phase-bench-") as scratch:
        folder = arguments.dir or Path(scratch, "phase")
        ansible = Ansible(Path(scratch, "ansible"))
        if (folder / "state.json").exists():
            instance = LocalInstance(folder)
            instance.up()
        else:
            instance = LocalInstance.start(folder, "v2.73.2", arguments.events, superuser=False)
        with instance:
            for service in ("backend", "worker"):
                instance.stop_service(service)  # a database is copied only when nobody is in it
            for (left,) in instance.sql("select datname from pg_database where datname like 'fork%'"):
                with instance.server.administrator() as connection, connection.cursor() as cursor:
                    cursor.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(left)))
            outcomes = compare(ansible, instance, arguments.retain, arguments.only)
    rival = outcomes.get("stock, no sleep")
    print("| strategy | s | times faster | WAL MB | writer p50/p99/max ms | size MB |\n|---|---|---|---|---|---|")
    for name, one in outcomes.items():
        ratio = f"{rival.seconds / one.seconds:.1f}" if rival else ""
        spread = "/".join(f"{percentile(one.latencies, part):.1f}" for part in (0.5, 0.99, 1.0))
        print(f"| {name} | {one.seconds:.1f} | {ratio} | {one.wal / 1e6:.0f} | {spread} | {one.size / 1e6:.0f} |")
    if len({one.survivors for one in outcomes.values()}) > 1:
        sys.exit(f"They left different events: { {name: one.survivors for name, one in outcomes.items()} }")
    mean = statistics.mean(len(one.latencies) / one.seconds for one in outcomes.values())
    print(f"\nAll left the same events and tags; the writer made {mean:.0f} writes a second.")


def compare(ansible: Ansible, instance: LocalInstance, retain: int, only: list[str] | None) -> dict[str, Outcome]:
    ((cutoff,),) = instance.sql("select now() - make_interval(days => %s)", retain)
    outcomes = {}
    for name, work in contenders(ansible, instance, retain).items():
        if only is None or name in only:
            fork = Fork(instance)
            try:
                outcomes[name] = measured(instance, fork, cutoff, work)
                print(f"{name}: {outcomes[name].seconds:.1f} s", file=sys.stderr)
            finally:
                fork.drop()
    return outcomes


if __name__ == "__main__":
    main()
