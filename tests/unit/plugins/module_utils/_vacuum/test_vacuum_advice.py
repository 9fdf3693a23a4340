# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._vacuum.advice import decide
from ansible_collections.phase.console.tests.unit.plugins.module_utils._vacuum.vacuum_tables import index
from ansible_collections.phase.console.tests.unit.plugins.module_utils._vacuum.vacuum_tables import (
    table as bloated_table,
)

MB, GB = 1 << 20, 1 << 30
VACUUM = "VACUUM (ANALYZE, PARALLEL 1) public.api_secretevent"
FULL = "VACUUM (FULL, ANALYZE) public.api_secretevent"


def named(one):
    return dict(one, quoted="public." + one["name"])


def state(**more):
    return {
        "heap_bytes": 19 * MB,
        "table_bytes": 19 * MB,
        "index_bytes": 2 * MB,
        "total_bytes": 21 * MB,
        "toast_bytes": 0,
        "live_rows": 21100,
        "dead_rows": 0,
        "modified_rows": 0,
        "inserted_rows": 0,
        "last_vacuum": "2026-11-21T10:00:00.000000Z",
        "last_analyze": "2026-11-21T10:00:00.000000Z",
        **more,
    }


def table(sizes=None, **more):
    """A table with nothing to do; ``sizes`` change its state."""
    facts = bloated_table(
        name="api_secretevent",
        quoted="public.api_secretevent",
        column="id",
        triggers=[],
        rules=False,
        row_security=False,
        inherited=False,
        owned=True,
        freeze_age=1000,
        busy=[],
        rewrite={"refused": []},
        empty_end_blocks=0,
        state=state(**(sizes or {})),
        indexes=[index("pkey", ["id"], bytes=1300000, unique=True), index("env", ["environment_id"], bytes=172032)],
    )
    facts.update(more)
    facts["indexes"] = [named(one) for one in facts["indexes"]]
    return facts


def wide(sizes=None, **more):
    """The same rows in 91 MB, with indexes of before the purge."""
    indexes = [index("pkey", ["id"], bytes=5931008, unique=True), index("env", ["environment_id"], bytes=745472)]
    sizes = {"heap_bytes": 91 * MB, "table_bytes": 91 * MB, "total_bytes": 98 * MB, **(sizes or {})}
    return table(sizes, **{"indexes": indexes, **more})


def server(**more):
    return {
        "block_size": 8192,
        "server_version_num": 180006,
        "parallel_workers": 2,
        "freeze_max_age": 200000000,
        "max_wal_bytes": GB,
        "snapshots": [],
        "pg_repack": None,
        "superuser": False,
        "connections": None,
        **more,
    }


def snapshot(since="2026-11-21T11:00:00.000000Z", seconds=10.0):
    return {"text": "pg_dump (pid 71, active)", "since": since, "seconds": seconds}


def advise(facts, mode="auto", free=100 * GB, force=False, confirm_full=False, repack=None, **more):
    request = {"mode": mode, "force": force, "confirm_full": confirm_full, "repack": repack, "max_lock_wait": 60.0}
    return decide(facts, server(**more), request, free)


# Nothing to do


@pytest.mark.parametrize("mode", ["auto", "analyze", "plain", "reindex", "rewrite", "repack", "compact", "full"])
def test_a_table_in_order_is_left_alone(mode):
    decision = advise(table(), mode)
    assert (decision.mode, decision.steps, decision.refusal) == ("nothing", [], None)
    assert decision.predicted["reclaimed_bytes"] == 0 and decision.reason


FORCED = {
    "analyze": ["ANALYZE public.api_secretevent"],
    "plain": [VACUUM],
    "reindex": ["REINDEX INDEX CONCURRENTLY public.env", "REINDEX INDEX CONCURRENTLY public.pkey"],
    "full": [FULL, "VACUUM (PARALLEL 1) public.api_secretevent"],
}


@pytest.mark.parametrize("mode", FORCED)
def test_force_does_it_all_the_same(mode):
    assert advise(table(), mode, force=True, confirm_full=True).statements == FORCED[mode]


# Analyze and plain


@pytest.mark.parametrize(
    "sizes, reason",
    [
        ({"dead_rows": 2000}, "2000 rows dead"),
        ({"inserted_rows": 9000}, "9000 rows were inserted"),
        ({"last_vacuum": None}, "not vacuumed since statistics are kept"),
    ],
)
def test_plain_is_due(sizes, reason):
    for mode in ("plain", "auto"):
        decision = advise(table(sizes), mode)
        assert decision.statements == [VACUUM] and reason in decision.reason
        assert "reads and writes go on" in decision.predicted["lock"]


def test_a_few_dead_rows_are_left_to_autovacuum():
    assert advise(table({"dead_rows": 400, "inserted_rows": 1000}), "plain").mode == "nothing"


def test_an_old_table_is_frozen():
    decision = advise(table(freeze_age=190000000))
    assert decision.statements == ["VACUUM (FREEZE, ANALYZE, PARALLEL 1) public.api_secretevent"]
    assert "190000000 transactions old" in decision.reason


def test_parallel_is_left_out_where_there_are_no_workers():
    assert advise(table({"dead_rows": 5000}), "plain", parallel_workers=0).statements == [
        "VACUUM (ANALYZE) public.api_secretevent"
    ]


@pytest.mark.parametrize("blocks, due", [(10, False), (200, True), (1100, True)])
def test_an_empty_end_is_cut_off_when_postgresql_would(blocks, due):
    decision = advise(table(empty_end_blocks=blocks), "plain")
    assert bool(decision.steps) == due
    assert decision.predicted["reclaimed_bytes"] == (blocks * 8192 if due else 0)
    assert ("ACCESS EXCLUSIVE" in decision.predicted["lock"]) == due


def test_dead_rows_that_somebody_keeps_are_not_vacuumed_again():
    """A snapshot from before the last vacuum: what is dead now died after it."""
    held = [snapshot(since="2026-11-21T09:00:00.000000Z", seconds=7200.0)]
    decision = advise(table({"dead_rows": 5000}), "plain", snapshots=held)
    assert decision.mode == "nothing"
    assert decision.reason == "its 5000 rows dead are kept by pg_dump (pid 71, active)"
    later = [snapshot(since="2026-11-21T10:00:01.000000Z")]
    assert advise(table({"dead_rows": 5000}), "plain", snapshots=later).mode == "plain"


def test_how_long_a_replica_has_had_its_snapshot_is_not_known():
    """So nothing is left undone for it."""
    replica = {"text": "a query on replica r1", "since": None, "seconds": None}
    assert advise(table({"dead_rows": 5000}), "plain", snapshots=[replica]).mode == "plain"


@pytest.mark.parametrize("sizes", [{"modified_rows": 2000}, {"last_analyze": None}])
def test_stale_statistics_are_refreshed(sizes):
    for mode in ("analyze", "auto"):
        assert advise(table(sizes), mode).statements == ["ANALYZE public.api_secretevent"]
    assert advise(table({"modified_rows": 300}), "analyze").mode == "nothing"


# Reindex


def test_bloated_indexes_are_built_again_the_smallest_first():
    decision = advise(wide(), "reindex")
    assert decision.statements == FORCED["reindex"]
    assert decision.predicted["reclaimed_bytes"] == pytest.approx(5931008 - 1269760 + 745472 - 172032, rel=0.05)
    assert 1269760 < decision.predicted["needed_bytes"] < 4 * 1269760


@pytest.mark.parametrize("free", [None, MB])
def test_reindex_wants_room_for_one_index(free):
    decision = advise(wide(), "reindex", free=free)
    assert decision.refusal.kind == "no_space"


def test_auto_builds_only_indexes_that_are_worth_it():
    decision = advise(table(indexes=wide()["indexes"]))
    assert decision.statements == ["REINDEX INDEX CONCURRENTLY public.pkey"]


# What an interrupted reindexing left


def leftover(name="pkey_ccnew"):
    return index(name, ["id"], bytes=500000, valid=False)


@pytest.mark.parametrize("name", ["pkey_ccnew", "pkey_ccold", "pkey_ccnew2"])
def test_leftovers_are_dropped(name):
    facts = table(indexes=[*table()["indexes"], leftover(name)])
    for mode in ("auto", "plain", "reindex", "full"):
        decision = advise(facts, mode)
        assert decision.mode == "cleanup"
        assert decision.statements == ["DROP INDEX CONCURRENTLY IF EXISTS public." + name]
        assert decision.predicted["reclaimed_bytes"] == 500000


def test_leftovers_go_first():
    decision = advise(wide(indexes=[*wide()["indexes"], leftover()]), "reindex")
    assert decision.statements[0].startswith("DROP INDEX CONCURRENTLY") and len(decision.steps) == 3


def test_leftovers_stand_in_the_way_of_a_copy_only_until_they_are_dropped():
    facts = wide(indexes=[*wide()["indexes"], leftover()], rewrite={"refused": ["index pkey_ccnew is invalid"]})
    for mode in ("auto", "rewrite"):
        decision = advise(facts, mode)
        assert decision.refusal is None
        assert [step["kind"] for step in decision.steps] == ["drop", "rewrite", "vacuum"]
    assert "drops first" in advise(facts, "repack", pg_repack="1.5.0", superuser=True, repack="1.5.0").refusal.message


def test_a_broken_index_of_another_origin_is_only_told():
    decision = advise(table(indexes=[*table()["indexes"], leftover("logstream_idx")]))
    assert decision.mode == "nothing" and "logstream_idx" in decision.warnings[0]


@pytest.mark.parametrize("what", ["builds an index", "rewrites it"])
def test_nothing_is_done_while_somebody_else_is_at_work(what):
    facts = wide(indexes=[*wide()["indexes"], leftover()], busy=[{"pid": 9, "what": what}])
    decision = advise(facts)
    assert decision.steps == [] and decision.refusal.kind == "lock_held" and "pid 9" in decision.refusal.message


def test_an_autovacuum_gives_way():
    assert advise(wide(busy=[{"pid": 9, "what": "vacuums it"}]), "plain").refusal is None


# Full


def test_full_tells_the_price_and_wants_to_be_confirmed():
    decision = advise(wide(), "full")
    assert decision.refusal.kind == "not_confirmed" and "confirm_full" in decision.refusal.next_step
    assert "about 1 s" in decision.refusal.message and "give back 81 MB" in decision.refusal.message
    confirmed = advise(wide(), "full", confirm_full=True)
    assert confirmed.refusal is None and confirmed.statements[0] == FULL
    assert confirmed.predicted["reclaimed_bytes"] == pytest.approx(78 * MB, rel=0.05)
    assert confirmed.predicted["stall_seconds"] > 0 and confirmed.predicted["lock"].startswith("ACCESS EXCLUSIVE")


def test_the_stall_grows_with_the_table():
    times = 20
    big = wide({"heap_bytes": times * 91 * MB, "table_bytes": times * 91 * MB, "total_bytes": times * 98 * MB})
    small = advise(wide(), "full").predicted["stall_seconds"]
    assert advise(big, "full").predicted["stall_seconds"] > 3 * small


@pytest.mark.parametrize("free", [None, 10 * MB])
def test_full_without_room_is_refused_even_when_confirmed(free):
    decision = advise(wide(), "full", free=free, confirm_full=True)
    assert decision.refusal.kind == "no_space"
    assert ("free_space" in decision.refusal.message) == (free is None)


# Rewrite


def test_rewrite_stalls_nobody_for_long_but_wants_room():
    decision = advise(wide(), "rewrite")
    assert [step["kind"] for step in decision.steps] == ["rewrite", "vacuum"]
    assert decision.predicted["reclaimed_bytes"] == advise(wide(), "full").predicted["reclaimed_bytes"]
    assert decision.predicted["stall_seconds"] == 0 and "swap" in decision.predicted["lock"]
    assert advise(wide(), "rewrite", free=MB).refusal.kind == "no_space"


def test_rewrite_is_refused_for_what_a_copy_would_lose():
    refused = advise(wide(rewrite={"refused": ["a view reads it"]}), "rewrite").refusal
    assert refused.kind == "unsuitable" and "a view reads it" in refused.message


# pg_repack

NEITHER = {"refused": ["a view reads it"]}
BOTH = {"pg_repack": "1.4.8", "superuser": True, "repack": "1.4.8"}


def test_pg_repack_is_used_where_both_halves_of_it_are():
    for mode in ("auto", "repack"):
        decision = advise(wide(rewrite=NEITHER), mode, **BOTH)
        assert decision.refusal is None and decision.mode == "repack"
        assert decision.statements[0].startswith(
            "pg_repack --table=public.api_secretevent --no-order --no-kill-backend"
        )
        assert "--wait-timeout=60" in decision.statements[0] and decision.statements[1] == VACUUM


@pytest.mark.parametrize(
    "lacking, said",
    [
        ({"pg_repack": None}, "extension"),
        ({"superuser": False}, "superuser"),
        ({"repack": None}, "program"),
        ({"repack": "1.5.0"}, "version 1.5.0"),
    ],
)
def test_half_of_pg_repack_is_none(lacking, said):
    have = {**BOTH, **lacking}
    assert said in advise(wide(), "repack", **have).refusal.message
    assert advise(wide(rewrite=NEITHER), **have).mode == "compact"


# Compact


def test_compact_needs_no_room():
    decision = advise(wide(), "compact", free=0)
    assert decision.refusal is None
    assert [step["kind"] for step in decision.steps] == ["vacuum", "compact", "vacuum"]
    step = decision.steps[1]
    assert step["blocks"] == 91 * 128 and 18 * 128 < step["target"] < 21 * 128
    assert 'AS t SET "id" = t."id" WHERE' in step["statement"]
    assert decision.predicted["reclaimed_bytes"] == (step["blocks"] - step["target"]) * 8192


@pytest.mark.parametrize(
    "more, versions, said",
    [
        ({"triggers": ["audit"]}, {}, "trigger audit"),
        ({"rules": True}, {}, "rules"),
        ({"row_security": True}, {}, "row security"),
        ({"inherited": True}, {}, "inherit"),
        ({"owned": False}, {}, "own"),
        ({}, {"server_version_num": 130010}, "PostgreSQL 13"),
    ],
)
def test_what_speaks_against_compacting(more, versions, said):
    assert said in advise(wide(**more), "compact", **versions).refusal.message
    auto = advise(wide({"dead_rows": 5000}, rewrite={"refused": ["a view reads it"]}, **more), **versions)
    assert auto.refusal is None and auto.steps[0]["kind"] == "vacuum" and len(auto.steps) == 2
    assert "only with mode=full in a window" in auto.warnings[0]
    assert said in auto.warnings[0] and "rewrite: a view reads it" in auto.warnings[0]


# Auto


def test_auto_gives_a_wide_table_back_while_everybody_works_on():
    decision = advise(wide())
    assert decision.mode == "rewrite" and [step["kind"] for step in decision.steps] == ["rewrite", "vacuum"]
    assert decision.predicted["stall_seconds"] == 0


@pytest.mark.parametrize("free, last", [(3 * MB, "reindex"), (MB, "vacuum"), (None, "vacuum")])
def test_without_room_for_a_copy_auto_moves_the_rows(free, last):
    decision = advise(wide(), free=free)
    assert decision.mode == "compact"
    assert [step["kind"] for step in decision.steps[:3]] == ["vacuum", "compact", "vacuum"]
    assert decision.steps[-1]["kind"] == last
    assert any("stay so" in text for text in decision.warnings) == (last == "vacuum")


def test_what_cannot_be_copied_is_moved():
    assert advise(wide(rewrite={"refused": ["a view reads it"]})).mode == "compact"


def test_auto_does_not_move_rows_for_space_that_cannot_come_back():
    decision = advise(wide({"dead_rows": 5000}), snapshots=[snapshot(seconds=4000.0)])
    assert [step["kind"] for step in decision.steps] == ["vacuum", "reindex"]
    assert "pg_dump (pid 71, active)" in decision.warnings[0]


def test_auto_never_locks_everybody_out():
    for facts in (table(), wide(), wide(rewrite={"refused": ["x"]}, triggers=["audit"])):
        for free in (None, 0, GB):
            assert all(step["kind"] != "full" for step in advise(facts, free=free, confirm_full=True).steps)


def test_postgresql_19_can_do_it_itself():
    stuck = wide(triggers=["audit"], rewrite={"refused": ["a trigger audit"]})
    decision = advise(stuck, server_version_num=190000)
    assert "REPACK (CONCURRENTLY) public.api_secretevent" in decision.warnings[0]
    assert all(not statement.startswith("REPACK") for statement in decision.statements)


def test_an_empty_end_needs_no_copy():
    """Plain VACUUM cuts it off; what it would leave is in order."""
    decision = advise(wide(empty_end_blocks=71 * 128, indexes=table()["indexes"]))
    assert (decision.mode, decision.statements) == ("plain", [VACUUM])
    assert decision.predicted["reclaimed_bytes"] == 71 * MB


def test_a_little_air_is_left():
    """A quarter of the table has to come back before auto moves rows."""
    slack = table({"heap_bytes": 23 * MB, "table_bytes": 23 * MB, "total_bytes": 25 * MB})
    assert advise(slack).mode == "nothing"
