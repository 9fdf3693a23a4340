# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import Cancelled
from ansible_collections.phase.console.plugins.module_utils._operations.core.api import Context
from ansible_collections.phase.console.plugins.module_utils._operations.core.sessions import Blocker
from ansible_collections.phase.console.plugins.module_utils._operations.core.waiting import scaled
from ansible_collections.phase.console.plugins.module_utils._operations.purge import foreign_key
from ansible_collections.phase.console.plugins.module_utils._operations.purge.errors import RetainTooShort
from ansible_collections.phase.console.plugins.module_utils._operations.purge.log_table import READS
from ansible_collections.phase.console.plugins.module_utils._operations.purge.rule import (
    IGNORE,
    RESPECT_DELIVERABLE,
    Rule,
    respected,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge.scope import (
    COLUMNS,
    EVENTS,
    FLOOR,
    INCOMING,
    TAGS,
    floor,
    layout_problems,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge.strategy import (
    Facts,
    by_index,
    choose,
    expected,
    foreign_key_of,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge.streams import (
    deliverable,
    parse,
    pending,
    reaches,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge.surroundings import snapshots
from ansible_collections.phase.console.plugins.module_utils._operations.purge.throttle import Control

CUTOFF = "2026-01-01T00:00:00.000000+00:00"
ENVIRONMENTS = [{"id": "e1", "organisation_id": "o1"}, {"id": "e2", "organisation_id": "o2"}]
SCOPE = {"everything": False, "environments": ENVIRONMENTS, "organisations": [{"id": "o1"}, {"id": "o2"}]}
AFTER = {
    "stream": "s",
    "name": "datadog",
    "organisation_id": "o2",
    "why": "it is paused",
    "after": "2025-06-01T00:00:00.000000+00:00",
    "after_id": "x",
    "until": None,
    "deliverable": "2025-12-01T00:00:00.000000+00:00",
}
WITHIN = dict(AFTER, organisation_id="o1", until="2025-11-30T00:00:00.000000+00:00", after_id="")


# The rule


def test_the_rule_is_read_events_up_to_the_cutoff():
    rule = Rule(READS, SCOPE, CUTOFF)
    assert rule.condition == rule.base
    assert "e.event_type = 'R'" in rule.base and "e.timestamp <= %(cutoff)s" in rule.base
    assert (rule.values["cutoff"], rule.values["environments"]) == (CUTOFF, ["e1", "e2"])
    assert "environments" not in Rule(READS, dict(SCOPE, everything=True), CUTOFF).values


def test_a_hold_is_for_its_own_organisation():
    rule = Rule(READS, SCOPE, CUTOFF, {}, [AFTER, WITHIN])
    assert (rule.values["hold_0_in"], rule.values["hold_1_in"]) == (["e2"], ["e1"])
    assert "(e.timestamp, e.id) > (" in rule.keeps[0].condition and "between" in rule.keeps[1].condition
    assert rule.condition.count(" or ") == 1 and " and not (" in rule.condition and rule.undelivered == []


def test_what_a_stream_can_no_longer_deliver_is_not_held():
    rule = Rule(READS, SCOPE, CUTOFF, {}, [AFTER, WITHIN], RESPECT_DELIVERABLE)
    (keep,) = rule.keeps
    assert (rule.values["hold_0_kept_after"], rule.values["hold_0_kept_id"]) == (AFTER["deliverable"], "")
    assert "log stream datadog has not delivered them" in keep.why and keep.stream == "s"
    assert ["not (" in lost.condition for lost in rule.undelivered] == [True, False]
    rule = Rule(READS, SCOPE, CUTOFF, {}, [AFTER], IGNORE)
    assert rule.condition == rule.base and len(rule.undelivered) == 1


def test_how_much_of_a_hold_stays():
    assert respected(AFTER, "respect_all", CUTOFF) is AFTER and respected(AFTER, IGNORE, CUTOFF) is None
    for unlimited in (dict(AFTER, deliverable=None), dict(AFTER, deliverable=AFTER["after"])):
        assert respected(unlimited, RESPECT_DELIVERABLE, CUTOFF) is unlimited
    assert respected(dict(AFTER, deliverable="2026-01-02"), RESPECT_DELIVERABLE, CUTOFF) is None
    assert respected(WITHIN, RESPECT_DELIVERABLE, CUTOFF) is None
    later = dict(WITHIN, until="2025-12-31T00:00:00.000000+00:00")
    assert respected(later, RESPECT_DELIVERABLE, CUTOFF)["after"] == AFTER["deliverable"]
    unreadable = dict(AFTER, after="-infinity")
    assert respected(unreadable, RESPECT_DELIVERABLE, CUTOFF)["after"] == AFTER["deliverable"]


def test_the_floor_is_the_higher_of_both():
    assert floor(90, {}) == 90
    assert floor(90, {FLOOR: "365"}) == 365
    assert floor(0, {FLOOR: ""}) == 0
    with pytest.raises(RetainTooShort):
        floor(0, {FLOOR: "a year"})


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


NOW = ("2026-01-02T00:00:00.000000+00:00", "datadog")


def test_a_stream_holds_what_comes_after_its_cursor():
    hold = pending("s", "datadog", "o1", True, "", {"ts": "2025-12-01T10:00:00+02:00", "id": "x"}, CUTOFF, *NOW)
    assert (hold["after"], hold["after_id"], hold["until"]) == ("2025-12-01T08:00:00.000000+00:00", "x", None)
    assert "paused: auth_error" in pending("s", "d", "o1", False, "auth_error", None, CUTOFF, *NOW)["why"]
    assert hold["deliverable"] == "2026-01-01T06:40:00.000000+00:00"  # 17 h 20 min before
    assert deliverable("an adapter of a later release", NOW[0]) is None


@pytest.mark.parametrize("cursor", [None, {}, {"id": "x"}])
def test_without_a_cursor_it_starts_at_its_creation(cursor):
    assert pending("s", "d", "o1", True, "", cursor, CUTOFF, *NOW)["after"] == CUTOFF


@pytest.mark.parametrize("cursor", [{"ts": "yesterday"}, {"ts": 5}])
def test_a_cursor_nobody_can_read_holds_everything(cursor):
    hold = pending("s", "d", "o1", True, "", cursor, CUTOFF, *NOW)
    assert hold["after"] == "-infinity" and reaches(hold["after"], CUTOFF) and "cannot be read" in hold["why"]


def test_only_what_reaches_back_to_the_cutoff_matters():
    assert parse("2026-01-01T00:00:00Z") == CUTOFF and parse("2026-01-01T00:00:00") == CUTOFF
    assert reaches(CUTOFF, CUTOFF) and not reaches("2026-01-01T00:00:00.000001+00:00", CUTOFF)


# Strategy

GOOD = Facts(
    server_version=150004,
    time_index=True,
    full_page_writes=True,
    eligible=1_500_000,
    total=2_000_000,
    share=0.75,
    blocks=250_000,
)
OLD = replace(GOOD, server_version=130011, time_index=False)


def test_auto_takes_delete_unless_it_cannot():
    assert choose("auto", GOOD).strategy == "delete"
    nothing = choose("auto", OLD)
    assert nothing.strategy is None and len(nothing.against) == 2 and "PostgreSQL 13" in nothing.against[1]


def test_the_index_is_for_small_parts_and_old_servers():
    assert by_index(GOOD) is None and by_index(replace(GOOD, share=None)) is None
    assert "0.5 %" in by_index(replace(GOOD, share=0.005))
    assert by_index(replace(GOOD, share=0.005, time_index=False)) is None
    assert "version 14" in by_index(replace(GOOD, server_version=130011))


def test_what_is_expected_grows_with_the_rows_and_falls_without_the_foreign_key():
    kept, aside = expected(GOOD, False, "kept"), expected(GOOD, False, "set_aside")
    assert kept["seconds"] > 2 * aside["seconds"] and kept["wal_bytes"] == aside["wal_bytes"]
    assert 1.2e9 < kept["wal_bytes"] < 2.5e9  # 1.8 GB was measured
    assert expected(replace(GOOD, full_page_writes=False), False, "kept")["wal_bytes"] < 0.2e9
    assert expected(replace(GOOD, eligible=0, share=0.0, total=None, blocks=0), False, "kept")["wal_bytes"] == 0


def test_what_becomes_of_the_foreign_key():
    kept = "it was asked for"
    assert foreign_key_of("keep", "delete", None, True, GOOD) == ("kept", kept)
    assert foreign_key_of("set_aside", "delete", None, True, GOOD) == ("set_aside", kept)
    few = replace(GOOD, share=0.01)
    for wanted in ("auto", "set_aside"):
        assert foreign_key_of(wanted, "delete", None, True, few) == ("kept", "only 1.0 % of the rows are deleted")
        assert foreign_key_of(wanted, "rewrite", None, True, GOOD)[0] == "kept"
    assert foreign_key_of("auto", "delete", None, False, GOOD)[0] == "unchecked"


def test_auto_drops_the_foreign_key_only_where_that_is_worth_its_locks():
    many = replace(GOOD, eligible=15_000_000, total=20_000_000, blocks=2_500_000)
    assert foreign_key_of("auto", "delete", "no", True, many) == ("set_aside", "no, and dropping it saves about 195 s")
    assert foreign_key_of("auto", "delete", "no", False, many) == ("kept", "no")
    assert foreign_key_of("auto", "delete", "no", True, GOOD)[0] == "kept"


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
    dump = Blocker(7, "", "pg_dump", "active", 10.0, None, "a lock")
    old = Blocker(8, "", "psql", "idle in transaction", 4000.0, None, "")
    young = Blocker(9, "", "gunicorn", "active", 1.0, None, "a lock")
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


# Sizes
