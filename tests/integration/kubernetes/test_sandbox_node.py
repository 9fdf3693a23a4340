# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node comes without a build where one was made, and goes without a trace, also when its run is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from integration.targets import until
from sandbox import engine
from sandbox.cluster import Cluster, ClusterMissing, _programs
from sandbox.cluster._node import CGROUPS, Node

STARTS_A_NODE = """
import sys, time
from pathlib import Path
from sandbox.cluster._node import Node
Node(Path(sys.argv[1])).start(build=False)
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _can_run_nodes(cluster: Cluster) -> None:
    if cluster.node is None:
        pytest.skip("the tests run on a cluster of the user's")


def traces(folder: Path) -> dict[str, object]:
    """What a node of this folder might leave on this machine."""
    links = subprocess.run([str(engine.which("ip")), "-json", "link"], capture_output=True, text=True, check=True)
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(path.read_bytes().decode(errors="replace"))
        except OSError:  # it has ended meanwhile
            continue
    return {
        "mounts": [line for line in Path("/proc/self/mounts").read_text("utf-8").splitlines() if str(folder) in line],
        "links": [link["ifname"] for link in json.loads(links.stdout) if link["ifname"] == Node(folder).name],
        "control groups": [str(path) for path in CGROUPS.glob(f"*/{Node(folder).name}")],
        "processes": [command for command in commands if str(folder) in command and "STARTS" not in command],
        "files": sorted(path.name for path in folder.iterdir()) if folder.exists() else [],
    }


NOTHING = {"mounts": [], "links": [], "control groups": [], "processes": [], "files": ["images"]}


def test_a_node_goes_without_a_trace(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    host_files = [sorted(path.iterdir()) for path in map(Path, ("/etc", "/var/lib", "/run", "/var/log"))]
    node = Node(folder)
    node.start(build=False)
    there = traces(folder)
    assert there["links"] and there["control groups"] and there["processes"] and there["mounts"] == []
    assert Cluster(node.kubeconfig, node).kubectl("get", "nodes", "--output=name") == "node/node"
    assert node.stop() is True
    assert traces(folder) == NOTHING and node.stop() is False
    assert [sorted(path.iterdir()) for path in map(Path, ("/etc", "/var/lib", "/run", "/var/log"))] == host_files


def test_a_node_ends_with_a_killed_run_and_the_next_start_clears_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    command = [sys.executable, "-c", STARTS_A_NODE, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stdout.readline() == "up\n"
    node = Node(folder)
    assert node.ready()
    run.send_signal(signal.SIGKILL)
    run.wait()
    until(lambda: node.pid() is None and traces(folder)["processes"] == [], 10)
    node.start(build=False)
    assert node.ready() and node.stop()
    assert traces(folder) == NOTHING


def test_a_second_build_builds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = _programs.node().stat().st_mtime_ns
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no Go, nor anything else
    said: list[str] = []
    begin = time.monotonic()
    assert _programs.ensure(said.append) == _programs.place()
    assert time.monotonic() - begin < 0.5 and not said and _programs.node().stat().st_mtime_ns == made
    assert not (_programs.folder() / "build").exists()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (None, "there is no Go here"),
        ("echo go1.22.4", "is go1.22.4"),
        ("exit 1", "is broken"),
    ],
    ids=["none", "too old", "broken"],
)
def test_go_that_cannot_build_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, sentence: str
) -> None:
    if said is not None:
        (tmp_path / "go").write_text(f"#!/bin/sh\n{said}\n", encoding="ascii")
        (tmp_path / "go").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PHASE_CONSOLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_programs, "GO_FOLDER", tmp_path)
    with pytest.raises(ClusterMissing, match=sentence) as raised:
        _programs.ensure()
    assert "Install Go 1.24 or newer" in str(raised.value)


def test_without_being_asked_nothing_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHASE_CONSOLE_CACHE", str(tmp_path))
    with pytest.raises(ClusterMissing, match="--with-engines"):
        Node().start(build=False)
    assert not (tmp_path / "cluster" / "build").exists()
