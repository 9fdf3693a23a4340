# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Everything works behind a real PgBouncer in transaction mode, and its timeouts hold there."""

# ruff: noqa: S608 - statements of tests, on databases of their own

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.core.database import connect
from integration.forks import eventually
from integration.harness import Ansible
from integration.purging import Event, Instance
from integration.rewriting import Subject, killed
from integration.vacuuming import Vacuum
from sandbox import proxies
from sandbox.local import DATABASE, USER, LocalInstance, free_port

CONFIGURATION = """
[databases]
{database} = host=127.0.0.1 port={postgres} dbname={database} user={user} password={password} pool_size={size}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = any
pool_mode = transaction
unix_socket_dir =
{more}
"""


@contextlib.contextmanager
def bouncer(instance: LocalInstance, folder: Path, more: str = "", size: int = 6) -> Iterator[str]:
    """The URL of a PgBouncer before the instance's database."""
    port = free_port()
    file = folder / "pgbouncer.ini"
    file.touch(mode=0o600)
    file.write_text(
        CONFIGURATION.format(
            database=DATABASE,
            user=USER,
            postgres=instance.postgres_port,
            password=instance.environment["DATABASE_PASSWORD"],
            port=port,
            size=size,
            more=more,
        ),
        encoding="utf-8",
    )
    command = proxies.programs("pgbouncer").command("pgbouncer")
    command += ["-u", "nobody"] if os.geteuid() == 0 else []
    with subprocess.Popen([*command, str(file)], stderr=(folder / "log").open("wb")) as process:
        try:
            url = f"postgresql://{USER}@127.0.0.1:{port}/{DATABASE}"
            eventually(lambda: answers(url), 10)
            yield url
        finally:
            process.terminate()


def answers(url: str) -> bool:
    try:
        psycopg2.connect(url).close()
    except psycopg2.OperationalError:
        return False
    return True


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    return module_local_instance("v2.73.2", superuser=False)


@pytest.fixture(params=["", "ignore_startup_parameters = options"], ids=["refuses options", "drops options"])
def pooled(request: pytest.FixtureRequest, instance: LocalInstance, tmp_path: Path) -> Iterator[Instance]:
    with bouncer(instance, tmp_path, request.param) as url:
        yield Instance(url)


def test_timeouts_hold_and_leak_to_nobody(instance: LocalInstance, pooled: Instance) -> None:
    with contextlib.closing(connect({"dsn": pooled.url}, "test", {"lock": 0.2, "statement": 1.0})) as connection:
        with connection.cursor() as cursor:
            cursor.execute("select current_setting('lock_timeout'), %s", ("100 %",))
            assert cursor.fetchone() == ("200ms", "100 %")
            cursor.execute("begin isolation level repeatable read")
            cursor.execute("select current_setting('statement_timeout'), current_setting('transaction_isolation')")
            assert cursor.fetchone() == ("1s", "repeatable read")
            cursor.execute("commit")
            with pytest.raises(psycopg2.errors.QueryCanceled):
                cursor.execute("select pg_sleep(5)")
        with contextlib.closing(psycopg2.connect(instance.database_url)) as other, other.cursor() as blocking:
            blocking.execute("lock table api_secret")
            with connection.cursor() as cursor, pytest.raises(psycopg2.errors.LockNotAvailable):
                cursor.execute("select count(*) from api_secret")
    assert pooled.sql("select current_setting('lock_timeout'), current_setting('statement_timeout')") == [("0", "0")]


@pytest.mark.parametrize("foreign_key", ["keep", "set_aside"])
def test_a_purge(instance: LocalInstance, pooled: Instance, foreign_key: str) -> None:
    direct = Instance(instance.database_url)
    events = direct.make(Event(kind="RC"[number % 2], environment=number, tags=1) for number in range(400))
    checked = pooled.purge(check=True, all_organisations=True)
    assert checked["eligible"] == 200
    way = "kept" if foreign_key == "keep" else "set_aside"
    assert pooled.by("blocks", way)["deleted"] == 200
    assert direct.ids() == {event.id for event in events if event.kind == "C"}
    assert direct.foreign_key()[0][1] is True and len(direct.tags()) == 200


def test_a_rewrite(instance: LocalInstance, pooled: Instance) -> None:
    direct = Instance(instance.database_url)
    events = direct.make(Event(kind="RC"[number % 2], environment=number, tags=1) for number in range(400))
    result = pooled.purge(strategy="rewrite", all_organisations=True)
    assert (result["deleted"], result["rewrite"]["orphans"], result["rewrite"]["unfinished"]) == (200, 200, None)
    assert direct.ids() == {event.id for event in events if event.kind == "C"}
    assert direct.foreign_key()[0][1] is True and len(direct.tags()) == 200


@contextlib.contextmanager
def inserting(url: str, clients: int = 12) -> Iterator[list[float]]:
    """Clients that insert events without pause; how long each insert took."""
    took: list[float] = []
    over = threading.Event()
    columns = (
        "select string_agg(quote_ident(attname), ', ') from pg_attribute where attrelid = 'api_secretevent'::regclass"
    )
    columns += " and attnum > 0 and not attisdropped and attname not in ('id', 'timestamp')"
    ((names,),) = Instance(url).sql(columns)
    insert = (
        f"insert into api_secretevent (id, timestamp, {names}) select %s, now(), {names} from api_secretevent limit 1"
    )

    def run(number: int) -> None:
        with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            for count in itertools.count():
                if over.is_set():
                    return
                begun = time.monotonic()
                cursor.execute(insert, (f"inserted-{number}-{count}",))
                took.append(time.monotonic() - begun)

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(run, number) for number in range(clients)]
        try:
            yield took
        finally:
            over.set()
    for future in running:
        future.result()


LONG = 5.0  # seconds: a standstill lasts until the pooler's query_wait_timeout, 120


def test_no_rewrite_stops_those_who_fill_the_pool(instance: LocalInstance, tmp_path: Path) -> None:
    """Those who queue up at the swap take every connection that the pool has left."""
    direct = Instance(instance.database_url)
    events = direct.make(Event(kind="RC"[number % 2], environment=number, tags=1) for number in range(400))
    with bouncer(instance, tmp_path) as url, inserting(url) as took:
        eventually(lambda: len(took) > 100)
        result = Instance(url).purge(strategy="rewrite", all_organisations=True)
        had = len(took)
        eventually(lambda: len(took) > had + 100)
    assert result["deleted"] == 200 and result["rewrite"]["unfinished"] is None
    assert max(took) < LONG
    stayed = {event.id for event in events if event.kind == "C"}
    assert stayed <= direct.ids() and len(direct.ids()) == len(stayed) + len(took)


def test_no_vacuum_full_stops_those_who_fill_the_pool(instance: LocalInstance, tmp_path: Path) -> None:
    """A reader past the pooler keeps it waiting, and whoever queues up behind it takes every connection."""
    direct = Instance(instance.database_url)
    direct.make(Event(environment=number) for number in range(400))
    with bouncer(instance, tmp_path) as url, inserting(url) as took, direct.reading("api_secretevent"):
        eventually(lambda: len(took) > 100)
        refused = Vacuum(Instance(url)).refused("full", force=True, max_lock_wait="3s")
    assert refused.kind == "lock_timeout" and "the test" in refused.message
    assert max(took) < LONG


def test_too_small_a_pool_is_found_in_the_plan(instance: LocalInstance, tmp_path: Path) -> None:
    direct = Instance(instance.database_url)
    direct.make(Event(kind="RC"[number % 2], environment=number) for number in range(400))
    with bouncer(instance, tmp_path, size=3) as url:
        for check in (True, False):
            with pytest.raises(PhaseError) as refused:
                Instance(url).purge(check=check, strategy="rewrite", all_organisations=True)
            assert "connections at the same time, and it needs 5" in refused.value.message
        full = Vacuum(Instance(url)).refused("full", force=True)
        assert full.kind == "unsuitable" and "mode=full needs 3" in full.message
        at_work = "select 1 from pg_stat_activity where application_name like 'phase.console%' and state <> 'idle'"
        eventually(lambda: not direct.sql(at_work))
        assert len(direct.ids()) == 400
        done = Instance(url).purge(strategy="auto", all_organisations=True)
        assert (done["strategy"], done["deleted"], done["remaining"]) == ("delete", 200, 0)


def test_killed_behind_it(instance: LocalInstance, pooled: Instance) -> None:
    """kill -9 of a rewrite before and after its swap, with server connections that outlive their client."""
    direct, through = Instance(instance.database_url), Subject(instance, DATABASE)
    through.url = pooled.url
    for message, swapped in (("Building", False), ("is in place", True)):
        events = direct.make(Event(kind="RC"[number % 2], environment=number, tags=1) for number in range(400))
        assert killed(through, 0, message=message)
        history = {event.id for event in events if event.kind == "C"}
        assert history <= direct.ids()
        done = pooled.purge(strategy="rewrite", all_organisations=True)
        assert done["recovered"]["swapped"] is swapped and done["remaining"] == 0
        assert direct.ids() == history and set(direct.tags()) == history
        assert direct.foreign_key()[0][1] is True and through.leftovers() is None


def test_one_purge_at_a_time(instance: LocalInstance, pooled: Instance) -> None:
    from ansible_collections.phase.console.plugins.module_utils._operations.core import lock as _lock
    from ansible_collections.phase.console.plugins.module_utils._operations.purge.surroundings import KEY

    Instance(instance.database_url).make([Event()])
    with contextlib.closing(connect({"dsn": pooled.url}, "purge lock", {})) as connection:
        lock = _lock.Lock(connection, KEY, _lock.session_name("purge", "elsewhere", "1"))
        assert lock.take()
        with pytest.raises(PhaseError) as second:
            pooled.purge()
    assert second.value.kind == "lock_held" and "phase.console purge elsewhere" in second.value.message


def test_other_modules(ansible: Ansible, pooled: Instance) -> None:
    options: dict[str, Any] = {"deployment": "database", "database_url": pooled.url}
    assert ansible.module("phase_info", options)["phase"]["migrations"]["applied"] == 190
