# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Rules of the collection that no linter knows."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import MODULES, PLAYBOOKS, ROLES, ROOT
from tools import error_kinds

DOCUMENTS = ("DOCUMENTATION", "EXAMPLES", "RETURN")
MODULE = """\
from __future__ import annotations
from ansible_collections.phase.console.plugins.module_utils._call.{call} import run_module
from ansible_collections.phase.console.plugins.module_utils.{place} import SPEC, run
def main() -> None:
    run_module(SPEC, run)
if __name__ == "__main__":
    main()
"""
FOLDERS_OF_SOMEBODY = re.compile(r"/(?:home|Users)/\w+/")


def test_the_action_group_has_every_module_with_a_target(documentation: dict[str, dict[str, Any]]) -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    with_target = [name for name in MODULES if "deployment" in documentation[name]["doc"]["options"]]
    assert sorted(runtime["action_groups"]["phase"]) == with_target


def test_every_module_that_reports_progress_shows_it() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    reporting = [*runtime["action_groups"]["phase"], "phase_archive_check"]
    routed = {name: entry["action_plugin"] for name, entry in runtime["plugin_routing"]["modules"].items()}
    assert routed == dict.fromkeys(reporting, "phase.console.phase_migrate")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_states_its_attributes(module: str, documentation: dict[str, dict[str, Any]]) -> None:
    attributes = documentation[module]["doc"]["attributes"]
    for name in ("check_mode", "diff_mode", "idempotent"):
        assert attributes[name].get("support") in ("full", "partial", "none", "N/A"), name
    if "deployment" in documentation[module]["doc"]["options"]:
        assert attributes["action_group"]["membership"] == ["phase.console.phase"]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_links_a_guide(module: str, documentation: dict[str, dict[str, Any]]) -> None:
    """That the label exists is a check of antsibull-docs."""
    linked = [entry.get("ref", "") for entry in documentation[module]["doc"].get("seealso", [])]
    assert any(ref.startswith("ansible_collections.phase.console.docsite.guide_") for ref in linked)


def test_a_role_links_a_guide() -> None:
    for role in ROLES:
        specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
        assert all(entry["seealso"][0]["ref"] for entry in specs["argument_specs"].values()), role


def test_every_module_documents_its_errors_in_the_same_words(documentation: dict[str, dict[str, Any]]) -> None:
    found = [documentation[name]["return"].get("error") for name in MODULES]
    assert set(found[0]["contains"]) == {"kind", "next_step"}
    assert [name for name, entry in zip(MODULES, found) if entry != found[0]] == []


def test_the_page_of_error_kinds_is_made_from_the_classes() -> None:
    assert [kind for kind, meaning in error_kinds.kinds().items() if not meaning.endswith(".")] == []
    assert error_kinds.PAGE.read_text(encoding="utf-8") == error_kinds.page()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_its_documentation_and_the_same_eight_lines(
    module: str, documentation: dict[str, dict[str, Any]]
) -> None:
    lines = code_lines((ROOT / "plugins" / "modules" / f"{module}.py").read_text(encoding="utf-8"))
    place = re.search(r"module_utils\.(\S+) import SPEC, run$", "\n".join(lines), re.MULTILINE)
    call = "targets" if "deployment" in documentation[module]["doc"]["options"] else "module"
    assert place and sorted(lines) == sorted(MODULE.format(place=place[1], call=call).splitlines())  # imports in order


def code_lines(source: str) -> list[str]:
    """The lines that are neither documentation, nor comment, nor blank."""
    documented: set[int] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in DOCUMENTS:
            documented.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    numbered = enumerate(source.splitlines(), 1)
    return [line for number, line in numbered if number not in documented and line.strip() and line.lstrip()[0] != "#"]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_unit_tests_of_its_own(module: str) -> None:
    assert (ROOT / "tests" / "unit" / "plugins" / "modules" / f"test_{module}.py").is_file()


@pytest.mark.parametrize("name", [*MODULES, *ROLES, *PLAYBOOKS])
def test_the_readme_or_the_docs_name_it(name: str) -> None:
    texts = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.rst")]
    assert any(re.search(rf"\b{name}\b", text.read_text(encoding="utf-8")) for text in texts)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_checks_its_arguments(role: str) -> None:
    specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    assert specs["argument_specs"]["main"]["short_description"]


@pytest.mark.parametrize("role", ROLES)
def test_the_variables_of_a_role_bear_its_name(role: str) -> None:
    specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    options = specs["argument_specs"]["main"]["options"]
    assert [name for name in options if name != "phase_target" and not name.startswith(f"phase_{role}_")] == []


def test_there_are_no_sanity_ignore_files(files: list[Path]) -> None:
    assert [str(file) for file in files if file.match("tests/sanity/ignore*")] == []


def test_no_file_names_a_folder_of_this_machine(files: list[Path]) -> None:
    found = []
    for file in files:
        text = (ROOT / file).read_text(encoding="utf-8", errors="ignore")
        if f"{ROOT}/" in text or FOLDERS_OF_SOMEBODY.search(text):
            found.append(str(file))
    assert found == []


def test_a_change_has_a_changelog_fragment() -> None:
    assert any((ROOT / "changelogs" / "fragments").glob("*.yml"))
