# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""What the bench of purges makes of its figures, and that the docs show those that were kept."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from bench.figures import (
    SAVED,
    Figures,
    Goal,
    Run,
    Step,
    percentile,
    ratio,
    tables,
    three,
    with_tables,
)

PURGE = Step(100.0, 8e9, 1.0, 2.0, 30.0)
FULL = Step(20.0, 1e9, 1.0, 2.0, 11_000.0)
STOCK = Run("78", "stock", 1000, PURGE, 220, 2200, FULL, {"manage.py": 50.0})
QUICK = Step(10.0, 5e8, 1.0, 2.0, 20.0)
REWRITE = Run("78", "rewrite", 1000, QUICK, 200, 2000, None, {"module": 30.0, "far end": 33.0})


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, part) for part in (0.5, 0.99, 1.0)] == [51.0, 100.0, 100.0]
    assert percentile([], 0.5) == 0.0
    assert Step.measured(1.0, 2.0, [3.0, 1.0, 2.0]) == Step(1.0, 2.0, 2.0, 3.0, 3.0)


def test_two_commands_after_each_other() -> None:
    assert STOCK.whole == Step(120.0, 9e9, 1.0, 2.0, 11_000.0)
    assert REWRITE.whole is REWRITE.purge


def test_of_several_rounds_the_median_counts() -> None:
    rounds = [replace(REWRITE, purge=replace(REWRITE.purge, seconds=seconds)) for seconds in (9.0, 50.0, 10.0)]
    found = Figures({}, rounds).get("78", "rewrite")
    assert found is not None and found.purge.seconds == 10.0
    assert Figures({}, rounds).get("98", "rewrite") is None


@pytest.mark.parametrize(
    ("limits", "state"),
    [({"least": 12.0}, "met"), ({"least": 12.1}, "missed"), ({"most": 12.0}, "met"), ({"most": 11.9}, "missed")],
)
def test_a_goal_is_met_at_its_limit(limits: dict[str, float], state: str) -> None:
    value = ratio(lambda run: run.whole.seconds, ("78", "stock", "local"), ("78", "rewrite", "local"))
    assert Goal("", value, **limits).line(Figures({}, [STOCK, REWRITE]))[3] == state
    assert Goal("", value, **limits).line(Figures({}, [STOCK]))[3] == "not measured"


def test_a_later_bench_replaces_whole_cases() -> None:
    figures = Figures({"cpus": 2}, [STOCK, REWRITE])
    later = replace(REWRITE, case="98")
    assert figures.joined(Figures({}, [later])).runs == [STOCK, REWRITE, later]
    assert figures.joined(Figures({"cpus": 4}, [REWRITE])).runs == [REWRITE]


def test_figures_are_kept_and_read() -> None:
    figures = Figures({"cpus": 2}, [STOCK, REWRITE])
    assert Figures.load(figures.dump()).runs == figures.runs
    assert Figures.load(figures.dump()).dump() == figures.dump()


def test_numbers_as_people_write_them() -> None:
    written = {0.1234: "0.123", 9.87: "9.87", 12.34: "12.3", 123.4: "123", 12345.0: "12345"}
    assert {number: three(number) for number in written} == written


def test_tables_take_the_place_of_older_ones() -> None:
    page = "# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\nText.\n\n| c |\n|---|\n| 5 |\n"
    assert with_tables(page, ["| a | b |\n|---|---|\n| 7 | \\1 |"]) == page.replace(
        "| 1 | 2 |\n| 3 | 4 |\n", "| 7 | \\1 |\n"
    )
    with pytest.raises(ValueError, match="no table"):
        with_tables(page, ["| b |\n|---|"])


def test_the_docs_show_the_figures_that_were_kept(root: Path) -> None:
    figures = Figures.load(SAVED.read_text(encoding="utf-8"))
    page = (root / "docs" / "performance.md").read_text(encoding="utf-8")
    assert [table for table in tables(figures) if table not in page] == []
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)
    assert pictures and all((root / "docs" / picture).exists() for picture in pictures)
