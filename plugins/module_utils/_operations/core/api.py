# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an operation is given: connections, a voice, a clock, and word of its caller.

An operation is a module-level function ``operation(context, request) -> result`` in this package. It knows nothing of
Ansible or of where it runs; request and result are plain JSON data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Optional

from ..._errors import Cancelled
from .types import Connection

Request = Dict[str, Any]
Result = Dict[str, Any]


class Deliveries:
    """Where an operation hands over data that must be on the caller's disk before it goes on, batch by batch.

    The caller implements it over files (``_purge/archive``), the far end over its conversation (``core/remote``).
    """

    def piece(self, offset: int, data: bytes) -> None:
        """The next bytes of a batch, ``offset`` being those before it; 0 begins it anew."""
        raise NotImplementedError

    def settle(self, batch: Dict[str, Any]) -> None:
        """The batch is complete, and this tells of it. Returns once it is on disk.

        Raises PhaseError when it could not be written, and Cancelled when the caller is lost.
        """
        raise NotImplementedError

    def outcome(self, batch: str, state: str) -> None:
        """What became of it in the database: ``deleted`` or ``kept``. A word that is lost does no harm."""
        raise NotImplementedError


@dataclass(frozen=True)
class Context:
    """Everything an operation may touch from outside.

    ``connect(purpose)`` opens a new psycopg2 connection in autocommit mode, named ``phase.console <purpose>``;
    ``connect(purpose, database)`` one to another database of the server.
    ``report(message, **counters)`` tells the caller one line of progress. ``clock()`` counts seconds.
    ``sleep(seconds)`` wakes early, raising Cancelled, when the operation has to stop.
    ``caller_lost()`` is true once nobody listens any more; only a detached operation lives to see it.
    ``paused()`` is true while the caller's pause file is there.
    ``deliveries`` takes data to the caller, where the call offers that.
    ``package`` holds the packed operations, for an operation that must start itself in another process.
    """

    connect: Callable[..., Connection]
    report: Callable[..., None]
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    caller_lost: Callable[[], bool]
    cancelled: Callable[[], bool]
    paused: Callable[[], bool]
    package: bytes = b""
    deliveries: Optional[Deliveries] = None

    def check_cancelled(self) -> None:
        if self.cancelled():
            raise Cancelled("The operation was cancelled.", "Run it again: it goes on from what is in the database.")


Operation = Callable[[Context, Any], Any]  # a request and a result of plain data; ``Call.run`` keeps their types
