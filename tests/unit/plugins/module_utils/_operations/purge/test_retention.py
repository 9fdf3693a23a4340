# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.purge import other_logs as _retention
from ansible_collections.phase.console.plugins.module_utils._operations.purge.errors import RetainTooShort
from ansible_collections.phase.console.plugins.module_utils._operations.purge.export import selection
from ansible_collections.phase.console.plugins.module_utils._operations.purge.other_logs_table import (
    AUDIT,
    DELIVERY,
    LOGS,
    SYNC,
    LogRule,
    came_with,
)

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
    rule = LogRule(log, dict(SCOPE, everything=everything), CUTOFF, remembered)
    assert set(re.findall(r"%\((\w+)\)s", rule.condition)) <= set(rule.values)
    assert rule.base.startswith("e.%s <= %%(cutoff)s" % log.subject.time)
    limited = "environments" in rule.values
    assert limited == (not everything and log.knows_organisations)
    assert all(keep.condition in rule.condition for keep in log.keeps)


@pytest.mark.parametrize("log", LOGS.values(), ids=list(LOGS))
def test_a_rule_reads_its_own_table_by_its_time(log):
    assert log.subject.time in log.reads[log.subject.table] and log.subject.key in log.reads[log.subject.table]
    assert not (log.environment and log.organisation)


def test_what_a_stream_wants_stays_in_its_organisation():
    after = {"organisation_id": "o2", "name": "datadog", "why": "", "from": CUTOFF, "from_id": "x", "to": None}
    rule = LogRule(AUDIT, dict(SCOPE, everything=True), CUTOFF, {}, [after])
    assert rule.values["hold_0_in"] == "o2" and "log stream datadog" in rule.keeps[0].why
    assert rule.condition == "%s and not (%s)" % (rule.base, "(%s)" % rule.keeps[0].condition)
    assert "(e.timestamp, e.id) > (" in rule.condition


def test_nothing_is_asked_for_unless_it_is_named():
    assert _retention.asked({}) == _retention.asked({"other_logs": None}) == _retention.asked({"other_logs": {}}) == []
    assert _retention.asked({"other_logs": {"sync_events": 0, "audit_events": 5}}) == [AUDIT, SYNC]


def test_a_floor_names_the_logs_below_it():
    request = {"minimum_retain_days": 90, "other_logs": {"audit_events": 89, "scim_events": 90, "sessions": 0}}
    with pytest.raises(RetainTooShort) as caught:
        _retention.check_floor(_retention.asked(request), request)
    assert "keeps audit_events for fewer days than the 90" in caught.value.message
    _retention.check_floor([LOGS["sessions"]], request)


@pytest.mark.parametrize(("release", "there"), [("v2.68.3", False), ("v2.69.0", True), ("v3.0.0", True), ("", False)])
def test_a_table_is_due_with_its_release(release, there):
    assert came_with(AUDIT, release) is there


def test_a_reference_that_is_emptied_is_no_row_of_the_archive():
    text = selection("api_logstreamdeliveryevent", "id", "created_at", DELIVERY.subject.others)
    assert text.count("to_json(gone)") == 1 and "to_json(others)" not in text
    assert ", others as (update " in text and "returning" not in text
