# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module through its own main(), in front of targets that cannot be reached."""

from __future__ import annotations

import json

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.migration.plan import FINDINGS
from ansible_collections.phase.console.plugins.modules import phase_migrate
from ansible_collections.phase.console.tests.unit.plugins.modules.arguments import patch_module_args


def run(capsys, **options):
    with patch_module_args(options), pytest.raises(SystemExit) as end:
        phase_migrate.main()
    return end.value.code, json.loads(capsys.readouterr().out)


def test_a_database_alone_is_refused_in_words(capsys):
    code, result = run(capsys, deployment="database", database_url="postgresql://nobody@192.0.2.1/phase")
    assert code == 1 and result["failed"]
    assert result["error"]["kind"] == "not_supported"
    assert (
        result["msg"]
        == "This module does not work with deployment=database, but with docker, compose, kubernetes, local. "
        + (result["error"]["next_step"])
    )


@pytest.mark.parametrize("check", [True, False])
def test_a_checkout_that_is_not_there(capsys, tmp_path, check):
    code, result = run(capsys, deployment="local", manage_dir=str(tmp_path), _ansible_check_mode=check)
    assert (code, result["error"]["kind"]) == (1, "checkout_missing")


@pytest.mark.parametrize("option", [{"stop_on": ["nosuch"]}, {"lock_retries": "many"}, {"nosuch": 1}])
def test_options_are_checked(capsys, tmp_path, option):
    code, result = run(capsys, deployment="local", manage_dir=str(tmp_path), **option)
    assert code == 1 and "error" not in result


def test_a_bad_duration_names_its_option(capsys, tmp_path):
    (tmp_path / "manage.py").touch()
    code, result = run(capsys, deployment="local", manage_dir=str(tmp_path), timeout="soon")
    assert code == 1 and result["msg"].startswith("timeout is not a duration")


def test_every_finding_can_be_chosen_and_is_documented():
    for finding in FINDINGS:
        assert "V(%s)," % finding in phase_migrate.DOCUMENTATION
