# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Kubernetes cluster for the tests: the user's, when PHASE_CONSOLE_KUBECONFIG names one, else a real one-node one.

    python -m sandbox.cluster build     build Kubernetes, unless that was done before
    python -m sandbox.cluster up        build what is missing, start a node that stays, and say how to reach it
    python -m sandbox.cluster env       shell lines that point kubectl and the tests at it
    python -m sandbox.cluster status    what runs
    python -m sandbox.cluster kubectl get pods --all-namespaces
    python -m sandbox.cluster down      end it; nothing of it stays but its images in the cache folder

A node that a test run has started for itself ends with that run, however the run ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .. import _debian, images, noted
from .. import engine as engines
from .._locks import exclusive
from . import _programs
from ._node import Node, NodeError
from ._programs import ClusterMissing, built

__all__ = [
    "KUBECONFIG",
    "Cluster",
    "ClusterMissing",
    "KubectlError",
    "Node",
    "NodeError",
    "built",
    "clear_killed",
    "find",
    "running",
    "up",
]

KUBECONFIG = "PHASE_CONSOLE_KUBECONFIG"
"""The environment variable; `running` hands the node's own on to other processes in the same way."""

COMMAND_TIMEOUT = 600.0


class KubectlError(Exception):
    """kubectl failed; the message has its own words."""


class Cluster:
    """A cluster that answers. `node` is None for one of the user's."""

    def __init__(self, kubeconfig: Path, node: Node | None = None) -> None:
        self.kubeconfig, self.node = kubeconfig, node

    def variables(self) -> dict[str, str]:
        """What another process needs in its environment to use this cluster."""
        return {KUBECONFIG: str(self.kubeconfig)}

    # kubectl

    def command(self, *argv: str) -> list[str]:
        """`kubectl ARGV` for this cluster, to be run with `environment()`."""
        kubectl = [str(self.node.run / "node"), "kubectl"] if self.node else _kubectl()
        return [*kubectl, f"--kubeconfig={self.kubeconfig}", *argv]

    def note_versions(self) -> None:
        """Of Kubernetes, and of what the node runs containers with."""
        noted.note("Kubernetes", json.loads(self.kubectl("get", "--raw=/version"))["gitVersion"])
        for node in json.loads(self.kubectl("get", "nodes", "--output=json"))["items"]:
            runtime = node["status"]["nodeInfo"]["containerRuntimeVersion"]
            noted.note("containerd (Kubernetes)", runtime.partition("://")[2])

    def environment(self) -> dict[str, str]:
        """Discovery is kept beside the node, so that nothing comes into the user's home."""
        own = {"KUBECACHEDIR": str(self.node.run / "discovery")} if self.node else {}
        return {**os.environ, **own}

    def kubectl_run(self, *argv: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.command(*argv),
            env=self.environment(),
            input=stdin,
            capture_output=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )

    def kubectl(self, *argv: str, stdin: bytes = b"", check: bool = True) -> str:
        """`kubectl ARGV`; standard output, stripped. Raises KubectlError."""
        done = self.kubectl_run(*argv, stdin=stdin)
        if check and done.returncode:
            said = done.stderr.decode(errors="replace").strip()[-2000:]
            raise KubectlError(f"kubectl {' '.join(argv[:4])} exited with {done.returncode}: {said}")
        return done.stdout.decode(errors="replace").strip()

    # images

    def load(self, names: Iterable[str], report: Callable[[str], None] = lambda message: None) -> None:
        """Have the sandbox's images on the node, as they are now. The user's own cluster must have them already."""
        if self.node is None:
            return
        node, known = self.node, self.node.folder / "images.json"
        with exclusive(node.folder / "load.lock"):
            loaded: dict[str, str] = {}
            if known.exists() and not _debian.outdated(known):
                loaded = json.loads(known.read_text(encoding="utf-8"))
            missing = [name for name in dict.fromkeys(names) if loaded.get(name) != images.content(name)]
            if not missing:
                return
            report(f"loading {', '.join(missing)}")
            with engines.running() as engine:
                images.ensure(engine, missing)
                _copy(engine, node, missing)
            loaded.update({name: images.content(name) for name in missing})
            known.write_text(json.dumps(loaded), encoding="utf-8")


def _kubectl() -> list[str]:
    """For a user's cluster: what the user has, else what an earlier run has built here."""
    found = shutil.which("kubectl")
    if found is None and _programs.built():
        return [str(_programs.node()), "kubectl"]
    if found is None:
        raise ClusterMissing(f"kubectl is not on PATH, which a cluster named by {KUBECONFIG} needs. Install it.")
    return [found]


def _copy(engine: engines.Engine, node: Node, names: list[str]) -> None:
    save = subprocess.Popen(["docker", "save", *names], env=engine.environment(), stdout=subprocess.PIPE)
    imported = subprocess.run(
        node.inside("ctr", "--namespace=k8s.io", "images", "import", "-"),
        stdin=save.stdout,
        capture_output=True,
        check=False,
    )
    if save.stdout is not None:
        save.stdout.close()  # or docker would wait for a reader that has failed
    if save.wait() or imported.returncode:
        raise NodeError(f"The images could not be loaded: {imported.stderr.decode(errors='replace').strip()[-1000:]}")


# --- which cluster --------------------------------------------------------------------------------------------------


def find() -> Cluster | None:
    """The cluster that PHASE_CONSOLE_KUBECONFIG names, else the node that was started to stay."""
    named = os.environ.get(KUBECONFIG)
    node = Node()
    if named:
        return Cluster(Path(named), node if node.pid() and node.kubeconfig == Path(named) else None)
    if not node.kept or node.pid() is None:
        return None
    node.wait_ready()
    return Cluster(node.kubeconfig, node)


@contextlib.contextmanager
def running(report: Callable[[str], None] = lambda message: None) -> Iterator[Cluster]:
    """A cluster for the length of a block: the one that `find` finds, else a node of this process's own.

    Waits for the node of another run to end first. Builds where engines are wanted. Raises ClusterMissing, NodeError.
    """
    found = find()
    if found is not None:
        yield found
        return
    node = Node()
    with exclusive(node.folder / "node.lock"):
        found = find()
        if found is None:
            node.start(build=engines.wanted(), report=report)
        try:
            yield found or Cluster(node.kubeconfig, node)
        finally:
            if found is None:
                node.stop()


def clear_killed() -> None:
    """Remove what a node that was killed has left. One that runs is left alone."""
    node = Node()
    if node.run.exists() and node.pid() is None:
        with exclusive(node.folder / "node.lock"):
            if node.pid() is None:
                node.stop()


def up(report: Callable[[str], None] = lambda message: None) -> Cluster:
    """A node that stays until `down`."""
    node = Node()
    with exclusive(node.folder / "node.lock"):
        if not (node.kept and node.ready()):
            node.start(kept=True, report=report)
    return Cluster(node.kubeconfig, node)
