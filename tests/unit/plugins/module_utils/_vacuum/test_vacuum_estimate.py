# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest
from ansible_collections.phase.console.plugins.module_utils._vacuum.estimate import (
    bloated_indexes,
    estimate,
    freed_by_rewrite,
    index_bytes,
    size_after_rewrite,
    table_bytes,
)
from ansible_collections.phase.console.tests.unit.plugins.module_utils._vacuum.vacuum_tables import index, table

BLOCK = 8192
# What VACUUM FULL of PostgreSQL 18.6 made of the same rows: 21,100 of 100,000 events were left, in 91 MB.
FULL_TABLE, FULL_PKEY, FULL_ENVIRONMENT = 19218432, 1269760, 172032


def test_a_table_is_as_large_as_its_rows():
    assert table_bytes(table(), BLOCK) == pytest.approx(FULL_TABLE, rel=0.05)


def test_a_sample_stands_for_the_whole():
    part = table()
    part["sample"] = copy.deepcopy(part["sample"])
    part["sample"].update(share=0.1, rows=2110)
    for found in part["sample"]["columns"].values():
        found["bytes"] /= 10
        found["values"] //= 10
    assert table_bytes(part, BLOCK) == pytest.approx(table_bytes(table(), BLOCK), rel=0.001)
    unique = index("pkey", ["id"], unique=True)
    assert index_bytes(part, unique, BLOCK) == pytest.approx(index_bytes(table(), unique, BLOCK), rel=0.01)


def test_an_index_without_duplicates():
    assert index_bytes(table(), index("pkey", ["id"], unique=True), BLOCK) == pytest.approx(FULL_PKEY, rel=0.1)


def test_an_index_of_few_values_is_deduplicated():
    assert index_bytes(table(), index("env", ["environment_id"]), BLOCK) == pytest.approx(FULL_ENVIRONMENT, rel=0.1)
    # A unique index and one with INCLUDE are not (documentation, 65.1.4.3).
    assert index_bytes(table(), index("env", ["environment_id"], includes=True), BLOCK) > 5 * FULL_ENVIRONMENT


def test_nulls_lie_together():
    half = index_bytes(table(), index("user", ["user_id"]), BLOCK)
    assert half == pytest.approx(FULL_ENVIRONMENT, rel=0.2)


def test_several_columns_have_as_many_values_as_their_finest():
    both = index_bytes(table(), index("history", ["environment_id", "timestamp"]), BLOCK)
    alone = index_bytes(table(), index("time", ["timestamp"]), BLOCK)
    assert both > 2 * alone


def test_without_statistics_no_value_comes_twice():
    unknown = table()
    unknown["columns"] = [dict(one, n_distinct=None) for one in unknown["columns"]]
    env = index("env", ["environment_id"])
    assert index_bytes(unknown, env, BLOCK) == index_bytes(unknown, dict(env, unique=True), BLOCK)


def test_a_partial_index_counts_its_own_rows():
    whole, part = index("a", ["id"]), index("a", ["id"], partial=True, rows=2110.0)
    assert index_bytes(table(), part, BLOCK) == pytest.approx(index_bytes(table(), whole, BLOCK) / 10, rel=0.2)
    assert index_bytes(table(), dict(part, rows=-1.0), BLOCK) is None
    assert index_bytes(table(rows_estimate=-1.0), part, BLOCK) is None


@pytest.mark.parametrize("odd", [{"method": "gin"}, {"columns": [None]}, {"columns": ["id", None]}])
def test_an_index_of_another_kind_is_not_judged(odd):
    other = dict(index("other", ["id"], bytes=10**9), **odd)
    assert index_bytes(table(), other, BLOCK) is None
    assert estimate(table(indexes=[other]), BLOCK)["index_bytes"] == {"other": 10**9}


def test_an_invalid_index_is_not_judged():
    broken = index("broken", ["id"], bytes=10**9, valid=False)
    assert estimate(table(indexes=[broken]), BLOCK)["index_bytes"] == {"broken": 10**9}


def test_an_empty_table():
    empty = table(sample={"share": 1.0, "rows": 0, "columns": {}})
    assert (table_bytes(empty, BLOCK), index_bytes(empty, index("pkey", ["id"]), BLOCK)) == (0, BLOCK)


def test_a_sample_that_hit_nothing_promises_nothing():
    missed = table(sample={"share": 0.01, "rows": 0, "columns": {}})
    guess = estimate(missed, BLOCK)
    assert (guess["table_bytes"], freed_by_rewrite(missed, guess)) == (91086848, 0)


def test_nothing_is_larger_than_it_is():
    tight = table(
        state={"table_bytes": 8192, "heap_bytes": 8192, "total_bytes": 8192}, indexes=[index("a", ["id"], bytes=8192)]
    )
    guess = estimate(tight, BLOCK)
    assert (guess["table_bytes"], guess["index_bytes"]) == (8192, {"a": 8192})


def test_what_a_rewrite_frees_is_the_difference():
    guess = estimate(table(), BLOCK)
    assert freed_by_rewrite(table(), guess) + size_after_rewrite(table(), guess) == 91086848 + 5931008 + 745472


def test_bloated_indexes_come_smallest_first():
    guess = estimate(table(), BLOCK)
    assert [one["name"] for one in bloated_indexes(table(), guess, 0.3, 1000)] == ["env", "pkey"]
    assert [one["name"] for one in bloated_indexes(table(), guess, 0.3, 1 << 20)] == ["pkey"]
    assert bloated_indexes(table(), guess, 0.9, 1000) == []


def test_a_fillfactor_takes_room():
    assert table_bytes(table(fillfactor=50), BLOCK) > 1.8 * table_bytes(table(), BLOCK)
