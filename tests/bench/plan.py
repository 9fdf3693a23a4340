# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long it takes to know what an upgrade will do, against the application's own commands in the same run.

    PYTHONPATH=tests .venv/bin/python -m bench.plan [--rounds 3]

The rival is what the documentation offers by hand: ``showmigrations --plan``, then ``sqlmigrate`` for each pending
migration. Ours is one ``phase_migrate`` in check mode, Ansible's own start included; it gives the same SQL and, beyond
it, locks, sizes and what breaks the running version. Prints a Markdown table of medians and their ratio.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from integration.harness import Ansible, target
from sandbox.local import LocalInstance

PENDING = re.compile(r"^\[ \]  (\w+)\.(\w+)", re.MULTILINE)


def by_hand(instance: LocalInstance, version: str) -> int:
    """The application's own commands; the number of migrations whose SQL they could show."""
    pending = PENDING.findall(instance.manage("showmigrations", "--plan", version=version).stdout)
    shown = [instance.manage("sqlmigrate", *names, version=version, check=False).returncode == 0 for names in pending]
    return sum(shown)


def by_plan(ansible: Ansible, instance: LocalInstance, version: str) -> int:
    options = {**target(instance), "image": str(instance.release(version))}
    result = ansible.task("phase_migrate", options, check=True)
    return len(result["plan"])


def median_seconds(work: Callable[[], int], rounds: int) -> tuple[float, int]:
    taken, count = [], 0
    for _round in range(rounds):
        start = time.perf_counter()
        count = work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), count


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.plan", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print("| upgrade | by hand, s | phase_migrate --check, s | ratio |\n|---|---|---|---|")
    for old, new in (("v2.66.0", "v2.73.2"), ("v2.54.0", "v2.73.2"), ("v2.37.2", "v2.73.2")):
        with tempfile.TemporaryDirectory(prefix="phase-bench-") as folder:
            ansible = Ansible(Path(folder, "ansible"))
            with LocalInstance.start(Path(folder, "phase"), old) as instance:
                instance.release(new)
                hand, shown = median_seconds(partial(by_hand, instance, new), rounds)
                plan, planned = median_seconds(partial(by_plan, ansible, instance, new), rounds)
        print(f"| {old} to {new} | {hand:.1f} ({shown} shown) | {plan:.1f} ({planned} planned) | {hand / plan:.1f} |")


if __name__ == "__main__":
    main()
