# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node runs: Kubernetes built from the Go module registry, and Debian's containerd, runc and network plugins.

Kubernetes with etcd and a DNS is one program of 141 MB (`go/`). Building it takes 800 processor seconds, so it is kept
in the cache folder by version and content; what Go downloaded and compiled for it (4.5 GB) is deleted afterwards,
unless GOMODCACHE and GOCACHE name places of the user's own. A build that was cut off goes on where it was.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from .. import _debian
from .._locks import exclusive
from ..engine import wanted, which

SOURCE = Path(__file__).resolve().parent / "go"
OLDEST_GO = (1, 24)
GO_FOLDER = Path("/usr/local/go/bin")  # where its own installation puts it, on PATH or not
BUILD = ("build", "-trimpath", "-buildvcs=false", "-modcacherw")
# Linux shares the processors between sessions first (sched(7), autogroup), and between a session's processes then.
GIVE_WAY = 'echo 19 2>/dev/null >/proc/self/autogroup; exec nice -n 19 "$@"'
SPACE = 6 * 2**30  # bytes that a build needs on the cache's disk
KEPT = 2  # builds: this version's and the one before it

# program -> Debian package; docker.io brings containerd and runc, and the sandbox's images are built with it
NEEDED = {
    "containerd": "docker.io",
    "runc": "docker.io",
    "iptables": "iptables",
    "ip": "iproute2",
    "openssl": "openssl",
    "unshare": "util-linux",
}

OWN_CLUSTER = "Or name a cluster of your own in PHASE_CONSOLE_KUBECONFIG."
HOW_TO_GET_IT = f"On Debian or Ubuntu --with-engines installs all that is needed, but for Go. {OWN_CLUSTER}"


class ClusterMissing(Exception):
    """No cluster can be had here; the message says what is missing and how to get it."""


@functools.cache
def version() -> str:
    """The Kubernetes that go.mod names, like v1.34.4."""
    required = (SOURCE / "go.mod").read_text(encoding="utf-8")
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)$", required, re.MULTILINE)
    assert found is not None
    return found[1]


def folder() -> Path:
    return _debian.cache_folder() / "cluster"


@functools.cache
def _key() -> str:
    digest = hashlib.sha256(" ".join([*BUILD, _link_flags()]).encode())
    for path in sorted(path for path in SOURCE.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(SOURCE)).encode() + path.read_bytes())
    return f"{version()}-{platform.machine()}-{digest.hexdigest()[:12]}"


def place() -> Path:
    """The folder of the built programs, whether or not they are there yet."""
    return folder() / "programs" / _key()


def node() -> Path:
    return place() / "node"


def built() -> bool:
    return (place() / "pause").exists() and node().exists()


# --- needs ----------------------------------------------------------------------------------------------------------


def check_tools(install: bool | None = None) -> None:
    """Have what the node needs of Debian, installed where `install` says so. Raises ClusterMissing."""
    install = wanted() if install is None else install
    if os.geteuid() != 0:
        raise ClusterMissing(f"A Kubernetes node can be started by root only. {HOW_TO_GET_IT}")
    missing = sorted({package for tool, package in NEEDED.items() if which(tool) is None})
    if missing and not install:
        raise ClusterMissing(
            f"A Kubernetes node needs {', '.join(missing)}: apt-get install {' '.join(missing)}. {HOW_TO_GET_IT}"
        )
    if missing:
        try:
            _debian.install(missing)
        except _debian.DebianError as error:
            raise ClusterMissing(f"A Kubernetes node needs {', '.join(missing)}. {error}") from error


def network_plugins() -> Path:
    """The folder of bridge, host-local, loopback and portmap, out of Debian's package; nothing is installed."""
    target = folder() / "network-plugins"
    if target.exists() and not _debian.outdated(target):
        return target
    with exclusive(folder() / "network-plugins.lock"):
        if not target.exists() or _debian.outdated(target):
            fresh = folder() / ".network-plugins"
            shutil.rmtree(fresh, ignore_errors=True)
            try:
                (package,) = _debian.download(["containernetworking-plugins"], _debian.cache_folder() / "apt")
            except _debian.DebianError as error:
                raise ClusterMissing(f"A Kubernetes node needs containernetworking-plugins. {error}") from error
            subprocess.run(["dpkg-deb", "--extract", str(package), str(fresh)], check=True)
            shutil.rmtree(target, ignore_errors=True)
            (fresh / "usr/lib/cni").rename(target)
            target.touch()
            shutil.rmtree(fresh)
            package.unlink()
    return target


def _go() -> str:
    """The Go that builds. Raises ClusterMissing where there is none, or too old a one."""
    go = shutil.which("go") or shutil.which("go", path=str(GO_FOLDER))
    wanted_go = f"Go {'.'.join(map(str, OLDEST_GO))} or newer"
    advice = f"Install {wanted_go} and put it on PATH. {OWN_CLUSTER}"
    if go is None:
        raise ClusterMissing(f"Kubernetes {version()} is built with {wanted_go}, and there is no Go here. {advice}")
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, env=_environment(), check=False)
    found = re.match(r"go(\d+)\.(\d+)", said.stdout)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_GO:
        raise ClusterMissing(
            f"Kubernetes {version()} is built with {wanted_go}, and {go} is {said.stdout.strip() or 'broken'}. {advice}"
        )
    return go


# --- the build ------------------------------------------------------------------------------------------------------


def ensure(report: Callable[[str], None] = lambda message: None, *, build: bool = True) -> Path:
    """Build the programs unless that was done before, and return their folder. One build at a time; others wait for it.

    Raises ClusterMissing where Go or space is missing, the build fails, or it would be needed and `build` forbids it.
    """
    if built():
        return place()
    if not build:
        raise ClusterMissing(
            f"Kubernetes {version()} has not been built here yet. --with-engines builds it, as does "
            "`PYTHONPATH=tests python3 -m sandbox.cluster build`: once, from Go modules, with Go "
            f"{'.'.join(map(str, OLDEST_GO))} or newer, in about ten minutes. {OWN_CLUSTER}"
        )
    with exclusive(folder() / "build.lock"):
        building = not built()
        if building:
            _build(_go(), report)
    if building:  # minutes, which nobody has to wait for
        shutil.rmtree(_refuse(), ignore_errors=True)
    return place()


def _scratch() -> Path:
    return folder() / "build"


def _refuse() -> Path:
    """What a build has used up, until it is deleted."""
    return folder() / ".refuse"


def _environment() -> dict[str, str]:
    scratch = _scratch()
    own = {"GOMODCACHE": str(scratch / "modules"), "GOCACHE": str(scratch / "objects")}
    fixed = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOTMPDIR": str(scratch)}
    return {**own, **os.environ, **fixed}


def _build(go: str, report: Callable[[str], None]) -> None:
    scratch = _scratch()
    scratch.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(scratch).free
    if free < SPACE and not any((scratch / name).exists() for name in ("modules", "objects")):
        raise ClusterMissing(
            f"Building Kubernetes needs {SPACE >> 30} GB in {folder()}, and {free >> 30} GB are free. Free some, or "
            "set PHASE_CONSOLE_CACHE to a folder on a larger disk."
        )
    report(f"building Kubernetes {version()}: about ten minutes of two processors, once")
    fresh = scratch / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    build = [go, *BUILD, "-ldflags", _link_flags(), "-o", f"{fresh}/", "./node", "./pause"]
    done = subprocess.run(
        ["sh", "-c", GIVE_WAY, "sh", *build],
        cwd=SOURCE,
        env=_environment(),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterMissing(f"Kubernetes {version()} could not be built: {done.stderr.strip()[-1500:]}")
    place().parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place(), ignore_errors=True)
    fresh.rename(place())
    shutil.rmtree(_refuse(), ignore_errors=True)
    scratch.rename(_refuse())
    for old in sorted(place().parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(old)


def _link_flags() -> str:
    """Kubernetes takes its version from the linker; without one, clients and kubelet do not know what they talk to."""
    major, minor = version()[1:].split(".")[:2]
    facts = {"gitVersion": version(), "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return "-s -w" + "".join(f" -X {package}.{name}={value}" for package in packages for name, value in facts.items())
