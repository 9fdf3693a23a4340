# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.phase.console.plugins.modules import phase_upgrade_state
from ansible_collections.phase.console.tests.unit.plugins.modules.arguments import patch_module_args

OWNER = {"host": "here", "pid": 1, "born": "7"}


@pytest.fixture
def call(tmp_path, capsys):
    """The module's real main(): its result, from what it prints."""

    def run(**arguments):
        options = {"path": str(tmp_path / "state" / "s.json"), **arguments}
        with patch_module_args(options), pytest.raises(SystemExit):
            phase_upgrade_state.main()
        return json.loads(capsys.readouterr().out)

    return run


def test_begin_in_check_mode_writes_nothing(call, tmp_path):
    arguments = {"action": "begin", "owner": OWNER, "upgrade_target": {"backend": "x:1"}}
    checked = call(_ansible_check_mode=True, **arguments)
    assert checked["changed"] and not (tmp_path / "state").exists()
    begun = call(**arguments)
    assert begun["changed"] and begun["state"]["target"] == {"backend": "x:1"}
    assert call()["state"] == begun["state"] and not call()["changed"]


def test_the_diff_is_the_file(call, tmp_path):
    result = call(action="begin", owner=OWNER, upgrade_target={"backend": "x:1"}, _ansible_diff=True)
    assert result["diff"]["before"] == ""
    assert result["diff"]["after"] == (tmp_path / "state" / "s.json").read_text()


def test_an_error_tells_its_kind_and_the_way_out(call):
    call(action="begin", owner=OWNER)
    failed = call(action="begin", owner=dict(OWNER, pid=2))
    assert failed["failed"] and failed["error"]["kind"] == "upgrade_running"
    assert failed["error"]["next_step"] in failed["msg"]


def test_an_owner_is_needed_for_all_but_reading(call):
    assert "owner" in call(action="begin")["msg"]
