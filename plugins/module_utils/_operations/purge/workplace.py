# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a purge that changes something holds: the lock, and its connections."""

from __future__ import annotations

import socket
from dataclasses import asdict
from typing import List, Optional

from ..._errors import LockHeld
from ..core.api import Context
from ..core.database import supports_check_interval
from ..core.lock import Lock, holder_of, session_name
from ..core.types import Connection
from .export import Exporter
from .session import Session
from .surroundings import KEY


class Workplace:
    """The lock and the connections of a run that changes something."""

    def __init__(self, context: Context, lock_timeout: float, host: str) -> None:
        self._held: List[Connection] = [context.connect("purge lock")]
        self.watcher = self._open(context, "purge watch")
        self.lock = Lock(self._held[0], KEY, session_name("purge", host, socket.gethostname()))
        if not self.lock.take():
            holder = holder_of(self.watcher, KEY)
            self.close()
            raise LockHeld(
                "Another purge works on this database: %s." % (holder or "one that has just ended"),
                "Let it end, or end it, then run this again.",
                partial={"holder": asdict(holder)} if holder else {},
            )
        connection = self._open(context, "purge")
        self.session = Session(connection, lock_timeout, supports_check_interval(connection))
        self.exporter: Optional[Exporter] = None  # takes what is deleted to the caller

    def _open(self, context: Context, purpose: str) -> Connection:
        self._held.append(context.connect(purpose))
        return self._held[-1]

    def close(self) -> None:
        for connection in reversed(self._held):
            connection.close()
