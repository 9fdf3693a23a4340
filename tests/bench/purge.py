# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Purging read events: phase_purge_logs against the stock command and VACUUM FULL, in the same run.

    PYTHONPATH=tests .venv/bin/python -m bench.purge [--cases CASE ...] [--only WAY ...] [--publish]

Each contender gets a copy of the same database of 2 million events, and another client writes 50 events a second all
the while. Seconds are those of the whole command, Ansible's start included. Fails unless all leave the same events and
tags. Prints Markdown tables, the last of which holds the figures against the goals.

| case | |
|---|---|
| 78 | 95 of 100 events are reads; those older than 30 days go |
| 98 | 98 of 100 are reads; all reads go |
| 3x, hundredth | 78, with three times or a hundredth of the events |
| tagged | 78, with a tag on each event |
| archive | 78, with and without ``archive_dest`` |
| 10x | with ten times as many: older than 90 days by delete, then older than 30 by rewrite, on one database (40 GB) |
| exec | 78 in containers: through ``docker exec``, and over a direct connection to the same server (needs Docker) |
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from integration.forks import Database
from integration.harness import Ansible
from sandbox.docker_instance import DockerInstance
from sandbox.local import LocalInstance

from bench.figures import ARCHIVED, OURS, SAVED, WAYS, Figures, Run, Step, tables
from bench.publish import publish
from bench.stage import Docker, Local, Memory, Stage, Writer

RELEASE = "v2.73.2"
# What lies within hours of the cutoff depends on when a contender began.
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
FULL = "vacuum (full, analyze) api_secretevent"


class Case(NamedTuple):
    name: str
    ways: tuple[str, ...]
    times: float = 1  # so many times the events
    reads: int = 95
    tagged: int = 50  # each event of so many has a tag
    retain: int = 30
    rounds: int = 3  # of ours, which take seconds where the stock command takes minutes


CASES = [
    Case("78", ("stock", "stock-no-sleep", "one-delete", "delete", *OURS)),
    Case("98", ("stock", "stock-no-sleep", *OURS), reads=98, retain=0),
    Case("hundredth", OURS, times=0.01),
    Case("3x", OURS, times=3),
    Case("tagged", OURS, tagged=1),
    Case("archive", (*OURS, *ARCHIVED)),
    Case("10x", OURS, times=10),
    Case("exec", OURS, rounds=5),
]


class Bench:
    """Times one way after the other on a stage."""

    def __init__(self, ansible: Ansible, stage: Stage) -> None:
        self.runs: list[Run] = []
        self._ansible, self._stage = ansible, stage
        self._left: dict[str, Any] = {}  # by case, the cutoff and what its first contender left

    def case(self, case: Case, seeded: str, only: list[str] | None) -> None:
        ways = [way for way in case.ways if not only or way in only]
        for number in range(case.rounds):
            for way in ways:
                if number == 0 or way in (*OURS, *ARCHIVED):
                    for reach in self._stage.reaches:
                        with self._stage.copy(seeded) as database:
                            self.run(case, way, reach, database)

    def run(self, case: Case, way: str, reach: str, database: Database) -> None:
        with self._stage.administrator() as connection, connection.cursor() as cursor:
            cursor.execute("checkpoint")
        ((before,),) = database.sql("select count(*) from api_secretevent")  # and the table into memory
        work = self._work(way, reach, database, case.retain)
        with Writer(database) as writer, Memory(self._stage.processes) as memory:
            purge = timed(database, writer, work)
            stock = way.startswith("stock")
            full = timed(database, writer, lambda: database.sql(FULL)) if stock else None
        query = "select count(*), pg_total_relation_size('api_secretevent') from api_secretevent"
        ((rows, size),) = database.sql(query)
        run = Run(case.name, way, before, purge, rows, size, full, dict(memory.peaks), reach)
        print(f"{case.name} {way} {reach}: {run.purge.seconds:.1f} s {run.full or ''}", file=sys.stderr, flush=True)
        self.runs.append(run)
        self._compare(f"{case.name} {case.retain}", way, case.retain, database)

    def _compare(self, key: str, way: str, retain: int, database: Database) -> None:
        """Leave, with an error, where this contender kept others than the first of its case."""
        if key not in self._left:
            ((cutoff,),) = database.sql("select now() - make_interval(days => %s)", retain)
            self._left[key] = (cutoff, survivors(database, cutoff))
        cutoff, first = self._left[key]
        if survivors(database, cutoff) != first:
            sys.exit(f"{key}: {way} left {survivors(database, cutoff)}, the first {first}")

    def _work(self, way: str, reach: str, database: Database, retain: int) -> Callable[[], None]:
        def stock(*more: str) -> None:
            for (name,) in database.sql("select name from api_organisation order by name"):
                self._stage.stock(database, "purge_app_logs", name, "--retain", str(retain), *more)

        def ours(**more: Any) -> None:
            options = {**self._stage.options(database, reach), "all_organisations": True, "retain_days": retain, **more}
            result = self._ansible.task("phase_purge_logs", options, timeout=7200)
            print(f"  {result['seconds']} s of them beside the database: {inner(result)}", file=sys.stderr)

        def archived(**more: Any) -> None:
            with tempfile.TemporaryDirectory(prefix="phase-archive-") as folder:
                ours(archive_dest=folder, **more)

        return {
            "stock": stock,
            "stock-no-sleep": lambda: stock("--sleep-ms", "0"),
            "one-delete": lambda: database.sql(DELETE, retain) and None,
            "delete": lambda: ours(strategy="delete"),
            "set-aside": lambda: ours(strategy="delete", foreign_key="set_aside"),
            "rewrite": lambda: ours(strategy="rewrite"),
            "set-aside-archived": lambda: archived(strategy="delete", foreign_key="set_aside"),
            "rewrite-archived": lambda: archived(strategy="rewrite"),
        }[way]


def survivors(database: Database, cutoff: Any) -> tuple[Any, ...]:
    return (*database.sql(SURVIVORS, cutoff), *database.sql(TAGS, cutoff))


def inner(result: dict[str, Any]) -> Any:
    return result["rewrite"]["seconds"] if "rewrite" in result else f"{result['batches']} transactions"


def timed(database: Database, writer: Writer, work: Callable[[], Any]) -> Step:
    position = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8"
    writer.taken()
    ((before,),) = database.sql(position)
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    ((after,),) = database.sql(position)
    return Step.measured(seconds, after - before, writer.taken())


def bench_local(ansible: Ansible, folder: Path, cases: list[Case], arguments: argparse.Namespace) -> Iterator[Figures]:
    """The figures of one case after the other."""
    if (folder / "state.json").exists():
        instance = LocalInstance(folder)
        instance.up()
    else:
        instance = LocalInstance.start(folder, RELEASE, superuser=False)
    with instance:
        stage = Local(instance)
        ((version,),) = instance.sql("show server_version")
        for case in cases:
            bench = Bench(ansible, stage)
            seeded = stage.seeded(round(case.times * arguments.events), case.reads, case.tagged)
            if case.name == "10x":
                for way, retain in zip(case.ways, (90, case.retain)):
                    bench.run(case._replace(retain=retain), way, "local", stage.database(seeded))
            else:
                bench.case(case, seeded, arguments.only)
            if not arguments.dir or case.name == "10x":
                stage.drop(seeded)
            yield Figures({"postgresql": version, "cpus": os.cpu_count()}, bench.runs)


def bench_docker(ansible: Ansible, folder: Path, case: Case, arguments: argparse.Namespace) -> Figures:
    with DockerInstance.start(folder, RELEASE, arguments.events) as instance:
        os.environ.update(instance.engine.environment())  # where the modules find the engine
        stage = Docker(instance)
        bench = Bench(ansible, stage)
        bench.case(case, stage.seeded, arguments.only)
        return Figures({}, bench.runs)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.purge", description=(__doc__ or "").splitlines()[0])
    names = [case.name for case in CASES]
    usual = [name for name in names if name not in ("10x", "exec")]
    parser.add_argument("--cases", nargs="*", choices=names, default=usual)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--only", nargs="*", choices=list(WAYS))
    parser.add_argument("--dir", type=Path, help="keep the instance and what was seeded there, for the next run")
    parser.add_argument("--save", type=Path, help="add the figures to this file")
    parser.add_argument("--publish", action="store_true", help="add them to those in the docs, and draw the plot")
    arguments = parser.parse_args()
    wanted = [case for case in CASES if case.name in arguments.cases]
    kept = SAVED if arguments.publish else arguments.save
    figures = Figures.load(kept.read_text(encoding="utf-8")) if kept and kept.exists() else Figures({}, [])
    with tempfile.TemporaryDirectory(prefix="phase-bench-") as scratch:
        for found in measured(Path(scratch), wanted, arguments):
            figures = figures.joined(found)
            if kept:
                kept.write_text(figures.dump(), encoding="utf-8")
    if arguments.publish:
        publish(figures)
    print("\n\n".join(tables(figures)))


def measured(scratch: Path, wanted: list[Case], arguments: argparse.Namespace) -> Iterator[Figures]:
    ansible = Ansible(scratch / "ansible")
    local = [case for case in wanted if case.name != "exec"]
    if local:
        yield from bench_local(ansible, arguments.dir or scratch / "phase", local, arguments)
    for case in wanted:
        if case.name == "exec":
            yield bench_docker(ansible, scratch / "docker", case, arguments)


if __name__ == "__main__":
    main()
