# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An operation in another process of the same interpreter, with the same package."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import deque
from queue import SimpleQueue
from typing import Any, Callable, Deque, Dict, List, Mapping, Optional

from .api import Context, Operation, Request
from .package import STARTER, opening, reference

KEPT = 30  # lines of a child's output
ENDING = 10.0  # seconds a child may take to end after SIGTERM


def spawn(
    context: Context,
    operation: Operation,
    request: Request,
    environment: Mapping[str, str],
    timeouts: Optional[Dict[str, float]] = None,
) -> "subprocess.Popen[bytes]":
    """Start ``operation`` in a child that ends with this process.

    The child's standard output carries the JSON lines of ``core/remote``, its standard error the application's prints.
    Its standard input has to stay open: its end is what tells the child that this process is gone.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", STARTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environment),
    )
    envelope: Dict[str, Any] = {
        "operation": reference(operation),
        "request": request,
        "timeouts": dict(timeouts or {}),
        "detached": False,
        "silence": 0,
    }
    if child.stdin is not None:  # a pipe, as asked for above
        child.stdin.write(opening(context.package, envelope))
        child.stdin.flush()
    return child


class Child:
    """The process, its events and the end of its output."""

    def __init__(self, process: "subprocess.Popen[bytes]", mask: Callable[[str], str]) -> None:
        self.process = process
        self.events: "SimpleQueue[Dict[str, Any]]" = SimpleQueue()
        self._mask = mask
        self._tail: Deque[str] = deque(maxlen=KEPT)
        self._stdin: Any = process.stdin  # all three are pipes: see spawn
        self._readers = [
            threading.Thread(target=self._read_events, args=(process.stdout,), daemon=True),
            threading.Thread(target=self._read_output, args=(process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_events(self, stream: Any) -> None:
        for line in stream:
            self.events.put(json.loads(line))

    def _read_output(self, stream: Any) -> None:
        for line in stream:
            self._tail.append(line.decode("utf-8", "replace").rstrip())

    def output(self) -> List[str]:
        return [self._mask(line) for line in self._tail if line]

    def drained(self) -> bool:
        """Whether it has ended and all it said was read."""
        return self.process.poll() is not None and not any(reader.is_alive() for reader in self._readers)

    def stop(self) -> None:
        """SIGTERM, which makes it cancel its statement and roll back; SIGKILL if it does not end."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(ENDING)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._stdin.close()
