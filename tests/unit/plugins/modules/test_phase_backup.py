# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._target.base import Target
from ansible_collections.phase.console.plugins.modules import phase_backup

SURVEY = {
    "database": "phase",
    "server_version": "15.4",
    "tables": [{"name": "public.api_app", "rows": 3, "bytes": 100}],
    "bytes": 100,
    "migrations": 190,
    "leaf": "api.0136",
}


class Known(Target):
    """A target with a database of one table."""

    def __init__(self):
        self.programs = []

    def run(self, operation, request, report, *, image=None, detached=False):
        return SURVEY

    def pipe(self, argv, sink, *, image=None, stdin=None):
        self.programs.append(argv[4:6])
        sink(b"pg_dump (PostgreSQL) 15.4\n" if argv[5] == "--version" else b"1; 0 2 TABLE DATA public api_app owner\n")
        return 0, ""


def silent(message, **counters):
    pass


@pytest.fixture
def backup(tmp_path):
    def run(check=False, **more):
        params = {name: option.get("default") for name, option in phase_backup.SPEC.options.items()}
        params.update(dest=str(tmp_path / "backups") + "/", **more)
        target = Known()
        return phase_backup.run(Call(params, check, False, target, silent, silent)), target.programs

    return run


def test_check_mode_only_asks(backup, tmp_path):
    result, programs = backup(check=True)
    assert result["changed"] and "manifest" not in result
    assert result["predicted"]["pg_dump"] == "15.4" and result["predicted"]["tables"] == 1
    assert programs == [["pg_dump", "--version"]] and not (tmp_path / "backups").exists()


def test_a_backup_is_made_then_kept_then_forced(backup):
    made, programs = backup()
    assert made["changed"] and [program[0] for program in programs] == ["pg_dump", "pg_dump", "pg_restore"]
    assert made["diff"]["after"].strip() == made["manifest"]["path"]
    kept, programs = backup(max_age=600)
    assert not kept["changed"] and kept["manifest"] == made["manifest"] and programs == []
    assert backup(max_age=600, force=True)[0]["changed"]


def test_without_max_age_each_run_makes_one(backup):
    assert backup()[0]["changed"] and backup(check=True)[0]["changed"]
