# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where Phase's nginx runs, in a container or on this host: what it reads, what it runs, and commands beside it.

Commands beside it are shell scripts, see ``_nginx/scripts``; they run where nginx does.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import shlex
import subprocess
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from .._errors import BadOption, ContainerNotRunning, NotSupported, PhaseError, StreamLost
from .._target.base import Target
from .._target.docker import DockerTarget
from .._target.engine import Inspect, engine_errors, find_by_name, find_by_project
from .._target.local import PipeChannel
from .._target.session import Channel
from .._target.streams import StreamChannel
from . import scripts

COMMAND_TIMEOUT = 30.0  # seconds for any one script
TICKS = 100  # a second, of the times in /proc/PID/stat: USER_HZ, the same on every Linux (proc(5))


class NginxFailed(PhaseError):
    """nginx, or a command beside it, failed."""

    kind = "nginx_failed"


class NotMounted(PhaseError):
    """The file is in the container's own layer, and would be gone with the container."""

    kind = "not_mounted"


@dataclass(frozen=True)
class Process:
    """An nginx process: ``started`` in seconds since the machine's start, ``title`` as it names itself."""

    pid: int
    parent: int
    started: float
    title: str


@dataclass(frozen=True)
class Look:
    """What is there now. ``content`` is the file as nginx's own side sees it, None when there is none;
    ``changed_ago`` is the seconds since its content or inode changed; ``main`` is the path of nginx.conf."""

    content: Optional[bytes]
    changed_ago: float
    uptime: float
    main: str
    pid_path: str
    processes: Tuple[Process, ...]

    def workers(self, master: int) -> List[Process]:
        """The workers of a master that serve: one that is to end renames itself (nginx, ngx_worker_process_cycle)."""
        return [p for p in self.processes if p.parent == master and p.title.strip() == "nginx: worker process"]


def look_of(said: bytes, code: int) -> Look:
    head, separator, content = said.partition(b"\ncontent\n")
    facts: Dict[str, str] = {}
    processes = []
    for line in head.decode("utf-8", "replace").splitlines():
        word, _space, rest = line.partition(" ")
        if word == "process":
            match = re.match(r"(\d+) \(.*?\) (.*) (nginx: .*)$", rest)
            if match:
                fields = match.group(2).split()
                # Fields 4 and 22 of proc(5)'s stat; the first two are taken off.
                started = int(fields[19]) / TICKS
                processes.append(Process(int(match.group(1)), int(fields[1]), started, match.group(3)))
        else:
            facts[word] = rest
    if not separator or "uptime" not in facts:
        raise NginxFailed("nginx's surroundings cannot be read.", "Check that its container has a POSIX shell.")

    def built(name: str, default: str) -> str:
        match = re.search(r"--%s=(\S+)" % name, facts.get("build", ""))
        return match.group(1) if match else default

    return Look(
        content if code == 0 else None,
        float(facts["now"]) - float(facts["changed"]),
        float(facts["uptime"]),
        built("conf-path", "/etc/nginx/nginx.conf"),
        built("pid-path", "/run/nginx.pid"),
        tuple(processes),
    )


class NginxHost:
    """The base: everything that scripts can tell and do. ``nginx`` is the program, ``path`` the configuration file."""

    name = "nginx"

    def __init__(self, path: str, nginx: str) -> None:
        self.path = path
        self.nginx = nginx

    def open(self, script: str, arguments: Sequence[str]) -> "contextlib.AbstractContextManager[Channel]":
        """A shell script with its standard streams; at the end of the block it loses its caller."""
        raise NotImplementedError

    def file(self) -> str:
        """The file on this host that is ``path`` to nginx."""
        raise NotImplementedError

    def addresses(self) -> List[str]:
        """Where the prober, next to Phase's backend, reaches this nginx."""
        raise NotImplementedError

    def prober(self) -> List[str]:
        """The addresses that the prober comes from."""
        raise NotImplementedError

    def restart(self) -> None:
        raise NotSupported("This nginx is not in a container.", "Restart it yourself.")

    def ensure_running(self) -> None:
        """Raises ContainerNotRunning."""

    # Scripts

    def run(self, script: str, *arguments: str, stdin: bytes = b"") -> Tuple[int, bytes, str]:
        """Exit code, standard output, standard error. Raises StreamLost after COMMAND_TIMEOUT."""
        output, errors = bytearray(), bytearray()
        deadline = time.monotonic() + COMMAND_TIMEOUT
        with self.open(script, arguments) as channel:
            self._feed(channel, stdin)
            while True:
                try:
                    received = channel.receive(1.0)
                except EOFError:
                    break
                if received:
                    (output if received[0] == 1 else errors).extend(received[1])
                elif time.monotonic() > deadline:
                    raise StreamLost("A command beside nginx took more than %g s." % COMMAND_TIMEOUT, "Run it again.")
            code = channel.exit_code()
        return -1 if code is None else code, bytes(output), errors.decode("utf-8", "replace")

    @staticmethod
    def _feed(channel: Any, stdin: bytes) -> None:
        blocks = iter([stdin] if stdin else [])
        while channel.feed(blocks):
            pass

    def version(self) -> Optional[str]:
        """Of the program; None where it cannot be run, as in a container that does not."""
        with contextlib.suppress(PhaseError):
            _code, said, errors = self.run('"$1" -v', self.nginx)
            match = re.search(
                r"^nginx version: [^/\n]+/(\d+\.\d+\.\d+)", said.decode("utf-8", "replace") + errors, re.MULTILINE
            )
            return match.group(1) if match else None
        return None

    def look(self) -> Look:
        code, said, _errors = self.run(scripts.LOOK, self.path, self.nginx)
        return look_of(said, code)

    def master(self, look: Look, main_pid_path: Optional[str] = None) -> Optional[int]:
        """The pid of the running master: by its pid file, else the only one there is."""
        code, said, _errors = self.run('cat "$1"', main_pid_path or look.pid_path)
        written = int(said) if code == 0 and said.strip().isdigit() else None
        masters = [p.pid for p in look.processes if p.title.startswith("nginx: master") and ".trial" not in p.title]
        if written in masters:
            return written
        return masters[0] if len(masters) == 1 else None

    def test(self, candidate: bytes, main: str) -> Tuple[bool, str, str]:
        """Whether nginx takes the candidate in place of ``path``, what it said, and all it read (``nginx -T``)."""
        root = posixpath.dirname(main)
        if not self.path.startswith(root + "/"):
            raise BadOption("%s is not below %s." % (self.path, root), "Name a file that nginx includes from there.")
        arguments = [root, "phase-console", main[len(root) + 1 :], self.path[len(root) + 1 :], self.nginx]
        code, said, errors = self.run(scripts.TEST, *arguments, stdin=candidate)
        copy, _newline, dump = said.decode("utf-8", "replace").partition("\n")
        if copy.startswith("/"):
            errors, dump = errors.replace(copy + "/", root + "/"), dump.replace(copy + "/", root + "/")
        return code == 0, errors.strip(), dump

    @contextlib.contextmanager
    def trying(self, stranger: str, insider: str, main: str, seconds: int) -> Iterator[Channel]:
        """Two more instances of nginx for the length of the block, and for so many seconds at most.

        Raises NginxFailed when they do not come up.
        """
        with self.open(
            scripts.TRY, [posixpath.dirname(main), "phase-console", scripts.MARK, self.nginx, str(seconds)]
        ) as channel:
            for text in (stranger, insider):
                channel.send(("%s%s\n" % (text, scripts.MARK)).encode())
            errors, deadline = "", time.monotonic() + COMMAND_TIMEOUT
            while time.monotonic() < deadline:
                try:
                    received = channel.receive(1.0)
                except EOFError:
                    break
                if received and received[0] == 1 and b"up" in received[1]:
                    yield channel
                    return
                if received and received[0] == 2:
                    errors += received[1].decode("utf-8", "replace")
            raise NginxFailed(
                "The configuration could not be tried out beside the one that serves: %s" % (last_line(errors)),
                "Set probe=none to do without.",
            )

    def signal_reload(self) -> None:
        code, _said, errors = self.run('"$1" -s reload', self.nginx)
        if code:
            raise NginxFailed("nginx could not be told to reload: %s" % last_line(errors), "See its log.")


def last_line(text: str) -> str:
    return ([line.strip() for line in text.splitlines() if line.strip()] or ["it said nothing."])[-1]


class PlainNginx(NginxHost):
    """nginx on this host, beside ``deployment=local``."""

    @contextlib.contextmanager
    def open(self, script: str, arguments: Sequence[str]) -> Iterator[Channel]:
        child = subprocess.Popen(
            ["/bin/sh", "-c", script, "sh", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        channel = _Pipes(child)
        try:
            yield channel
        finally:
            channel.close()
            child.wait()

    def file(self) -> str:
        return os.path.realpath(self.path)

    def addresses(self) -> List[str]:
        return ["127.0.0.1", "::1"]

    def prober(self) -> List[str]:
        return ["127.0.0.1", "::1"]


class _Pipes(PipeChannel):
    """As the streams of a container, where feeding is done in turns."""

    def feed(self, blocks: Any) -> bool:  # type: ignore[override]
        super().feed(blocks)
        return False


class ContainerNginx(NginxHost):
    """nginx in a container, next to a backend in another or in the same network namespace."""

    def __init__(self, client: Any, find: Callable[[Any], Inspect], backend: Callable[[], Inspect], path: str) -> None:
        super().__init__(path, "nginx")
        self._client, self._find, self._backend = client, find, backend

    def inspect(self) -> Inspect:
        with engine_errors():
            return self._find(self._client)

    @contextlib.contextmanager
    def open(self, script: str, arguments: Sequence[str]) -> Iterator[Channel]:
        container = self.inspect()
        with engine_errors():
            made = self._client.exec_create(container["Id"], ["/bin/sh", "-c", script, "sh", *arguments], stdin=True)
            hijacked = self._client.exec_start(made["Id"], socket=True)
        channel = StreamChannel(hijacked, lambda: self._exit_code(made["Id"]))
        try:
            yield channel
        finally:
            channel.close()

    def _exit_code(self, command: str) -> Optional[int]:
        with engine_errors():
            code: Optional[int] = self._client.exec_inspect(command)["ExitCode"]
            return code

    def ensure_running(self) -> None:
        container = self.inspect()
        state = container["State"]
        if not state["Running"] or state.get("Restarting") or state.get("Paused"):
            name = container["Name"].lstrip("/")
            raise ContainerNotRunning(
                "Container %s is %s." % (name, state["Status"]),
                "See `docker logs %s`, mend what keeps it from running, then run it again." % name,
            )

    def file(self) -> str:
        container = self.inspect()
        mounts = [m for m in container["Mounts"] if covers(m["Destination"], self.path)]
        if not mounts:
            raise NotMounted(
                "%s is part of container %s itself." % (self.path, container["Name"].lstrip("/")),
                "Mount it from the host, as Phase's Compose file does, so that it outlives the container.",
            )
        mount = max(mounts, key=lambda entry: len(entry["Destination"]))
        rest = self.path[len(mount["Destination"].rstrip("/")) :]
        path: str = os.path.realpath(mount["Source"] + rest)
        if not os.path.isfile(path):
            raise NotSupported(
                "%s, which the container has as %s, is not on this host." % (path, self.path),
                "Run the task on the Docker engine's own host.",
            )
        return path

    def _together(self) -> Tuple[Inspect, Inspect, bool]:
        nginx, backend = self.inspect(), self._backend()
        return nginx, backend, namespace(nginx) == namespace(backend)

    def addresses(self) -> List[str]:
        nginx, backend, same = self._together()
        return ["127.0.0.1", "::1"] if same else shared(nginx, backend)

    def prober(self) -> List[str]:
        nginx, backend, same = self._together()
        return ["127.0.0.1", "::1"] if same else shared(backend, nginx)

    def restart(self) -> None:
        container = self.inspect()
        with engine_errors():
            self._client.restart(container["Id"], timeout=10)


def covers(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def namespace(container: Inspect) -> str:
    """What tells network namespaces apart: another container's id, the host's, or the container's own."""
    mode = container["HostConfig"].get("NetworkMode") or ""
    if mode.startswith("container:"):
        return str(mode.partition(":")[2])
    return "host" if mode == "host" else str(container["Id"])


def shared(one: Inspect, other: Inspect) -> List[str]:
    """The addresses of ``one`` on the networks that the two containers share."""
    theirs = other["NetworkSettings"]["Networks"] or {}
    found = []
    for name, network in sorted((one["NetworkSettings"]["Networks"] or {}).items()):
        if name in theirs:
            found += [network.get("IPAddress"), network.get("GlobalIPv6Address")]
    return [address for address in found if address]


def build(target: Target, params: Mapping[str, Any]) -> NginxHost:
    """The nginx that the options name. Raises NotSupported for a deployment without one."""
    path = params["path"]
    if not posixpath.isabs(path) or posixpath.normpath(path) != path or re.search(r"[#\n'\"$`\\&]", path):
        raise BadOption("path=%s is no plain absolute path." % shlex.quote(path), "Write it without .. and quotes.")
    if isinstance(target, DockerTarget):
        find = find_by_name(params["nginx_container"] or "phase-nginx")
        if target.deployment == "compose" and not params["nginx_container"]:
            folder = os.path.realpath(params["project_src"]) if params["project_src"] else None
            find = find_by_project(params["project_name"], folder, params["nginx_service"])
        return ContainerNginx(target.client, find, target.backend, path)
    if target.deployment == "local":
        return PlainNginx(path, params["nginx"])
    raise NotSupported(
        "deployment=%s says nothing of an nginx." % target.deployment, "Use deployment=docker, compose or local."
    )
