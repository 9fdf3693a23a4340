# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption, PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.purge import operation as purge
from ansible_collections.phase.console.plugins.module_utils._purge.purge_logs import THROTTLE
from ansible_collections.phase.console.plugins.module_utils._target.base import Target
from ansible_collections.phase.console.plugins.modules import phase_purge_logs

SIZES = {"rows": 1000, "table_bytes": 800_000, "index_bytes": 300_000, "dead_rows": 0, "blocks": 98}
PLACE = {"organisation": "SpaceX", "app": "Launch", "app_id": "a", "environment": "Production", "environment_id": "e"}
PLAN = {
    "scope": {"cutoff": "2026-01-01T00:00:00.000000+00:00", "organisations": [{"id": "o", "name": "SpaceX"}]},
    "eligible": 700,
    "exact": True,
    "held_back": 0,
    "log_streams": [],
    "months": [dict(PLACE, month="2025-11", rows=300), dict(PLACE, month="2025-12", rows=400)],
    "bytes": 560_000,
    "before": SIZES,
    "strategy": "delete",
    "why": "",
    "path": "blocks",
    "path_why": "each block is visited once",
    "foreign_key": "kept",
    "expected": {"seconds": 0.1, "wal_bytes": 100_000},
    "obstacles": [],
    "token_last_used": {"kept_in_column": True, "tokens": []},
    "recovery": None,
    "release": "v2.73.0",
    "triggers": [],
    "streams_ignored": False,
    "read_events": True,
    "other_logs": {},
}
LOG = {
    "table": "api_auditevent",
    "retain_days": 90,
    "cutoff": "2025-11-01T00:00:00.000000+00:00",
    "eligible": 40,
    "held_back": 2,
    "kept": [{"rows": 2, "why": "log stream datadog wants them"}],
    "bytes": 16_000,
    "before": SIZES,
    "triggers": [],
    "missing": None,
}
MISSING = dict(LOG, eligible=0, held_back=0, kept=[], bytes=0, before=None, missing="this release has none")
DONE = {
    "deleted": 690,
    "remaining": 10,
    "stopped_by": "max_duration",
    "rows_per_second": 1000,
    "recovered": None,
    "tokens_kept": 0,
    "after": SIZES,
    "other_logs": {},
}


class Known(Target):
    """A target whose operations answer what they are told to."""

    def __init__(self, plan, done):
        self.answers, self.asked = {purge.plan: plan, purge.apply: done}, []

    def run(self, operation, request, report, *, image=None, detached=False, deliveries=None):
        self.asked.append((operation.__name__, request))
        answer = self.answers[operation]
        if isinstance(answer, PhaseError):
            raise answer
        return dict(answer)


@pytest.fixture
def logs():
    def run(check=False, diff=False, plan=None, done=None, **given):
        params = {name: option.get("default") for name, option in phase_purge_logs.SPEC.options.items()}
        params.update(deployment="docker", timeouts={"lock": "5s"})
        params["throttle"] = {name: option["default"] for name, option in THROTTLE.items()}
        params.update(given or {"organisation": "SpaceX"})
        warned = []
        target = Known(plan or PLAN, done or DONE)
        call = Call(params, check, diff, target, lambda message, **counters: None, warned.append)
        return phase_purge_logs.run(call), target.asked, warned

    return run


def test_check_mode_only_plans_and_counts(logs):
    result, asked, _warned = logs(check=True)
    assert [name for name, _request in asked] == ["plan"] and asked[0][1]["count"] is True
    assert result["changed"] and result["eligible"] == 700 and "deleted" not in result
    assert result["after"]["dead_rows"] == 700 and result["after"]["rows"] == 300
    assert "SpaceX / Launch / Production: 700" in result["plan"]["summary"]
    assert result["diff"]["before"] == "SpaceX / Launch / Production: 700\n" and result["diff"]["after"] == ""


def test_a_real_run_does_not_count_first(logs):
    result, asked, _warned = logs(plan=dict(PLAN, exact=False, months=None))
    assert [name for name, _request in asked] == ["plan", "apply"] and asked[0][1]["count"] is False
    assert (result["deleted"], result["remaining"], result["eligible"]) == (690, 10, 700) and "diff" not in result
    assert asked[1][1]["throttle"]["replica_lag"] == 30.0 and asked[1][1]["transaction_time"] == 0.25


def test_nothing_to_do_changes_nothing(logs):
    result, asked, _warned = logs(diff=True, plan=dict(PLAN, eligible=0, months=[]))
    assert not result["changed"] and [name for name, _request in asked] == ["plan"] and result["deleted"] == 0


def test_what_a_cut_off_run_left_is_a_change(logs):
    plan = dict(PLAN, eligible=0, months=[], recovery={"constraint": "fk"})
    checked, _asked, _warned = logs(check=True, plan=plan)
    assert checked["changed"] and "fk" in checked["diff"]["before"]
    done = dict(DONE, deleted=0, remaining=0, recovered={"constraint": "fk", "orphan_tags": 3})
    result, asked, _warned = logs(plan=plan, done=done)
    assert result["changed"] and [name for name, _request in asked] == ["plan", "apply"]


def test_a_failure_tells_what_was_done(logs):
    failure = PhaseError("It broke.", "Run it again.", partial={"deleted": 5})
    with pytest.raises(PhaseError) as caught:
        logs(done=failure)
    assert caught.value.partial["changed"] and caught.value.partial["deleted"] == 5
    assert "plan" not in caught.value.partial


@pytest.mark.parametrize(
    "given",
    [
        {"organisation": None},
        {"organisation": " "},
        {"organisation": "a\0b"},
        {"app_id": "\ud800"},
        {"organisation": "SpaceX", "all_organisations": True},
        {"app_id": "a", "all_organisations": True},
        {"organisation": "SpaceX", "retain_days": -1},
        {"organisation": "SpaceX", "retain_days": 36501},
        {"organisation": "SpaceX", "minimum_retain_days": -1},
        {"organisation": "SpaceX", "transaction_time": "0"},
        {"organisation": "SpaceX", "max_duration": "soon"},
        {"organisation": "SpaceX", "other_logs": {"audit_events": -1}},
        {"organisation": "SpaceX", "other_logs": {"sync_events": 36501}},
        {"organisation": "SpaceX", "other_logs": {"sessions": 0}},
        {"app_id": "a", "other_logs": {"sync_events": 1, "delivery_events": 1}},
        {"organisation": "SpaceX", "read_events": False},
        {"organisation": "SpaceX", "read_events": False, "other_logs": {"audit_events": None}},
        {"organisation": "SpaceX", "strategy": "stock", "pause_file": "/run/p"},
        {"organisation": "SpaceX", "strategy": "stock", "foreign_key": "set_aside"},
    ],
)
def test_nonsense_is_refused_before_anything_is_asked(logs, given):
    with pytest.raises(BadOption) as caught:
        logs(**given)
    assert caught.value.next_step.endswith(".")


def test_warnings_tell_of_streams_and_of_tokens_that_lose_their_last_use(logs):
    token = {"id": "t", "name": "ci", "account": "deploy", "last_used": "2025-12-01T00:00:00.000000+00:00"}
    stream = {"id": "s", "name": "datadog", "rows": 12, "why": "it is paused"}
    plan = dict(
        PLAN,
        token_last_used={"kept_in_column": False, "tokens": [token]},
        log_streams=[stream],
        held_back=12,
        triggers=["audit"],
    )
    _result, _asked, warned = logs(check=True, plan=plan)
    assert "ci of deploy (2025-12-01)" in warned[0] and "datadog" in warned[1] and "audit" in warned[2]


# The other logs


def test_other_logs_are_shown_beside_the_events(logs):
    plan = dict(PLAN, other_logs={"audit_events": LOG, "scim_events": MISSING})
    result, asked, warned = logs(check=True, plan=plan, organisation="SpaceX", other_logs={"audit_events": 90})
    assert asked[0][1]["other_logs"] == {"audit_events": 90} and asked[0][1]["read_events"] is True
    audit = result["other_logs"]["audit_events"]
    assert (audit["eligible"], audit["held_back"], audit["after"]["rows"]) == (40, 2, 960) and "deleted" not in audit
    assert result["other_logs"]["scim_events"]["after"] is None
    assert result["diff"]["before"].endswith("audit_events before 2025-11-01T00:00:00.000000+00:00: 40\n")
    assert [line for line in result["plan"]["summary"] if line.startswith("audit_events: 40 ")] != []
    assert warned == ["other_logs.scim_events has nothing to do: this release has none."]


def test_without_read_events_only_the_others_make_a_change(logs):
    nothing = dict(PLAN, eligible=0, months=[], read_events=False, other_logs={"audit_events": LOG})
    given = {"organisation": "SpaceX", "read_events": False, "other_logs": {"audit_events": 90}}
    checked, _asked, _warned = logs(check=True, diff=True, plan=nothing, **given)
    assert checked["changed"] and checked["cutoff"] is None and checked["diff"]["before_header"] == "other logs"
    own = {"deleted": 30, "remaining": 10, "stopped_by": "max_duration", "after": SIZES}
    done = dict(DONE, deleted=0, remaining=0, other_logs={"audit_events": own})
    result, asked, _warned = logs(plan=nothing, done=done, **given)
    assert result["changed"] and [name for name, _request in asked] == ["plan", "apply"]
    assert result["other_logs"]["audit_events"]["eligible"] == 40
    done = dict(nothing, other_logs={"audit_events": dict(LOG, eligible=0)})
    result, asked, _warned = logs(plan=done, **given)
    assert not result["changed"] and [name for name, _request in asked] == ["plan"]
    assert result["other_logs"]["audit_events"]["deleted"] == 0


def test_a_failure_tells_what_became_of_each_log(logs):
    plan = dict(PLAN, other_logs={"audit_events": LOG, "scim_events": dict(LOG, table="api_scimevent")})
    own = {"deleted": 30, "remaining": 10, "stopped_by": None}
    failure = PhaseError("It broke.", "Run it again.", partial={"deleted": 0, "other_logs": {"audit_events": own}})
    with pytest.raises(PhaseError) as caught:
        logs(plan=plan, done=failure)
    partial = caught.value.partial
    assert partial["changed"] and partial["other_logs"]["audit_events"]["deleted"] == 30
    scim = partial["other_logs"]["scim_events"]
    assert (scim["deleted"], scim["remaining"]) == (0, 40)
