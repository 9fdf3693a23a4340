# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The far end of a target: runs one operation and speaks JSON lines.

In: the envelope ``{"operation", "request", "timeouts", "detached", "silence", "paused"}`` as one line, then heartbeats.
Both say whether to pause.
Out, one JSON object a line: ``progress`` (message, counters), ``alive`` every few seconds, ``caller_lost``, and at the
end ``result`` or ``error``. What the application prints goes to standard error.

Dead-man's switch: at end of file, or after ``silence`` seconds without a heartbeat, the caller is lost. Then an
operation is cancelled (running statements too) and the process ends within GRACE seconds; a detached one goes on.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import threading
import time
from typing import Any, BinaryIO, Callable, Dict, List

from .._errors import PhaseError
from ._api import Context, Result
from ._database import connect, database_error, settings_from_environment

GRACE = 3.0  # seconds between cancelling and ending the process
ALIVE = 5.0  # seconds between signs of life
PAUSE, GO_ON = b"p", b"\n"  # heartbeats
GAVE_UP = 75  # exit code after GRACE, as EX_TEMPFAIL


class Voice:
    """Writes JSON lines; a reader that went away is no reason to stop."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def say(self, event: str, **fields: Any) -> None:
        line = json.dumps(dict(fields, event=event)).encode() + b"\n"
        with self._lock:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except BrokenPipeError:
                pass


class Life:
    """Whether the operation may go on: cancelled, caller lost, and the connections to cancel with it."""

    def __init__(self, detached: bool, voice: Voice, end: Callable[[int], Any] = os._exit) -> None:
        self.cancelled = threading.Event()
        self.lost = threading.Event()
        self.paused = threading.Event()
        self._detached = detached
        self._voice = voice
        self._end = end
        self._connections: List[Any] = []

    def adopt(self, connection: Any) -> Any:
        self._connections = [known for known in self._connections if not known.closed] + [connection]
        return connection

    def heartbeat(self, data: bytes) -> None:
        if data.endswith(PAUSE):
            self.paused.set()
        else:
            self.paused.clear()

    def caller_lost(self) -> None:
        self.lost.set()
        self._voice.say("caller_lost")
        if self._detached:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # nobody reads it; a closed pipe would break the application
        else:
            self.cancel()
            timer = threading.Timer(GRACE, self._end, (GAVE_UP,))
            timer.daemon = True
            timer.start()

    def cancel(self) -> None:
        self.cancelled.set()
        for connection in self._connections:
            if not connection.closed:
                connection.cancel()


def watch(
    descriptor: int, silence: float, lost: Callable[[], None], heard: Callable[[bytes], None] = lambda data: None
) -> None:
    """Call ``lost`` once at end of file or after ``silence`` seconds without a byte (0: end of file only)."""
    while True:
        ready = select.select([descriptor], [], [], silence or None)[0]
        data = os.read(descriptor, 65536) if ready else b""
        if not data:
            lost()
            return
        heard(data)


def resolve(reference: str) -> Callable[[Context, Dict[str, Any]], Result]:
    """The operation behind ``_operations.migrations:plan``."""
    module, name = reference.split(":")
    home = __name__.rsplit("._operations", 1)[0]
    operation: Callable[[Context, Dict[str, Any]], Result] = getattr(importlib.import_module(home + "." + module), name)
    return operation


def context_for(life: Life, voice: Voice, timeouts: Dict[str, float], package: bytes) -> Context:
    def sleep(seconds: float) -> None:
        life.cancelled.wait(seconds)
        context.check_cancelled()

    context = Context(
        connect=lambda purpose="": life.adopt(connect(settings_from_environment(os.environ), purpose, timeouts)),
        report=lambda message, **counters: voice.say("progress", message=message, **counters),
        clock=time.monotonic,
        sleep=sleep,
        caller_lost=life.lost.is_set,
        cancelled=life.cancelled.is_set,
        paused=life.paused.is_set,
        package=package,
    )
    return context


def translate(operation: Callable[[], Result]) -> Dict[str, Any]:
    """The closing line: the operation's result, or its error in typed form. A bug passes through as a traceback."""
    try:
        return {"event": "result", "result": operation()}
    except PhaseError as error:
        return {"event": "error", "error": error.as_dict()}
    except Exception as error:
        driver = sys.modules.get("psycopg2")
        if driver is None or not isinstance(error, driver.Error):
            raise
        return {"event": "error", "error": database_error(error).as_dict()}


def main(stdin: BinaryIO, package: bytes) -> int:
    envelope = json.loads(stdin.readline())
    voice = Voice(os.dup(1))
    os.dup2(2, 1)
    life = Life(envelope["detached"], voice)
    life.heartbeat(PAUSE if envelope.get("paused") else GO_ON)
    signal.signal(signal.SIGTERM, lambda number, frame: life.cancel())

    def breathe() -> None:
        while True:
            time.sleep(ALIVE)
            voice.say("alive")

    for task in (lambda: watch(stdin.fileno(), envelope["silence"], life.caller_lost, life.heartbeat), breathe):
        threading.Thread(target=task, daemon=True).start()
    context = context_for(life, voice, envelope["timeouts"], package)
    closing = translate(lambda: resolve(envelope["operation"])(context, envelope["request"]))
    voice.say(**closing)
    return 0
