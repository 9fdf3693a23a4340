# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The far end of a target: runs one operation and speaks JSON lines.

In: the envelope ``{"operation", "request", "timeouts", "detached", "silence", "paused", "deliveries"}`` as one line,
then bytes: heartbeats, which like the envelope say whether to pause, and answers to what was delivered.
Out, one JSON object a line: ``progress`` (message, counters), ``alive`` every few seconds, ``caller_lost``, ``piece``
(offset, data in base64), ``settle`` (batch), which is answered, ``outcome`` (batch, state), and at the end ``result``
or ``error``. What the application prints goes to standard error.

Dead-man's switch: at end of file, or after ``silence`` seconds without a heartbeat, the caller is lost. Then an
operation is cancelled (running statements too) and the process ends within GRACE seconds; a detached one goes on.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import queue
import select
import signal
import sys
import threading
import time
from typing import Any, BinaryIO, Callable, Dict, List

from ..._errors import Cancelled, NotTaken, PhaseError, named
from .api import Context, Deliveries, Result
from .database import connect, database_error, settings_from_environment
from .secrets import masker, secret_values

GRACE = 3.0  # seconds between cancelling and ending the process
LAST_WORDS = 1.0  # seconds that the last cancelling may take
ALIVE = 5.0  # seconds between signs of life
PAUSE, GO_ON = b"p", b"\n"  # heartbeats
TAKEN, REFUSED = b"t", b"r"  # answers to a delivery
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
        self._answers: "queue.SimpleQueue[bytes]" = queue.SimpleQueue()  # a signal's handler may put into it

    def adopt(self, connection: Any) -> Any:
        self._connections = [known for known in self._connections if not known.closed] + [connection]
        return connection

    def hear(self, data: bytes) -> None:
        """Bytes of the caller, as many as came at once."""
        for answer in (TAKEN, REFUSED):
            for _number in range(data.count(answer)):
                self._answers.put(answer)
        beats = data.replace(TAKEN, b"").replace(REFUSED, b"")
        if beats.endswith(PAUSE):
            self.paused.set()
        elif beats:
            self.paused.clear()

    def answer(self) -> bytes:
        """Wait for the caller's answer; nothing when there will be none."""
        return self._answers.get() if not self.cancelled.is_set() else b""

    def caller_lost(self) -> None:
        self.lost.set()
        if not self._detached:
            # Before anything is said: a caller that stopped reading without closing keeps whoever speaks waiting.
            timer = threading.Timer(GRACE, self._give_up)
            timer.daemon = True
            timer.start()
            self.cancel()
        self._voice.say("caller_lost")
        if self._detached:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # nobody reads it; a closed pipe would break the application

    def _give_up(self) -> None:
        """Cancel what was begun since, and end: a server process that waits for a lock does not see its client go."""
        last = threading.Thread(target=self._cancel_statements, daemon=True)
        last.start()
        last.join(LAST_WORDS)
        self._end(GAVE_UP)

    def cancel(self) -> None:
        self.cancelled.set()
        self._answers.put(b"")
        self._cancel_statements()

    def _cancel_statements(self) -> None:
        for connection in self._connections:
            if not connection.closed:
                connection.cancel()


class RemoteDeliveries(Deliveries):
    """Over the conversation: only one batch at a time is under way, so the next answer is its."""

    def __init__(self, voice: Voice, life: Life) -> None:
        self._voice = voice
        self._life = life

    def piece(self, offset: int, data: bytes) -> None:
        self._voice.say("piece", offset=offset, data=base64.b64encode(data).decode())

    def settle(self, batch: Dict[str, Any]) -> None:
        self._voice.say("settle", batch=batch)
        answer = self._life.answer()
        if answer == REFUSED:
            raise NotTaken("The caller could not keep what was delivered.", "See what it says.")
        if answer != TAKEN:
            raise Cancelled("The caller is gone.", "Run it again.")

    def outcome(self, batch: str, state: str) -> None:
        self._voice.say("outcome", batch=batch, state=state)


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
    """The operation behind ``_operations.migration.operation:plan``."""
    module, name = reference.split(":")
    home = __name__.rsplit("._operations", 1)[0]
    operation: Callable[[Context, Dict[str, Any]], Result] = getattr(importlib.import_module(home + "." + module), name)
    return operation


def context_for(
    life: Life, voice: Voice, timeouts: Dict[str, float], package: bytes, deliveries: bool = False
) -> Context:
    def sleep(seconds: float) -> None:
        life.cancelled.wait(seconds)
        context.check_cancelled()

    context = Context(
        connect=lambda purpose="", database="": life.adopt(
            connect(settings_from_environment(os.environ), purpose, timeouts, database)
        ),
        report=lambda message, **counters: voice.say("progress", message=message, **counters),
        clock=time.monotonic,
        sleep=sleep,
        caller_lost=life.lost.is_set,
        cancelled=life.cancelled.is_set,
        paused=life.paused.is_set,
        package=package,
        deliveries=RemoteDeliveries(voice, life) if deliveries else None,
    )
    return context


def translate(operation: Callable[[], Result], hide: Callable[[str], str] = lambda text: text) -> Dict[str, Any]:
    """The closing line: the operation's result, or its error in typed form. ``hide`` takes the secrets out of the text
    of an exception that is not ours."""
    try:
        return {"event": "result", "result": operation()}
    except PhaseError as error:
        return {"event": "error", "error": error.as_dict()}
    except Exception as error:
        driver = sys.modules.get("psycopg2")
        if driver is not None and isinstance(error, driver.Error):
            return {"event": "error", "error": database_error(error).as_dict()}
        unknown = named(error)
        unknown.message = hide(unknown.message)
        return {"event": "error", "error": unknown.as_dict()}


def main(stdin: BinaryIO, package: bytes) -> int:
    envelope = json.loads(stdin.readline())
    voice = Voice(os.dup(1))
    os.dup2(2, 1)
    life = Life(envelope["detached"], voice)
    life.hear(PAUSE if envelope.get("paused") else GO_ON)
    signal.signal(signal.SIGTERM, lambda number, frame: life.cancel())

    def breathe() -> None:
        while True:
            time.sleep(ALIVE)
            voice.say("alive")

    for task in (lambda: watch(stdin.fileno(), envelope["silence"], life.caller_lost, life.hear), breathe):
        threading.Thread(target=task, daemon=True).start()
    context = context_for(life, voice, envelope["timeouts"], package, envelope.get("deliveries", False))
    hide = masker(secret_values(os.environ))
    closing = translate(lambda: resolve(envelope["operation"])(context, envelope["request"]), hide)
    voice.say(**closing)
    return 0
