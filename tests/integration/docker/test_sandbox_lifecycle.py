# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Instances come and go without a trace, one at a time, and never at the cost of somebody's real Phase."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox import engine as engines
from sandbox import images
from sandbox.compose import ComposeInstance, InstanceError
from sandbox.docker_instance import DockerInstance


def test_nothing_is_left_after_stop(tmp_path: Path) -> None:
    with ComposeInstance.start(tmp_path / "phase", "v2.66.0") as instance:
        engine, network = instance.engine, instance.network
        engine.docker(
            "run", "--detach", "--network", network, images.RUNTIME, "sleep", "infinity"
        )  # a one-off container
    assert set(instance.status().values()) == {"missing"}
    for kind in ("network", "volume"):
        assert engine.docker(kind, "ls", "--quiet", "--filter", f"label={images.LABEL}") == ""
    assert images.labels(engine, [images.backend("latest"), images.frontend("latest")]) == {}


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with DockerInstance.start(tmp_path / "one", "v2.66.0") as first:
        with pytest.raises(InstanceError, match="still up"):
            ComposeInstance.start(tmp_path / "two", "v2.66.0")
        assert first.status()["postgres"] == "running"


def test_somebody_elses_container_is_left_alone(tmp_path: Path) -> None:
    engine = engines.ensure()
    image = "phase-console-sandbox-test/foreign:latest"
    engine.docker("import", "--change", 'CMD ["none"]', "-", image, stdin=bytes(10240))
    engine.docker("create", "--name", "phase-redis", image)
    try:
        with pytest.raises(InstanceError, match="phase-redis already"):
            ComposeInstance.start(tmp_path, "v2.66.0")
        assert engine.docker("inspect", "--format", "{{.State.Status}}", "phase-redis") == "created"
    finally:
        engine.docker("rm", "phase-redis")
        engine.docker("image", "rm", image)


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from sandbox.compose import ComposeInstance as C; "
        "C.start(Path(sys.argv[1]), 'v2.66.0'); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / "killed")], check=False)
    assert killed.returncode == -9
    with DockerInstance.start(tmp_path / "next", "v2.66.0") as instance:
        volumes = instance.docker("volume", "ls", "--quiet", "--filter", f"label={images.LABEL}").split()
        assert volumes == ["phase-postgres-data"]


LEAVES = """
from sandbox import engine, images

def left():
    return engine.find().docker("ps", "--quiet", "--filter", "name=left-on-purpose")

def test_before():
    assert left() == ""

def test_leaves():
    engine.find().docker("run", "--detach", "--name", "left-on-purpose", images.RUNTIME, "sleep", "infinity")

def test_after():
    assert left() == ""
"""


def test_a_container_that_a_test_leaves_fails_that_test_alone(tmp_path: Path) -> None:
    images.ensure(engines.ensure(), [images.RUNTIME])
    (tmp_path / "test_leaves.py").write_text(LEAVES, encoding="utf-8")
    options = ["-p", "integration.leftovers", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path)]
    command = [sys.executable, "-m", "pytest", *options, "-v", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    outcomes = re.findall(r"::(test_\w+) (\w+)", done.stdout.partition("====== ERRORS")[0])
    assert outcomes == [
        ("test_before", "PASSED"),
        ("test_leaves", "PASSED"),
        ("test_leaves", "ERROR"),
        ("test_after", "PASSED"),
    ], done.stdout
    assert "The test has left left-on-purpose" in done.stdout
