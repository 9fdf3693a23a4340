# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bench of purges measured, the goals it is held against, and how that is told. Pure.

A run is a way of purging in a case (how much goes, of how many rows), reached in some manner. Where one was run more
than once, its median by seconds counts. Ratios are taken within one bench only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SAVED = Path(__file__).with_name("purge.json")

WAYS = {
    "stock": "stock command",
    "stock-no-sleep": "stock command, its sleep left out",
    "one-delete": "one `DELETE`",
    "delete": "`strategy=delete`",
    "set-aside": "`strategy=delete foreign_key=set_aside`",
    "rewrite": "`strategy=rewrite`",
    "set-aside-archived": "`strategy=delete foreign_key=set_aside archive_dest=...`",
    "rewrite-archived": "`strategy=rewrite archive_dest=...`",
}


@dataclass(frozen=True)
class Step:
    """What a command cost: seconds of the whole command, bytes of WAL, milliseconds of another client's writes."""

    seconds: float
    wal: float
    p50: float
    p99: float
    longest: float

    @classmethod
    def measured(cls, seconds: float, wal: float, latencies: Iterable[float]) -> Step:
        ordered = sorted(latencies)
        return cls(seconds, wal, *(percentile(ordered, part) for part in (0.5, 0.99, 1.0)))

    def __add__(self, other: Step) -> Step:
        """One after the other; of the latencies the worse."""
        worse = (max(getattr(self, name), getattr(other, name)) for name in ("p50", "p99", "longest"))
        return Step(self.seconds + other.seconds, self.wal + other.wal, *worse)


@dataclass(frozen=True)
class Run:
    """``events`` before it; ``full``: the VACUUM FULL after it; ``rows`` and ``size`` (bytes with indexes) at
    the very end; ``memory``: MB of the largest resident set by process. ``reach``: local, direct (over the network) or
    exec (through Docker).
    """

    case: str
    way: str
    events: int
    purge: Step
    rows: int
    size: int
    full: Step | None = None
    memory: dict[str, float] = field(default_factory=dict)
    reach: str = "local"

    @property
    def whole(self) -> Step:
        """Until the space has come back too, where it does."""
        return self.purge + self.full if self.full else self.purge


def percentile(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


class Figures:
    def __init__(self, about: dict[str, Any], runs: Iterable[Run]) -> None:
        self.about, self.runs = about, list(runs)

    @classmethod
    def load(cls, text: str) -> Figures:
        kept = json.loads(text)
        runs = []
        for one in kept["runs"]:
            full = Step(**one["full"]) if one["full"] else None
            runs.append(Run(**{**one, "purge": Step(**one["purge"]), "full": full}))
        return cls(kept["about"], runs)

    def dump(self) -> str:
        return json.dumps({"about": self.about, "runs": [asdict(one) for one in self.runs]}, indent=1) + "\n"

    def joined(self, other: Figures) -> Figures:
        """With those of a later bench, whose cases replace their namesakes: ratios stay within one bench."""
        again = {one.case for one in other.runs}
        return Figures({**self.about, **other.about}, [one for one in self.runs if one.case not in again] + other.runs)

    def get(self, case: str, way: str, reach: str = "local") -> Run | None:
        found = [one for one in self.runs if (one.case, one.way, one.reach) == (case, way, reach)]
        return sorted(found, key=lambda one: one.whole.seconds)[len(found) // 2] if found else None


Value = Callable[[Figures], "float | None"]


@dataclass(frozen=True)
class Goal:
    """``least`` or ``most``, in the unit that the text tells."""

    text: str
    value: Value
    least: float | None = None
    most: float | None = None

    def line(self, figures: Figures) -> tuple[str, str, str, str]:
        """The goal, the limit, what was measured, and whether that is met, as words."""
        found = self.value(figures)
        limit = f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"
        if found is None:
            return self.text, limit, "", "not measured"
        met = found >= self.least if self.least is not None else found <= (self.most or 0)
        return self.text, limit, three(found), "met" if met else "missed"


def three(number: float) -> str:
    """A number as people write it: to three digits, and whole from a hundred on."""
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def ratio(
    of: Callable[[Run], float], above: tuple[str, str, str], below: tuple[str, str, str], times: float = 1.0
) -> Value:
    """``of`` of one run over that of another; each is (case, way, reach)."""

    def value(figures: Figures) -> float | None:
        one, other = figures.get(*above), figures.get(*below)
        return times * of(one) / of(other) if one and other and of(other) else None

    return value


def worst(of: Callable[[Run], float], *wanted: tuple[str, str]) -> Value:
    """The largest among the runs there are of these (case, way)."""

    def value(figures: Figures) -> float | None:
        found = [of(one) for one in figures.runs if (one.case, one.way) in wanted]
        return max(found) if found else None

    return value


def grown(way: str) -> Value:
    """Memory with the most events there are figures for, in % of that with the fewest."""

    def value(figures: Figures) -> float | None:
        found = [one for one in figures.runs if (one.way, one.reach) == (way, "local")]
        found.sort(key=lambda one: one.events)
        return 100 * memory(found[-1]) / memory(found[0]) if found and found[-1].events > found[0].events else None

    return value


def faster(case: str, rival: str, ours: str, of: Callable[[Run], float]) -> Value:
    return ratio(of, (case, rival, "local"), (case, ours, "local"))


def purge_seconds(run: Run) -> float:
    return run.purge.seconds


def whole_seconds(run: Run) -> float:
    return run.whole.seconds


def memory(run: Run) -> float:
    return max(run.memory.values(), default=0.0)


def whole_wal(run: Run) -> float:
    return run.whole.wal


def longest(run: Run) -> float:
    return run.purge.longest


def row_size(run: Run) -> float:
    return run.size / run.rows if run.rows else 0.0


OURS = ("set-aside", "rewrite")
ARCHIVED = ("set-aside-archived", "rewrite-archived")
CASES = {
    "hundredth": "78 % go",
    "78": "78 % go",
    "3x": "78 % go",
    "98": "98 % go",
    "tagged": "78 % go, each with a tag",
    "archive": "78 % go, again",
    "10x": "in two steps",
}


def goals() -> list[Goal]:
    found = [
        Goal("78 %: set aside, times as fast as stock", faster("78", "stock", "set-aside", purge_seconds), 20),
        Goal("78 %: ... as stock without its sleep", faster("78", "stock-no-sleep", "set-aside", purge_seconds), 10),
    ]
    for case, speed, wal in (("78", 8, 10), ("98", 40, 80)):
        text = f"{case} %: rewrite, times as fast as stock + `VACUUM FULL`"
        found.append(Goal(text, faster(case, "stock", "rewrite", whole_seconds), speed))
        text = f"{case} %: WAL of stock + `VACUUM FULL`, times that of rewrite"
        found.append(Goal(text, faster(case, "stock", "rewrite", whole_wal), wal))
        text = f"{case} %: rewrite, longest write of another client, ms"
        found.append(Goal(text, worst(longest, (case, "rewrite")), most=300))
        size = ratio(row_size, (case, "rewrite", "local"), (case, "stock", "local"), 100)
        found.append(Goal(f"{case} %: rewrite, bytes a row, % of those after `VACUUM FULL`", size, most=102))
    everywhere = [(case, way) for case in (*CASES, "exec") for way in (*OURS, *ARCHIVED)]
    found.append(Goal("largest process of ours anywhere, MB", worst(memory, *everywhere), most=64))
    for way in OURS:
        name = way.replace("-", " ")
        text = f"{name}: its largest process with the most rows, % of that with the fewest"
        found.append(Goal(text, grown(way), most=110))
        slower = ratio(purge_seconds, ("3x", way, "local"), ("78", way, "local"))
        found.append(Goal(f"{name}: seconds for three times the rows, times those for the rows", slower, most=3.5))
        far = ratio(purge_seconds, ("exec", way, "exec"), ("exec", way, "direct"), 100)
        found.append(Goal(f"{name}: seconds through `docker exec`, % of those over a direct connection", far, most=110))
    return found


def goals_table(figures: Figures) -> str:
    return table(["goal", "limit", "measured", ""], [goal.line(figures) for goal in goals()])


@dataclass(frozen=True)
class Line:
    """One way in a table: until the rows have gone or, where ``back``, until their space has come back too."""

    text: str
    run: Run
    step: Step
    back: bool
    ours: bool
    times: float | None = None


def lines(figures: Figures, case: str) -> list[Line]:
    """All ways of a case; ``times`` as fast as the stock command without its sleep that comes as far."""
    runs = {way: run for way in WAYS if (run := figures.get(case, way))}
    rival = runs.get("stock-no-sleep")
    found = []
    for way, run in runs.items():
        ours = way in ("delete", *OURS)
        against = rival.purge.seconds if rival and way != "rewrite" else rival.whole.seconds if rival else None
        times = against / run.purge.seconds if against else None
        found.append(Line(WAYS[way], run, run.purge, way == "rewrite", ours, times))
        if run.full:
            times = rival.whole.seconds / run.whole.seconds if rival else None
            found.append(Line(WAYS[way] + ", then `VACUUM FULL`", run, run.whole, True, ours, times))
    return sorted(found, key=lambda line: line.back)


def case_table(figures: Figures, case: str) -> str:
    heads = [CASES[case], "s", "times as fast", "WAL, MB", "write p50 / p99 / longest, ms", "size after, MB"]
    rows = []
    for line in lines(figures, case):
        step = line.step
        spread = f"{step.p50:.1f} / {step.p99:.0f} / {step.longest:.0f}"
        size = f"{line.run.size / 1e6:.0f}" if line.back else ""
        times = three(line.times) if line.times else ""
        rows.append((line.text, f"{step.seconds:.1f}", times, f"{step.wal / 1e6:.0f}", spread, size))
    return table(heads, rows)


def memory_table(figures: Figures) -> str:
    """Largest resident sets of the processes at our end of the database."""
    runs = [one for one in figures.runs if one.way in (*OURS, *ARCHIVED)]
    rows = []
    for case, way, reach in dict.fromkeys((one.case, one.way, one.reach) for one in runs):
        run = figures.get(case, way, reach)
        if run:
            parts = ", ".join(f"{name} {run.memory[name]:.0f}" for name in sorted(run.memory))
            where = "in containers, " + reach if case == "exec" else CASES[case]
            rows.append((f"{run.events:,}", where, WAYS[way], f"{run.purge.seconds:.1f}", parts))
    return table(["events", "", "", "s", "MB"], rows)


def tables(figures: Figures) -> list[str]:
    cases = [case_table(figures, case) for case in ("78", "98") if lines(figures, case)]
    return [*cases, memory_table(figures), goals_table(figures)]


def with_tables(page: str, tables: Iterable[str]) -> str:
    """A page of Markdown with each of the tables in the place of that which begins with the same line."""
    for text in tables:
        head = text.splitlines()[0]
        found = re.compile("^" + re.escape(head) + r"\n(?:\|.*\n)+", re.MULTILINE)
        if not found.search(page):
            raise ValueError(f"The page has no table that begins with {head}")
        page = found.sub(lambda _match, text=text: text + "\n", page, count=1)
    return page


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
