# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Process 1 of a node: `python -m sandbox.cluster._inside RUN`, in mount, network and pid namespaces of its own.

It prepares them, starts the components and starts again whichever ends, as an init system would, unless there is
`RUN/held/<component>`. `RUN/pids/<component>` has their process ids as they are in here. When its standard input ends,
as it does when the run that started the node ends in whatever way, it ends too; and with process 1 all processes of the
namespace, its mounts and its links.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from ._api import Api
from ._settings import PAUSE, SHORT, STARTED_FIRST, Network, commands, images_folder

PATIENCE = 60.0
AGAIN = 1.0  # seconds between the end of a component and its next start


def prepare_mounts(run: Path) -> None:
    """Memory over what containerd, kubelet and the network plugins write to at places that cannot be chosen."""

    def mount(kind: str, target: str, *options: str) -> None:
        subprocess.run(["mount", "-t", kind, *options, kind, target], check=True)

    with contextlib.ExitStack() as stack:
        # The folders that are shared with the outside stay so, wherever they are; the descriptors outlive the overlays.
        kept = [run, images_folder(run)]
        handles = [os.open(folder, os.O_PATH) for folder in kept]
        for handle in handles:
            stack.callback(os.close, handle)
        mount("proc", "/proc")
        mount("tmpfs", "/run")
        mount("tmpfs", "/var/log")
        for folder in ("etc", "var/lib"):
            upper, work = f"/run/over/{folder}/upper", f"/run/over/{folder}/work"
            for path in (upper, work):
                Path(path).mkdir(parents=True)
            mount("overlay", f"/{folder}", "-o", f"lowerdir=/{folder},upperdir={upper},workdir={work}")
        for handle, folder in zip([*handles, handles[0]], [*kept, SHORT]):
            folder.mkdir(parents=True, exist_ok=True)
            source = f"/proc/self/fd/{handle}"
            subprocess.run(["mount", "--no-canonicalize", "--bind", source, str(folder)], check=True, pass_fds=[handle])
    Path("/etc/resolv.conf").unlink(missing_ok=True)
    shutil.copy(run / "etc/resolv.conf", "/etc/resolv.conf")


def prepare_network(network: Network) -> None:
    """The node's end of the link, which comes from outside, and routing."""
    deadline = time.monotonic() + PATIENCE
    while "eth0" not in (name for _index, name in socket.if_nameindex()):
        if time.monotonic() > deadline:
            raise SystemExit("the link to the host has not come")
        time.sleep(0.01)
    for arguments in (
        ["link", "set", "lo", "up"],
        ["address", "add", f"{network.node}/30", "dev", "eth0"],
        ["link", "set", "eth0", "up"],
        ["route", "add", "default", "via", network.host],
    ):
        subprocess.run(["ip", *arguments], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
    bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if bridged.exists():  # without it, a pod cannot reach itself or its neighbour through a Service
        bridged.write_text("1", encoding="ascii")


class Components:
    """Everything that process 1 has started. It inherits the orphans of the namespace, so it waits for any process."""

    def __init__(self, run: Path, lines: dict[str, list[str]]) -> None:
        self.run, self.lines = run, lines
        self.running: dict[int, str] = {}
        self.ended: dict[str, float] = {}

    def start(self, name: str) -> None:
        log = self.run / "log" / f"{name}.log"
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        environment = {**os.environ, "TMPDIR": str(self.run / "tmp")}
        pid = os.posix_spawn(self.lines[name][0], self.lines[name], environment, file_actions=actions)
        self.running[pid] = name
        self.ended.pop(name, None)
        (self.run / "pids" / name).write_text(str(pid), encoding="ascii")

    def reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                name = self.running.pop(pid, None)
                if name is not None:
                    (self.run / "pids" / name).unlink()
                    self.ended[name] = time.monotonic()

    def start_again(self) -> None:
        for name, when in list(self.ended.items()):
            if time.monotonic() > when + AGAIN and not (self.run / "held" / name).exists():
                self.start(name)


def load_pause(archive: Path) -> None:
    """Have the image that holds pods' namespaces."""
    ctr = ["ctr", "--namespace", "k8s.io", "images"]
    deadline = time.monotonic() + PATIENCE
    while True:
        listed = subprocess.run([*ctr, "list", "--quiet"], capture_output=True, text=True, check=False)
        if listed.returncode == 0:
            break
        if time.monotonic() > deadline:
            raise SystemExit(f"containerd does not answer: {listed.stderr.strip()}")
        time.sleep(0.05)
    if PAUSE not in listed.stdout.split():
        subprocess.run([*ctr, "import", str(archive)], check=True, capture_output=True)


def main() -> None:
    run = Path(sys.argv[1])
    settings = json.loads((run / "settings.json").read_text(encoding="utf-8"))
    network = Network(settings["second"])
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    # /proc is still the host's: it has this process's id out there.
    fresh = run / ".pid"
    fresh.write_text(str(Path("/proc/self").readlink()), encoding="ascii")
    fresh.rename(run / "pid")
    prepare_mounts(run)
    prepare_network(network)
    components = Components(run, commands(run, network))
    for name in STARTED_FIRST:
        components.start(name)
    load_pause(run / "pause.tar")
    Api(run / "pki", network.server).wait(PATIENCE)
    for name in components.lines:
        if name not in STARTED_FIRST:
            components.start(name)
    watched = [] if settings["kept"] else [sys.stdin]
    while not select.select(watched, [], [], 0.1)[0]:
        components.reap()
        components.start_again()


if __name__ == "__main__":
    main()
