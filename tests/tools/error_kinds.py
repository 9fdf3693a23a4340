# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The page of error kinds, made from the classes: ``PYTHONPATH=tests .venv/bin/python -m tools.error_kinds``."""

from __future__ import annotations

import ast

from .pages import GUIDES
from .paths import ROOT

PAGE = GUIDES / "guide_errors.rst"
HEAD = """\
..
  SPDX-License-Identifier: GPL-3.0-or-later
  SPDX-FileCopyrightText: 2026 The phase.console authors

.. _ansible_collections.phase.console.docsite.guide_errors:

Kinds of errors
===============

A module that fails returns ``msg``, with the fault and the next step, and ``error``, with ``kind`` and ``next_step``.
The module's other keys have the work that was done before the failure. A playbook can branch on the kind:

.. code-block:: yaml

    - name: Purge, unless another purge is at work
      phase.console.phase_purge_logs:
        organisation: SpaceX
      register: purge
      failed_when: purge is failed and purge.error.kind != 'lock_held'

.. list-table::
   :header-rows: 1
   :widths: 25 75

   * - kind
     - meaning
"""


def kinds() -> dict[str, str]:
    """The first paragraph of the docstring of each class of errors, by its kind."""
    found = {}
    for file in sorted((ROOT / "plugins" / "module_utils").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for line in node.body if isinstance(node, ast.ClassDef) else ():
                if (
                    isinstance(line, ast.Assign)
                    and ast.unparse(line.targets[0]) == "kind"
                    and node.name != "PhaseError"
                ):
                    text = (ast.get_docstring(node) or "").partition("\n\n")[0]
                    found[ast.literal_eval(line.value)] = " ".join(text.split())
    return found


def page() -> str:
    rows = [f"   * - ``{kind}``\n     - {meaning}\n" for kind, meaning in sorted(kinds().items())]
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
