# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What phase_migrate decides on the Ansible side, with a target that answers from memory."""

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.migration import operation as migrations
from ansible_collections.phase.console.plugins.module_utils._operations.migration.errors import MigrationFailed
from ansible_collections.phase.console.plugins.module_utils._target.base import external_warnings
from ansible_collections.phase.console.plugins.module_utils._upgrade import migrate as _migrate

PARAMS = {
    "state": "migrated",
    "deployment": "docker",
    "image": "phasehq/backend:v2.73.2",
    "timeouts": {"lock": "5s"},
    "lock_retries": 8,
    "wait_for_lock": "20s",
    "stop_on": [],
    "stop_on_min_rows": 1,
    "repair_indexes": False,
}
ENTRY = {
    "name": "api.2",
    "summary": "api.2: x",
    "atomic": False,
    "concurrent_indexes": [{"index": "i", "table": "t"}],
    "findings": [{"finding": "python", "table": None, "rows": None}],
}
OUTCOME = {
    "applied": [{"name": "api.2", "seconds": 1.5}],
    "applied_elsewhere": [],
    "joined": False,
    "retries": 0,
    "repaired_indexes": [],
    "post_migrate_failed": None,
    "blocked_by": [],
}


def plan(**more):
    facts = {
        "pending": ["api.2"],
        "plan": [ENTRY],
        "unknown": [],
        "inconsistent": [],
        "conflicts": {},
        "duplicates": [],
        "from_leaves": ["api.1"],
        "to_leaves": ["api.2"],
        "from_release": "v2.54.0",
        "to_release": "v2.73.0",
        "known": ["api.1", "api.2"],
        "leftover_indexes": [],
        "server_version": 150004,
    }
    return dict(facts, **more)


NOTHING = plan(pending=[], plan=[], from_leaves=["api.2"], from_release="v2.73.0")


class Target:
    """Answers plans and outcomes in the order given, and keeps what it was asked."""

    def __init__(self, plans, outcomes=(), external=None):
        self.plans, self.outcomes, self.asked = list(plans), list(outcomes), []
        self.external = external or {"value": "true", "misspelt": False}

    def describe(self):
        return {
            "image": "phasehq/backend:v2.54.0",
            "image_id": "sha256:1",
            "digest": None,
            "external_migration": self.external,
        }

    def run(self, operation, request, report, *, image=None, detached=False):
        self.asked.append((operation, request, image, detached))
        answer = (self.plans if operation is migrations.plan else self.outcomes).pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def migrate(target, check=False, **params):
    warnings = []
    call = Call(dict(PARAMS, **params), check, True, target, lambda message, **counters: None, warnings.append)
    result = _migrate.run(call)
    return result, warnings


def operations(target):
    return [operation for operation, request, image, detached in target.asked]


def test_a_pending_migration_is_applied_detached_in_the_image():
    target = Target([plan()], [OUTCOME])
    result, warnings = migrate(target)
    assert result["changed"] and result["applied"] == OUTCOME["applied"] and warnings == []
    operation, request, image, detached = target.asked[1]
    assert (operation, image, detached) == (migrations.apply, "phasehq/backend:v2.73.2", True)
    assert request["indexes"] == [{"migration": "api.2", "index": "i", "table": "t"}]
    assert request["non_atomic"] == ["api.2"] and request["lock_timeout"] == 5.0
    assert result["diff"]["before"] == "leaf api.1\npending api.2\n" and result["diff"]["after"] == "leaf api.2\n"


def test_check_mode_starts_nothing_but_the_plan():
    target = Target([plan()])
    result, _warnings = migrate(target, check=True, stop_on=["python"])
    assert operations(target) == [migrations.plan]
    assert result["changed"] and result["applied"] == []
    assert [item["finding"] for item in result["stopped_by"]] == ["python"]
    first, second = result["summary"]
    assert first == "1 migration pending, database of v2.54.0 or later, before v2.59.0, to v2.73.0."
    assert second == "api.2: x"


def test_nothing_pending_starts_nothing_but_the_plan():
    target = Target([NOTHING])
    result, _warnings = migrate(target, stop_on=["python"])
    assert operations(target) == [migrations.plan] and not result["changed"]
    assert result["diff"]["before"] == result["diff"]["after"]


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"unknown": ["api.9"], "pending": [], "plan": []}, "database_ahead"),
        ({"inconsistent": [{"migration": "api.3", "dependency": "api.2"}]}, "inconsistent_history"),
        ({"conflicts": {"api": ["a", "b"]}}, "conflicting_migrations"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_what_no_option_allows(facts, kind, check):
    target = Target([plan(**facts)])
    with pytest.raises(PhaseError) as caught:
        migrate(target, check=check)
    assert caught.value.kind == kind and operations(target) == [migrations.plan]
    assert caught.value.partial["changed"] is False and "plan" not in caught.value.partial


def test_stop_on_stops_before_anything_is_started():
    target = Target([plan()])
    with pytest.raises(PhaseError, match=r"api\.2: python") as caught:
        migrate(target, stop_on=["python"])
    assert caught.value.kind == "stopped_by_finding" and operations(target) == [migrations.plan]


def test_a_failure_carries_the_plan_and_what_was_done():
    target = Target([plan()], [MigrationFailed("no", partial={"applied": [{"name": "api.2", "seconds": 1}]})])
    with pytest.raises(MigrationFailed) as caught:
        migrate(target)
    assert caught.value.partial["pending"] == ["api.2"] and caught.value.partial["changed"] is True


def test_after_joining_a_run_of_another_image_the_rest_is_done():
    joined = dict(OUTCOME, joined=True, applied=[{"name": "api.1b", "seconds": None}])
    target = Target([plan(), plan()], [joined, OUTCOME])
    result, _warnings = migrate(target)
    assert operations(target) == [migrations.plan, migrations.apply] * 2
    assert result["joined"] and [item["name"] for item in result["applied"]] == ["api.1b", "api.2"]


def test_joining_is_enough_when_it_did_everything():
    target = Target([plan(), NOTHING], [dict(OUTCOME, joined=True)])
    result, _warnings = migrate(target)
    assert operations(target) == [migrations.plan, migrations.apply, migrations.plan] and result["changed"]


def test_what_another_run_applied_is_no_change_of_ours():
    target = Target([plan()], [dict(OUTCOME, applied=[], applied_elsewhere=["api.2"])])
    result, _warnings = migrate(target)
    assert not result["changed"] and result["diff"]["after"] == "leaf api.2\n"


def test_redis_down_at_the_end_is_a_warning():
    target = Target([plan()], [dict(OUTCOME, post_migrate_failed={"exit_code": 1, "output": ["a", "refused"]})])
    result, warnings = migrate(target)
    assert result["changed"] and "All migrations were applied" in warnings[0] and "refused" in warnings[0]


def test_warnings_of_settings_and_of_the_ledger():
    target = Target([plan(duplicates=[{"name": "api.1", "ids": [1, 2]}])], external={"value": None, "misspelt": True})
    _result, warnings = migrate(target, check=True)
    for word in ("EXTERNAL_MIGRATIONS", "not set", "2 rows"):
        assert any(word in text for text in warnings)
    assert len(warnings) == 3


@pytest.mark.parametrize(("value", "told"), [("true", False), ("True", True), ("1", True), ("", True), (None, True)])
def test_phase_takes_only_the_word_true_for_true(value, told):
    """v2.73.2, scripts/start.sh compares with the string."""
    warnings = external_warnings({"value": value, "misspelt": False}, "compose")
    assert bool(warnings) is told
    if value:
        assert not told or repr(value) in warnings[0]
    assert external_warnings({"value": value, "misspelt": False}, "local") == []
    assert len(external_warnings({"value": value, "misspelt": True}, "local")) == 1


def test_check_mode_fails_where_a_real_run_is_refused():
    left = [{"index": "i", "table": "t", "valid": False}]
    with pytest.raises(PhaseError, match=r"i on t \(INVALID\)") as refused:
        migrate(Target([plan(leftover_indexes=left)]), check=True)
    assert refused.value.kind == "leftover_index" and refused.value.partial["leftover_indexes"] == left
    assert migrate(Target([plan(leftover_indexes=left)]), check=True, repair_indexes=True)[0]["changed"]
