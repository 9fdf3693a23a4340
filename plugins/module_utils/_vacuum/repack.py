# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""pg_repack, where somebody has installed both halves of it: the extension and the program beside the database.

Source: documentation of pg_repack 1.4 and 1.5 (Requirements, Options). Both halves have to be of the same version, and
the role a superuser. It ends with exit code 0 for a table that it left out, so the sizes are read back.
"""

from __future__ import annotations

import re
from typing import Any, Callable, List, Mapping, Optional

from .._errors import PhaseError
from .._instance.backup import command
from .._operations.vacuum.errors import Skipped
from .._target.base import Target


class RepackFailed(PhaseError):
    """pg_repack failed."""

    kind = "repack_failed"


def client_version(target: Target) -> Optional[str]:
    """The version of the program where the database's own tools are; None when there is none."""
    said = bytearray()
    try:
        code, _stderr = target.pipe(command(["pg_repack", "--version"]), said.extend)
    except PhaseError:  # a target that can start no program there
        return None
    found = re.search(r"pg_repack (\d[\w.]*)", said.decode("utf-8", "replace"))
    return found.group(1) if code == 0 and found else None


def arguments(quoted: str, patience: float) -> List[str]:
    """Nobody is cancelled or ended: after ``patience`` seconds of waiting it leaves the table out."""
    wait = "--wait-timeout=%d" % max(1, round(patience))
    return ["pg_repack", "--table=%s" % quoted, "--no-order", "--no-kill-backend", wait, "--no-password"]


def repack(target: Target, step: Mapping[str, Any], report: Callable[..., None]) -> None:
    """Raises RepackFailed, or Skipped when it left the table out."""
    report(step["statement"])
    code, stderr = target.pipe(command(step["argv"]), bytearray().extend)
    words = " ".join(stderr.strip().splitlines()[-3:])
    if code != 0:
        raise RepackFailed(
            "pg_repack ended with exit code %d: %s" % (code, words or "it said nothing"),
            "What it leaves behind goes with DROP EXTENSION pg_repack CASCADE; then use mode=rewrite.",
        )
    if "WARNING" in stderr:
        raise Skipped("pg_repack left the table out: %s" % words, "Run it again when those sessions have ended.")
