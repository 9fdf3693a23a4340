# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import stat

import pytest
from ansible_collections.phase.console.plugins.module_utils._upgrade.state import (
    FRESH,
    OtherTarget,
    StateUnreadable,
    UpgradeRunning,
    durations,
    midway,
    run_step,
    touched,
)

ME = {"host": "here", "pid": 1, "born": "7"}
DEAD = {"host": "here", "pid": 2, "born": "8"}
AWAY = {"host": "there", "pid": 1, "born": "7"}
TARGET = {"backend": "phasehq/backend:v2.73.2"}
OTHER = {"backend": "phasehq/backend:v2.70.0"}


@pytest.fixture
def call(tmp_path):
    path = tmp_path / "state" / "upgrade.json"

    def step(action, now=1000.0, check=False, **more):
        params = {
            "path": str(path),
            "action": action,
            "upgrade_target": TARGET,
            "owner": ME,
            "owner_gone": False,
            "phase": None,
            "notes": {},
            **more,
        }
        return run_step(params, check, now)

    step.path = path
    return step


def test_nothing_is_there_before_the_first_run(call):
    result = call("read")
    assert result["state"] == {} and not result["midway"] and not result["changed"]
    assert not call.path.parent.exists()


def test_a_run_from_begin_to_done(call):
    begun = call("begin", notes={"before": 1})
    assert begun["changed"] and not begun["resumed"] and begun["state"]["phase"] == "backup"
    assert stat.S_IMODE(call.path.stat().st_mode) == 0o600
    call("note", 1002.0, phase="migrate")
    call("note", 1005.0, phase="rollout", notes={"rolled_out": ["backend"]})
    call("note", 1006.0, phase="verify")
    done = call("note", 1010.0, phase="done", notes={"after": 2})
    assert not done["midway"]
    assert done["state"]["notes"] == {"before": 1, "rolled_out": ["backend"], "after": 2}
    assert durations(done["state"]) == [("backup", 2.0), ("migrate", 3.0), ("rollout", 1.0), ("verify", 4.0)]
    assert json.loads(call.path.read_text()) == done["state"]


def test_check_mode_writes_nothing(call):
    result = call("begin", check=True)
    assert result["changed"] and result["state"]["target"] == TARGET and result["diff"]["after"]
    assert not call.path.parent.exists()


def test_a_phase_is_never_left_backwards(call):
    call("begin")
    call("note", phase="rollout")
    assert call("note", phase="migrate")["state"]["phase"] == "rollout"


def test_a_run_that_was_cut_off_is_continued(call):
    call("begin", owner=DEAD)
    call("note", owner=DEAD, phase="migrate", notes={"backup": {"path": "/b"}})
    result = call("begin", 2000.0, owner_gone=True)
    assert result["resumed"] and result["state"]["owner"] == ME
    assert result["state"]["phase"] == "migrate" and result["state"]["notes"]["backup"] == {"path": "/b"}
    assert result["state"]["started"] == 1000.0


def test_the_pause_between_two_runs_is_no_time_of_the_upgrade(call):
    call("begin", owner=DEAD)
    call("note", 1002.0, owner=DEAD, phase="migrate")
    call("note", 1010.0, owner=DEAD, notes={"so": "far"})
    call("begin", 5000.0, owner_gone=True)
    again = call("note", 5003.0, phase="rollout")
    assert durations(again["state"]) == [("backup", 2.0), ("migrate", 11.0)]
    call("begin", 9000.0)
    assert durations(call("note", 9004.0, phase="verify")["state"])[-1] == ("rollout", 4.0)


def test_a_living_run_is_left_alone(call):
    call("begin", owner=DEAD)
    for action in ("begin", "abandon"):
        with pytest.raises(UpgradeRunning, match="process 2 on here"):
            call(action, 999999.0)


def test_a_run_of_another_controller_is_taken_for_dead_after_a_while(call):
    call("begin", owner=AWAY)
    with pytest.raises(UpgradeRunning):
        call("begin", 1000.0 + FRESH)
    assert call("begin", 1001.0 + FRESH)["resumed"]


def test_a_run_that_failed_is_in_nobodys_way(call):
    call("begin", owner=AWAY)
    assert not call("release")["changed"]
    assert call("release", owner=AWAY)["changed"]
    assert call("begin", 1001.0)["resumed"]
    call("note", phase="done")
    assert not call("release")["changed"]


def test_a_run_that_was_taken_over_notices(call):
    call("begin", owner=DEAD)
    call("begin", owner_gone=True)
    with pytest.raises(UpgradeRunning, match="no longer"):
        call("note", owner=DEAD, phase="migrate")


def test_another_target_midway_is_refused_with_the_way_out(call):
    call("begin")
    call("note", phase="migrate", notes={"backup": {"path": "/b/x.dump"}})
    with pytest.raises(OtherTarget) as refused:
        call("begin", upgrade_target=OTHER)
    assert "phase_upgrade_abandon" in refused.value.next_step and "/b/x.dump" in refused.value.next_step


def test_another_target_is_free_before_anything_was_changed(call):
    call("begin")
    assert not call("begin", upgrade_target=OTHER)["resumed"]


def test_another_target_is_free_after_the_end(call):
    call("begin")
    call("note", phase="done")
    assert call("begin", upgrade_target=OTHER)["state"]["phase"] == "backup"


def test_abandon_forgets_only_what_is_unfinished(call):
    call("begin")
    call("note", phase="migrate")
    assert call("abandon")["changed"] and not call.path.exists()
    call("begin")
    call("note", phase="done")
    assert not call("abandon")["changed"] and call.path.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2, "phase": "done"}', '{"format": 1, "phase": "?"}'])
def test_something_else_in_the_file(call, content):
    call.path.parent.mkdir()
    call.path.write_text(content)
    with pytest.raises(StateUnreadable):
        call("read")


def test_what_counts_as_midway():
    assert not midway(None) and not touched(None)
    assert midway({"phase": "backup"}) and not touched({"phase": "backup"})
    assert touched({"phase": "migrate"}) and not touched({"phase": "done"})
