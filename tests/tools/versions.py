# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The versions of all that a run tested against, and what has moved since the last run on this machine."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from sandbox import noted

from .environments import Environment
from .paths import CACHE, LOGS

Versions = Mapping[str, list[str]]

NOTES = LOGS / "versions"
KEPT = CACHE / "versions.json"
IN_PYTHON = "python: "  # how the names of Python packages begin
SHOWN = {
    *("ansible", "ansible-core", "docker", "kubernetes", "psycopg2-binary", "Django", "pytest"),
    *("ansible-lint", "antsibull-docs", "galaxy-importer", "mypy", "ruff"),
}
"""Of the Python packages; the others are compared, and named when they move."""


def begin() -> None:
    """Forget the notes of the run before, and have those of this run written."""
    NOTES.parent.mkdir(parents=True, exist_ok=True)
    NOTES.write_text("", encoding="utf-8")
    os.environ[noted.VARIABLE] = str(NOTES)


def note_packages(environment: Environment) -> None:
    """Note every package of an environment, and its Python."""
    code = (
        "import importlib.metadata as m, json, platform;"
        "print(json.dumps([['Python', platform.python_version()]]"
        f"+ [[{IN_PYTHON!r} + d.metadata['Name'], d.version] for d in m.distributions()]))"
    )
    done = subprocess.run([environment.bin / "python", "-c", code], capture_output=True, text=True, check=True)
    for name, version in json.loads(done.stdout):
        noted.note(name, version)


def read(path: Path = NOTES) -> dict[str, list[str]]:
    """What was noted: versions by name."""
    found: dict[str, set[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        name, version = json.loads(line)
        found.setdefault(name, set()).add(version)
    return {name: sorted(versions) for name, versions in sorted(found.items())}


def moved(before: Versions, now: Versions) -> list[str]:
    """What has another version than before, in words. Of what this run did not meet nothing is said."""
    changed = {name: versions for name, versions in now.items() if name in before and before[name] != versions}
    return [f"{name}: {', '.join(before[name])} -> {', '.join(versions)}" for name, versions in changed.items()]


def summarise(out: TextIO) -> None:
    """Print the versions and what has moved, and keep them for the next run to compare with."""
    now = read()
    if not now:
        return
    print("\nversions", file=out)
    for name, versions in now.items():
        if not name.startswith(IN_PYTHON) or name.removeprefix(IN_PYTHON) in SHOWN:
            print(f"  {name:32} {', '.join(versions)}", file=out)
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {"of": "", "versions": {}}
    changes = moved(kept["versions"], now)
    if not kept["of"]:
        print("  There is no earlier run on this machine to compare with.", file=out)
    for change in changes:
        print(f"  moved since {kept['of']}: {change}", file=out)
    if kept["of"] and not changes:
        print(f"  Nothing has moved since {kept['of']}.", file=out)
    today = datetime.datetime.now(tz=datetime.timezone.utc).isoformat(timespec="minutes")
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    fresh = KEPT.with_suffix(".fresh")
    fresh.write_text(json.dumps({"of": today, "versions": {**kept["versions"], **now}}, indent=1), encoding="utf-8")
    fresh.replace(KEPT)
