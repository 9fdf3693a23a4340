# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The tiers that need a service: one pytest run each, over the tests in tests/integration/<tier>."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sandbox import _debian, cluster, engine, images
from sandbox.cluster.instance import needed_images

from . import versions
from .environments import SetupError, project_environment
from .jobs import Job, Log, Outcome, Skip, junit_outcome
from .paths import BUILD, LOGS, ROOT
from .static import INTEGRATION_REQUIREMENTS, core_environments
from .tree import has_test

FOLDER = ROOT / "tests" / "integration"


def has_tests(tier: str) -> bool:
    return any((FOLDER / tier).rglob("test_*.py"))


def has_test_named(tier: str, name: str) -> bool:
    return any(has_test(file, name) for file in (FOLDER / tier).rglob("test_*.py"))


@contextmanager
def _other_cores(log: Log) -> Iterator[dict[str, str]]:
    """The oldest and the newest ansible-core, for the upgrade under each; the sandbox brings its own server."""
    if engine.wanted() and engine.which("sshd") is None:
        try:
            _debian.install(["openssh-server"])
        except _debian.DebianError as error:  # the tests over SSH are skipped
            log.write(f"{error}\n")
    yield {"PHASE_CONSOLE_CORES": json.dumps(core_environments(log))}


@contextmanager
def _docker_engine(log: Log) -> Iterator[dict[str, str]]:
    """An engine with all images on it, so that building them is not held against the first test."""
    try:
        with engine.running() as found:
            images.ensure(found, report=lambda text: log.write(text + "\n"))
            found.note_versions()
            images.note_versions(found)
            yield found.variables()
    except engine.EngineMissing as missing:
        raise Skip(str(missing)) from missing


@contextmanager
def _kubernetes_cluster(log: Log) -> Iterator[dict[str, str]]:
    """A cluster with all images on it, for the same reason."""

    def report(text: str) -> None:
        log.write(text + "\n")

    try:
        with cluster.running(report) as found:
            found.load(needed_images(images.VERSIONS), report)
            found.note_versions()
            yield found.variables()
    except (cluster.ClusterMissing, engine.EngineMissing) as missing:
        raise Skip(str(missing)) from missing
    except cluster.NodeError as error:
        raise SetupError(str(error)) from error


def _build_kubernetes(log: Log) -> None:
    """Minutes of work at low priority, beside tiers that wait more than they work; the tier says whether it failed."""
    if engine.wanted() and cluster.find() is None and not cluster.built():
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
        log.run([sys.executable, "-m", "sandbox.cluster", "build"], cwd=ROOT, env=environment)


NOTHING_SELECTED = 5
"""pytest's exit code when no test fits the selection."""

SIDE_BY_SIDE = {"postgresql": 2}
"""Files of tests at once: they wait more than they work. Containers have Phase's own names, so those go one by one."""

AHEAD: dict[str, Callable[[Log], None]] = {"kubernetes": _build_kubernetes}
"""What is begun when the run begins, before the tier's turn comes."""

SERVICES: dict[str, Callable[[Log], AbstractContextManager[dict[str, str]]]] = {
    "postgresql": _other_cores,
    "docker": _docker_engine,
    "kubernetes": _kubernetes_cluster,
}


def job(tier: str, keyword: str = "") -> Job:
    def run(log: Log) -> Outcome:
        if not has_tests(tier):
            return Outcome(notes=["it has no tests yet"])
        environment = project_environment(INTEGRATION_REQUIREMENTS, log=log.file)
        versions.note_packages(environment)
        with SERVICES[tier](log) as variables:
            return _pytest(tier, keyword, environment.bin, variables, log)

    return Job(tier, "pytest", run, live=True, ahead=AHEAD.get(tier))


def _pytest(tier: str, keyword: str, tools: Path, variables: dict[str, str], log: Log) -> Outcome:
    env = {**os.environ, **variables, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": "tests"}
    env["PYTHONUNBUFFERED"] = "1"  # also for the tests that start Ansible themselves: see harness.py
    (BUILD / "scratch").mkdir(parents=True, exist_ok=True)
    outcome = Outcome()
    for name, selection in _parts(tier, keyword).items():
        report = LOGS / f"{tier}-{name}.xml"
        report.unlink(missing_ok=True)
        command = [
            *(tools / "python", "-m", "pytest", f"tests/integration/{tier}", "-v", "--durations=8", *selection),
            *(f"--junit-xml={report}", f"--basetemp={BUILD / 'scratch' / f'{tier}-{name}'}"),
            *("-o", f"cache_dir=.build/pytest-cache/{tier}"),
        ]
        code = log.run(command, cwd=ROOT, env=env)
        outcome.add(junit_outcome([report] if report.exists() else [], 0 if code == NOTHING_SELECTED else code))
    if not outcome.passed and not outcome.failed and not outcome.skipped:
        outcome.failed = 1
    return outcome


def _parts(tier: str, keyword: str) -> dict[str, list[str]]:
    """pytest's arguments for each of its runs, by name. Tests that measure times run when no others of the tier do."""
    named = ["-k", keyword] if keyword else []
    if tier not in SIDE_BY_SIDE:
        return {"all": named or ["-m", "not trial"]}
    # --no-loadscope-reorder: the files are in the order of conftest.py
    workers = ["--numprocesses", str(SIDE_BY_SIDE[tier]), "--dist", "loadfile", "--no-loadscope-reorder"]
    beside = ["-m", "not alone", *workers]
    return {"beside": [*named, *beside], "alone": [*named, "-m", "alone"]}
