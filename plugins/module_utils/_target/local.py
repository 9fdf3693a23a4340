# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``deployment: local``: a checkout with manage.py on this host, operations in a process of its own Python."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from .._errors import BadOption, CheckoutMissing, InterpreterMissing, said
from .._operations.core.api import Deliveries, Operation, Request, Result
from .._operations.core.package import STARTER
from .._operations.core.secrets import masker, secret_values
from .base import Limits, Lost, Report, Sink, Target, external_migration, program_environment
from .session import TAIL, Channel, converse, first_words, never_lost

CHUNK = 65536
OF_ANY_PROCESS = ("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
UNREAD = 64  # chunks that may wait to be taken; then the child waits


def read_env_file(path: str) -> Dict[str, str]:
    """Variables of a Docker-style env file: ``NAME=value`` lines, ``#`` comments, a pair of quotes taken off."""
    variables = {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadOption(
            "env_file %s cannot be read: %s" % (path, said(error)), "Name a file that this user may read."
        ) from error
    for line in lines:
        name, separator, value = line.strip().partition("=")
        if separator and not name.startswith("#"):
            value = value.strip()
            if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            variables[name.strip().replace("export ", "", 1)] = value
    return variables


def interpreter(python: str, manage_dir: str, folder: str) -> str:
    """The Python that runs the checkout in ``folder``. A path inside ``manage_dir``, or a relative one, is the same
    place in each release; a bare name is looked up on PATH.
    """
    if os.sep not in python:
        return python
    for root in (manage_dir, os.path.realpath(manage_dir)):
        if python.startswith(root + os.sep):
            python = os.path.relpath(python, root)
    return os.path.join(folder, python)


class PipeChannel(Channel):
    """A child process; its two outputs are read by threads into one queue."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child
        self._stdin: Any = child.stdin  # all three are pipes: see _start
        self._queue: "queue.Queue[Tuple[int, bytes]]" = queue.Queue(UNREAD)
        self._open = 2
        self.unread: Optional[OSError] = None
        for number, stream in ((1, child.stdout), (2, child.stderr)):
            threading.Thread(target=self._read, args=(number, stream), daemon=True).start()

    def _read(self, number: int, stream: Any) -> None:
        data = b"-"
        while data:
            data = stream.read1(CHUNK)
            self._queue.put((number, data))

    def send(self, data: bytes) -> None:
        self._stdin.write(data)
        self._stdin.flush()

    def receive(self, timeout: float) -> Optional[Tuple[int, bytes]]:
        if not self._open:
            raise EOFError
        try:
            number, data = self._queue.get(timeout=timeout)
        except queue.Empty:
            return None
        if not data:
            self._open -= 1
            return None
        return number, data

    def exit_code(self) -> Optional[int]:
        return self._child.wait()

    def feed(self, blocks: Iterable[bytes]) -> None:
        """Send everything, then end of file. A program that stops reading has had enough; ``unread`` is the error of
        reading what it should be sent."""
        try:
            for block in blocks:
                try:
                    self.send(block)
                except OSError:
                    break
        except OSError as error:
            self.unread = error
        self.close()

    def close(self) -> None:
        try:
            self._stdin.close()
        except OSError:
            pass  # unsent heartbeats of a child that is gone


class LocalTarget(Target):
    deployment = "local"

    def __init__(
        self,
        manage_dir: str,
        python: str,
        limits: Limits,
        env_file: Optional[str] = None,
        environment: Optional[Mapping[str, Any]] = None,
        lost: Lost = never_lost,
    ) -> None:
        self._folder = os.path.abspath(os.path.expanduser(manage_dir))
        self._python = python
        self._limits = limits
        self._lost = lost
        self._settings = read_env_file(env_file) if env_file else {}
        self._settings.update({name: str(value) for name, value in (environment or {}).items()})

    def _checkout(self, image: Optional[str]) -> str:
        folder = os.path.abspath(os.path.expanduser(image or self._folder))
        if not os.path.exists(os.path.join(folder, "manage.py")):
            raise CheckoutMissing(
                "There is no manage.py in %s." % folder,
                "Set manage_dir%s to a checkout of Phase's backend." % (" and image" if image else ""),
            )
        return folder

    def _start(
        self, argv: List[str], folder: str, environment: Mapping[str, str], session: bool
    ) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(
                argv,
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=session,
            )
        except (FileNotFoundError, PermissionError) as error:
            raise InterpreterMissing(
                "%s cannot be run: %s" % (argv[0], error.strerror),
                "Set python to the interpreter of Phase's backend: where each release has its own, to its place in the "
                "release, such as .venv/bin/python.",
            ) from error

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
        timeouts, paused = self._limits.timeouts(), self._limits.paused()
        environment = dict(os.environ, **self._settings)
        folder = self._checkout(image)
        argv = [interpreter(self._python, self._folder, folder), "-c", STARTER]
        channel = PipeChannel(self._start(argv, folder, environment, session=True))
        try:
            return converse(
                channel,
                first_words(operation, request, timeouts, detached, paused, deliveries is not None),
                report,
                idle=self._limits.idle,
                total=self._limits.total,
                mask=masker(secret_values(self._settings)),
                detached=detached,
                lost=self._lost,
                paused=self._limits.paused,
                deliveries=deliveries,
            )
        finally:
            channel.close()

    def pipe(
        self, argv: List[str], sink: Sink, *, image: Optional[str] = None, stdin: Optional[Iterable[bytes]] = None
    ) -> Tuple[int, str]:
        environment = {name: value for name, value in os.environ.items() if name in OF_ANY_PROCESS or name[:3] == "LC_"}
        environment.update(program_environment(dict(os.environ, **self._settings)))
        child = self._start(argv, self._folder, environment, session=False)
        channel = PipeChannel(child)
        feeder = threading.Thread(target=channel.feed, args=(stdin or (),), daemon=True)
        feeder.start()
        stderr = ""
        try:
            while True:
                received = channel.receive(1.0)
                if received and received[0] == 1:
                    sink(received[1])
                elif received:
                    stderr = (stderr + received[1].decode("utf-8", "replace"))[-TAIL:]
        except EOFError:
            if channel.unread:
                raise channel.unread from None
            return child.wait(), masker(secret_values(self._settings))(stderr)
        finally:
            if child.poll() is None:
                child.terminate()
            feeder.join()

    def describe(self) -> Dict[str, Any]:
        folder = os.path.realpath(self._checkout(None))
        component = {"image": folder, "image_id": None, "digest": None, "container": None}
        return dict(
            component,
            deployment=self.deployment,
            components={"backend": component},
            external_migration=external_migration(dict(os.environ, **self._settings)),
        )
