# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""``./test.sh``: set up and pass every test, or the tiers, checks and tests that are named."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from sandbox import cluster, engine

from . import ending, integration, publishing, static, versions
from .jobs import Job, run_all, stop, summarise

INTEGRATION_TIERS = ("postgresql", "docker", "kubernetes")
WORKERS = min(2, os.cpu_count() or 1)


class UnknownName(Exception):
    """Neither a tier, nor a check, nor a test."""


def all_jobs() -> list[Job]:
    """The long tiers first: the short checks fill the other worker beside them."""
    return [integration.job(tier) for tier in ("docker", "postgresql", "kubernetes")] + checks()


def checks() -> list[Job]:
    return static.jobs() + publishing.jobs()


def choose(names: Sequence[str]) -> list[Job]:
    """The jobs for the names given, each once and in the usual order."""
    everything = all_jobs()
    if not names:
        return everything
    wanted = [job for job in everything if {job.tier, job.name, job.title} & set(names)]
    tests = [name for name in names if not any(name in (job.tier, job.name, job.title) for job in everything)]
    chosen = {job.title for job in wanted}
    return wanted + [job for job in _jobs_with_tests(tests) if job.title not in chosen]


def _jobs_with_tests(names: Sequence[str]) -> list[Job]:
    """A job for each place that has some of the tests, for those alone."""
    jobs: list[Job] = []
    found: set[str] = set()
    for tier in INTEGRATION_TIERS:
        mine = [name for name in names if integration.has_test_named(tier, name)]
        jobs += [integration.job(tier, " or ".join(mine))] if mine else []
        found.update(mine)
    for job, mine in static.jobs_with_tests(names):
        jobs.append(job)
        found.update(mine)
    unknown = [name for name in names if name not in found]
    if unknown:
        names_of_checks = ", ".join(job.name for job in checks())
        raise UnknownName(
            f"There is no tier, check or test named '{unknown[0]}'. Tiers: static, {', '.join(INTEGRATION_TIERS)}; "
            f"checks of static: {names_of_checks}; or a part of a test's or a test file's name."
        )
    return jobs


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="test.sh", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="tier|test",
        help="static, postgresql, docker, kubernetes, a check of static, or a test",
    )
    parser.add_argument(
        "--with-engines",
        action="store_true",
        help="install, build and start what the tiers with services need (Debian, root; Go for kubernetes)",
    )
    options = parser.parse_args(arguments)
    if options.with_engines:
        os.environ["PHASE_CONSOLE_WITH_ENGINES"] = "1"
    in_ci = os.environ.get("CI") == "true"
    try:
        jobs = choose(options.names)
    except UnknownName as unknown:
        print(unknown, file=sys.stderr)
        return 2

    def work() -> int:
        versions.begin()
        run_all(jobs, WORKERS)
        versions.summarise(sys.stdout)
        return summarise(jobs, required=in_ci)

    code = ending.supervised(work, stop)
    if code > 128:
        cluster.clear_killed()
        engine.clear_killed()
    return code


if __name__ == "__main__":
    sys.exit(main())
