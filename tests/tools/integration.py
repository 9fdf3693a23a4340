# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The tiers that need a service: one pytest run each, over the tests in tests/integration/<tier>."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sandbox import engine, images

from .environments import project_environment
from .jobs import Job, Log, Outcome, Skip, junit_outcome
from .paths import BUILD, LOGS, ROOT
from .static import INTEGRATION_REQUIREMENTS, core_environments

FOLDER = ROOT / "tests" / "integration"


def has_tests(tier: str) -> bool:
    return any((FOLDER / tier).rglob("test_*.py"))


def has_test_named(tier: str, name: str) -> bool:
    """Whether a file of the tier bears the name or has it in its text, as pytest's ``-k`` would find it."""
    files = (FOLDER / tier).rglob("test_*.py")
    return any(name in file.stem or name in file.read_text(encoding="utf-8") for file in files)


@contextmanager
def _nothing(_log: Log) -> Iterator[dict[str, str]]:
    yield {}


@contextmanager
def _other_cores(log: Log) -> Iterator[dict[str, str]]:
    """The oldest and the newest ansible-core, for the upgrade under each; the sandbox brings its own server."""
    yield {"PHASE_CONSOLE_CORES": json.dumps(core_environments(log))}


@contextmanager
def _docker_engine(log: Log) -> Iterator[dict[str, str]]:
    """An engine with all images on it, so that building them is not held against the first test."""
    try:
        with engine.running() as found:
            images.ensure(found, report=lambda text: log.write(text + "\n"))
            yield found.variables()
    except engine.EngineMissing as missing:
        raise Skip(str(missing)) from missing


SIDE_BY_SIDE = {"postgresql": 3}
"""Files of tests at once: they wait more than they work. Containers have Phase's own names, so those go one by one."""

SERVICES: dict[str, Callable[[Log], AbstractContextManager[dict[str, str]]]] = {
    "postgresql": _other_cores,
    "docker": _docker_engine,
    "kubernetes": _nothing,
}


def job(tier: str, keyword: str = "") -> Job:
    def run(log: Log) -> Outcome:
        if not has_tests(tier):
            return Outcome(notes=["it has no tests yet"])
        environment = project_environment(INTEGRATION_REQUIREMENTS, log=log.file)
        with SERVICES[tier](log) as variables:
            return _pytest(tier, keyword, environment.bin, variables, log)

    return Job(tier, "pytest", run, live=True)


def _pytest(tier: str, keyword: str, tools: Path, variables: dict[str, str], log: Log) -> Outcome:
    report, scratch = LOGS / f"{tier}.xml", BUILD / "scratch"
    report.unlink(missing_ok=True)
    scratch.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, **variables, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": "tests"}
    command = [
        tools / "python",
        "-m",
        "pytest",
        f"tests/integration/{tier}",
        "-v",
        "--durations=8",
        f"--junit-xml={report}",
        f"--basetemp={scratch / tier}",
        "-o",
        f"cache_dir=.build/pytest-cache/{tier}",
    ]
    if tier in SIDE_BY_SIDE and not keyword:
        command += ["--numprocesses", str(SIDE_BY_SIDE[tier]), "--dist", "loadfile"]
    code = log.run([*command, *(["-k", keyword] if keyword else [])], cwd=ROOT, env=env)
    return junit_outcome([report] if report.exists() else [], code)
