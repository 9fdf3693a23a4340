# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.phase.console.plugins.module_utils._access.network_policy import WouldKeepOut
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption, DatabaseFailed
from ansible_collections.phase.console.plugins.module_utils._operations.access import network_policy
from ansible_collections.phase.console.plugins.module_utils._operations.core.rows import RowsChanged
from ansible_collections.phase.console.plugins.module_utils._target.base import Target
from ansible_collections.phase.console.plugins.modules import phase_network_policy

ROW = {"id": "p1", "name": "Office", "organisation_id": "o1", "allowed_ips": "", "is_global": "true"}
SEEN = {
    "id": "p1",
    "name": "Office",
    "organisation": {"id": "o1", "name": "SpaceX", "plan": "EN"},
    "allowed_ips": "",
    "entries": [],
    "is_global": True,
    "accounts": [],
    "enforced_on": "everybody",
}
PLAN = {
    "supported": True,
    "database": {"database": "phase", "cluster": "1"},
    "organisations": [{"id": "o1", "name": "SpaceX"}],
    "policies": [SEEN],
    "policies_after": [dict(SEEN, is_global=False)],
    "diagnosis": None,
    "diagnosis_after": None,
    "recorded": None,
    "kept_out": [],
    "images": [{"table": "t", "key": "p1", "before": ROW, "after": dict(ROW, is_global="false")}],
    "events": [{"organisation_id": "o1"}],
    "audit": False,
    "notes": ["a note"],
}


class Known(Target):
    """A target with one plan; what ``apply`` raises is taken from ``trouble``, one each time."""

    def __init__(self, plan=None, trouble=()):
        self.plan, self.trouble, self.calls = plan or PLAN, list(trouble), []

    def run(self, operation, request, report, *, image=None, detached=False):
        self.calls.append((operation, request))
        if operation is network_policy.apply and self.trouble:
            raise self.trouble.pop(0)
        return json.loads(json.dumps(self.plan))


@pytest.fixture
def run(tmp_path):
    def go(target, check=False, **options):
        params = {name: option.get("default") for name, option in phase_network_policy.SPEC.options.items()}
        params.update({"snapshot_dir": str(tmp_path), **options})
        warnings = []
        call = Call(params, check, True, target, lambda message, **counters: None, warnings.append)
        return phase_network_policy.run(call), warnings

    return go


def names(folder):
    return [path.name for path in folder.iterdir()]


def applied(target):
    return [request for operation, request in target.calls if operation is network_policy.apply]


def test_check_mode_writes_nothing(run, tmp_path):
    target = Known()
    result, warnings = run(target, check=True, state="reset")
    assert (result["changed"], "snapshot" in result, applied(target), names(tmp_path)) == (True, False, [], [])
    assert result["before"] == {"t": [ROW]} and result["after"] == {"t": [dict(ROW, is_global="false")]}
    assert "is_global: true" in result["diff"]["before"] and "is_global: false" in result["diff"]["after"]
    assert warnings[0] == "a note" and "audit log" in warnings[1] and result["audit"] == []


def test_the_snapshot_is_there_before_the_change(run, tmp_path):
    target = Known()
    result, _warnings = run(target, state="reset", reason=" at\n night ")
    assert names(tmp_path) == [Path(result["snapshot"]).name]
    assert applied(target) == [{"images": PLAN["images"], "events": PLAN["events"]}]
    assert target.calls[0][1]["reason"] == "at night"


def test_nothing_to_do_leaves_no_file(run, tmp_path):
    target = Known(dict(PLAN, images=[], policies_after=[SEEN]))
    result, _warnings = run(target, state="reset")
    assert (result["changed"], applied(target), names(tmp_path)) == (False, [], [])
    assert result["diff"]["before"] == result["diff"]["after"] == ""


def test_somebody_elses_change_is_planned_around(run, tmp_path):
    target = Known(trouble=[RowsChanged("changed"), RowsChanged("changed")])
    result, _warnings = run(target, state="reset")
    assert result["changed"] and len(applied(target)) == 3 and len(names(tmp_path)) == 1
    target = Known(trouble=[RowsChanged("changed")] * 3)
    with pytest.raises(RowsChanged):
        run(target, state="reset", snapshot_dir=str(tmp_path / "other"))
    assert names(tmp_path / "other") == []


KEPT_OUT = {
    "organisation": "SpaceX",
    "account": {"type": "member", "id": "m1", "name": "al@example.com"},
    "loses": ["198.51.100.0/24"],
    "address": None,
    "left": ["Mine"],
}


@pytest.mark.parametrize("check", [True, False])
def test_a_reset_that_keeps_somebody_out_is_refused_unless_wanted(run, tmp_path, check):
    target = Known(dict(PLAN, kept_out=[KEPT_OUT]))
    with pytest.raises(WouldKeepOut) as refused:
        run(target, check=check, state="reset")
    assert 'member "al@example.com" is newly kept out from 198.51.100.0/24, by "Mine"' in refused.value.message
    assert "state=allowed" in refused.value.next_step and refused.value.partial["kept_out"] == [KEPT_OUT]
    assert (applied(target), names(tmp_path), refused.value.partial["changed"]) == ([], [], False)
    result, warnings = run(target, check=check, state="reset", lockout="warn")
    assert result["changed"] and len(applied(target)) == (0 if check else 1)
    assert any("newly kept out" in text for text in warnings) and "newly kept out" in result["summary"][-1]


def test_the_summary(run):
    result, _warnings = run(Known(), check=True, state="reset")
    assert result["summary"] == ['Policy "Office" of "SpaceX" is no longer global.']
    other = dict(SEEN, entries=["192.0.2.1"], accounts=[{"type": "member", "id": "m1", "name": "al"}])
    result, _warnings = run(Known(dict(PLAN, policies_after=[other])), check=True, state="reset")
    name = 'Policy "Office" of "SpaceX"'
    assert result["summary"] == [name + ": 192.0.2.1 is added.", name + ' is attached to "al".']
    assert run(Known(dict(PLAN, images=[], policies_after=[SEEN])), state="reset")[0]["summary"] == ["Nothing to do."]


def test_a_change_that_failed_names_its_snapshot(run, tmp_path):
    with pytest.raises(DatabaseFailed) as failed:
        run(Known(trouble=[DatabaseFailed("it broke")]), state="reset")
    assert Path(failed.value.partial["snapshot"]).exists()


def test_a_restore_sends_what_the_snapshot_holds(run, tmp_path):
    result, _warnings = run(Known(), state="reset")
    target = Known()
    run(target, check=True, state="restored", snapshot=result["snapshot"])
    assert [request["state"] for _operation, request in target.calls] == ["info", "restored"]
    assert target.calls[1][1]["images"] == PLAN["images"]


@pytest.mark.parametrize(
    "options",
    [
        {"organisation": ""},
        {"organisation": " "},
        {"organisation": "a\0b"},
        {"policies": [""]},
        {"account_policies": ["\n"]},
        {"reason": "\x07"},
        {"state": "allowed"},
        {"allow": ["192.0.2.1"]},
        {"policies": ["Office"]},
        {"state": "allowed", "allow": ["192.0.2.1"], "account_policies": ["Office"]},
        {"state": "reset", "snapshot": "/tmp/file"},
        {"state": "allowed", "allow": ["everywhere"]},
        {"state": "allowed", "allow": ["0.0.0.0/1", "128.0.0.0/1"]},
        {"state": "allowed", "allow": ["8000::/1", "192.0.2.1", "::/2", "4000::/2"]},
        {"state": "allowed", "diagnose": {"account": "a", "headers": {"X-Real-IP": "192.0.2.1"}}},
        {"diagnose": {"address": "somewhere"}},
        {"diagnose": {"address": "192.0.2.1", "account": ""}},
        {"diagnose": {"headers": {"X-Real-IP": "a\nb"}}},
    ],
)
def test_bad_options_never_reach_the_target(run, options):
    target = Known()
    with pytest.raises(BadOption) as refused:
        run(target, **options)
    assert refused.value.next_step and target.calls == []
