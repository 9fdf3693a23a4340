# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The README's first command, as a user runs it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.timeout(600)
def test_the_demonstration_runs_from_another_folder(tmp_path: Path) -> None:
    """It judges itself: the upgrade changes something, the second run nothing, a module runs ad hoc from anywhere."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([ROOT / "demo.sh"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert "Nothing to do" in done.stdout
    assert done.stdout.count("PLAY RECAP") == 2


def test_a_python_that_is_too_old_is_said(tmp_path: Path) -> None:
    """A PATH with bash and a python3 that calls itself old: no set-up is tried."""
    for name in ("bash", "dirname"):
        program = next(Path(folder) / name for folder in ("/bin", "/usr/bin") if (Path(folder) / name).exists())
        (tmp_path / name).symlink_to(program)
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.8.0"\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    done = subprocess.run(
        ["bash", str(ROOT / "demo.sh")], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "Python 3.11 or newer is needed and none was found on PATH (python3 is: Python 3.8.0).\n"
