# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each state makes of the rows, and what goes back."""

from __future__ import annotations

import json

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.access.sso_plan import (
    intended,
    lines,
    outcome,
    restoring,
    shown,
    told,
)
from ansible_collections.phase.console.plugins.module_utils._operations.core.organisations import (
    OrganisationMissing,
    choose,
)
from ansible_collections.phase.console.plugins.module_utils._operations.core.rows import RowsChanged, real

NOW = "2026-08-01 03:15:00.5+00"


def organisation(require="true", **more):
    return dict({"id": "o1", "name": "SpaceX", "plan": "EN", "require_sso": require, "updated_at": "before"}, **more)


def provider(key, enabled="true", kind="entra_id", config='{"client_secret": "ph:v1:x"}', **more):
    row = {"id": key, "name": "Entra", "provider_type": kind, "config": config, "enabled": enabled}
    return dict(row, updated_at="before", updated_by_id="m1", organisation_id="o1", **more)


ROWS = (provider("p1"), provider("p2", "false", "okta"))


def after(images):
    return {one["key"]: one["after"] for one in images}


@pytest.mark.parametrize("state", ["enforcement_disabled", "providers_disabled", "providers_deleted"])
def test_enforcement_goes_in_every_state(state):
    images = intended(state, organisation(), ROWS, NOW)
    assert after(images)["o1"] == organisation("false", updated_at=NOW)
    assert [one["key"] for one in images] == ["o1", "p1", "p2"]


def test_what_becomes_of_the_providers():
    kept, disabled, deleted = (
        after(intended(state, organisation(), ROWS, NOW))
        for state in ("enforcement_disabled", "providers_disabled", "providers_deleted")
    )
    assert (kept["p1"], kept["p2"]) == ROWS
    assert (disabled["p1"], disabled["p2"]) == (
        dict(ROWS[0], enabled="false", updated_at=NOW, updated_by_id=None),
        ROWS[1],
    )
    assert (deleted["p1"], deleted["p2"]) == (None, None)


@pytest.mark.parametrize("state", ["enforcement_disabled", "providers_disabled", "providers_deleted"])
def test_a_second_run_changes_nothing(state):
    rows = [] if state == "providers_deleted" else [provider("p1", "false")]
    images = intended(state, organisation("false"), rows, NOW)
    assert real(images) == [] and told(images) == []


def test_the_outcome_is_what_will_be_shown():
    images = intended("providers_deleted", organisation(), ROWS, NOW)
    assert outcome(images, organisation(), ROWS) == {"require_sso": False, "updated_at": NOW, "providers": []}
    assert outcome([], organisation(), ROWS) == shown(organisation(), ROWS)
    assert "ph:v1" not in json.dumps([shown(organisation(), ROWS), lines(shown(organisation(), ROWS)), told(images)])


def run(state, rows=ROWS):
    """What is there after a run, and its snapshot."""
    images = real(intended(state, organisation(), rows, NOW))
    by_key = dict({row["id"]: row for row in [organisation()] + list(rows)}, **after(images))
    return by_key.pop("o1"), [row for row in by_key.values() if row is not None], images


@pytest.mark.parametrize("state", ["enforcement_disabled", "providers_disabled", "providers_deleted"])
def test_everything_goes_back(state):
    now, rows, snapshot = run(state)
    images = restoring(snapshot, now, rows)
    assert outcome(images, now, rows) == shown(organisation(), ROWS)
    assert real(restoring(snapshot, organisation(), ROWS)) == []
    assert images[0]["key"] == "o1"  # its row is what is locked


def test_what_the_run_did_not_touch_is_left_alone():
    now, rows, snapshot = run("enforcement_disabled")
    rows = [dict(rows[0], config="{}", updated_at="later")] + rows[1:]
    assert [one["key"] for one in real(restoring(snapshot, now, rows))] == ["o1"]


def test_of_the_organisation_only_what_belongs_to_sso_goes_back():
    now, rows, snapshot = run("enforcement_disabled")
    images = restoring(snapshot, dict(now, plan="PR", name="Space X"), rows)
    assert after(images)["o1"] == organisation(plan="PR", name="Space X")


@pytest.mark.parametrize(
    ("change", "column"),
    [({"updated_at": "later"}, "updated_at"), ({"config": '{"client_secret": "planted"}'}, "config")],
)
def test_a_changed_row_is_refused_unless_forced(change, column):
    now, rows, snapshot = run("providers_disabled")
    rows = [dict(rows[0], **change)] + rows[1:]
    with pytest.raises(RowsChanged) as refused:
        restoring(snapshot, now, rows)
    assert [item["column"] for item in refused.value.partial["changed_since"]] == [column]
    assert "planted" not in str(refused.value.as_dict())
    assert outcome(restoring(snapshot, now, rows, force=True), now, rows) == shown(organisation(), ROWS)


def test_a_provider_of_a_type_that_comes_back():
    now, rows, snapshot = run("providers_deleted", [provider("p1")])
    rows = [provider("p8"), provider("p9", kind="okta")]
    with pytest.raises(RowsChanged) as refused:
        restoring(snapshot, now, rows)
    assert [item["key"] for item in refused.value.partial["changed_since"]] == ["p8"]
    images = restoring(snapshot, now, rows, force=True)
    assert after(images) == {"o1": organisation(), "p1": provider("p1"), "p8": None}


def test_sentences():
    assert told(intended("providers_disabled", organisation(), ROWS, NOW)) == [
        "SSO is no longer required.",
        "Provider Entra (entra_id) is disabled.",
    ]
    now, rows, snapshot = run("providers_deleted", ROWS[:1])
    assert told(restoring(snapshot, now, rows)) == ["SSO is again required.", "Provider Entra (entra_id) is put back."]


@pytest.mark.parametrize("typed", ["spacex", "SPACEX ", "\uff33pacex", "SpaceXX", "Space X"])
def test_the_right_name_is_told(typed):
    with pytest.raises(OrganisationMissing) as refused:
        choose(typed, ["SpaceX", "Contoso"])
    assert '"SpaceX"' in refused.value.next_step and "Contoso" not in refused.value.next_step


@pytest.mark.parametrize("typed", ["", "\0", "\ud800", "x" * 10000, "%s"])
def test_a_name_of_any_shape_is_only_missing(typed):
    with pytest.raises(OrganisationMissing) as refused:
        choose(typed, ["SpaceX", "Contoso"])
    assert len(refused.value.message.encode()) < 500 and '"Contoso", "SpaceX"' in refused.value.next_step
    with pytest.raises(OrganisationMissing):
        choose(typed, [])


def test_many_names_are_not_all_told():
    with pytest.raises(OrganisationMissing) as refused:
        choose("Hooli", ["org %02d" % number for number in range(30)])
    assert "and 20 more" in refused.value.next_step
