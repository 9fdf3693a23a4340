# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Notes of the versions of what the tests run against, for the summary of a run.

Whoever starts something notes it in the file that PHASE_CONSOLE_VERSIONS names, a JSON array [name, version] a line.
Without the variable nothing is noted.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

VARIABLE = "PHASE_CONSOLE_VERSIONS"


def note(name: str, version: str) -> None:
    """Append, unless it is there already. Lines are short, so those of several processes do not mix."""
    place = os.environ.get(VARIABLE)
    if not place:
        return
    line = json.dumps([name, version]) + "\n"
    path = Path(place)
    if path.exists() and line in path.read_text(encoding="utf-8"):
        return
    with path.open("a", encoding="utf-8") as file:
        file.write(line)


def note_program(name: str, command: Sequence[str | Path]) -> None:
    """Note the first number with a dot in what a program says of itself, in either of its outputs."""
    if not os.environ.get(VARIABLE):
        return
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(?:\.\d+)+\S*", done.stdout + done.stderr)
    note(name, found[0].rstrip(",)") if found else "of unknown version")
