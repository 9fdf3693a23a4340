# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption, Cancelled
from ansible_collections.phase.console.plugins.module_utils._operations.core.api import Context
from ansible_collections.phase.console.plugins.module_utils._operations.core.waiting import scaled
from ansible_collections.phase.console.plugins.module_utils._operations.purge import foreign_key
from ansible_collections.phase.console.plugins.module_utils._operations.purge import stock as _purge_stock
from ansible_collections.phase.console.plugins.module_utils._operations.purge.errors import RetainTooShort
from ansible_collections.phase.console.plugins.module_utils._operations.purge.operation import (
    by_command,
    releases_in_batches,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge.scope import (
    COLUMNS,
    EVENTS,
    FLOOR,
    INCOMING,
    TAGS,
    Rule,
    floor,
    layout_problems,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge.strategy import by_index, choose, expected
from ansible_collections.phase.console.plugins.module_utils._operations.purge.streams import parse, pending, reaches
from ansible_collections.phase.console.plugins.module_utils._operations.purge.surroundings import snapshots
from ansible_collections.phase.console.plugins.module_utils._operations.purge.throttle import Control
from ansible_collections.phase.console.plugins.module_utils._purge.purge_logs import size

CUTOFF = "2026-01-01T00:00:00.000000+00:00"
ENVIRONMENTS = [{"id": "e1", "organisation_id": "o1"}, {"id": "e2", "organisation_id": "o2"}]
SCOPE = {"cutoff": CUTOFF, "everything": False, "environments": ENVIRONMENTS}


# The rule


def test_the_rule_is_read_events_up_to_the_cutoff():
    rule = Rule(SCOPE)
    assert rule.condition == rule.base
    assert "e.event_type = 'R'" in rule.base and "e.timestamp <= %(cutoff)s" in rule.base
    assert rule.values == {"cutoff": CUTOFF, "environments": ["e1", "e2"]}
    assert "environments" not in Rule(dict(SCOPE, everything=True)).values


def test_a_hold_is_for_its_own_organisation():
    after = {"organisation_id": "o2", "from": CUTOFF, "from_id": "x", "to": None}
    within = {"organisation_id": "o1", "from": CUTOFF, "from_id": None, "to": CUTOFF}
    rule = Rule(SCOPE, [after, within])
    assert (rule.values["hold_0_in"], rule.values["hold_1_in"]) == (["e2"], ["e1"])
    assert "(e.timestamp, e.id) > (" in rule.holds[0] and "between" in rule.holds[1]
    assert rule.condition.count(" or ") == 1 and " and not (" in rule.condition


def test_the_floor_is_the_higher_of_both():
    assert floor({"minimum_retain_days": 90}, {}) == 90
    assert floor({"minimum_retain_days": 90}, {FLOOR: "365"}) == 365
    assert floor({}, {FLOOR: ""}) == 0
    with pytest.raises(RetainTooShort):
        floor({}, {FLOOR: "a year"})


PLAIN = {"plain": True, "permanent": True, "row_security": False, "rules": False}
KNOWN = {table: {name: (kind, True) for name, kind in columns.items()} for table, columns in COLUMNS.items()}
FACTS = {EVENTS: PLAIN, TAGS: PLAIN}
KEY = ("fk", TAGS, INCOMING)


def test_the_known_layout_is_accepted():
    assert layout_problems(KNOWN, FACTS, [KEY], False) == []
    assert layout_problems(KNOWN, FACTS, [], True) == []


@pytest.mark.parametrize(
    ("found", "facts", "incoming"),
    [
        (dict(KNOWN, api_app={}), FACTS, [KEY]),
        ({table: KNOWN[table] for table in KNOWN if table != TAGS}, {EVENTS: PLAIN}, [KEY]),
        (dict(KNOWN, **{EVENTS: dict(KNOWN[EVENTS], event_type=("integer", True))}), FACTS, [KEY]),
        (dict(KNOWN, **{EVENTS: dict(KNOWN[EVENTS], event_type=("character varying(1)", False))}), FACTS, [KEY]),
        (KNOWN, dict(FACTS, **{EVENTS: dict(PLAIN, plain=False)}), [KEY]),
        (KNOWN, dict(FACTS, **{TAGS: dict(PLAIN, row_security=True)}), [KEY]),
        (KNOWN, dict(FACTS, **{EVENTS: dict(PLAIN, rules=True)}), [KEY]),
        (KNOWN, FACTS, []),
        (KNOWN, FACTS, [KEY, ("other", "public.report", "FOREIGN KEY (event) REFERENCES api_secretevent(id)")]),
        (KNOWN, FACTS, [("fk", TAGS, INCOMING.replace(" DEFERRABLE", " ON DELETE CASCADE DEFERRABLE"))]),
    ],
)
def test_another_layout_is_a_problem(found, facts, incoming):
    assert layout_problems(found, facts, incoming, False)


# Streams


def test_a_stream_holds_what_comes_after_its_cursor():
    hold = pending("s", "datadog", "o1", True, "", {"ts": "2025-12-01T10:00:00+02:00", "id": "x"}, CUTOFF)
    assert (hold["from"], hold["from_id"], hold["to"]) == ("2025-12-01T08:00:00.000000+00:00", "x", None)
    assert "paused: auth_error" in pending("s", "d", "o1", False, "auth_error", None, CUTOFF)["why"]


@pytest.mark.parametrize("cursor", [None, {}, {"id": "x"}])
def test_without_a_cursor_it_starts_at_its_creation(cursor):
    assert pending("s", "d", "o1", True, "", cursor, CUTOFF)["from"] == CUTOFF


@pytest.mark.parametrize("cursor", [{"ts": "yesterday"}, {"ts": 5}])
def test_a_cursor_nobody_can_read_holds_everything(cursor):
    hold = pending("s", "d", "o1", True, "", cursor, CUTOFF)
    assert hold["from"] == "-infinity" and reaches(hold["from"], CUTOFF) and "cannot be read" in hold["why"]


def test_only_what_reaches_back_to_the_cutoff_matters():
    assert parse("2026-01-01T00:00:00Z") == CUTOFF and parse("2026-01-01T00:00:00") == CUTOFF
    assert reaches(CUTOFF, CUTOFF) and not reaches("2026-01-01T00:00:00.000001+00:00", CUTOFF)


# Strategy

GOOD = {
    "server_version": 150004,
    "time_index": True,
    "application": True,
    "release": "v2.73.0",
    "release_deletes_history": False,
    "held": False,
    "eligible": 1_500_000,
    "total": 2_000_000,
    "share": 0.75,
    "blocks": 250_000,
    "full_page_writes": True,
}
OLD = dict(GOOD, server_version=130011, time_index=False)


def test_auto_takes_delete_and_falls_back_where_it_cannot():
    assert choose("auto", GOOD).strategy == "delete"
    fallback = choose("auto", OLD)
    assert fallback.strategy == "stock" and "not delete: PostgreSQL 13" in fallback.why
    nothing = choose("auto", dict(OLD, release_deletes_history=True, application=False))
    assert nothing.strategy is None and len(nothing.against) == 4


@pytest.mark.parametrize("more", [{"application": False}, {"release_deletes_history": True}, {"held": True}])
def test_stock_is_refused_where_it_does_harm(more):
    assert choose("stock", GOOD).strategy == "stock"
    assert choose("stock", dict(GOOD, **more)).against


def test_the_index_is_for_small_parts_and_old_servers():
    assert by_index(GOOD) is None and by_index(dict(GOOD, share=None)) is None
    assert "0.5 %" in by_index(dict(GOOD, share=0.005))
    assert by_index(dict(GOOD, share=0.005, time_index=False)) is None
    assert "version 14" in by_index(dict(GOOD, server_version=130011))


def test_what_is_expected_grows_with_the_rows_and_falls_without_the_foreign_key():
    kept, aside = expected(GOOD, False, "kept"), expected(GOOD, False, "set_aside")
    assert kept["seconds"] > 2 * aside["seconds"] and kept["wal_bytes"] == aside["wal_bytes"]
    assert 1.2e9 < kept["wal_bytes"] < 2.5e9  # 1.8 GB was measured
    assert expected(dict(GOOD, full_page_writes=False), False, "kept")["wal_bytes"] < 0.2e9
    assert expected(dict(GOOD, eligible=0, share=0.0, total=None, blocks=0), False, "kept")["wal_bytes"] == 0


@pytest.mark.parametrize(
    ("release", "good"), [("v2.73.0", True), ("v2.110.1", True), ("v3.0.0", True), ("v2.72.9", False), ("", False)]
)
def test_releases_whose_command_deletes_read_events_only(release, good):
    assert releases_in_batches(release) is good


# The walk


def test_batches_grow_and_shrink_towards_the_target():
    assert scaled(64, 0.001, 0.25, 64, 65536) == 256
    assert scaled(1000, 0.5, 0.25, 64, 65536) == 500
    assert scaled(1000, 100, 0.25, 64, 65536) == 250
    assert scaled(64, 100, 0.25, 64, 65536) == 64 and scaled(60000, 0.1, 0.25, 64, 65536) == 65536


# The marker


def test_a_marker_is_found_only_where_one_is():
    assert foreign_key.parse(None) is None and foreign_key.parse("The tags of events") is None
    assert foreign_key.parse(foreign_key.WORDS + '{"name": "fk"}') == {"name": "fk"}


# What stands in the way


def test_dumps_and_old_snapshots_are_told():
    dump = (7, "pg_dump", "active", 10.0, True, True)
    old = (8, "psql", "idle in transaction", 4000.0, False, False)
    young = (9, "gunicorn", "active", 1.0, False, True)
    found = snapshots([dump, old, young])
    assert [(item["what"], item["blocks"]) for item in found] == [("pg_dump", ["set_aside"]), ("old_snapshot", [])]


# Waiting


class Scene:
    """A clock that sleeping moves, and a throttle that says what it is told to."""

    def __init__(self, *said):
        self.now, self.said, self.told, self.cancelled, self.pause_file = 0.0, list(said), [], False, False

    def reasons(self):
        return self.said.pop(0) if self.said else []

    def sleep(self, seconds):
        self.now += seconds
        self.pause_file = False

    def control(self, max_duration=0.0):
        context = Context(
            connect=None,
            report=lambda message, **counters: self.told.append((message, counters)),
            clock=lambda: self.now,
            sleep=self.sleep,
            caller_lost=lambda: False,
            cancelled=lambda: self.cancelled,
            paused=lambda: self.pause_file,
        )
        return Control(context, self, lambda: None, max_duration)


LAG = [("replica_lag", "a replica is 40.0 s behind")]


def test_it_waits_while_there_is_a_reason_and_says_so():
    scene = Scene(LAG, LAG, [])
    control = scene.control()
    assert control.gate() is None
    assert control.paused == {"replica_lag": 2.0}
    assert scene.told == [
        ("Paused: a replica is 40.0 s behind", {"throttle": "replica_lag"}),
        ("Going on", {"throttle": "none"}),
    ]


def test_the_deadline_ends_a_pause_too():
    scene = Scene(*[LAG] * 100)
    control = scene.control(max_duration=3)
    assert control.gate() == "max_duration" and scene.now == 3.0


def test_the_pause_file_pauses():
    scene = Scene()
    scene.pause_file = True
    control = scene.control()
    assert control.gate() is None and control.paused == {"pause_file": 1.0}


def test_a_cancelled_run_goes_no_further():
    scene = Scene()
    scene.cancelled = True
    with pytest.raises(Cancelled):
        scene.control().gate()


def test_the_stock_command_has_the_time_that_is_left(monkeypatch):
    scene, given = Scene(), []
    monkeypatch.setattr(_purge_stock, "run_command", lambda *arguments: given.append((arguments[1], arguments[3])))
    scope = {"organisations": [{"name": "one"}, {"name": "two"}]}
    control = scene.control(max_duration=3)
    assert by_command(None, scope, lambda: None, control) is None and given == [("one", 3.0), ("two", 3.0)]
    scene.now = 3.0
    assert by_command(None, scope, lambda: None, control) == "max_duration" and len(given) == 2


# Sizes


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("0", 0), ("5000000", 5_000_000), ("50MB", 50_000_000), ("2 GiB", 2**31), ("40mb/s", 40_000_000)],
)
def test_sizes(text, bytes_):
    assert size("wal_rate", text) == bytes_


@pytest.mark.parametrize("text", ["", "much", "-5", "5 PB"])
def test_what_is_no_size(text):
    with pytest.raises(BadOption):
        size("wal_rate", text)
