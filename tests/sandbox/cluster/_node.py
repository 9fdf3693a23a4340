# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node from the outside: everything of it is in one folder, one link, one control group and one process tree."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .. import engine
from . import _programs
from ._api import Api
from ._programs import ClusterMissing
from ._settings import (
    PAUSE,
    Network,
    choose_network,
    images_folder,
    write_certificates,
    write_configuration,
)

READY_TIMEOUT = 120.0
END_TIMEOUT = 20.0
TESTS = Path(__file__).resolve().parents[2]
CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")


class NodeError(Exception):
    """The node has not come up, or does not do what it was asked; the message says why."""


class Node:
    """The node of a folder (default: the cache's): there is at most one. Only its images outlive it."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or _programs.folder()).absolute()
        self.run = self.folder / "run"
        self.name = f"phase-{hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:8]}"
        """Of the link, which may have 15 characters, and of the control group."""
        self._process: subprocess.Popen[bytes] | None = None

    # What it is.

    @property
    def images(self) -> Path:
        """containerd's root."""
        return images_folder(self.run)

    @property
    def kubeconfig(self) -> Path:
        return self.run / "kubeconfig"

    @property
    def network(self) -> Network:
        return Network(self._settings()["second"])

    @property
    def kept(self) -> bool:
        """Whether it outlives the process that started it."""
        return bool(self._settings().get("kept"))

    def _settings(self) -> dict[str, int]:
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, int] = json.loads((self.run / "settings.json").read_text(encoding="utf-8"))
            return found
        return {}

    def pid(self) -> int | None:
        """The id of its process 1 out here, if it runs."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int((self.run / "pid").read_text(encoding="ascii"))
            return None if self._is_gone(pid) else pid
        return None

    def _is_gone(self, pid: int) -> bool:
        """Whether no process of that id runs for this node; a zombie has no command line any more."""
        with contextlib.suppress(OSError):
            return str(self.run).encode() not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return True

    def ready(self) -> bool:
        return self.pid() is not None and Api(self.run / "pki", self.network.server).node_ready()

    # Up and down.

    def start(
        self, *, kept: bool = False, build: bool = True, report: Callable[[str], None] = lambda message: None
    ) -> None:
        """Start it and wait until it takes pods. A node that is not `kept` ends with this process, however that ends.

        What is missing is installed where engines are wanted, and built unless `build` forbids it. Raises
        ClusterMissing and NodeError.
        """
        _programs.check_tools()
        programs, plugins = _programs.ensure(report, build=build), _programs.network_plugins()
        self.stop()  # also what a killed one has left
        network = choose_network()
        if network is None:
            raise ClusterMissing("Every network that the node could use is routed on this machine already.")
        self.run.mkdir(parents=True)
        self.images.mkdir(exist_ok=True)
        try:
            write_certificates(self.run / "pki", network)
            write_configuration(self.run, network, self.name, self.images, plugins)
            _pause_archive(programs / "pause", self.run / "pause.tar")
            # Its own, so that it can be started again whatever becomes of the cache.
            (self.run / "node").hardlink_to(programs / "node")
            settings = {"second": network.second, "kept": kept}
            (self.run / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
            _make_cgroups(self.name)
            self._process = self._launch(kept)
            self._link(network)
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def _launch(self, kept: bool) -> subprocess.Popen[bytes]:
        command = ["unshare", "--mount", "--propagation", "private", "--net", "--pid", "--fork", "--kill-child"]
        command += [sys.executable, "-B", "-m", f"{__package__}._inside", str(self.run)]
        with (self.run / "log" / "inside.log").open("wb") as log:
            return subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": str(TESTS)},
                # Nobody writes to the pipe: its end, when this process has ended, is what the node waits for.
                stdin=subprocess.DEVNULL if kept else subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _link(self, network: Network) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        while (pid := self.pid()) is None:
            self._refuse_end(deadline)
            time.sleep(0.01)
        node = network.node
        _ip("link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        _ip("address", "add", f"{network.host}/30", "dev", self.name)
        _ip("link", "set", self.name, "up")
        for destination in (network.pods, network.services):
            _ip("route", "add", destination, "via", node)

    def wait_ready(self) -> None:
        """Wait until it takes pods. Raises NodeError when it does not in time, or has ended."""
        deadline = time.monotonic() + READY_TIMEOUT
        while not self.ready():
            self._refuse_end(deadline)
            time.sleep(0.1)

    def _refuse_end(self, deadline: float) -> None:
        ended = self.pid() is None if self._process is None else self._process.poll() is not None
        if ended or time.monotonic() > deadline:
            raise NodeError(f"The Kubernetes node has not come up within {READY_TIMEOUT:.0f} s.\n{self.trouble()}")

    def stop(self) -> bool:
        """End it and remove everything of it but its images. False when none ran; what one left is removed then too."""
        pid = self.pid()
        if pid is not None:
            parent = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            os.kill(pid, signal.SIGKILL)
            for one in (pid, parent):
                _wait_until(partial(self._is_gone, one), f"Process {one} of the node has not ended")
        if self._process is not None:
            self._process.kill()  # where it has not got so far as to have a process 1
            self._process.communicate()
            self._process = None
        _ip("link", "delete", self.name, check=False)
        _wait_until(lambda: _remove_cgroups(self.name), f"Control group {self.name} is still in use")
        if self.run.exists():
            shutil.rmtree(self.run)
        return pid is not None

    # What can be done with it.

    def inside(self, *argv: str) -> list[str]:
        """`argv` as a command that runs inside the node, as root, with its mounts, network and processes."""
        pid = self.pid()
        if pid is None:
            raise NodeError("The Kubernetes node does not run.")
        return ["nsenter", f"--target={pid}", "--mount", "--net", "--pid", *argv]

    def command(self, *argv: str, stdin: bytes = b"") -> str:
        """Run that command; its standard output. Raises NodeError with what it said when it fails."""
        done = subprocess.run(self.inside(*argv), input=stdin, capture_output=True, check=False)
        if done.returncode:
            raise NodeError(f"{argv[0]} exited with {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode(errors="replace")

    def component(self, name: str) -> int | None:
        """The process id of a component, such as kubelet or kube-apiserver, inside the node; None while it is down."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int((self.run / "pids" / name).read_text(encoding="ascii"))
        return None

    def kill(self, name: str, *, hold: bool = False) -> None:
        """kill -9 a component. It comes again after a second; with `hold` only after `release`."""
        pid = self.component(name)
        if hold:
            (self.run / "held" / name).touch()
        if pid is not None:
            self.command("kill", "-KILL", str(pid))
            _wait_until(lambda: self.component(name) != pid, f"{name} has not ended")

    def release(self, name: str) -> None:
        """Let a component that was held start again."""
        (self.run / "held" / name).unlink(missing_ok=True)

    def trouble(self, lines: int = 8) -> str:
        """The end of every component's log."""
        found = []
        for log in sorted((self.run / "log").glob("*.log")):
            text = log.read_text(encoding="utf-8", errors="replace").splitlines()
            found += [f"--- {log.stem}", *(line[:300] for line in text[-lines:])]
        return "\n".join(found)


def _ip(*arguments: str, check: bool = True) -> None:
    done = subprocess.run([engine.which("ip") or "ip", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise NodeError(f"ip {' '.join(arguments)} failed: {done.stderr.strip()}")


def _wait_until(done: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + END_TIMEOUT
    while not done():
        if time.monotonic() > deadline:
            raise NodeError(f"{complaint} after {END_TIMEOUT:.0f} s.")
        time.sleep(0.02)


def _pause_archive(program: Path, archive: Path) -> None:
    """The image of one program, in the format of `docker save`."""

    def add(target: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(data), mode
        target.addfile(entry, io.BytesIO(data))

    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as target:
        add(target, "pause", program.read_bytes(), 0o755)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    with tarfile.open(archive, "w") as target:
        add(target, "config.json", json.dumps(config).encode())
        add(target, "layer.tar", layer.getvalue())
        described = [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
        add(target, "manifest.json", json.dumps(described).encode())


# --- control groups -------------------------------------------------------------------------------------------------


def _hierarchies() -> list[Path]:
    """Where control groups are made: version 2 has one tree, version 1 one for each controller."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return sorted(path.parent for path in CGROUPS.glob("*/cgroup.procs"))


def _make_cgroups(name: str) -> None:
    for root in _hierarchies():
        group = root / name
        group.mkdir()
        if (root / "cgroup.controllers").exists() and root == CGROUPS:
            for folder in (root, group):
                for controller in CONTROLLERS:
                    with contextlib.suppress(OSError):  # one that the machine does not have
                        (folder / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # Version 1: a new group has no processors and no memory, and can be used only when it has been given some.
            if (group / setting).exists() and root != CGROUPS:
                (group / setting).write_text((root / setting).read_text(encoding="ascii"), encoding="ascii")


def _remove_cgroups(name: str) -> bool:
    """Whether they are gone; a group goes once its last process has."""
    for root in _hierarchies():
        for folder in _depth_first(root / name):
            with contextlib.suppress(OSError):
                folder.rmdir()
    return not any((root / name).exists() for root in _hierarchies())


def _depth_first(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        for child in folder.iterdir():
            if child.is_dir():
                yield from _depth_first(child)
        yield folder
