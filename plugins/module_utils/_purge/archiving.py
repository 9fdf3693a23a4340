# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The archive of phase_purge_logs, before, during and after the run that deletes."""

from __future__ import annotations

import os
import secrets
import socket
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, cast

from .._operations.purge import batches as operations
from .._operations.purge.log_table import LOGS
from .._operations.purge.types import ApplyRequest, BatchQuestion, Plan, States, StatesRequest
from .._target.base import Report, Target
from . import archive as _archive
from .archive import Archive, Facts, Stored

VALUED = [log for log in LOGS.values() if log.subject.values]  # their rows copy secrets
NOTHING: Facts = dict.fromkeys(("path", "manifest", "first", "last", "sha256"))
NOTHING.update({"rows": 0, "tables": {}, "bytes": 0, "batches": 0, "kept": 0, "waiting": []})


def archiving(params: Mapping[str, Any], target: Target, report: Report) -> Optional["Archiving"]:
    """None where no archive is asked for. Raises ArchiveFailed where there can be none."""
    if not params["archive_dest"]:
        return None
    return Archiving(_archive.check_folder(params["archive_dest"]), params["archive_values"], target, report)


class Archiving:
    """The archive of a run and those of interrupted ones; ``run`` begins the names of its batches."""

    def __init__(self, folder: str, values: bool, target: Target, report: Report) -> None:
        self.run = secrets.token_hex(4)
        self._folder = folder
        self._left_out = {} if values else {log.subject.table: list(log.subject.values) for log in VALUED}
        self._target = target
        self._report = report
        self._settled: List[Facts] = []
        self._archive: Optional[Archive] = None

    def foresee(self, plan: Plan) -> Facts:
        """What check mode returns of it."""
        rows, size = archived(plan)
        stem = os.path.join(self._folder, _archive.name_of(self.run, time.time()))
        left = [path for path, _journal in _archive.left(self._folder, plan["database"])]
        return {
            "path": stem + _archive.DATA if rows else None,
            "manifest": stem + _archive.MANIFEST if rows else None,
            "bytes_at_most": size,
            "bytes_free": _archive.free(self._folder),
            "left_out": self._left_out,
            "settled": [{"path": path + _archive.DATA} for path in left],
        }

    def check_room(self, plan: Plan) -> None:
        _archive.check_room(self._folder, archived(plan)[1])

    def settle(self, plan: Plan) -> Facts:
        """Complete the archives of interrupted runs; what the result has so far."""
        for stem, journal in _archive.left(self._folder, plan["database"]):
            self._report("Completing the archive %s of an interrupted run" % os.path.basename(stem))
            done = _archive.settle(stem, journal, self._ask)
            self._settled.append(done or {"path": None, "removed": stem + _archive.DATA, "rows": 0})
        return self._result(None)

    def begin(self, order: ApplyRequest) -> Archive:
        plan = order["plan"]
        scope = {
            "organisation": order["organisation"],
            "app_id": order["app_id"],
            "retain": order["retain"],
            "log_streams": order["log_streams"],
            "cutoffs": {name: planned["cutoff"] for name, planned in plan["logs"].items()},
        }
        header = {
            "host": socket.gethostname(),
            "database": plan["database"],
            "scope": scope,
            "organisations": plan["scope"]["organisations"],
            "left_out": self._left_out,
        }
        self._archive = Archive(self._folder, header, self.run, time.time())
        return self._archive

    def end(self) -> Facts:
        return self._result(self._archive.close(self._ask) if self._archive else None)

    def _result(self, own: Optional[Facts]) -> Facts:
        return dict(own or NOTHING, left_out=self._left_out, settled=list(self._settled))

    def _ask(self, batches: Sequence[Stored]) -> Dict[str, Optional[str]]:
        questions: List[BatchQuestion] = [
            {
                "batch": batch["batch"],
                "table": batch["table"],
                "key": batch["key"],
                "samples": batch["samples"],
                "transaction": batch["transaction"],
                "relation": batch["relation"],
            }
            for batch in batches
        ]
        request: StatesRequest = {"batches": questions}
        found: States = cast(States, self._target.run(operations.states, cast(Facts, request), self._report))
        return found["states"]


def archived(plan: Plan) -> Tuple[int, int]:
    """Rows and bytes at most that a run would write into an archive."""
    taken = [planned for name, planned in plan["logs"].items() if LOGS[name].archived]
    return sum(one["eligible"] for one in taken), sum(one["bytes"] for one in taken)
