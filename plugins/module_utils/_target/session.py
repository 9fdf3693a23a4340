# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The near end of a conversation with ``_operations/core/remote``: heartbeats out, JSON lines in, two time limits.

``idle`` is the longest silence of the stream; the remote side says ``alive`` every few seconds, so silence means a
lost stream or a hung host. ``total`` limits the whole operation. They expire apart and say which of them did.
"""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from .._errors import Cancelled, IdleTimeout, PhaseError, RemoteError, StreamLost, TotalTimeout
from .._operations.core.api import Deliveries, Operation, Request
from .._operations.core.package import opening, pack, reference
from .._operations.core.remote import GO_ON, PAUSE, REFUSED, TAKEN
from .base import Lost

HEARTBEAT = 1.0  # seconds between heartbeats
SILENCE = 6.0  # seconds without one after which the remote side gives up; with its GRACE under the promised 10
UNWRITTEN = 16  # pieces that may wait to be written
TAIL = 4000  # characters of standard error kept for a failure

Report = Callable[..., None]


def never_lost() -> bool:
    return False


class Channel:
    """A running remote process: bytes in, tagged bytes out. Implemented over pipes and over Docker's streams."""

    def send(self, data: bytes) -> None:
        """Raises OSError when the far end is gone."""
        raise NotImplementedError

    def receive(self, timeout: float) -> Optional[Tuple[int, bytes]]:
        """(1 or 2, bytes) of standard output or error; None after ``timeout`` seconds; EOFError at the end."""
        raise NotImplementedError

    def exit_code(self) -> Optional[int]:
        """The exit code, once the stream has ended, if it can be known."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go. A process that is not detached ends by itself soon after."""
        raise NotImplementedError


class Lines:
    """Cuts standard output into JSON objects and keeps the tail of standard error."""

    def __init__(self) -> None:
        self._rest = b""
        self.stderr = ""

    def feed(self, stream: int, data: bytes) -> Iterator[Dict[str, Any]]:
        if stream == 2:
            self.stderr = (self.stderr + data.decode("utf-8", "replace"))[-TAIL:]
            return
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            if line.startswith(b"{"):
                yield json.loads(line)
            elif line.strip():  # an interpreter or a container runtime that failed before our code ran
                self.stderr = (self.stderr + line.decode("utf-8", "replace") + "\n")[-TAIL:]


class Taking:
    """Passes what the far end delivers on. That is done aside, so that a slow disk holds no heartbeat back.

    What could not be kept is told to the far end by REFUSED; ``error`` is what the caller is told then.
    """

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._pool = ThreadPoolExecutor(1)
        self._writing: List["Future[None]"] = []
        self._settling: Optional["Future[None]"] = None
        self.error: Optional[PhaseError] = None

    def take(self, kind: str, event: Dict[str, Any]) -> None:
        if kind == "piece":
            self._writing.append(self._pool.submit(self._piece, event["offset"], event["data"]))
        elif kind == "settle":
            self._settling = self._pool.submit(self._settle, event["batch"])
        elif kind == "outcome":
            self._writing.append(self._pool.submit(self._deliveries.outcome, event["batch"], event["state"]))

    def _piece(self, offset: int, data: str) -> None:
        if self.error is None:
            try:
                self._deliveries.piece(offset, base64.b64decode(data))
            except PhaseError as error:
                self.error = error

    def _settle(self, batch: Dict[str, Any]) -> None:
        if self.error is None:
            try:
                self._deliveries.settle(batch)
            except PhaseError as error:
                self.error = error

    def busy(self) -> bool:
        """Whether there is something to wait for before more is read."""
        self._writing = [future for future in self._writing if not future.done()]
        return self._settling is not None or len(self._writing) >= UNWRITTEN

    def answer(self, timeout: float) -> bytes:
        """What to send about the batch that is being settled; nothing yet after ``timeout`` seconds."""
        done = wait([self._settling or self._writing[0]], timeout)[0]
        if not done or self._settling is None:
            return b""
        self._settling.result()
        self._settling = None
        return TAKEN if self.error is None else REFUSED

    def close(self) -> None:
        """Waits for what is being written: whoever owns the files may touch them then."""
        self._pool.shutdown()


def first_words(
    operation: Operation,
    request: Request,
    timeouts: Dict[str, float],
    detached: bool,
    paused: bool = False,
    deliveries: bool = False,
) -> bytes:
    """What opens a conversation: the package and the envelope, in the form that ``core/remote`` reads."""
    envelope = {
        "operation": reference(operation),
        "request": request,
        "timeouts": timeouts,
        "detached": detached,
        "silence": SILENCE,
        "paused": paused,
        "deliveries": deliveries,
    }
    return opening(pack(), envelope)


def converse(
    channel: Channel,
    words: bytes,
    report: Report,
    *,
    idle: float,
    total: float,
    mask: Callable[[str], str] = lambda text: text,
    clock: Callable[[], float] = time.monotonic,
    detached: bool = False,
    lost: Lost = never_lost,
    paused: Callable[[], bool] = lambda: False,
    deliveries: Optional[Deliveries] = None,
) -> Dict[str, Any]:
    """Open the conversation, pass progress on, return the operation's result or raise its error.

    ``total`` 0 is no limit. Each heartbeat says whether the operation shall pause. The errors of a lost stream and of
    both time limits carry the last progress line. ``deliveries`` takes what the operation delivers; its error counts.
    """
    taking = Taking(deliveries or Deliveries())
    try:
        return _converse(channel, words, report, idle, total, mask, clock, detached, lost, paused, taking)
    except RemoteError as error:
        if taking.error is None:
            raise
        taking.error.partial = dict(error.partial, **taking.error.partial)
        raise taking.error from error
    finally:
        taking.close()


def _converse(
    channel: Channel,
    words: bytes,
    report: Report,
    idle: float,
    total: float,
    mask: Callable[[str], str],
    clock: Callable[[], float],
    detached: bool,
    lost: Lost,
    paused: Callable[[], bool],
    taking: Taking,
) -> Dict[str, Any]:
    lines = Lines()
    history: List[str] = []
    started = heard = beaten = clock()
    resume = "It goes on without this call: run it again to join it." if detached else "Run it again."

    def partial() -> Dict[str, Any]:
        return {"last_progress": history[-1]} if history else {}

    _send(channel, words)
    while True:
        now = clock()
        if lost():
            raise Cancelled("The caller of this module is gone.", resume, partial=partial())
        if total and now - started > total:
            raise TotalTimeout("The operation took longer than %g s." % total, resume, partial=partial())
        if now - heard > idle:
            raise IdleTimeout("Nothing was heard from the remote side for %g s." % idle, resume, partial=partial())
        if now - beaten >= HEARTBEAT:
            beaten = now
            _send(channel, PAUSE if paused() else GO_ON)
        if taking.busy():
            _send(channel, taking.answer(HEARTBEAT / 2))
            heard = clock()
            continue
        try:
            received = channel.receive(min(HEARTBEAT, idle))
        except EOFError:
            code = channel.exit_code()
            again = resume if code is None else "Run it again."
            raise StreamLost(_ending(code, mask(lines.stderr)), again, partial=partial()) from None
        if received is None:
            continue
        heard = clock()
        for event in lines.feed(*received):
            closing = _take(event, history, report, taking)
            if closing is not None:
                return closing


def _take(event: Dict[str, Any], history: List[str], report: Report, taking: Taking) -> Optional[Dict[str, Any]]:
    """Act on one event: the result when it is that, else None. Raises the operation's own error."""
    kind = event.pop("event")
    if kind == "result":
        return dict(event["result"])
    if kind == "error":
        raise RemoteError(event["error"])
    if kind == "progress":
        history[:] = [event["message"]]
        report(**event)
    taking.take(kind, event)
    return None


def _send(channel: Channel, data: bytes) -> None:
    """Send, and leave it to the receiving side to find out why the far end is gone."""
    try:
        if data:
            channel.send(data)
    except OSError:
        pass


def _ending(code: Optional[int], stderr: str) -> str:
    last = [line.strip() for line in stderr.splitlines() if line.strip()][-1:]
    how = "exit code %d" % code if code is not None else "exit code unknown"
    return "The remote side ended without a result (%s)%s" % (how, ": " + last[0] if last else ".")
