# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption, PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.purge import operation as purge
from ansible_collections.phase.console.plugins.module_utils._purge.purge_logs import THROTTLE
from ansible_collections.phase.console.plugins.module_utils._purge.result import summary
from ansible_collections.phase.console.plugins.module_utils._target.base import Target
from ansible_collections.phase.console.plugins.modules import phase_purge_logs

SIZES = {"rows": 1000, "table_bytes": 800_000, "index_bytes": 300_000, "dead_rows": 0, "blocks": 98}
PLACE = {"organisation": "SpaceX", "app": "Launch", "app_id": "a", "environment": "Production", "environment_id": "e"}
READS = {
    "name": "read_events",
    "table": "api_secretevent",
    "retain_days": 30,
    "cutoff": "2026-01-01T00:00:00.000000+00:00",
    "eligible": 700,
    "exact": True,
    "held_back": 0,
    "kept": [],
    "undelivered": [],
    "bytes": 560_000,
    "before": SIZES,
    "triggers": [],
    "missing": None,
}
AUDIT = {
    **READS,
    "name": "audit_events",
    "table": "api_auditevent",
    "retain_days": 90,
    "cutoff": "2025-11-01T00:00:00.000000+00:00",
    "eligible": 40,
    "held_back": 2,
    "kept": [{"rows": 2, "why": "log stream datadog has not delivered them: it is paused", "stream": "s"}],
    "bytes": 16_000,
}
MISSING = {**AUDIT, "name": "scim_events", "eligible": 0, "held_back": 0, "kept": [], "bytes": 0, "before": None}
MISSING["missing"] = "this release has none"
WAY = {
    "strategy": "delete",
    "why": "",
    "path": "blocks",
    "path_why": "each block is visited once",
    "foreign_key": "kept",
    "foreign_key_why": "it was asked for",
    "seconds": {"kept": 0.1, "set_aside": 0.1, "unchecked": 0.1},
    "expected": {"seconds": 0.1, "wal_bytes": 100_000},
    "rewrite": None,
}
PLAN = {
    "scope": {"organisations": [{"id": "o", "name": "SpaceX"}]},
    "logs": {"read_events": READS},
    "way": WAY,
    "months": [dict(PLACE, month="2025-11", rows=300), dict(PLACE, month="2025-12", rows=400)],
    "log_streams": "respect_deliverable",
    "token_last_used": {"kept_in_column": True, "tokens": []},
    "obstacles": [],
    "recovery": None,
    "release": "v2.73.0",
    "database": {"database": "phase", "cluster": None},
}


def plan_of(*logs, **more):
    """The plan with these logs instead."""
    return dict(PLAN, logs={log["name"]: log for log in logs}, **more)


def done_of(**more):
    """An outcome: (deleted, remaining, stopped_by) by log."""
    logs = {name: outcome(*numbers) for name, numbers in more.items()}
    return {
        "logs": logs,
        "seconds": 0.7,
        "rows_per_second": 1000,
        "batches": 3,
        "paused": {},
        "recovered": None,
        "foreign_key": {"state": "kept"},
        "tokens_kept": 0,
        "rewrite": None,
    }


def outcome(deleted, remaining=0, stopped_by=None):
    return {"deleted": deleted, "remaining": remaining, "exact": True, "stopped_by": stopped_by, "after": SIZES}


DONE = done_of(read_events=(690, 10, "max_duration"))


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

    def free_disk(self):
        return 12345


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
    assert asked[0][1]["retain"] == {"read_events": 30}
    assert result["changed"] and result["eligible"] == 700 and "deleted" not in result
    reads = result["logs"]["read_events"]
    assert reads["after"]["dead_rows"] == 700 and reads["after"]["rows"] == 300 and "deleted" not in reads
    assert result["summary"][0] == (
        "Would delete 700 read events older than 2026-01-01T00:00:00Z (about 560 kB). Strategy: delete, block by block."
    )
    assert "SpaceX / Launch / Production: 700" in result["summary"]
    assert result["diff"]["before"] == "SpaceX / Launch / Production: 700\n" and result["diff"]["after"] == ""


def test_the_free_disk_is_as_it_is_told_or_as_the_target_sees_it(logs):
    def free(**given):
        return logs(all_organisations=True, **given)[1][0][1]["free_bytes"]

    assert free() == 12345
    assert free(free_space="1MB") == 1_000_000
    assert free(strategy="delete") is None  # which needs none, so nobody is asked
    with pytest.raises(BadOption, match="free_space"):
        free(free_space="much")


def test_a_real_run_does_not_count_first(logs):
    result, asked, _warned = logs(plan=plan_of(dict(READS, exact=False), months=None))
    assert [name for name, _request in asked] == ["plan", "apply"] and asked[0][1]["count"] is False
    assert (result["deleted"], result["remaining"], result["eligible"]) == (690, 10, 700) and "diff" not in result
    assert asked[1][1]["throttle"]["replica_lag"] == 30.0 and asked[1][1]["transaction_time"] == 0.25
    assert result["stopped_by"] == "max_duration" and result["logs"]["read_events"]["after"] == SIZES


def test_the_summary_of_a_run_says_what_was_done(logs):
    """And not what the planner had estimated."""
    plan = plan_of(dict(READS, eligible=2, exact=False), months=None)
    assert summary(plan)[0].startswith("Would delete about 2 read events")
    result, _asked, _warned = logs(plan=plan, done=done_of(read_events=(0,)))
    assert result["summary"] == ["Deleted no read events older than 2026-01-01T00:00:00Z."] and not result["changed"]
    result, _asked, _warned = logs()
    assert result["summary"] == [
        "Deleted 690 read events older than 2026-01-01T00:00:00Z; 10 remain for the next run (stopped by max_duration)."
    ]


def test_nothing_to_do_changes_nothing(logs):
    result, asked, _warned = logs(diff=True, plan=plan_of(dict(READS, eligible=0), months=[]))
    assert not result["changed"] and [name for name, _request in asked] == ["plan"] and result["deleted"] == 0


def test_what_an_interrupted_run_left_is_a_change(logs):
    plan = plan_of(dict(READS, eligible=0), months=[], recovery={"constraint": "fk"})
    checked, _asked, _warned = logs(check=True, plan=plan)
    assert checked["changed"] and "fk" in checked["diff"]["before"] and "fk: in place" in checked["diff"]["after"]
    assert "First restores foreign key fk, which an interrupted purge dropped." in checked["summary"]
    done = dict(done_of(read_events=(0,)), recovered={"constraint": "fk", "orphan_tags": 3})
    result, asked, _warned = logs(plan=plan, done=done)
    assert result["changed"] and [name for name, _request in asked] == ["plan", "apply"]


def test_a_failure_tells_what_was_done(logs):
    failure = PhaseError("It broke.", "Run it again.", partial=done_of(read_events=(5, 695)))
    with pytest.raises(PhaseError) as caught:
        logs(done=failure)
    assert caught.value.partial["changed"] and caught.value.partial["deleted"] == 5
    assert caught.value.partial["logs"]["read_events"]["remaining"] == 695
    assert "plan" not in caught.value.partial and "diff" not in caught.value.partial


def test_a_failure_without_word_of_the_far_end_claims_nothing(logs):
    with pytest.raises(PhaseError) as caught:
        logs(done=PhaseError("It is gone.", "Run it again.", partial={"holder": 7}))
    partial = caught.value.partial
    assert partial["holder"] == 7 and "deleted" not in partial and "deleted" not in partial["logs"]["read_events"]


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
        {"organisation": "SpaceX", "max_duration": "soon"},
        {"organisation": "SpaceX", "other_logs": {"audit_events": -1}},
        {"organisation": "SpaceX", "other_logs": {"sync_events": 36501}},
        {"organisation": "SpaceX", "other_logs": {"sessions": 0}},
        {"app_id": "a", "other_logs": {"sync_events": 1, "delivery_events": 1}},
        {"organisation": "SpaceX", "read_events": False},
        {"organisation": "SpaceX", "read_events": False, "other_logs": {"audit_events": None}},
    ],
)
def test_nonsense_is_refused_before_anything_is_asked(logs, given):
    with pytest.raises(BadOption) as caught:
        logs(**given)
    assert caught.value.next_step.endswith(".")


def test_warnings_name_streams_and_tokens_that_lose_their_last_use(logs):
    token = {"id": "t", "name": "ci", "account": "deploy", "last_used": "2025-12-01T00:00:00.000000+00:00"}
    kept = {"rows": 12, "why": "log stream datadog has not delivered them: it is paused", "stream": "s"}
    lost = {"rows": 3, "why": "log stream other: its cursor cannot be read", "stream": "o"}
    reads = dict(READS, held_back=12, kept=[kept], undelivered=[lost], triggers=["audit"])
    plan = plan_of(reads, token_last_used={"kept_in_column": False, "tokens": [token]})
    _result, _asked, warned = logs(check=True, plan=plan)
    assert "ci of deploy (2025-12-01)" in warned[0] and "audit of api_secretevent" in warned[1]
    assert warned[2] == ("12 older read events are held back: log stream datadog has not delivered them: it is paused.")
    assert warned[3] == (
        "3 of the read events to delete were not delivered by log stream other: its cursor cannot be read."
    )
    _result, _asked, warned = logs(plan=plan_of(dict(reads, exact=False, kept=[], undelivered=[dict(lost, rows=None)])))
    assert warned[1].startswith("Some of the read events to delete were not delivered by log stream other")


# The other logs


def test_other_logs_have_the_shape_of_the_read_events(logs):
    plan = plan_of(READS, AUDIT, MISSING)
    result, asked, warned = logs(check=True, plan=plan, organisation="SpaceX", other_logs={"audit_events": 90})
    assert asked[0][1]["retain"] == {"read_events": 30, "audit_events": 90}
    audit = result["logs"]["audit_events"]
    assert (audit["eligible"], audit["held_back"], audit["after"]["rows"]) == (40, 2, 960) and "deleted" not in audit
    assert audit.keys() == result["logs"]["read_events"].keys() and (result["eligible"], result["held_back"]) == (
        740,
        2,
    )
    assert result["logs"]["scim_events"]["after"] is None
    assert result["diff"]["before"].endswith("audit_events before 2025-11-01T00:00:00.000000+00:00: 40\n")
    assert "Would delete 40 audit events older than 2025-11-01T00:00:00Z (about 16 kB)." in result["summary"]
    assert "2 older audit events stay: log stream datadog has not delivered them: it is paused." in result["summary"]
    assert warned[-1] == "other_logs.scim_events has nothing to do: this release has none."


def test_without_read_events_only_the_others_make_a_change(logs):
    plan = plan_of(AUDIT, months=None)
    given = {"organisation": "SpaceX", "read_events": False, "other_logs": {"audit_events": 90}}
    checked, asked, _warned = logs(check=True, diff=True, plan=plan, **given)
    assert checked["changed"] and checked["diff"]["before_header"] == "other logs"
    assert asked[0][1]["retain"] == {"audit_events": 90}
    result, asked, _warned = logs(plan=plan, done=done_of(audit_events=(30, 10, "max_duration")), **given)
    assert result["changed"] and [name for name, _request in asked] == ["plan", "apply"]
    assert result["logs"]["audit_events"]["eligible"] == 40
    result, asked, _warned = logs(plan=plan_of(dict(AUDIT, eligible=0), months=None), **given)
    assert not result["changed"] and [name for name, _request in asked] == ["plan"]
    assert result["logs"]["audit_events"]["deleted"] == 0


def test_a_failure_tells_what_became_of_each_log(logs):
    plan = plan_of(READS, AUDIT, dict(AUDIT, name="scim_events", table="api_scimevent"))
    done = done_of(read_events=(0, 700), audit_events=(30, 10), scim_events=(0, 40))
    with pytest.raises(PhaseError) as caught:
        logs(plan=plan, done=PhaseError("It broke.", "Run it again.", partial=done))
    partial = caught.value.partial
    assert partial["changed"] and partial["logs"]["audit_events"]["deleted"] == 30
    scim = partial["logs"]["scim_events"]
    assert (scim["deleted"], scim["remaining"]) == (0, 40)
