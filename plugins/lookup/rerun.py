# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The command that runs this playbook again, with further variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rerun
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: The command that runs this playbook again
description:
  - Returns the command line that this run was started with, to be typed into a shell, with further variables at its end
    and without C(--check). The variables at the end override those before.
  - What looks like a secret among the variables on the command line is starred.
options:
  _terms:
    description: Variables, as V(NAME=VALUE).
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Say what to type to go on
  ansible.builtin.debug:
    msg: "{{ lookup('phase.console.rerun', 'phase_upgrade_version=v2.73.2') }}"
"""

RETURN = r"""
_raw:
  description: The command.
  type: list
  elements: str
"""

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml
from ansible.parsing.splitter import parse_kv
from ansible.plugins.lookup import LookupBase
from ansible_collections.phase.console.plugins.module_utils._operations.core.secrets import masker, secret_values

ONCE = re.compile(r"^(--check|--diff|--step|--list-tasks|--start-at-task=.*)$")
SHORT = re.compile(r"^-[CDv]+$")
VARIABLES = ("-e", "--extra-vars")


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of variables, those inside others too."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, str(key))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from flat(inner, name)
    else:
        yield name, str(value)


def shown(variables: str) -> str:
    """The text of -e, with what looks like a secret starred. What cannot be read is starred as a whole.

    Ansible shows messages as JSON, where a double quote is escaped, and nobody could copy that; so there is none.
    """
    if variables.startswith("@"):
        return variables
    try:
        parsed = yaml.safe_load(variables) if variables[:1] in "[{" else parse_kv(variables)
    except Exception:  # Ansible would have refused it, with one error or another
        parsed = None
    if not isinstance(parsed, Mapping):
        return masker([variables])(variables)
    values: list[str] = []
    for name, value in flat(parsed):
        values += secret_values({name: value}, read=lambda path: path)
    if '"' in variables:
        variables = yaml.safe_dump(dict(parsed), default_flow_style=True, width=sys.maxsize, allow_unicode=True).strip()
    return masker(values)(variables)


def command(argv: Iterable[str], folder: str, more: Iterable[str]) -> str:
    """``cd FOLDER && ARGV -e MORE`` for a shell."""
    kept: list[str] = []
    expected = ""
    for argument in argv:
        name, equals, value = argument.partition("=")
        if expected == "drop":
            expected = ""
        elif expected == "variables":
            kept, expected = kept + [shown(argument)], ""
        elif argument == "--start-at-task":
            expected = "drop"
        elif argument in VARIABLES:
            kept, expected = kept + [argument], "variables"
        elif name == "--extra-vars" and equals:
            kept.append(name + equals + shown(value))
        elif argument.startswith("-e") and not argument.startswith("--"):
            kept += ["-e", shown(argument[2:])]
        elif SHORT.match(argument):
            rest = argument[1:].replace("C", "").replace("D", "")
            kept += ["-" + rest] if rest else []
        elif not ONCE.match(argument):
            kept.append(argument)
    for variable in more:
        kept += ["-e", variable]
    return f"cd {shlex.quote(folder)} && {shlex.join(kept)}"


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[str]:
        return [command(sys.argv, os.environ.get("PWD") or os.getcwd(), terms)]
