# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The surveys in playbooks/files ask for variables that there are, with the roles' and modules' own choices and limits.

What AWX 24.6.1 takes as a survey is in its ``JobTemplateSurveySpec._validate_spec_data`` (awx/api/views/__init__.py);
how it judges answers, in ``SurveyJobTemplateMixin._survey_element_validation`` (awx/main/models/mixins.py). Each
question's default becomes an extra variable, answered or not (``_update_unified_job_kwargs``), and so beats the
inventory. A question without default that nobody answers sends nothing (awx/ui, ``getSurveyValues``).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from ansible_collections.phase.console.plugins.module_utils._purge.purge_logs import MOST_DAYS
from conftest import PLAYBOOKS, ROOT
from integration.harness import answers

LOG = "phase_log_retention_"
RECLAIM = "phase_log_retention_reclaim_"
NOT_ASKED = {
    "phase_target",  # dictionaries and lists of free words are no answers
    LOG + "throttle",
    LOG + "other_logs",
    RECLAIM + "tables",
    LOG + "minimum_retain_days",  # a floor is nothing for who answers to choose
    LOG + "archive_dest",  # nor is where the archive is, and what secrets it keeps
    LOG + "archive_values",
}
NEEDED = {"phase_upgrade_version"}
ROLES = {
    "purge_logs": ("log_retention", "main"),
    "reclaim_space": ("log_retention", "reclaim"),
    "upgrade": ("upgrade", "main"),
    "recover": ("recover", "main"),
    "recover_answer": ("recover", "main"),
}
PLAYBOOK = {"recover_answer": "recover"}  # where it is not the survey's name
SURVEYS = sorted((ROOT / "playbooks" / "files").glob("survey_*.json"))
TYPES = {"str": "text", "path": "text", "int": "integer", "bool": "multiplechoice", "list": "multiselect"}


def read(name: str) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The questions of a survey, and the options of the role that it is for."""
    survey = json.loads((ROOT / "playbooks" / "files" / f"survey_{name}.json").read_text(encoding="utf-8"))
    assert set(survey) == {"name", "description", "spec"} and survey["name"] and survey["spec"]
    assert f"phase.console.{PLAYBOOK.get(name, name)}." in survey["description"]
    role, entry = ROLES[name]
    specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    return survey["spec"], specs["argument_specs"][entry]["options"]


def test_each_survey_has_its_playbook() -> None:
    assert [path.name for path in SURVEYS] == sorted(f"survey_{name}.json" for name in ROLES)
    assert {PLAYBOOK.get(name, name) for name in ROLES} <= set(PLAYBOOKS)


@pytest.mark.parametrize("name", ROLES)
def test_the_questions_are_the_roles_variables(name: str) -> None:
    questions, options = read(name)
    names = [question["variable"] for question in questions]
    assert len(names) == len(set(names)) and set(names) <= set(options)
    if name in ("purge_logs", "reclaim_space"):
        assert set(options) - set(names) == NOT_ASKED & set(options)
    for question in questions:
        option = options[question["variable"]]
        choices = ["false", "true"] if option["type"] == "bool" else option.get("choices")
        assert question["type"] == ("multiplechoice" if choices else TYPES[option["type"]])
        if question["type"] != "multiselect":
            assert question["choices"] == choices if choices else "choices" not in question


@pytest.mark.parametrize("name", ROLES)
def test_an_untouched_survey_leaves_everything_to_the_inventory(name: str) -> None:
    """A default would replace ``retain_days: 365`` of the inventory by 30, and an empty text its app by all apps."""
    assert answers(name) == {}
    for question in read(name)[0]:
        assert "default" not in question
        # An empty text is an answer to AWX, required or not, unless it has to have a length.
        assert question["type"] != "text" or question["min"] >= 1, question["variable"]


def test_a_recovery_is_answered_by_another_template() -> None:
    """AWX holds a job back while another of its template runs (``allow_simultaneous``), so no question is in both."""
    asked, answered = ({one["variable"] for one in read(name)[0]} for name in ("recover", "recover_answer"))
    assert not asked & answered
    assert answered == {"phase_recover_confirm", "phase_recover_refuse", "phase_recover_restore"}


@pytest.mark.parametrize("name", ROLES)
def test_awx_takes_the_questions(name: str) -> None:
    for question in read(name)[0]:
        allowed = {"variable", "question_name", "question_description", "type", "required"}
        allowed |= {"choices", "min", "max"}
        assert set(question) <= allowed and question["question_name"]
        assert isinstance(question["required"], bool)
        if question["type"] == "integer":
            assert isinstance(question["min"], int)
        # A schedule has to answer what is required, even where there is a default.
        assert question["required"] == (question["variable"] in NEEDED)


@pytest.mark.parametrize(
    "module, entry, prefix", [("phase_purge_logs", "main", LOG), ("phase_vacuum", "reclaim", RECLAIM)]
)
def test_the_roles_variables_are_the_modules_options(
    module: str, entry: str, prefix: str, documentation: dict[str, dict[str, Any]]
) -> None:
    """Same type, choices and default, or none where the module has none."""
    specs = yaml.safe_load(
        (ROOT / "roles" / "log_retention" / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    )
    defaults = yaml.safe_load((ROOT / "roles" / "log_retention" / "defaults" / "main.yml").read_text(encoding="utf-8"))
    options = documentation[module]["doc"]["options"]
    variables = specs["argument_specs"][entry]["options"]
    assert len(variables) > 5
    for variable, told in variables.items():
        assert defaults[variable] == told["default"], variable
        if variable != "phase_target":
            option = options[variable.removeprefix(prefix)]
            assert told.get("choices") == option.get("choices"), variable
            assert told["default"] == option.get("default", {"dict": {}}.get(told["type"], "")), variable


def test_the_days_have_the_modules_limits() -> None:
    (days,) = [question for question in read("purge_logs")[0] if question["variable"] == LOG + "retain_days"]
    assert (days["min"], days["max"]) == (0, MOST_DAYS)


def test_a_migration_can_be_stopped_on_what_the_module_finds(documentation: dict[str, dict[str, Any]]) -> None:
    (findings,) = [one for one in read("upgrade")[0] if one["variable"] == "phase_upgrade_stop_on"]
    assert findings["choices"] == documentation["phase_migrate"]["doc"]["options"]["stop_on"]["choices"]
