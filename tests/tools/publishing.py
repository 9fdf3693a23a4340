# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Checks of what others build from: the needs of an execution environment, and the workflows of a repository."""

from __future__ import annotations

import os
import re
import shutil

import yaml

from .jobs import Job, Log, Outcome, Skip, command_outcome
from .pages import blocks, guide
from .paths import BUILD, CACHE, ROOT
from .static import project_tree, static_environment, tool_env

PACKAGE, ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint", "v1.7.9"
NEEDED = ("docker", "psycopg2-binary")  # PyYAML, which Ansible brings, is left out by ansible-builder


def execution_environment(log: Log) -> Outcome:
    """ansible-builder finds what the collection needs, and makes the build context of the page's definition."""
    environment, tree = static_environment(log), project_tree("execution-environment", log)
    env = tool_env(environment, tree)
    builder, work = environment.bin / "ansible-builder", BUILD / "execution-environment"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    found = work / "python.txt"
    introspect = [builder, "introspect", "--write-pip", found, "--write-bindep", work / "system.txt", tree.parents[2]]
    if log.run(introspect, cwd=work, env=env):
        return Outcome(failed=1)
    missing = [name for name in NEEDED if not re.search(rf"^{name}\b", found.read_text(), re.MULTILINE | re.IGNORECASE)]
    if missing or "git" not in (work / "system.txt").read_text():
        log.write(f"ansible-builder does not find {', '.join(missing) or 'the system packages'}\n")
        return Outcome(failed=1)
    definition = blocks(guide("execution_environment"), "yaml")[0]
    (work / "execution-environment.yml").write_text(definition, encoding="utf-8")
    create = [builder, "create", "--file", work / "execution-environment.yml", "--context", work / "context"]
    if log.run(create, cwd=work, env=env):
        return Outcome(failed=1)
    galaxy = yaml.safe_load((work / "context" / "_build" / "requirements.yml").read_text(encoding="utf-8"))
    return command_outcome([one["name"] for one in galaxy["collections"]] != ["phase.console"])


def workflows(log: Log) -> Outcome:
    """actionlint, built once from the Go module registry."""
    program = CACHE / "actionlint" / ACTIONLINT / "actionlint"
    if not program.exists():
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
        if go is None:
            raise Skip("actionlint is built with Go, and there is no Go here; install it and run again")
        env = {**os.environ, "GOBIN": str(program.parent), "GOFLAGS": "", "GOTOOLCHAIN": "local"}
        if log.run([go, "install", f"{PACKAGE}@{ACTIONLINT}"], cwd=BUILD, env=env):
            return Outcome(failed=1)
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    env = tool_env(static_environment(log))  # shellcheck is in it
    return command_outcome(log.run([program, *files], cwd=ROOT, env=env))


def jobs() -> list[Job]:
    return [Job("static", "execution-environment", execution_environment), Job("static", "actionlint", workflows)]
