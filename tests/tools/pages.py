# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The pages of the documentation, as those read them who run their examples."""

from __future__ import annotations

import re
import textwrap

from .paths import ROOT

GUIDES = ROOT / "docs" / "docsite" / "rst"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(GUIDES.glob("*.rst"))]
BLOCK = re.compile(
    r"^```(?P<fence>\w+)\n(?P<fenced>.*?)^```"
    r"|^(?P<indent> *)\.\. code-block:: (?P<directive>\w+)\n\n(?P<indented>(?:(?P=indent) +\S[^\n]*\n|\n)+)",
    re.MULTILINE | re.DOTALL,
)


def guide(name: str) -> str:
    """The text of a guide."""
    return (GUIDES / f"guide_{name}.rst").read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> list[str]:
    """The code of a page in these languages: Markdown's fences, and the directives of reStructuredText."""
    found = [match.groupdict() for match in BLOCK.finditer(text)]
    return [
        block["fenced"] or textwrap.dedent(block["indented"]).strip("\n") + "\n"
        for block in found
        if (block["fence"] or block["directive"]) in languages
    ]
