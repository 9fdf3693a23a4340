# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an operation is given: connections, a voice, a clock, and word of its caller.

An operation is a module-level function ``operation(context, request) -> result`` in this package. It knows nothing of
Ansible or of where it runs; request and result are plain JSON data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict

from .._errors import Cancelled

Request = Dict[str, Any]
Result = Dict[str, Any]


@dataclass(frozen=True)
class Context:
    """Everything an operation may touch from outside.

    ``connect(purpose)`` opens a new psycopg2 connection in autocommit mode, named ``phase.console <purpose>``.
    ``report(message, **counters)`` tells the caller one line of progress. ``clock()`` counts seconds.
    ``sleep(seconds)`` wakes early, raising Cancelled, when the operation has to stop.
    ``caller_lost()`` is true once nobody listens any more; only a detached operation lives to see it.
    ``paused()`` is true while the caller's pause file is there.
    ``package`` holds the packed operations, for an operation that must start itself in another process.
    """

    connect: Callable[..., Any]
    report: Callable[..., None]
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    caller_lost: Callable[[], bool]
    cancelled: Callable[[], bool]
    paused: Callable[[], bool]
    package: bytes = b""

    def check_cancelled(self) -> None:
        if self.cancelled():
            raise Cancelled("The operation was cancelled.", "Run it again: it goes on from what is in the database.")


Operation = Callable[[Context, Request], Result]
