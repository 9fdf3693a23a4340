# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Copies of the collection where Ansible's tools expect it: .build/tree/<name>/ansible_collections/phase/console."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from .paths import BUILD, ROOT

DEPENDENCIES = ("community/docker", "community/library_inventory_filtering_v1", "kubernetes/core")
"""Only these are linked beside it: with the whole bundle the documentation checks take minutes."""

TEST = re.compile(r"^def (test_\w+)", re.MULTILINE)


def project_files() -> list[Path]:
    """What git tracks or would track, relative to the root; a file that was deleted but not committed is left out."""
    # In CI the checkout may be another user's, and git wants to be told that this is meant.
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [Path(name) for name in sorted(set(listed)) if name and (ROOT / name).is_file()]


def has_test(file: Path, name: str) -> bool:
    """Whether the file or one of its tests has this name, or one that contains it."""
    return name in file.stem or any(name in test for test in TEST.findall(file.read_text(encoding="utf-8")))


def make_tree(name: str, bundle: Path | None = None) -> Path:
    """Copy the files and link the dependencies from `bundle`, an ansible_collections folder; returns the copy."""
    collections = BUILD / "tree" / name / "ansible_collections"
    if collections.exists():
        shutil.rmtree(collections)
    target = collections / "phase" / "console"
    for file in project_files():
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, target / file)
    # A repository of its own: the tools ask git for their files, and in the checkout's the whole of .build is ignored.
    subprocess.run(["git", "init", "--quiet"], cwd=target, check=True)
    for dependency in DEPENDENCIES:
        if bundle and (bundle / dependency).is_dir():
            link = collections / dependency
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(bundle / dependency)
    return target
