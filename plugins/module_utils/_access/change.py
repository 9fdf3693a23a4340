# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A change of Phase's rows that can be undone: snapshot first, then the change; planned again where rows changed."""

from __future__ import annotations

import contextlib
import os
from typing import Callable, Tuple, TypeVar

from .._call.module import Call
from .._errors import PhaseError
from .._operations.core.rows import RowsChanged
from . import snapshot as _snapshot

T = TypeVar("T")
ATTEMPTS = 3  # plans, when others change the same rows meanwhile


def replanned(call: Call, once: Callable[[], T]) -> T:
    """``once`` plans and applies. Where others change the same rows in between, it is called again, a few times.

    Not with state=restored: there RowsChanged is about what was changed since the snapshot.
    """
    for _attempt in range(ATTEMPTS - 1 if call.params["state"] != "restored" else 0):
        try:
            return once()
        except PhaseError as error:
            if error.kind != RowsChanged.kind:
                raise
            call.report("The same rows were changed in the meantime. Planning again.")
    return once()


def with_snapshot(call: Call, content: _snapshot.Body, apply: Callable[[], T]) -> Tuple[str, T]:
    """Write the snapshot, then ``apply``. Returns the snapshot's path and what ``apply`` returned.

    Where ``apply`` raises RowsChanged, nothing was written and the file goes; other errors carry its path.
    """
    path = _snapshot.save(call.params["snapshot_dir"], content, os.environ)
    call.report("Snapshot written. To undo the change: state=restored snapshot=%s" % path)
    try:
        return path, apply()
    except PhaseError as error:
        if error.kind == RowsChanged.kind:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        else:
            error.partial = dict(error.partial, snapshot=path)
        raise
