# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from ansible_collections.phase.console.plugins.module_utils._access import snapshot as _snapshot
from ansible_collections.phase.console.plugins.module_utils._access.sso import ConfirmationMissing, event
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import (
    BadOption,
    DatabaseUnreachable,
    NotSupported,
    RemoteError,
)
from ansible_collections.phase.console.plugins.module_utils._operations.access import (
    sso,
)
from ansible_collections.phase.console.plugins.module_utils._operations.access import (
    sso_doctor as _sso_doctor,
)
from ansible_collections.phase.console.plugins.module_utils._operations.access import (
    sso_plan as _sso_plan,
)
from ansible_collections.phase.console.plugins.module_utils._operations.core import rows as _rows
from ansible_collections.phase.console.plugins.module_utils._operations.core.rows import RowsChanged
from ansible_collections.phase.console.plugins.module_utils._target.base import Target
from ansible_collections.phase.console.plugins.modules import phase_sso

PLANTED = "ph:v1:planted"
ORGANISATION = {"id": "o1", "name": "SpaceX", "require_sso": "true", "updated_at": "before"}
PROVIDER = {"id": "p1", "name": "Entra", "provider_type": "entra_id", "config": PLANTED, "enabled": "true"}
PROVIDER = dict(PROVIDER, updated_at="before", organisation_id="o1")
DATABASE = {"database": "phase", "cluster": "1"}


class Known(Target):
    """Two rows in memory behind the real planning; ``trouble`` is raised by the next changes, one each."""

    def __init__(self, require="true", decision=True):
        self.organisation, self.providers = dict(ORGANISATION, require_sso=require), [dict(PROVIDER)]
        self.decision, self.trouble, self.calls, self.forgets = decision, [], [], True

    def run(self, operation, request, report, *, image=None, detached=False):
        self.calls.append(operation.__name__)
        return json.loads(json.dumps(getattr(self, "_" + operation.__name__)(copy.deepcopy(request))))

    def _database(self, request):
        return DATABASE

    def _doctor(self, state, decision):
        cache = {"decision": decision, "error": None}
        seen = {"backend": {"password_auth": False, "domains": [], "sign_in": []}, "unseen": "", "cache": cache}
        facts = {"organisation": "SpaceX", "owners": [], "require_sso": state["require_sso"]}
        return _sso_doctor.examine(dict(facts, providers=state["providers"], **seen))

    def _plan(self, request):
        images = sso._images(dict({"force": False}, **request), self.organisation, self.providers, "now")
        before = _sso_plan.shown(self.organisation, self.providers)
        after = _sso_plan.outcome(images, self.organisation, self.providers)
        stale = request["state"] != "info" and self.decision not in (None, after["require_sso"])
        kept = None if stale or _rows.real(images) else self.decision
        return {
            "organisation": {"id": "o1", "name": "SpaceX"},
            "database": DATABASE,
            "notes": [],
            "before": dict(before, cached_decision=self.decision),
            "after": dict(after, cached_decision=kept),
            "images": images,
            "known": [row["id"] for row in self.providers],
            "stale": stale,
            "told": _sso_plan.told(images),
            "doctor": self._doctor(before, self.decision),
            "doctor_after": self._doctor(after, kept),
        }

    def _apply(self, request):
        if self.trouble:
            raise RemoteError(self.trouble.pop(0).as_dict())
        for one in request["images"]:
            if one["key"] == "o1":
                self.organisation = one["after"]
            else:
                self.providers = [one["after"]] if one["after"] else []
        self.event, self.decision = request["event"], None if self.forgets else self.decision
        state = _sso_plan.shown(self.organisation, self.providers)
        return {
            "audited": True,
            "forgotten": self.forgets,
            "error": None if self.forgets else "redis is away",
            "state": dict(state, cached_decision=self.decision),
            "rows": [self.organisation] + self.providers,
            "doctor": self._doctor(state, self.decision),
        }

    def _stock(self, request):
        done = self._apply(request)
        self.organisation = dict(self.organisation, updated_at="the command's own")
        return dict(done, rows=[self.organisation] + self.providers)


@pytest.fixture
def run(tmp_path):
    warnings = []

    def go(target, check=False, **options):
        params = {name: option.get("default") for name, option in phase_sso.SPEC.options.items()}
        given = {"organisation": "SpaceX", "deployment": "docker", "snapshot_dir": str(tmp_path / "kept")}
        params.update(dict(given, **options))
        call = Call(params, check, True, target, lambda message, **counters: None, warnings.append)
        return phase_sso.run(call)

    go.warnings = warnings
    go.files = lambda: sorted(path.name for path in (tmp_path / "kept").glob("*"))
    return go


def test_info_asks_once(run):
    target = Known()
    result = run(target)
    assert (result["changed"], target.calls, run.files()) == (False, ["plan"], [])
    assert result["sso"]["require_sso"] and PLANTED not in str(result)


def test_check_mode_says_the_same_and_writes_nothing(run):
    target = Known()
    checked = run(target, check=True, state="providers_disabled")
    assert (checked["changed"], target.calls, run.files()) == (True, ["plan"], [])
    done = run(target, state="providers_disabled")
    assert [checked[key] for key in ("before", "after", "diff", "summary", "doctor")] == [
        done[key] for key in ("before", "after", "diff", "summary", "doctor")
    ]
    assert "enabled: true" in done["diff"]["before"] and "enabled: false" in done["diff"]["after"]
    assert PLANTED not in str([checked, done])


def test_a_second_run_changes_nothing(run):
    target = Known()
    assert run(target, state="enforcement_disabled")["changed"]
    again = run(target, state="enforcement_disabled")
    assert (again["changed"], again["summary"]) == (False, ["Nothing to do: SpaceX does not require SSO."])
    assert len(run.files()) == 1


def test_what_redis_alone_has_wrong_is_a_change_without_a_snapshot(run):
    target = Known("false", decision=True)
    assert run(target, check=True, state="enforcement_disabled")["changed"] and target.decision
    done = run(target, state="enforcement_disabled")
    assert done["changed"] and "snapshot" not in done and target.decision is None
    assert not run(target, state="enforcement_disabled")["changed"]


def test_deleting_needs_a_second_word(run):
    for confirm in (None, "spacex"):
        for check in (True, False):
            target = Known()
            with pytest.raises(ConfirmationMissing) as refused:
                run(target, check=check, state="providers_deleted", confirm=confirm)
            assert refused.value.partial["before"]["providers"] and target.calls == ["plan"]
    done = run(Known(), state="providers_deleted", confirm="SpaceX")
    assert done["sso"]["providers"] == [] and not done["sso"]["require_sso"]


def test_the_snapshot_is_there_before_the_change_and_puts_it_back(run):
    target = Known()
    done = run(target, state="providers_deleted", confirm="SpaceX", reason="over")
    assert run.files() == [Path(done["snapshot"]).name]
    back = run(target, state="restored", snapshot=done["snapshot"], organisation=None)
    assert (target.organisation, target.providers) == (ORGANISATION, [PROVIDER])
    assert back["changed"] and back["snapshot"] != done["snapshot"]
    assert not run(target, state="restored", snapshot=done["snapshot"])["changed"]
    with pytest.raises(BadOption):
        run(target, state="restored", snapshot=done["snapshot"], organisation="Contoso")


def test_a_reason_of_several_lines_becomes_one(run):
    target = Known()
    run(target, state="enforcement_disabled", reason=" at\n night ")
    assert target.event["resource_metadata"]["reason"] == "at night"


def test_a_change_that_failed_names_its_snapshot(run):
    target = Known()
    target.trouble = [DatabaseUnreachable("gone", "again")]
    with pytest.raises(RemoteError) as failed:
        run(target, state="enforcement_disabled")
    assert Path(failed.value.partial["snapshot"]).exists()


def test_somebody_elses_change_is_planned_around(run):
    target = Known()
    target.trouble = [RowsChanged("changed"), RowsChanged("changed")]
    assert run(target, state="enforcement_disabled")["changed"]
    assert target.calls.count("plan") == 3 and len(run.files()) == 1


def test_redis_that_cannot_be_told_is_warned_of(run):
    target = Known()
    target.forgets = False
    done = run(target, state="enforcement_disabled")
    assert done["cache"] == {"cleared": False, "error": "redis is away", "seconds": 60}
    assert "60 s" in run.warnings[0] and "redis is away" in run.warnings[0]


def test_a_change_that_locks_out_is_warned_of(run):
    run(Known(), check=True, state="providers_disabled")
    assert "No owner of SpaceX gets in" in run.warnings[0]


def test_the_applications_command(run):
    for state in ("info", "providers_disabled", "restored"):
        with pytest.raises(BadOption):
            run(Known(), state=state, via="stock", snapshot="x")
    with pytest.raises(NotSupported):
        run(Known(), state="enforcement_disabled", via="stock", deployment="database")
    target = Known()
    done = run(target, state="enforcement_disabled", via="stock")
    assert target.calls == ["plan", "stock"] and len(run.files()) == 1
    run(target, state="restored", snapshot=done["snapshot"])  # the snapshot knows the time that the command set
    assert target.organisation == ORGANISATION


def test_a_snapshot_that_does_not_say_of_whom_it_is(run, tmp_path):
    target = Known()
    for more in ({}, {"organisation": "SpaceX"}, {"organisation": {}}):
        content = _snapshot.body("phase_sso", DATABASE, "SpaceX", [], now=0.0, more=more)
        path = _snapshot.save(str(tmp_path), content, {})
        with pytest.raises(_snapshot.SnapshotUnusable, match="of which organisation"):
            run(target, state="restored", snapshot=path)
    assert "apply" not in target.calls


def test_a_command_that_does_not_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sso, "COMMAND_SECONDS", 1)
    (tmp_path / "manage.py").write_text("import time; time.sleep(60)", encoding="utf-8")
    assert sso._manage(["disable_org_sso"]) == (False, "disable_org_sso did not end within 1 s.")
    (tmp_path / "manage.py").write_text("print('Organisation not found.')", encoding="utf-8")
    said = "disable_org_sso did not do it. It said: Organisation not found."
    assert sso._manage(["disable_org_sso"]) == (True, said)


def test_the_first_snapshot_stays_where_no_second_can_be_written(run, monkeypatch):
    target, save = Known(), _snapshot.save

    def once(folder, content, environment):
        if run.files():
            raise _snapshot.SnapshotFailed("The disk is full.", "Nothing was changed.")
        return save(folder, content, environment)

    monkeypatch.setattr(_snapshot, "save", once)
    done = run(target, state="enforcement_disabled", via="stock")
    assert done["changed"] and [Path(done["snapshot"]).name] == run.files()
    (warning,) = [text for text in run.warnings if "The disk is full." in text]
    assert done["snapshot"] in warning and "with force" in warning and "Nothing was changed" not in warning
    monkeypatch.undo()
    with pytest.raises(RowsChanged):
        run(target, state="restored", snapshot=done["snapshot"])
    run(target, state="restored", snapshot=done["snapshot"], force=True)
    assert target.organisation == ORGANISATION


def test_the_audit_row_names_no_configuration():
    plan = Known().run(sso.plan, {"state": "providers_disabled", "backend": True}, None)
    row = event(plan, "the provider is down", "root@bastion")
    assert (row["resource_type"], row["event_type"], row["organisation_id"]) == ("policy", "U", "o1")
    assert row["old_values"] == {"require_sso": True, "providers": {"Entra": "enabled"}}
    assert row["new_values"] == {"require_sso": False, "providers": {"Entra": "disabled"}}
    assert "the provider is down" in row["description"] and PLANTED not in str(row)


@pytest.mark.parametrize("reason", ["\x07", "\ud800", "x" * 2000])
def test_a_reason_that_nothing_can_show_never_reaches_the_target(run, reason):
    target = Known()
    with pytest.raises(BadOption):
        run(target, state="enforcement_disabled", reason=reason)
    assert target.calls == []
