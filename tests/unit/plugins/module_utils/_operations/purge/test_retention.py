# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.purge import logs as _logs
from ansible_collections.phase.console.plugins.module_utils._operations.purge.errors import RetainTooShort
from ansible_collections.phase.console.plugins.module_utils._operations.purge.export import selection
from ansible_collections.phase.console.plugins.module_utils._operations.purge.log_table import (
    AUDIT,
    DELIVERY,
    LOGS,
    READS,
    came_with,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge.rule import Rule

CUTOFF = "2026-01-01T00:00:00.000000+00:00"
SCOPE = {
    "everything": False,
    "environments": [{"id": "e1", "organisation_id": "o1"}],
    "organisations": [{"id": "o1", "name": "SpaceX"}],
}


@pytest.mark.parametrize("log", LOGS.values(), ids=list(LOGS))
@pytest.mark.parametrize("everything", [True, False])
def test_every_parameter_of_a_rule_has_a_value(log, everything):
    remembered = {name: ["x"] for name in log.remembered}
    rule = Rule(log, dict(SCOPE, everything=everything), CUTOFF, remembered)
    assert set(re.findall(r"%\((\w+)\)s", rule.condition)) <= set(rule.values)
    assert ("e.%s <= %%(cutoff)s" % log.subject.time) in rule.base and rule.base.startswith("e.")
    limited = "environments" in rule.values
    assert limited == (not everything and log.knows_organisations)
    assert all(keep.condition in rule.condition for keep in log.keeps)


@pytest.mark.parametrize("log", LOGS.values(), ids=list(LOGS))
def test_a_rule_reads_its_own_table_by_its_time(log):
    assert log.subject.time in log.reads[log.subject.table] and log.subject.key in log.reads[log.subject.table]
    assert not (log.environment and log.organisation)


def test_what_a_stream_wants_stays_in_its_organisation():
    after = {"stream": "s", "organisation_id": "o2", "name": "datadog", "why": ""}
    after.update({"after": CUTOFF, "after_id": "x", "until": None, "deliverable": None})
    rule = Rule(AUDIT, dict(SCOPE, everything=True), CUTOFF, {}, [after])
    assert rule.values["hold_0_in"] == "o2" and "log stream datadog" in rule.keeps[0].why
    assert rule.condition == "%s and not (%s)" % (rule.base, "(%s)" % rule.keeps[0].condition)
    assert "(e.timestamp, e.id) > (" in rule.condition


def test_a_floor_names_the_logs_below_it():
    retain = {"read_events": 90, "audit_events": 89, "scim_events": 90, "sessions": 0}
    with pytest.raises(RetainTooShort) as caught:
        _logs.check_floor(retain, 90)
    assert caught.value.message == "audit_events would keep 89 days, and at least 90 days have to be kept here."
    _logs.check_floor({"sessions": 0}, 90)


def test_read_events_limit_their_rows_and_the_other_logs_do_not():
    assert Rule(READS, SCOPE, CUTOFF).base.startswith("e.event_type = 'R' and ")
    assert [name for name, log in LOGS.items() if log.only] == ["read_events"]


@pytest.mark.parametrize(("release", "there"), [("v2.68.3", False), ("v2.69.0", True), ("v3.0.0", True), ("", False)])
def test_a_table_is_due_with_its_release(release, there):
    assert came_with(AUDIT, release) is there


def test_a_reference_that_is_emptied_is_no_row_of_the_archive():
    text = selection("api_logstreamdeliveryevent", "id", "created_at", DELIVERY.subject.others)
    assert text.count("to_json(gone)") == 1 and "to_json(others)" not in text
    assert ", others as (update " in text and "returning" not in text
