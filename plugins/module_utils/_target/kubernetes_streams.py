# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kubernetes' byte streams over WebSockets: a process in a pod, and the input and the log of a pod of its own.

A message is a byte with the channel's number, then the data: 0 standard input, 1 output, 2 error, 3 the status at the
end as JSON, 255 a channel that closes (Kubernetes ``k8s.io/apimachinery/pkg/util/remotecommand``, v4 and v5).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import socket
import ssl
import struct
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Iterator, List, Optional, Sequence, Tuple

from .._errors import ApiUnreachable, NotSupported, PhaseError
from .kubernetes_api import Api, path_to
from .session import SILENCE, Channel
from .streams import DuplexChannel

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
STDIN, STDOUT, STDERR, STATUS, CLOSING = 0, 1, 2, 3, 255
MESSAGE = 1 << 15  # bytes of input in a message
BINARY, CLOSE, PING, PONG = 2, 8, 9, 10
AGAIN = 1.0  # seconds before an API server that was away is asked again, about a Job that goes on
AWAY = 60.0  # seconds without one after which it is given up

Message = Tuple[int, bytes]  # channel, data


def frame(opcode: int, data: bytes, mask: bytes) -> bytes:
    """A whole message as a client sends it (RFC 6455, section 5.2)."""
    size = len(data)
    if size < 126:
        head = struct.pack(">BB", 0x80 | opcode, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, size)
    key = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(data, "little") ^ int.from_bytes(key, "little")
    return head + mask + masked.to_bytes(size, "little")


class Frames:
    """Cuts what a server sends into messages. What was read is copied once, however long a message is."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._parts: List[bytes] = []

    def feed(self, data: bytes) -> Iterator[Tuple[int, bytes]]:
        """(opcode, data) of each whole message."""
        self._rest += data
        start = 0
        while True:
            cut = self._cut(start)
            if cut is None:
                break
            opcode, body, start = cut
            if opcode is not None:
                yield opcode, body
        del self._rest[:start]

    def _cut(self, start: int) -> Optional[Tuple[Optional[int], bytes, int]]:
        """The frame at ``start`` and where it ends; None while it is not whole. No opcode: more of it is to come."""
        rest = self._rest
        if len(rest) < start + 2:
            return None
        first, size, begin = rest[start], rest[start + 1] & 0x7F, start + 2
        if size > 125:
            wide = 2 if size == 126 else 8
            if len(rest) < begin + wide:
                return None
            size = int.from_bytes(rest[begin : begin + wide], "big")
            begin += wide
        if len(rest) < begin + size:
            return None
        body, final, opcode = bytes(memoryview(rest)[begin : begin + size]), first & 0x80, first & 0x0F
        if opcode >= CLOSE:
            return opcode, body, begin + size
        self._parts.append(body)
        if not final:
            return None, b"", begin + size
        whole, self._parts = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts), []
        return BINARY, whole, begin + size


class Stream:
    """A WebSocket with channels. One thread sends and receives, because a TLS socket allows no other."""

    def __init__(self, taken: "socket.socket", rest: bytes, protocol: str) -> None:
        self._socket = taken
        self.protocol = protocol
        self._frames = Frames()
        self._messages: Deque[Message] = deque()
        self._pending = b""
        self._ended = False
        self._cut(rest)

    def send(self, data: bytes) -> None:
        """Input for the far end. Raises OSError when the stream is gone."""
        self._socket.settimeout(SILENCE)
        self._flush()
        for start in range(0, len(data), MESSAGE):
            self._socket.sendall(_message(STDIN, data[start : start + MESSAGE]))

    def _flush(self) -> None:
        self._socket.sendall(self._pending)
        self._pending = b""

    def offer(self, data: bytes) -> None:
        """Have a piece of input sent when there is room: see ``push``."""
        self._pending += _message(STDIN, data)

    def close_input(self) -> None:
        """End of file for the far end. Raises NotSupported where the API server knows no way."""
        if self.protocol != V5:
            raise NotSupported(
                "This API server cannot tell a program that its input has ended.",
                "Use a cluster of Kubernetes 1.30 or newer.",
            )
        self._pending += frame(BINARY, bytes((CLOSING, STDIN)), os.urandom(4))

    def push(self) -> bool:
        """Send what goes without waiting; whether all of it went. Raises OSError when the stream is gone."""
        self._socket.settimeout(0)
        try:
            while self._pending:
                self._pending = self._pending[self._socket.send(self._pending) :]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        return not self._pending

    def wait(self, writing: bool) -> None:
        if not self._messages and not self._ended:
            select.select([self._socket], [self._socket] if writing else [], [], 1.0)

    def receive(self, timeout: float) -> Optional[Message]:
        """The next message; None after ``timeout`` seconds; EOFError at the end, however it came."""
        if not self._messages and not self._ended:
            self._socket.settimeout(timeout)
            try:
                data = self._socket.recv(1 << 18)
            except (socket.timeout, BlockingIOError, ssl.SSLWantReadError):
                return None
            except OSError:
                data = b""
            if data:
                self._cut(data)
            else:
                self._ended = True
        if self._messages:
            return self._messages.popleft()
        if self._ended:
            raise EOFError
        return None

    def _cut(self, data: bytes) -> None:
        for opcode, body in self._frames.feed(data):
            if opcode == CLOSE:
                self._ended = True
            elif opcode == PING:
                self._pending += frame(PONG, body, os.urandom(4))
                with contextlib.suppress(OSError):  # reading finds out that nobody is there
                    self.push()
            elif opcode == BINARY and body:
                self._messages.append((body[0], body[1:]))

    def close(self) -> None:
        try:
            self._socket.settimeout(1.0)
            self._socket.sendall(frame(CLOSE, struct.pack(">H", 1000), os.urandom(4)))
        except OSError:
            pass
        self._socket.close()


def _message(channel: int, data: bytes) -> bytes:
    return frame(BINARY, bytes((channel,)) + data, os.urandom(4))


def open_stream(
    api: Api,
    pod: str,
    subresource: str,
    container: str,
    *,
    command: Sequence[str] = (),
    output: bool = True,
) -> Stream:
    """``exec`` a command in a container, or ``attach`` to what it runs; without ``output`` only its input."""
    query = [("container", container), ("stdin", "true")]
    query += [("stdout", "true"), ("stderr", "true")] if output else [("stdout", "false"), ("stderr", "false")]
    query += [("command", word) for word in command]
    path = path_to("v1", api.namespace, "pods", pod, subresource)
    return Stream(*api.upgrade(path, query, (V5, V4), "a stream to pod %s (%s)" % (pod, subresource)))


class ExecChannel(DuplexChannel):
    """A process that was started in a container. ``broken(said)`` is the error for a stream without a status."""

    def __init__(self, stream: Stream, judge: Callable[[Optional[Any]], Optional[int]]) -> None:
        self._stream = stream
        self._judge = judge
        self._status: Optional[Any] = None
        self._closed = False  # the input: its end is on the way

    def send(self, data: bytes) -> None:
        self._stream.send(data)

    def feed(self, blocks: Iterator[bytes]) -> bool:
        try:
            if not self._stream.push():
                return True
        except OSError:
            return False
        if self._closed:
            return False
        block = next(blocks, b"")  # an error of reading it is not the stream's
        try:
            if block:
                for start in range(0, len(block), MESSAGE):
                    self._stream.offer(block[start : start + MESSAGE])
            else:
                self._stream.close_input()
                self._closed = True
            self._stream.push()
        except OSError:
            return False
        return True

    def wait(self, writing: bool) -> None:
        self._stream.wait(writing)

    def receive(self, timeout: float) -> Optional[Tuple[int, bytes]]:
        received = self._stream.receive(timeout)
        if received is None or received[0] in (STDOUT, STDERR):
            return received
        if received[0] == STATUS:
            self._status = json.loads(received[1])
        return None

    def exit_code(self) -> Optional[int]:
        return self._judge(self._status)

    def close(self) -> None:
        self._stream.close()


class JobChannel(Channel):
    """A pod's own process: input by attaching, output out of its log, which outlives a lost connection.

    ``alive()`` says whether the container still runs; it may raise ApiUnreachable. ``stream`` None only listens.
    """

    def __init__(
        self,
        api: Api,
        pod: str,
        container: str,
        alive: Callable[[], bool],
        judge: Callable[[], Optional[int]],
        stream: Optional[Stream],
    ) -> None:
        self._api, self._pod, self._container = api, pod, container
        self._alive, self._judge, self._stream = alive, judge, stream
        self._queue: "queue.Queue[bytes]" = queue.Queue()
        self._error: Optional[PhaseError] = None
        self._closed = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        """Follow the log to the container's end; after a break it is read anew, without what was read before."""
        read, heard = 0, time.monotonic()
        while not self._closed:
            try:
                skip = read
                for data in self._api.log(self._pod, self._container, [("follow", "true")]):
                    heard = time.monotonic()
                    new, skip = data[skip:], max(0, skip - len(data))
                    read += len(new)
                    if new:
                        self._queue.put(new)
                if not self._alive():
                    break
                heard = time.monotonic()
            except ApiUnreachable as error:
                if time.monotonic() - heard > AWAY:
                    self._error = error
                    break
            except PhaseError as error:
                self._error = error
                break
            time.sleep(AGAIN)
        self._queue.put(b"")

    def send(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.send(data)

    def receive(self, timeout: float) -> Optional[Tuple[int, bytes]]:
        try:
            data = self._queue.get(timeout=timeout)
        except queue.Empty:
            return None
        if not data:
            raise EOFError
        return 1, data

    def exit_code(self) -> Optional[int]:
        if self._error is not None:
            raise self._error
        return self._judge()

    def close(self) -> None:
        """The thread ends with the log or with this process."""
        self._closed = True
        if self._stream is not None:
            self._stream.close()
