# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Examples are run as far as they can be without an instance: they parse, and they use options that exist."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import MODULES, PLAYBOOKS, ROOT
from tools.pages import PAGES, blocks

PREFIX = "phase.console."


def yaml_blocks(page: Path) -> list[Any]:
    return [yaml.safe_load(block) for block in blocks(page.read_text(encoding="utf-8"), "yaml")]


def tasks_of(block: Any) -> list[dict[str, Any]]:
    """The tasks of a list of plays or of tasks; nothing of another document."""
    if not isinstance(block, list):
        return []
    nested = [tasks_of(entry.get(key)) for entry in block for key in ("tasks", "block", "rescue", "always")]
    return [entry for entry in block if "hosts" not in entry] + [task for tasks in nested for task in tasks]


def plays_of(block: Any) -> list[dict[str, Any]]:
    """A playbook as it is, or its tasks in a play; nothing of another document, such as a file of variables."""
    if not isinstance(block, list):
        return []
    is_playbook = any(key in entry for entry in block for key in ("hosts", "ansible.builtin.import_playbook"))
    return block if is_playbook else [{"hosts": "localhost", "gather_facts": False, "tasks": block}]


PAGE_BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(yaml_blocks(page), 1)
]


@pytest.fixture(scope="session")
def check_syntax(
    documentation: dict[str, Any], program: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Any], None]:
    """Checks plays, or a playbook by its name. One call of Ansible reads all of them, and each alone if that fails."""
    folder = tmp_path_factory.mktemp("examples")

    def place(plays: Any) -> str:
        if isinstance(plays, str):
            return plays
        text = json.dumps(plays)
        playbook = folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
        playbook.write_text(text, encoding="utf-8")
        return str(playbook)

    def read(*playbooks: str) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = program(
            "ansible-playbook", "--syntax-check", "-i", "localhost,", *playbooks
        )
        return done

    modules = [plays_of(yaml.safe_load(documentation[module]["examples"])) for module in MODULES]
    pages = [plays_of(block) for page in PAGES for block in yaml_blocks(page)]
    everything = {place(plays) for plays in [*modules, *pages, *(PREFIX + playbook for playbook in PLAYBOOKS)] if plays}
    all_are_good = read(*sorted(everything)).returncode == 0

    def check(plays: Any) -> None:
        playbook = place(plays)
        if not (all_are_good and playbook in everything):
            done = read(playbook)
            assert done.returncode == 0, done.stderr

    return check


def check_options(task: dict[str, Any], documentation: dict[str, dict[str, Any]]) -> None:
    for key, given in task.items():
        module = key.removeprefix(PREFIX)
        if module != key and module in documentation:
            options = documentation[module]["doc"]["options"]
            known = {name for option, entry in options.items() for name in (option, *entry.get("aliases", []))}
            assert set(given or {}) <= known, f"{key} has no option {sorted(set(given) - known)}"
            for name, value in (given or {}).items():
                choices = options.get(name, {}).get("choices")
                if choices and not isinstance(value, list) and "{{" not in str(value):
                    assert value in choices, f"{key}: {name} can be {choices}"


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_a_module(module: str, documentation: dict[str, Any], check_syntax: Any) -> None:
    examples = yaml.safe_load(documentation[module]["examples"])
    tasks = tasks_of(examples)
    assert any(PREFIX + module in task for task in tasks), "no example uses the module"
    for task in tasks:
        check_options(task, documentation)
    check_syntax(plays_of(examples))


@pytest.mark.parametrize("block", PAGE_BLOCKS)
def test_examples_of_a_page(block: Any, documentation: dict[str, Any], check_syntax: Any) -> None:
    for task in tasks_of(block):
        check_options(task, documentation)
    if plays_of(block):
        check_syntax(plays_of(block))


def test_modules_of_awx_have_the_options_that_a_page_gives_them(program: Any) -> None:
    tasks = [task for page in PAGES for block in yaml_blocks(page) for task in tasks_of(block)]
    given = [(key, set(task[key])) for task in tasks for key in task if key.startswith("awx.awx.")]
    shown = program("ansible-doc", "--json", "-t", "module", *sorted({key for key, options in given}))
    documented = json.loads(shown.stdout)
    assert len(given) >= 2
    for key, options in given:
        assert options <= set(documented[key]["doc"]["options"]), key


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_no_example_of_a_page_is_passed_over(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for language in ("bash", "yaml"):
        assert len(blocks(text, language)) == text.count(f"```{language}\n") + text.count(f"code-block:: {language}\n")


def ad_hoc_commands(page: Path) -> list[str]:
    lines = "".join(blocks(page.read_text(encoding="utf-8"), "bash")).splitlines()
    return [line for line in lines if re.match(rf"ansible .*-m {PREFIX}", line)]


COMMANDS = [
    pytest.param(line, id=f"{page.name}-{number}")
    for page in PAGES
    for number, line in enumerate(ad_hoc_commands(page), 1)
]


@pytest.mark.parametrize("line", COMMANDS)
def test_an_ad_hoc_command_of_a_page(line: str, documentation: dict[str, Any]) -> None:
    words = shlex.split(line)
    given = shlex.split(words[words.index("-a") + 1]) if "-a" in words else []
    module = words[words.index("-m") + 1]
    assert module.removeprefix(PREFIX) in MODULES
    check_options({module: dict(part.split("=", 1) for part in given)}, documentation)


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_playbook_is_found_by_its_name(playbook: str, check_syntax: Any) -> None:
    check_syntax(PREFIX + playbook)


def test_the_commands_of_the_readme_name_what_exists() -> None:
    shell = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "bash", "sh", "shell")
    commands = [line for block in shell for line in block.splitlines()]
    assert {"./demo.sh", "./test.sh"} <= {command.split()[0] for command in commands if command.strip()}
    named = set(re.findall(r"phase\.console\.(\w+)", "\n".join(commands)))
    assert named
    assert named <= {*MODULES, *PLAYBOOKS}
