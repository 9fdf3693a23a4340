# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""What a purge deletes is in its archive: to the byte, and whatever becomes of the run that writes it.

PHASE_CONSOLE_KILL_SECONDS lets the kill loop go on for longer than CI's ten seconds.
"""

# ruff: noqa: S608 - names of tables are this file's own

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import multiprocessing
import os
import random
import resource
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg2
import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.purge import batches as operations
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    strategy as _purge_strategy,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    walk as _purge_walk,
)
from ansible_collections.phase.console.plugins.module_utils._operations.rewrite import copy as _rewrite_copy
from ansible_collections.phase.console.plugins.module_utils._operations.rewrite.errors import RewriteStopped
from ansible_collections.phase.console.plugins.module_utils._purge import (
    archive as _archive,
)
from ansible_collections.phase.console.plugins.module_utils._purge import (
    archive_check as _archive_check,
)
from integration.forks import eventually
from integration.harness import Ansible, target
from integration.purging import Event, Instance, quiet, survivors
from integration.retaining import TABLES, Row, World
from psycopg2.extras import execute_values
from sandbox.local import LocalInstance
from sandbox.postgresql import programs
from tools.pages import blocks, guide

KILL_SECONDS = float(os.environ.get("PHASE_CONSOLE_KILL_SECONDS", "10"))
ROWS = 3000
AWKWARD = [
    "back\\slash \\n \\\\ \\u0041 \\.",
    'quotes " and \' and "" and \\"',
    "lines\nfeed\r\ntab\tbell\x07 form\x0c vertical\x0b back\x08 escape\x1b delete\x7f",
    "ünïcode ﷺ 🙂 \u2028 \ufeff combining e\u0301",
    "{{ 7 * 7 }} %s %(name)s {0} }} {",
    '{"total": {"gone": 0}}',
    "",
    " ",
    "ph:v1:" + "0123456789abcdef" * 4000,
]


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    return module_local_instance("v2.73.2", superuser=False)


@pytest.fixture
def full(instance: LocalInstance, tmp_path: Path) -> Full:
    return Full(Instance(instance.database_url), tmp_path / "archive")


class Full:
    """Known rows, of which five of six go, and the folder their archives go to."""

    def __init__(self, database: Instance, folder: Path) -> None:
        self.database, self.folder = database, folder
        folder.mkdir(mode=0o700)
        kinds = "RRRRRC"
        self.events = database.make(
            Event(kind=kinds[number % 6], environment=number, tags=number % 3) for number in range(ROWS)
        )
        self.kept = survivors(self.events, lambda event: event.kind == "R")
        self._awkward()
        database.sql("drop table if exists all_events, all_tags")
        database.sql("create table all_events as select * from api_secretevent")
        database.sql("create table all_tags as select * from api_secretevent_tags")

    def _awkward(self) -> None:
        """Texts that are hard to write down, nothing at all, and every column with something in it."""
        ((member, folder, token, account),) = self.database.sql(
            "select (select min(id) from api_organisationmember), (select min(id) from api_secretfolder), "
            "(select min(id) from api_servicetoken), (select min(id) from api_serviceaccount)"
        )
        reads = [event.id for event in self.events if event.kind == "R"]
        addresses = ["2001:db8::/48", "192.0.2.1", None]
        rows = [(reads[3 * number], text, addresses[number % 3]) for number, text in enumerate(AWKWARD)]
        with contextlib.closing(self.database.connect()) as connection, connection.cursor() as cursor:
            execute_values(
                cursor,
                "update api_secretevent e set key = t, key_digest = t, value = t, comment = t, user_agent = t, "
                "path = t, ip_address = i::inet, version = -2147483648, timestamp = timestamp - interval '1 us' "
                "from (values %s) v (id, t, i) where e.id = v.id",
                rows,
            )
            cursor.execute(
                "update api_secretevent set user_id = %s, folder_id = %s, service_token_id = %s, "
                "service_account_id = %s where id = any(%s)",
                (member, folder, token, account, [row[0] for row in rows[::2]]),
            )

    def again(self) -> None:
        self.database.sql(
            "truncate api_secretevent_tags, api_secretevent; insert into api_secretevent select * from all_events; "
            "insert into api_secretevent_tags overriding system value select * from all_tags"
        )
        for path in self.folder.iterdir():
            path.unlink()

    def purge(self, **options: Any) -> dict[str, Any]:
        return self.database.purge(
            **{
                "all_organisations": True,
                "strategy": "delete",
                "archive_dest": str(self.folder),
                "archive_values": True,
                **options,
            }
        )

    def slowly(self, **options: Any) -> dict[str, Any]:
        """In steps of a block."""
        with mock.patch.multiple(_purge_walk, WORTH_IT=50, SMALLEST=1, LARGEST=1, FEWEST=50, MOST=50):
            return self.purge(**options)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def manifests(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text(encoding="ascii")) for path in sorted(self.folder.glob("*.manifest.json"))]

    def restore(self) -> list[str]:
        """Put what the archives say was deleted into tables of the same shape; the batch of each row."""
        deleted = {
            batch["batch"]
            for content in self.manifests()
            for batch in content["batches"]
            if batch["state"] == "deleted"
        }
        rows: dict[str, list[tuple[str]]] = {"api_secretevent": [], "api_secretevent_tags": []}
        found_in = []
        for content in self.manifests():
            with gzip.open(self.folder / content["file"], "rt", encoding="utf-8") as lines:
                for line in lines:
                    found = json.loads(line)
                    if found["batch"] in deleted and found["table"] in rows:
                        rows[found["table"]].append((json.dumps(found["row"]),))
                        found_in.append(found["batch"])
        with contextlib.closing(self.database.connect()) as connection, connection.cursor() as cursor:
            for table in rows:
                cursor.execute(
                    f"drop table if exists restored_{table};"
                    f" create table restored_{table} as select * from {table} limit 0"
                )
                if rows[table]:
                    execute_values(
                        cursor,
                        f"insert into restored_{table} select (json_populate_record(null::{table}, v.row::json)).* "
                        "from (values %s) v (row)",
                        rows[table],
                        page_size=2000,
                    )
        return found_in

    def differences(self, values: bool = True) -> list[tuple[Any, ...]]:
        """Rows that went and are not in the archives, or the other way round, column by column; without ``values``
        those columns have to be empty there."""
        self.restore()
        events = "all_events" if values else WITHOUT_VALUES
        return [
            row
            for table, all_rows in (("api_secretevent", events), ("api_secretevent_tags", "all_tags"))
            for row in self.database.sql(
                f"with went as (select * from {all_rows} a where not exists (select from {table} t "
                f"where t.id = a.id)), lost as (select * from went except all select * from restored_{table}), "
                f"more as (select distinct * from restored_{table} except select * from went) "
                "select 'lost', lost::text from lost union all select 'more', more::text from more"
            )
        ]


WAYS: dict[str, dict[str, Any]] = {
    "blocks": {},
    "set_aside": {"foreign_key": "set_aside"},
    "index": {"archive_values": False},
}
LEFT_OUT = {"api_secretevent": ["key", "value", "comment"]}
WITHOUT_VALUES = (
    "(select (jsonb_populate_record(null::api_secretevent, to_jsonb(v) - array['key', 'value', 'comment'])).* "
    "from all_events v)"
)


@pytest.mark.parametrize("way", WAYS)
def test_what_goes_is_in_the_archive(full: Full, way: str) -> None:
    """Column by column, tags included; check mode leaves nothing behind, and neither does a run without rows."""
    before = full.database.digest()
    checked = full.purge(check=True, diff=True, **WAYS[way])
    assert full.names() == [] and full.database.digest() == before
    assert checked["archive"]["bytes_free"] > checked["archive"]["bytes_at_most"] > 0
    with mock.patch.object(_purge_strategy, "SMALL", 2.0 if way == "index" else 0.0):
        done = full.slowly(**WAYS[way])
    values = WAYS[way].get("archive_values", True)
    assert full.database.ids() == full.kept and full.differences(values) == []
    assert [row[1:2] + row[3:] for row in full.database.foreign_key()] == [(True, None)]
    archive = done["archive"]
    events, tags = ROWS - len(full.kept), sum(event.tags for event in full.events if event.kind == "R")
    assert (archive["rows"], done["deleted"]) == (events + tags, events) and archive["batches"] > 5
    assert archive["tables"] == {"api_secretevent": events, "api_secretevent_tags": tags}
    data, manifest = Path(archive["path"]), Path(archive["manifest"])
    assert full.names() == sorted([data.name, manifest.name])
    assert {path.stat().st_mode & 0o777 for path in full.folder.iterdir()} == {0o600}
    (content,) = full.manifests()
    left_out = {} if values else LEFT_OUT
    assert content["left_out"] == archive["left_out"] == checked["archive"]["left_out"] == left_out
    assert content["sha256"] == archive["sha256"] == _archive.sha256(str(data))
    assert (content["bytes"], content["rows"]) == (data.stat().st_size, events + tags)
    printed = subprocess.run(["zcat", data], check=True, capture_output=True, text=True).stdout
    assert printed.count("\n") == events + tags
    again = full.purge()
    assert (again["changed"], again["archive"]["path"], len(full.names())) == (False, None, 2)


def test_a_rewrite_archives_what_it_leaves_out(full: Full) -> None:
    """On the copy's own snapshot; what is changed or comes after it stays, in the shape that was not archived."""
    reads = [event.id for event in full.events if event.kind == "R"]
    changed, late = reads[500], "made-late"
    build = _rewrite_copy.Copy.indexes

    def indexes(copy: Any, sessions: Any) -> None:
        full.database.sql("update api_secretevent set comment = 'changed' where id = %s", changed)
        full.database.sql(
            'insert into api_secretevent select (jsonb_populate_record(e, \'{"id": "made-late"}\')).* '
            "from api_secretevent e where id = %s",
            reads[501],
        )
        build(copy, sessions)

    with (
        mock.patch.object(_rewrite_copy.Copy, "indexes", indexes),
        mock.patch.multiple(_rewrite_copy, SMALLEST=4, LARGEST=4),
    ):
        done = full.purge(strategy="rewrite", archive_values=False)
    assert full.database.ids() == full.kept | {changed, late}
    assert full.database.sql("select comment from api_secretevent where id = %s", changed) == [("changed",)]
    # Had it been cut off after the swap: rows that were changed are there, and what was beside them has gone.
    (oid,) = (row[0] for row in full.database.sql("select 'api_secretevent'::regclass::oid::bigint"))
    for relation, state in ((None, "deleted"), (oid, "kept")):
        batches = [dict(one, relation=relation or one["relation"]) for one in full.manifests()[0]["batches"]]
        assert set(full.database.operation(operations.states, {"batches": batches})["states"].values()) == {state}
    tags = {table: found for table, found in done["archive"]["tables"].items() if table.endswith("tags")}
    assert tags == {"api_secretevent_tags": sum(event.tags for event in full.events if event.kind == "R")}
    again = full.purge(archive_values=False)
    assert (again["deleted"], done["archive"]["batches"] > 3, full.database.ids()) == (2, True, full.kept)
    # The event that was added; one that had only another comment is the same without it.
    assert [what for what, _row in full.differences(values=False)] == ["more"]  # what came after all_events was made
    warned: list[str] = []
    assert (
        _archive_check.check(str(full.folder), quiet, warned.append)["duplicates"]["deleted_twice"] == len(warned) == 1
    )


def test_the_other_logs_are_in_it_but_no_sessions(full: Full) -> None:
    """Each table's rows as they were, next to the read events; whoever holds a session's row could be its user."""
    world = World(full.database)
    rows = world.make(
        [
            *[Row(log, days=days) for log in ("audit_events", "scim_events", "sessions") for days in (1, 100, 200)],
            *[Row("sync_events", days=days, kind="completed") for days in (50, 100, 200)],
            *[Row("lease_events", days=days, kind="revoked") for days in (1, 100)],
            *[Row("rotation_events", days=days) for days in (1, 100)],
            *[Row("delivery_events", days=days, kind="delivered") for days in (1, 100)],
        ]
    )
    logs = [log for log in TABLES if log in world.logs]
    was = {table: everything(full.database, table) for table in [TABLES[log] for log in logs]}
    done = full.purge(other_logs=dict.fromkeys(logs, 30))
    (content,) = full.manifests()
    found: dict[str, list[Any]] = {}
    with gzip.open(full.folder / content["file"], "rt", encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            found.setdefault(line["table"], []).append(line["row"])
    for log in logs:
        is_now = everything(full.database, TABLES[log])
        gone = [row for row in was[TABLES[log]] if row not in is_now]
        assert len(gone) == done["logs"][log]["deleted"] > 0, log
        if log == "sessions":
            assert TABLES[log] not in found
        else:
            assert sorted(found[TABLES[log]], key=str) == sorted(gone, key=str)
    assert full.database.ids() == full.kept and full.differences() == []
    assert len(rows) - len(world.ids()) == sum(done["logs"][log]["deleted"] for log in logs)
    assert verify(full.folder)["rows"] == done["archive"]["rows"] == sum(map(len, found.values()))
    world.make([])


def everything(database: Instance, table: str) -> list[Any]:
    return [row[0] for row in database.sql(f"set timezone = 'UTC'; select to_json(t) from {table} t")]


@pytest.mark.parametrize("how", ["stopped", "failed"])
def test_a_rewrite_that_was_not_done_leaves_no_archive(full: Full, how: str) -> None:
    error = RewriteStopped("max_duration") if how == "stopped" else PhaseError("It broke.", "Run it again.")

    def broken(copy: Any, sessions: Any) -> None:
        raise error

    before = full.database.digest()
    with mock.patch.object(_rewrite_copy.Copy, "indexes", broken):
        if how == "stopped":
            assert full.purge(strategy="rewrite")["archive"]["path"] is None
        else:
            with pytest.raises(PhaseError, match="It broke"):
                full.purge(strategy="rewrite")
    assert full.names() == [] and full.database.digest() == before


def test_who_looks_closely_finds_a_difference(full: Full) -> None:
    """That the comparison above can fail."""
    full.slowly()
    full.database.sql("update all_events set comment = comment || '.' where path = %s", AWKWARD[0])
    assert sorted(row[0] for row in full.differences()) == ["lost", "more"]


# Cut off


def silently(work: Callable[[], Any]) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with contextlib.suppress(PhaseError, psycopg2.Error):
        work()


def far_ends(process: Any) -> list[int]:
    """The processes that a forked one has started."""
    with contextlib.suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    return []


def kill(process: Any) -> None:
    process.kill()


def kill_far_end(process: Any) -> None:
    for pid in far_ends(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def stop_reading(process: Any) -> None:
    """A caller that is there and does nothing any more."""
    os.kill(process.pid, signal.SIGSTOP)
    for pid in far_ends(process):
        eventually(lambda pid=pid: not alive(pid), 20)
    process.kill()


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1] not in ("Z", "X")
    return False


@contextlib.contextmanager
def dawdling() -> Iterator[None]:
    """Between what is on disk and what is committed there is a moment in which something can happen."""
    settle = _archive.Archive.settle

    def slow(archive: Any, batch: Any) -> None:
        time.sleep(0.004)
        settle(archive, batch)
        time.sleep(0.004)

    with mock.patch.object(_archive.Archive, "settle", slow):
        yield


@pytest.mark.timeout(300 + 2 * KILL_SECONDS)
def test_killed_at_any_moment(full: Full, instance: LocalInstance) -> None:
    """Near and far end in one process or in two, killed or stopped: whatever is gone is in an archive, once settled."""
    here = {**target(instance), "env_file": str(instance.env_file), "transaction_time": 0.01}
    wholes = {}
    for name, options in (("one", {}), ("two", here)):
        begun = time.monotonic()
        full.slowly(**options)
        wholes[name] = time.monotonic() - begun
        full.again()

    def work(options: dict[str, Any]) -> None:
        with dawdling():
            full.slowly(**options)

    dice = random.Random(20260102)
    start, rounds, settled, kept = time.monotonic(), 0, 0, 0
    while time.monotonic() - start < KILL_SECONDS or rounds < 8:
        kind = dice.choice(["one", "one", "two"]) if rounds else "one"
        options: dict[str, Any] = here if kind == "two" else {}
        if rounds:
            options = {**options, **dice.choice([{"foreign_key": "set_aside"}, {}, {"strategy": "rewrite"}])}

        process = multiprocessing.get_context("fork").Process(target=silently, args=(functools.partial(work, options),))
        process.start()
        if rounds % 2 == 0:  # while it writes, and the first time in any case
            eventually(lambda: full.names() or not alive(process.pid), 60, poll=0.01)  # noqa: B023
            time.sleep(dice.uniform(0, 0.3) if rounds else 0)
        else:
            time.sleep(dice.uniform(0, wholes[kind] * 1.1))
        how = dice.choice([kill, kill, kill_far_end] + [stop_reading] * (rounds % 40 == 7)) if kind == "two" else kill
        far = far_ends(process)  # one that starts just now has no session yet
        how(process)
        process.join(60)
        eventually(lambda: not any(map(alive, far)) and full.database.sessions() == [], 20)  # noqa: B023
        left = {name for name in full.names() if name.endswith(".journal")}
        told = full.purge(check=True)["archive"]["settled"]
        assert {Path(one["path"]).name.replace(".ndjson.gz", ".journal") for one in told} == left
        done = full.purge()
        assert full.database.ids() == full.kept and full.differences() == [], f"round {rounds}, {how}, {options}"
        assert not [name for name in full.names() if name.endswith(".journal")]
        settled += len(done["archive"]["settled"])
        if full.names():
            found = verify(full.folder)
            assert found["duplicates"]["deleted_twice"] == 0
            kept += found["duplicates"]["rows"] > 0
        full.again()
        rounds += 1
    print(f"{rounds} rounds, {settled} settled, {kept} of them with rows twice")
    assert settled


def verify(folder: Path) -> dict[str, Any]:
    warned: list[str] = []
    found = dict(_archive_check.check(str(folder), quiet, warned.append))
    assert warned == []
    return found


def test_a_batch_that_was_not_deleted_after_all(full: Full) -> None:
    """The commit of one fails, which is tried again: its rows are there twice, and the archive tells which went."""
    full.database.sql(
        "create sequence tries; create function no() returns trigger language plpgsql as 'begin "
        "if nextval(''tries'') < 3 then raise foreign_key_violation; end if; return null; end'; "
        "create constraint trigger no after delete on api_secretevent deferrable initially deferred "
        "for each row execute function no()"
    )
    try:
        done = full.slowly()
    finally:
        full.database.sql("drop trigger no on api_secretevent; drop function no; drop sequence tries")
    assert full.database.ids() == full.kept and full.differences() == []
    assert done["archive"]["kept"] == 2 and done["archive"]["settled"] == []
    found = verify(full.folder)["duplicates"]
    assert found["rows"] > 0 and found["deleted_twice"] == 0


def test_a_transaction_that_is_not_over_yet(full: Full) -> None:
    """A commit that is on its way when its client is killed is waited for, and not taken for one that failed."""
    with contextlib.closing(full.database.connect(autocommit=False)) as other, other.cursor() as cursor:
        cursor.execute(
            "delete from api_secretevent_tags; delete from api_secretevent where id = %s returning id", ["x"]
        )
        cursor.execute("delete from api_secretevent e where id = (select min(id) from api_secretevent) returning id")
        ((sample,),) = cursor.fetchall()
        cursor.execute("select txid_current()")
        ((transaction,),) = cursor.fetchall()
        batch = {"batch": "b", "table": "api_secretevent", "key": "id", "samples": [sample], "relation": None}
        batch["transaction"] = transaction
        run = full.database.operation
        with mock.patch.object(operations, "PATIENCE", 0.5):
            assert run(operations.states, {"batches": [batch]}) == {"states": {"b": None}}
        other.commit()
    assert run(operations.states, {"batches": [batch]}) == {"states": {"b": "deleted"}}
    unknown = dict(batch, transaction=1 << 40, samples=[next(iter(full.kept))])
    assert run(operations.states, {"batches": [unknown]}) == {"states": {"b": "kept"}}


# No room


@pytest.mark.parametrize("ends", ["one", "two"])
def test_a_full_disk_deletes_nothing_more(full: Full, instance: LocalInstance, ends: str) -> None:
    """By a limit on the size of files: the batch that does not fit is rolled back, and the next run goes on."""
    where = {**target(instance), "env_file": str(instance.env_file)} if ends == "two" else {}
    reading, writing = multiprocessing.Pipe(duplex=False)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            full.slowly(foreign_key="set_aside", **where)
        except PhaseError as error:
            writing.send((error.kind, error.message, error.next_step, error.partial))

    process = multiprocessing.get_context("fork").Process(target=limited)
    process.start()
    assert reading.poll(60)
    kind, message, next_step, partial = reading.recv()
    process.join(30)
    assert kind == "archive_failed" and "File too large" in message and "archive_dest" in next_step
    assert partial["changed"] == (partial["deleted"] > 0) == (partial["archive"]["rows"] > 0)
    assert ends == "two" or partial["changed"]
    assert full.database.ids() > full.kept and full.differences() == []
    assert [row[1:2] + row[3:] for row in full.database.foreign_key()] == [(True, None)]
    full.purge()
    assert full.database.ids() == full.kept and full.differences() == []
    assert verify(full.folder)["duplicates"]["rows"] == 0


def test_where_it_cannot_be(full: Full) -> None:
    """Before anything is touched, in check mode as well."""
    refused = full.database.refused
    everything: dict[str, Any] = {"all_organisations": True, "strategy": "delete"}
    assert "does not exist" in refused("archive_failed", archive_dest=str(full.folder / "no"), **everything).message
    assert "is no directory" in refused("archive_failed", archive_dest=__file__, **everything).message
    everything["archive_dest"] = str(full.folder)
    with mock.patch.object(_archive, "free", lambda folder: 1000):
        assert "1.0 kB free" in refused("archive_failed", **everything).message
    assert full.names() == []


# As a user runs it


def test_the_page(ansible: Ansible, full: Full, instance: LocalInstance, tmp_path: Path) -> None:
    """The commands of the guide "archive", word for word but for the instance and the directory, and one that fails."""
    shell = blocks(guide("archive"), "bash")
    commands = [line for block in shell for line in block.replace("\\\n", " ").splitlines()]
    assert sum(command.startswith("ansible localhost ") for command in commands) >= 3
    where = " ".join(f"{name}={value}" for name, value in target(instance).items())
    env = ansible.environment(
        {"ANSIBLE_INVENTORY": str(ansible.folder / "inventory"), "PGHOST": "", "LC_ALL": "C.UTF-8"}
    )
    before = full.database.digest()
    for command in commands:
        text = command.replace("/var/lib/phase-archives", str(full.folder))
        if text.startswith("ansible "):
            words = shlex.split(text)
            words[words.index("-a") + 1] += "" if "phase_archive_check" in text else " " + where
        else:
            words = ["bash", "-o", "pipefail", "-c", text.replace("psql ", f"{programs()}/psql {full.database.url} ")]
        if "on conflict" in command:
            assert full.database.ids() == full.kept and full.differences(values=False) == []
        done = subprocess.run(words, cwd="/", env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        if "--check" in command:
            assert full.names() == [] and full.database.digest() == before
    reads = f"select * from {WITHOUT_VALUES} e where event_type = 'R'"
    assert full.database.sql(f"select count(*) from ({reads} except select * from restored) r") == [(0,)]
    assert full.database.ids() == {event.id for event in full.events}
    assert full.database.sql("select * from all_tags except select * from api_secretevent_tags") == []
    full.database.sql("drop table archived, restored")
    data = next(full.folder.glob("*.gz"))
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0x40
    data.write_bytes(content)
    failed = ansible.module("phase_archive_check", {"path": str(full.folder)}, expect_failure=True)
    assert "damaged in batch" in failed["msg"] and failed["archives"][0]["state"] == "damaged"
