# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Who may import whom: a subject's folder takes from core and from its own other half, never from another subject."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

UTILS = Path(__file__).resolve().parents[2] / "plugins" / "module_utils"

FREE = {"_errors", "_call", "_target", "_operations/core"}
"""What every subject may take from."""

HALVES = {
    "_access": "_operations/access",
    "_instance": "_operations/instance",
    "_purge": "_operations/purge",
    "_realip": "_operations/realip",
    "_upgrade": "_operations/migration",
    "_vacuum": "_operations/vacuum",
}
"""What decides on Ansible's side, and what it has done beside the database."""

ALLOWED = {
    ("_operations/purge", "_operations/rewrite"): "strategy=rewrite is a rewrite without the rows that are deleted",
    ("_operations/vacuum", "_operations/rewrite"): "mode=rewrite is a rewrite with all rows",
    ("_vacuum", "_operations/rewrite"): "it has an interrupted rewrite put right, and predicts how long one takes",
    ("_vacuum", "_instance"): "pg_repack connects as pg_dump does",
    ("_operations/realip", "_operations/instance"): "it asks the running backend who is let in",
    ("_operations/realip", "_operations/access"): "who is kept out by real addresses is the network policies' rule",
    ("_realip", "_operations/access"): "the ranges that the rule takes for private",
    ("_realip", "_nginx"): "it reads the configuration of nginx for the proxies that are trusted now",
    ("_nginx", "_operations/access"): "the ranges that the rule takes for private",
    ("_nginx", "_operations/realip"): "a configuration is tried with forged requests",
}
"""(subject that imports, subject that is imported): the reason."""


def subject(module: str) -> str:
    """``_operations/purge`` of ``_operations.purge.walk``, ``_purge`` of ``_purge.archive``."""
    parts = module.split(".")
    return "/".join(parts[:2]) if parts[0] == "_operations" else parts[0]


def imports(file: Path) -> list[str]:
    """The modules of ours that a file imports, dotted below module_utils."""
    own = list(file.relative_to(UTILS).with_suffix("").parts)
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = own[: -node.level] + (node.module.split(".") if node.module else [])
            found += [".".join(base)] if node.module else [".".join([*base, name.name]) for name in node.names]
    return found


def crossings() -> dict[tuple[str, str], list[str]]:
    """The files that import from another subject, by (subject, other)."""
    found = defaultdict(list)
    for file in sorted(UTILS.rglob("*.py")):
        here = subject(".".join(file.relative_to(UTILS).with_suffix("").parts))
        for module in imports(file):
            there = subject(module)
            if there not in {here, *FREE} and HALVES.get(here) != there and here not in {"_call", "_target"}:
                found[here, there].append(f"{file.relative_to(UTILS)} imports {module}")
    return found


def test_no_subject_imports_another_without_a_reason() -> None:
    found = crossings()
    assert [line for pair, lines in found.items() if pair not in ALLOWED for line in lines] == []
    assert sorted(set(ALLOWED) - set(found)) == [], "allowed and not used"


def test_core_imports_no_subject() -> None:
    core = [*(UTILS / "_operations" / "core").glob("*.py"), UTILS / "_errors.py"]
    found = [(file.name, module) for file in core for module in imports(file)]
    assert [pair for pair in found if subject(pair[1]) not in {"_errors", "_operations/core"}] == []


@pytest.mark.parametrize("what", ["kind", "name"])
def test_an_error_has_one_class(what: str) -> None:
    """Whoever branches on ``error.kind`` has to find each once, and nobody reads one name in two senses."""
    found = defaultdict(list)
    for file in sorted(UTILS.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                kinds = re.findall(r'^    kind = "(\w+)"', ast.unparse(node).replace("'", '"'), re.MULTILINE)
                for kind in kinds:
                    found[kind if what == "kind" else node.name].append(f"{file.relative_to(UTILS)}: {node.name}")
    assert found and {key: places for key, places in found.items() if len(places) > 1} == {}
