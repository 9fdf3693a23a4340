# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""phase_info: what the target tells of the containers, joined with what the database tells."""

from __future__ import annotations

from typing import Any, Dict, List

from .._call.argspec import ArgumentSpec
from .._call.module import Call
from .._errors import PhaseError
from .._operations.instance import information
from .._target.base import external_warnings
from . import access as _access

IN_DATABASE = [name for name, _read in information.SUBSETS]
SUBSETS = ["connection"] + IN_DATABASE


SPEC = ArgumentSpec(
    dict(
        _access.OPTIONS,
        gather_subset={
            "type": "list",
            "elements": "str",
            "choices": SUBSETS + ["components", "access", "all"],
            "default": ["all"],
        },
    )
)


def chosen(wanted: List[str]) -> List[str]:
    """The subsets asked for, in their own order; ``all`` is every one of them but ``access`` and ``components``."""
    return [name for name in SUBSETS if "all" in wanted or name in wanted]


def run(call: Call) -> Dict[str, Any]:
    phase: Dict[str, Any] = {}
    try:
        gather(call, phase)
    except PhaseError as error:
        error.partial.setdefault("phase", phase)  # how it was reached helps to find out why the rest cannot be
        raise
    return {"changed": False, "phase": phase}


def gather(call: Call, phase: Dict[str, Any]) -> None:
    """Fill in the subsets, one after the other."""
    wanted = call.params["gather_subset"]
    subsets = chosen(wanted)
    if "connection" in subsets:
        phase["connection"] = call.target.connection()
    read = [name for name in subsets if name in IN_DATABASE]
    if read:
        phase.update(call.target.run(information.gather, {"subsets": read}, call.report))
    if "access" in wanted:  # not among all: it asks the application, and about one organisation
        phase["access"] = _access.access(call)
    if "components" in wanted:  # nothing is run for it, so whoever may only look gets an answer
        phase["components"] = call.target.describe()
    if "instance" in phase:
        phase["instance"].update(call.target.describe())
        for text in external_warnings(phase["instance"].get("external_migration"), call.target.deployment):
            call.warn(text)
    if "storage" in phase and phase["storage"]["free_bytes"] is None:
        phase["storage"]["free_bytes"] = call.target.free_disk()
