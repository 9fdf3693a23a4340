# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import stat
import subprocess

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import NoSpace
from ansible_collections.phase.console.plugins.module_utils._instance import backup as _backup
from ansible_collections.phase.console.plugins.module_utils._instance.backup import (
    BackupFailed,
    BackupRunning,
    Partial,
    check_tools,
    command,
    existing,
    listed_tables,
    make,
    remove_leftovers,
)

LISTING = """;
; Archive created at 2026-11-21 01:35:16 UTC
;     dbname: phase
;
; Selected TOC Entries:
;
219; 1259 16391 TABLE public api_app phase
3456; 0 16391 TABLE DATA public api_app phase
3457; 0 16400 TABLE DATA public table with spaces phase
3458; 0 0 SEQUENCE SET public api_app_id_seq phase
"""
SURVEY = {
    "database": "phase",
    "server_version": "15.4",
    "tables": [{"name": "public.api_app", "rows": 3, "bytes": 100}],
    "bytes": 100,
    "migrations": 190,
    "leaf": "api.0136",
}
NOW = 1795000000.0


class Fake:
    """A target whose pg_dump and pg_restore are what a test says."""

    def __init__(self, data=b"dump", listing=LISTING, codes=(0, 0, 0)):
        self.data, self.listing, self.codes = data, listing, list(codes)
        self.programs, self.read = [], b""

    def pipe(self, argv, sink, *, image=None, stdin=None):
        self.programs.append(argv[4])
        if argv[4] == "pg_dump":
            sink(self.data)
        else:
            self.read = b"".join(stdin)
            sink(self.listing.encode())
        return self.codes.pop(0), "pg: error\nlast words\n"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def silent(message, **counters):
    pass


def run(folder, target, **more):
    return make(target, str(folder / "x.dump"), SURVEY, silent, now=lambda: NOW, clock=lambda: 0.0, **more)


def test_tables_of_a_listing():
    assert listed_tables(LISTING) == ["public.api_app", "public.table with spaces"]


def test_a_backup_and_its_manifest(tmp_path):
    target = Fake()
    manifest = run(tmp_path, target)
    assert target.programs == ["pg_dump", "pg_restore"] and target.read == b"dump"
    assert manifest["bytes"] == 4 and manifest["leaf"] == "api.0136" and manifest["tables"] == 1
    assert json.loads((tmp_path / "x.dump.json").read_text()) == manifest
    assert names(tmp_path) == ["x.dump", "x.dump.json"]
    assert stat.S_IMODE((tmp_path / "x.dump").stat().st_mode) == 0o600
    assert existing(str(tmp_path), SURVEY, 60, NOW + 60)["path"] == str(tmp_path / "x.dump")


@pytest.mark.parametrize("full", [False, True])
def test_full_verification_reads_everything(tmp_path, full):
    target = Fake()
    run(tmp_path, target, full=full)
    assert target.programs == ["pg_dump", "pg_restore"] + ["pg_restore"] * full


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Fake(codes=[1]), "exit code 1: pg: error last words"),
        (Fake(codes=[0, 1]), "cannot read the dump"),
        (Fake(listing=";"), "lacks the data of public.api_app"),
    ],
)
def test_nothing_is_left_of_a_failure(tmp_path, target, words):
    with pytest.raises(BackupFailed, match=words):
        run(tmp_path, target)
    assert names(tmp_path) == []


def test_nothing_is_left_of_an_interruption(tmp_path):
    class Interrupted(Fake):
        def pipe(self, argv, sink, *, image=None, stdin=None):
            sink(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Interrupted())
    assert names(tmp_path) == []


def test_no_space(tmp_path, monkeypatch):
    monkeypatch.setattr(_backup, "free_at", lambda path: 99)
    with pytest.raises(NoSpace):
        run(tmp_path, Fake())
    assert names(tmp_path) == []


def test_the_leftover_of_a_killed_run_is_removed_and_a_living_one_is_not(tmp_path):
    (tmp_path / ".old.dump.partial").write_bytes(b"half")
    (tmp_path / "other.dump").write_bytes(b"somebody's")
    living = Partial(str(tmp_path / "live.dump"), lambda: 0.0, silent)
    remove_leftovers(str(tmp_path), silent)
    assert names(tmp_path) == [".live.dump.partial", "other.dump"]
    with pytest.raises(BackupRunning):
        Partial(str(tmp_path / "live.dump"), lambda: 0.0, silent)
    living.discard()


@pytest.mark.parametrize(
    ("change", "age"),
    [({"leaf": "api.0137"}, 0), ({"migrations": 191}, 0), ({"database": "other"}, 0), ({}, 61), ({}, -3600)],
)
def test_a_backup_that_does_not_stand_for_the_database(tmp_path, change, age):
    run(tmp_path, Fake())
    assert existing(str(tmp_path), {**SURVEY, **change}, 60, NOW + age) is None


@pytest.mark.parametrize("damage", ["dump", "longer", "manifest", "none"])
def test_a_damaged_backup_is_none(tmp_path, damage):
    run(tmp_path, Fake())
    if damage == "dump":
        (tmp_path / "x.dump").write_bytes(b"DUMP")
    elif damage == "longer":
        (tmp_path / "x.dump").write_bytes(b"dump and more")
    elif damage == "manifest":
        (tmp_path / "x.dump.json").write_text("{")
    else:
        (tmp_path / "x.dump.json").unlink()
    assert existing(str(tmp_path / "x.dump"), SURVEY, 60, NOW) is None


ENVIRONMENT = {"DATABASE_HOST": "db", "DATABASE_USER": "u", "DATABASE_NAME": "n", "PATH": os.environ["PATH"]}
SHOW = ["sh", "-c", 'echo "$PGHOST|$PGPORT|$PGUSER|$PGDATABASE|$PGPASSWORD|${PGSSLMODE-}|${PGSSLROOTCERT-}"']


def settings(**more):
    done = subprocess.run(command(SHOW), env={**ENVIRONMENT, **more}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_tools_speak_english():
    """What they say is looked at."""
    german = {**ENVIRONMENT, "LC_ALL": "de_DE.UTF-8"}
    done = subprocess.run(
        command(["sh", "-c", 'echo "$LC_ALL"']), env=german, capture_output=True, text=True, check=True
    )
    assert done.stdout == "C\n"


def test_the_backends_settings_in_libpqs_words(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("from $file\n")
    assert settings(DATABASE_PASSWORD="p w'") == "db|5432|u|n|p w'||"
    assert settings(DATABASE_PASSWORD="p", DATABASE_PASSWORD_FILE=str(secret)) == "db|5432|u|n|from $file||"
    assert settings(DATABASE_PASSWORD="p", DATABASE_PASSWORD_FILE="/nowhere") == "db|5432|u|n|p||"
    assert settings(DATABASE_PORT="6", DATABASE_SSL="True") == "db|6|u|n||require|"
    assert settings(DATABASE_SSL="true", DATABASE_SSL_CA_PATH="/ca") == "db|5432|u|n||verify-full|/ca"
    assert settings(DATABASE_SSL="false", DATABASE_SSL_CA_PATH="/ca") == "db|5432|u|n|||"


def test_a_folder_for_the_programs_comes_first(tmp_path):
    (tmp_path / "pg_dump").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "pg_dump").chmod(0o755)
    done = subprocess.run(
        command(["pg_dump"], str(tmp_path)), env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "mine\n"


class Tool:
    def __init__(self, said, code=0):
        self.said, self.code = said, code

    def pipe(self, argv, sink, *, image=None, stdin=None):
        sink(self.said)
        return self.code, "sh: exec: pg_dump: not found"


@pytest.mark.parametrize("server", ["15.4", "9.6.24", "14devel", "15.4 (Debian 15.4-1)"])
def test_a_pg_dump_that_is_new_enough(server):
    assert check_tools(Tool(b"pg_dump (PostgreSQL) 15.4 (Debian 15.4-1)\n"), server, None, "") == "15.4"


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (Tool(b"pg_dump (PostgreSQL) 15.4\n"), "of PostgreSQL 15.4 and the server of 17.2"),
        (Tool(b"", 127), "no pg_dump"),
    ],
)
def test_a_pg_dump_that_will_not_do(tool, words):
    with pytest.raises(BackupFailed, match=words) as failed:
        check_tools(tool, "17.2", None, "")
    assert "Set image" in failed.value.next_step
