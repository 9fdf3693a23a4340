# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts what a bench of purges measured into the docs: its tables, and a plot of seconds, WAL and the longest write.

    PYTHONPATH=tests .venv/bin/python -m bench.publish [FIGURES.json]

The same figures give the same files. Installs what it draws with, where that is missing (tests/requirements/bench.txt).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tools.environments import project_environment
from tools.paths import REQUIREMENTS, ROOT

from bench.figures import CASES, SAVED, Figures, Line, lines, tables, three, with_tables

PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "images" / "purge.svg"
OURS, THEIRS, INK, GRID = "#2f6f4f", "#b9bfc6", "#24292f", "#e4e7eb"
PANELS = (
    ("seconds", lambda line: line.step.seconds),
    ("WAL, MB", lambda line: line.step.wal / 1e6),
    ("longest write of another client, ms", lambda line: line.step.longest),
)


def panel(axes: Any, found: list[Line], title: str, of: Any) -> None:
    """Bars, those of the collection in green, each with its value."""
    values = [of(line) for line in found]
    places = range(len(found), 0, -1)
    axes.barh(places, values, color=[OURS if line.ours else THEIRS for line in found], height=0.68)
    axes.xaxis.set_major_formatter("{x:g}")
    for place, value in zip(places, values):
        axes.text(value * 1.08, place, three(value), va="center", fontsize=8, color=INK)
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.tick_params(labelsize=8, colors=INK, length=0)
    axes.minorticks_off()
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def draw(figures: Figures, picture: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    # A fixed salt and no date make the file the same each time; text stays text, in whatever font there is.
    mpl.rcParams.update({"svg.hashsalt": "phase.console", "svg.fonttype": "none", "font.family": "sans-serif"})
    from matplotlib import pyplot

    cases = [(case, lines(figures, case)) for case in ("78", "98") if lines(figures, case)]
    heights = [len(found) for _case, found in cases]
    figure, grid = pyplot.subplots(
        len(cases),
        len(PANELS),
        figsize=(12, 0.34 * sum(heights) + 0.9 * len(cases)),
        height_ratios=heights,
        sharex="col",
        squeeze=False,
        layout="constrained",
    )
    figure.get_layout_engine().set(hspace=0.04)
    for column, (_title, of) in enumerate(PANELS):
        values = [of(line) for _case, found in cases for line in found]
        grid[0][column].set_xscale("log")
        grid[0][column].set_xlim(min(values) / 2.5, max(values) * 3)
    for row, (case, found) in zip(grid, cases):
        for axes, (title, of) in zip(row, PANELS):
            panel(axes, found, title, of)
            axes.set_yticks([])
        row[0].set_yticks(range(len(found), 0, -1), [line.text.replace("`", "") for line in found])
        row[0].set_title(f"{CASES[case]}: seconds", fontsize=9, color=INK, loc="left", fontweight="bold")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, metadata={"Date": None} if picture.suffix == ".svg" else None)
    pyplot.close(figure)


def publish(figures: Figures, page: Path = PAGE, picture: Path = PICTURE) -> None:
    project_environment(REQUIREMENTS / "bench.txt")
    draw(figures, picture)
    page.write_text(with_tables(page.read_text(encoding="utf-8"), tables(figures)), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.publish", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("figures", type=Path, nargs="?", default=SAVED)
    publish(Figures.load(parser.parse_args().figures.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
