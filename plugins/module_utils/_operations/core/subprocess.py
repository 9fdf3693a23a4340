# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An operation in another process of the same interpreter, with the same package."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Dict, Mapping, Optional

from .api import Context, Operation, Request
from .package import STARTER, opening, reference


def spawn(
    context: Context,
    operation: Operation,
    request: Request,
    environment: Mapping[str, str],
    timeouts: Optional[Dict[str, float]] = None,
) -> "subprocess.Popen[bytes]":
    """Start ``operation`` in a child that ends with this process.

    The child's standard output carries the JSON lines of ``core/remote``, its standard error the application's prints.
    Its standard input has to stay open: its end is what tells the child that this process is gone.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", STARTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environment),
    )
    envelope: Dict[str, Any] = {
        "operation": reference(operation),
        "request": request,
        "timeouts": dict(timeouts or {}),
        "detached": False,
        "silence": 0,
    }
    if child.stdin is not None:  # a pipe, as asked for above
        child.stdin.write(opening(context.package, envelope))
        child.stdin.flush()
    return child
