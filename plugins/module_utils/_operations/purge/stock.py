# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The application's own command, ``purge_app_logs``, in a process of its own that ends with this one.

Its exit code and its last line are not believed: what it deleted is read back by the caller. Facts of Phase v2.73.2.
"""

from __future__ import annotations

import inspect
import os
import re
from typing import Any, Callable, Dict, Optional

from ..._errors import ApplicationFailed
from ..core.api import Context, Request, Result
from ..core.django import with_django
from ..core.secrets import masker, secret_values
from ..core.subprocess import Child, spawn
from .errors import StockFailed

POLL = 0.25
NAME = "purge_app_logs"
BATCH = re.compile(r"batch \d+: deleted=(\d+) total=\d+")


def inspect_command() -> bool:
    """Whether the command is the one since v2.73.0, which works in batches and deletes read events only.

    The database's release is no proof: an older image may run on a newer database.
    """

    def look() -> bool:
        from django.core.management import get_commands, load_command_class

        app = get_commands().get(NAME)
        if app is None:
            raise ApplicationFailed("The application has no command %s." % NAME, "Use strategy=delete.")
        command: Any = load_command_class(app, NAME) if isinstance(app, str) else app
        options = {action.dest for action in command.create_parser("manage.py", NAME)._actions}
        source = inspect.getsource(type(command))
        return "batch_size" in options and "SecretEvent.READ" in source

    return with_django(look)


class Teller:
    """What a command prints, as progress."""

    def __init__(self, report: Callable[..., None]) -> None:
        self._report = report

    def write(self, text: str) -> None:
        for line in text.splitlines():
            found = BATCH.search(line)
            self._report(line.strip(), rows=int(found.group(1)) if found else 0)

    def flush(self) -> None:
        """Django asks for it."""


def call(context: Context, request: Request) -> Result:
    """Run the command in this process: ``organisation``, ``retain_days``, ``app_id``. Result: ``error`` or None."""

    def run() -> Result:
        from django.core.management import CommandError, call_command

        more = {"app_id": request["app_id"]} if request["app_id"] else {}
        try:
            call_command(
                NAME, request["organisation"], retain=request["retain_days"], stdout=Teller(context.report), **more
            )
        except CommandError as error:
            return {"error": str(error)}
        return {"error": None}

    return with_django(run)


def run_command(context: Context, organisation: str, scope: Dict[str, Any], deadline: Optional[float]) -> Optional[str]:
    """The command for one organisation, with its batches as progress; what stopped it. Raises StockFailed."""
    request = {"organisation": organisation, "retain_days": scope["retain_days"], "app_id": scope["app_id"]}
    child = Child(spawn(context, call, request, os.environ), masker(secret_values(dict(os.environ))))
    deleted, stopped = 0, None
    closing: Dict[str, Any] = {}
    try:
        while not closing:
            ended = child.drained()
            while not child.events.empty():
                event = child.events.get()
                if event["event"] in ("result", "error"):
                    closing = event
                elif event["event"] == "progress":
                    deleted += event["rows"]
                    context.report("%s: %s" % (organisation, event["message"]), deleted=deleted)
            if ended:
                break
            if deadline is not None and context.clock() >= deadline:
                stopped = "max_duration"
                break
            context.sleep(POLL)
    finally:
        child.stop()
    if stopped is None and (closing.get("event") != "result" or closing["result"]["error"]):
        error = closing.get("error") or {}
        said = error.get("message") or closing.get("result", {}).get("error") or " / ".join(child.output()[-3:])
        raise StockFailed(
            "%s of organisation %s failed: %s" % (NAME, organisation, said or "it ended without a word"),
            "Solve what it tells, or use strategy=delete.",
        )
    return stopped
