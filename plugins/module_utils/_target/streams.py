# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Docker's byte streams: a process attached to this one, and the log of one that is not."""

from __future__ import annotations

import json
import queue
import select
import socket
import ssl
import struct
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Tuple

from .base import Sink
from .session import SILENCE, TAIL, Channel


class DuplexChannel(Channel):
    """A channel that is fed and drained in turns by one thread: see ``pump``."""

    def feed(self, blocks: Iterator[bytes]) -> bool:
        """Send what the far end takes now of the next block; False once it has had all, or enough."""
        raise NotImplementedError

    def wait(self, writing: bool) -> None:
        """Until there is something to read, or, while writing, room to write."""
        raise NotImplementedError


class StreamChannel(DuplexChannel):
    """A hijacked connection of the engine: stdin out, frames in.

    A frame is a byte with the stream's number, three zero bytes, a big-endian length, then the data (Docker Engine API,
    "Attach to a container"). One thread sends and receives, because a TLS socket allows no other.
    """

    def __init__(self, hijacked: Any, exit_code: Callable[[], Optional[int]]) -> None:
        self._hijacked = hijacked  # closing it too early would close the socket below
        self._socket: "socket.socket" = getattr(hijacked, "_sock", hijacked)
        self._exit_code = exit_code
        self._rest = self._pending = b""
        self._frames: Deque[Tuple[int, bytes]] = deque()

    def send(self, data: bytes) -> None:
        self._socket.settimeout(SILENCE)
        self._socket.sendall(data)

    def feed(self, blocks: Iterator[bytes]) -> bool:
        self._pending = self._pending or next(blocks, b"")
        self._socket.settimeout(0)
        try:
            if not self._pending:
                self._socket.shutdown(socket.SHUT_WR)
                return False
            self._pending = self._pending[self._socket.send(self._pending) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        except OSError:
            return False
        return True

    def wait(self, writing: bool) -> None:
        if not self._frames:
            select.select([self._socket], [self._socket] if writing else [], [], 1.0)

    def receive(self, timeout: float) -> Optional[Tuple[int, bytes]]:
        if not self._frames:
            self._socket.settimeout(timeout)
            try:
                data = self._socket.recv(1 << 18)
            except (socket.timeout, BlockingIOError, ssl.SSLWantReadError):
                return None
            except ConnectionError:
                data = b""
            if not data:
                raise EOFError
            self._cut(data)
        return self._frames.popleft() if self._frames else None

    def _cut(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= 8:
            stream, length = struct.unpack(">BxxxL", self._rest[:8])
            if stream not in (0, 1, 2):  # an engine that failed before the program ran writes plain text
                self._frames.append((2, self._rest))
                self._rest = b""
            if len(self._rest) < 8 + length:
                return
            self._frames.append((stream, self._rest[8 : 8 + length]))
            self._rest = self._rest[8 + length :]

    def exit_code(self) -> Optional[int]:
        return self._exit_code()

    def close(self) -> None:
        self._socket.close()
        self._hijacked.close()


class LogChannel(Channel):
    """The log of a container that runs already: what it said so far, then what it goes on to say."""

    def __init__(self, client: Any, container: str) -> None:
        self._client, self._container = client, container
        self._queue: "queue.Queue[bytes]" = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for data in self._client.logs(self._container, stream=True, follow=True, stderr=False):
            self._queue.put(data)
        self._queue.put(b"")

    def send(self, data: bytes) -> None:
        """Its caller is gone, and nobody can take that place."""

    def receive(self, timeout: float) -> Optional[Tuple[int, bytes]]:
        try:
            data = self._queue.get(timeout=timeout)
        except queue.Empty:
            return None
        if not data:
            raise EOFError
        return 1, data

    def exit_code(self) -> Optional[int]:
        return int(self._client.inspect_container(self._container)["State"]["ExitCode"])

    def close(self) -> None:
        """The thread ends with the log or with this process."""


def events(log: bytes) -> List[Dict[str, Any]]:
    """The JSON lines in a container's log."""
    return [json.loads(line) for line in log.splitlines() if line.startswith(b"{")]


def pump(channel: DuplexChannel, sink: Sink, blocks: Iterator[bytes]) -> str:
    """Feed and drain in turns, in one thread, until the far end is done; the tail of standard error."""
    stderr, feeding = "", True
    while True:
        channel.wait(feeding)
        feeding = feeding and channel.feed(blocks)
        try:
            received = channel.receive(0)
        except EOFError:
            return stderr
        if received and received[0] == 1:
            sink(received[1])
        elif received:
            stderr = (stderr + received[1].decode("utf-8", "replace"))[-TAIL:]
