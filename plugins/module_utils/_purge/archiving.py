# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What phase_purge_logs does about its archive, before, beside and after the run that deletes."""

from __future__ import annotations

import os
import secrets
import socket
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence

from .._operations.purge import batches as operations
from .._target.base import Report, Target
from . import archive as _archive
from .archive import Archive, Facts

NOTHING: Facts = dict.fromkeys(("path", "manifest", "first", "last", "sha256"))
NOTHING.update({"rows": 0, "tables": {}, "bytes": 0, "batches": 0, "kept": 0, "waiting": []})
SCOPE = ("organisation", "app_id", "retain_days", "log_streams", "other_logs")


def archiving(params: Mapping[str, Any], target: Target, report: Report) -> Optional["Archiving"]:
    """None where no archive is asked for. Raises ArchiveFailed where there can be none."""
    if not params["archive_dest"]:
        return None
    return Archiving(_archive.check_folder(params["archive_dest"]), target, report)


class Archiving:
    """The archive of a run and those of earlier ones that were cut off; ``run`` names its batches."""

    def __init__(self, folder: str, target: Target, report: Report) -> None:
        self.run = secrets.token_hex(4)
        self._folder = folder
        self._target = target
        self._report = report
        self._settled: List[Facts] = []
        self._archive: Optional[Archive] = None

    def foresee(self, plan: Mapping[str, Any], result: Facts) -> None:
        """Put into a result what would be done."""
        stems = [stem for stem, _journal in _archive.left(self._folder, plan["database"])]
        stem = os.path.join(self._folder, _archive.name_of(self.run, time.time()))
        result["archive"] = {
            "path": stem + _archive.DATA if plan["eligible"] else None,
            "manifest": stem + _archive.MANIFEST if plan["eligible"] else None,
            "bytes_at_most": plan["bytes"],
            "bytes_free": _archive.free(self._folder),
            "settled": [{"path": stem + _archive.DATA} for stem in stems],
        }
        if stems:
            result["changed"] = True
            for stem in stems:
                name = os.path.basename(stem)
                result["diff"]["before"] += "archive %s: cut off\n" % name
                result["diff"]["after"] += "archive %s: settled\n" % name

    def check_room(self, plan: Mapping[str, Any]) -> None:
        _archive.check_room(self._folder, plan["bytes"])

    def settle(self, plan: Mapping[str, Any]) -> Facts:
        """Bring the archives of runs that were cut off to their ends; what there is to tell so far."""
        for stem, journal in _archive.left(self._folder, plan["database"]):
            self._report("Settling the archive %s of a run that was cut off" % os.path.basename(stem))
            done = _archive.settle(stem, journal, self._ask)
            self._settled.append(done or {"path": None, "removed": stem + _archive.DATA, "rows": 0})
        return self._result(None)

    def begin(self, request: Mapping[str, Any]) -> Archive:
        scope = request["plan"]["scope"]
        header = {
            "host": socket.gethostname(),
            "database": request["plan"]["database"],
            "scope": dict({name: request.get(name) for name in SCOPE}, cutoff=scope["cutoff"]),
            "organisations": scope["organisations"],
        }
        self._archive = Archive(self._folder, header, self.run, time.time())
        return self._archive

    def end(self) -> Facts:
        return self._result(self._archive.close(self._ask) if self._archive else None)

    def _result(self, own: Optional[Facts]) -> Facts:
        return dict(own or NOTHING, settled=list(self._settled))

    def _ask(self, batches: Sequence[Facts]) -> Dict[str, Optional[str]]:
        names = ("batch", "table", "key", "samples", "transaction", "relation")
        request = {"batches": [{name: batch[name] for name in names} for batch in batches]}
        found: Dict[str, Optional[str]] = self._target.run(operations.states, request, self._report)["states"]
        return found
