# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``deployment: database``: a direct connection, operations in this process."""

from __future__ import annotations

import time
from typing import Any, Dict, Optional

from .._errors import Cancelled, NotSupported, RemoteError
from .._operations.core.api import Context, Deliveries, Operation, Request, Result
from .._operations.core.database import Settings, connect
from .._operations.core.package import pack
from .._operations.core.remote import translate
from .base import Limits, Lost, Report, Target
from .session import never_lost

POLL = 0.5  # seconds between looks at whether the caller is there


class DirectTarget(Target):
    deployment = "database"

    def __init__(self, settings: Settings, limits: Limits, lost: Lost = never_lost) -> None:
        self._settings = settings
        self._limits = limits
        self._lost = lost

    def _sleep(self, seconds: float) -> None:
        """Wakes early when the caller is gone, as the far end of the other targets does."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._lost():
                raise Cancelled("The caller of this module is gone.", "Run it again.")
            time.sleep(min(left, POLL))

    def run(
        self,
        operation: Operation,
        request: Request,
        report: Report,
        *,
        image: Optional[str] = None,
        detached: bool = False,
        deliveries: Optional[Deliveries] = None,
    ) -> Result:
        if image is not None:
            raise NotSupported(
                "deployment=database reaches the database alone, and this needs Phase's application.",
                "Use deployment=docker, compose, kubernetes or local.",
            )
        context = Context(
            connect=lambda purpose="", database="": connect(self._settings, purpose, self._limits.timeouts(), database),
            report=report,
            clock=time.monotonic,
            sleep=self._sleep,
            caller_lost=self._lost,
            cancelled=self._lost,
            paused=self._limits.paused,
            package=pack(),
            deliveries=deliveries,
        )
        closing = translate(lambda: operation(context, request))
        if closing["event"] == "error":
            raise RemoteError(closing["error"])
        return dict(closing["result"])

    def describe(self) -> Dict[str, Any]:
        return {"deployment": self.deployment, "components": {}, "external_migration": None}
