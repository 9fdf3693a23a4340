# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Purge, rewrite, vacuum and info on each PostgreSQL that a package gives; all other tests run on the newest.

The database comes by a dump and a restore, as when a server is replaced by a newer one. Debian's servers speak German,
which the others have not learned.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg2
import psycopg2.extensions
import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._instance.backup import command
from ansible_collections.phase.console.plugins.module_utils._operations.core.database import connect, database_error
from integration.harness import Ansible
from integration.purging import Event, Instance, survivors
from integration.rewriting import ROWS, STATE, Writers, fork, in_background, killed
from integration.vacuuming import PURGE, Vacuum, entry
from sandbox.local import DATABASE, USER, LocalInstance, free_port
from sandbox.postgresql import Server, programs
from sandbox.postgresql_versions import DEBIAN, WHEELS

VERSIONS = [version for version in sorted(WHEELS)[:-1] if version not in DEBIAN.values()] + list(DEBIAN)
PASSWORD = secrets.token_hex(8)


@dataclass
class Restored:
    """What the tests' databases need to know of an instance."""

    version: str
    server: Server
    database_url: str


@pytest.fixture(scope="module")
def dump(module_local_instance: Callable[..., LocalInstance], tmp_path_factory: pytest.TempPathFactory) -> Path:
    instance = module_local_instance("v2.73.2", events=6000, superuser=False)
    file = tmp_path_factory.mktemp("dump") / "phase.sql"
    command = [programs() / "pg_dump", "--no-owner", "--no-privileges", f"--file={file}", instance.database_url]
    subprocess.run(command, check=True)
    # A setting that servers before version 17 do not know.
    text = file.read_text(encoding="utf-8").replace("SET transaction_timeout = 0;\n", "")
    file.write_text(text, encoding="utf-8")
    instance.stop()
    return file


@pytest.fixture(scope="module", params=VERSIONS)
def restored(request: pytest.FixtureRequest, dump: Path) -> Iterator[Restored]:
    try:
        programs(request.param)
    except RuntimeError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    home = Path(tempfile.mkdtemp(prefix="phase-sandbox-"))
    port = free_port()
    server = Server(home, port, home / "note" / "postgres.json", home / "note" / "log", request.param)
    server.make_home()
    try:
        server.create()
        with speaking(server) if request.param in DEBIAN else contextlib.nullcontext():
            server.start()
        server.add_database(DATABASE, USER, superuser=False)
        server.set_password(USER, PASSWORD)
        url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/{DATABASE}"
        command = [programs() / "psql", "-Xq", "--set=ON_ERROR_STOP=1", f"--file={dump}", url]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        yield Restored(request.param, server, url)
    finally:
        server.stop()
        shutil.rmtree(home)


@contextlib.contextmanager
def speaking(server: Server) -> Iterator[None]:
    """A server that is started in it has its messages in German. It takes them from its catalogue for a locale that the
    C library knows, if only by name."""
    home, there = server.home / "locale", server.programs.parents[4] / "usr" / "lib" / "locale" / "C.utf8"
    shutil.copytree(there, home / "de_DE.UTF-8")
    with (server.data / "postgresql.conf").open("a", encoding="utf-8") as settings:
        settings.write("lc_messages = 'de_DE.UTF-8'\n")
    with mock.patch.dict(os.environ, LOCPATH=str(home)):
        yield


def test_info(ansible: Ansible, restored: Restored) -> None:
    options = {"deployment": "database", "database_url": restored.database_url, "gather_subset": ["all"]}
    phase = ansible.module("phase_info", options)["phase"]
    assert phase["instance"]["database"]["server_version"].startswith(
        f"{DEBIAN.get(restored.version, restored.version)}."
    )
    assert phase["migrations"]["applied"] == 190


@pytest.mark.parametrize("way", [("blocks", "kept"), ("blocks", "set_aside"), ("index", "kept")], ids=" ".join)
def test_a_purge_by_deleting(restored: Restored, way: tuple[str, str]) -> None:
    """The rule's survivors, their tags and no others; a check before it tells the number and changes nothing."""
    database = Instance(fork(restored).url)
    days, kinds = (0.0, 29.9, 30.1, 400.0), "RRRCUD"
    events = database.make(
        Event(kind=kinds[number % 6], days=days[number % 4], environment=number, tags=number % 2)
        for number in range(600)
    )
    kept = survivors(events, lambda event: event.kind == "R" and event.days > 30)
    before = database.digest()
    checked = database.purge(check=True, all_organisations=True)
    assert (checked["eligible"], checked["strategy"]) == (len(events) - len(kept), "delete")
    assert database.digest() == before
    done = database.by(*way)
    assert (done["deleted"], done["remaining"]) == (len(events) - len(kept), 0)
    assert database.ids() == kept
    assert set(database.tags()) == {event.id for event in events if event.tags and event.id in kept}
    assert [row[1:2] + row[3:] for row in database.foreign_key()] == [(True, None)]
    assert database.purge(all_organisations=True)["changed"] is False
    assert database.lingering() == []


def test_a_rewrite_beside_writers(restored: Restored) -> None:
    """Twice, with a reader in the way of the second until the swap has waited for it."""
    subject = fork(restored)
    with Writers(subject, 2) as writers:
        catalog = subject.sql(STATE)
        first = subject.rewrite()
        with subject.snapshot() as older, in_background(subject.rewrite) as outcome:
            while not any("swap waits" in line for line in subject.told):
                assert not outcome, outcome
            older.rollback()
    assert first["deleted"] > 500 and first["unfinished"] is None and outcome[0]["unfinished"] is None
    assert subject.sql(STATE) == catalog
    writers.check()
    assert writers.longest < 2.0, "a writer waited"
    assert subject.leftovers() is None


def test_a_purge_by_rewriting(restored: Restored) -> None:
    """Through the module's logic, check first; the definition is to pg_dump what it was."""
    subject = fork(restored)
    database, kept, catalog = Instance(subject.url), subject.kept(), subject.catalog()
    checked = database.purge(check=True, all_organisations=True, strategy="rewrite")
    assert checked["plan"]["rewrite"]["refused"] == [] and subject.catalog() == catalog
    done = database.purge(all_organisations=True, strategy="rewrite")
    assert (done["deleted"], done["remaining"]) == (checked["eligible"], 0)
    assert subject.rows() == kept and subject.catalog() == catalog


def test_a_rewrite_killed(restored: Restored) -> None:
    """Before its swap and after it: the next one undoes the first and carries the second to its end."""
    subject = fork(restored)
    every, kept, state = subject.rows(), subject.kept(), subject.sql(STATE)
    assert killed(subject, 0, message="Building") and subject.recover()["swapped"] is False
    assert (subject.rows(), subject.sql(STATE)) == (every, state)
    assert killed(subject, 0, message="is in place") and subject.recover()["swapped"] is True
    assert (subject.rows(), subject.sql(STATE)) == (kept, state)


@pytest.mark.parametrize("mode", ["auto", "rewrite", "reindex", "compact"])
def test_vacuum(restored: Restored, mode: str) -> None:
    """What is said beforehand comes of it, and nothing but the files is other than before."""
    database = fork(restored)
    database.sql(PURGE)
    vacuum, rows, state = Vacuum(database), database.sql(ROWS.format(where="true")), database.sql(STATE)
    ((before,),) = database.sql("select pg_total_relation_size('api_secretevent')")
    checked = vacuum(mode, check=True)
    assert database.sql("select pg_total_relation_size('api_secretevent')") == [(before,)]
    made = vacuum(mode)
    assert checked["changed"] and made["changed"]
    assert described(checked) == described(made)
    ((after,),) = database.sql("select pg_total_relation_size('api_secretevent')")
    assert entry(made)["reclaimed_bytes"] == before - after
    assert entry(made)["mode"] == ("plain" if mode == "auto" else mode), "there is too little for more by itself"
    if mode != "auto":
        assert before - after == pytest.approx(entry(checked)["predicted"]["reclaimed_bytes"], rel=0.15)
        assert before - after > 1 << 18
    assert (database.sql(ROWS.format(where="true")), database.sql(STATE)) == (rows, state)
    assert entry(vacuum(mode))["mode"] == "nothing"


def described(result: dict[str, Any]) -> list[str]:
    return [text.split(" --")[0] for text in entry(result)["statements"]]


def test_errors_in_another_language(restored: Restored) -> None:
    """A statement's error has the kind that it has in English. Of a refused login libpq has no SQLSTATE: then nothing
    is said that denies that the server has answered."""
    german = restored.version in DEBIAN
    settings = psycopg2.extensions.parse_dsn(restored.database_url)
    for wrong, kind in (({"password": "no"}, "wrong_password"), ({"dbname": "no"}, "database_missing")):
        with pytest.raises(PhaseError) as refused:
            connect({**settings, **wrong}, "", {})
        assert ("»" in refused.value.message) == german, refused.value.message
        assert refused.value.kind == ("connection_failed" if german else kind)
    with (
        contextlib.closing(psycopg2.connect(restored.database_url)) as other,
        contextlib.closing(connect(settings, "", {"statement": 0.5, "lock": 0.2})) as connection,
    ):
        other.cursor().execute("select from api_app")
        for statement, said in (
            ("truncate api_app cascade", "A lock was not granted within timeouts.lock"),
            ("select pg_sleep(5)", "A statement was cancelled or ran past timeouts.statement"),
            ("select from nothing", "PostgreSQL refused a statement (42P01)"),
            ("create role me", "PostgreSQL denied it"),
        ):
            with pytest.raises(psycopg2.Error) as failed:
                connection.cursor().execute(statement)
            message = database_error(failed.value).message
            assert message.startswith(said) and ("FEHLER: " in message) == german, message
    environment = {f"DATABASE_{name}": "none" for name in ("HOST", "NAME", "USER")} | {"PATH": os.environ["PATH"]}
    environment |= {"LC_ALL": "de_DE.UTF-8", "LOCPATH": str(restored.server.home / "locale")}
    listing = command(["pg_restore", "--list"], str(restored.server.programs))
    said = subprocess.run(listing, env=environment, input=b"PGDMP\x01\x63\0\4\x08\1", capture_output=True, check=False)
    assert b"unsupported version" in said.stderr
