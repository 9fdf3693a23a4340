# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The private engine: it starts without systemd, survives being killed, and stays out of everybody's way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from sandbox import _debian, engine

PROCESS = """
import json, os, sys
from pathlib import Path
from sandbox import engine
engine.DEFAULT_SOCKET = Path("/nonexistent")
action = sys.argv[1]
if action == "start":
    found = engine.find() or engine._start()
    print(json.dumps({"host": found.host, "started": found.started, "pid": engine._pid(engine._private())}))
elif action == "start without asking":
    try:
        engine.ensure(install=False)
    except engine.EngineMissing as missing:
        print(json.dumps(str(missing)))
else:
    print(json.dumps(engine.stop()))
"""


@pytest.fixture
def machine(tmp_path: Path):
    """Runs the engine module with an empty cache, in a network of its own: it sees and disturbs no other engine."""
    if os.geteuid() != 0 or engine.which("dockerd") is None:
        pytest.skip("a private engine needs root and Debian's docker.io: --with-engines installs it")
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    variables = {key: value for key, value in os.environ.items() if key not in ("DOCKER_HOST", "DOCKER_CONFIG")}
    variables["PHASE_CONSOLE_CACHE"] = str(tmp_path / "cache")

    def run(action: str) -> object:
        inside = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", sys.executable, "-c", PROCESS, action]
        done = subprocess.run(inside, env=variables, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    yield run
    run("stop")
    holder.kill()
    holder.wait()


def answers(host: str) -> bool:
    return subprocess.run(["docker", "--host", host, "ps"], capture_output=True, check=False).returncode == 0


def test_a_private_engine_starts_once_and_stops(machine) -> None:
    first = machine("start")
    again = machine("start")
    assert first["started"] and answers(first["host"])
    assert (again["started"], again["pid"]) == (False, first["pid"])
    # A container has made dockerd mount a network namespace, which it leaves when it stops.
    docker = ["docker", "--host", first["host"]]
    subprocess.run([*docker, "import", "--change", 'CMD ["none"]', "-", "empty"], input=bytes(10240), check=True)
    subprocess.run([*docker, "run", "--network=host", "empty"], capture_output=True, check=False)
    assert machine("stop") is True
    assert not answers(first["host"]) and not Path(first["host"].removeprefix("unix://")).parent.exists()
    assert machine("stop") is False


def test_a_killed_engine_is_replaced(machine, tmp_path: Path) -> None:
    first = machine("start")
    os.kill(first["pid"], signal.SIGKILL)
    second = machine("start")
    assert second["started"] and second["pid"] != first["pid"] and answers(second["host"])
    assert machine("stop") is True
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text(encoding="utf-8")


def test_without_being_asked_nothing_is_started(machine) -> None:
    assert "--with-engines" in machine("start without asking")
    assert machine("stop") is False


def test_a_pid_file_of_another_process_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHASE_CONSOLE_CACHE", str(tmp_path))
    private = engine._private()
    private.run.mkdir(parents=True)
    try:
        private.pidfile.write_text(str(os.getpid()), encoding="ascii")
        assert engine._pid(private) is None
    finally:
        shutil.rmtree(private.run)


def test_the_subnet_is_one_that_nobody_uses() -> None:
    first, second = engine.SUBNETS[:2]
    assert engine.choose_subnet([IPv4Network("172.17.0.0/16"), IPv4Network("192.168.1.0/24")]) == first
    assert engine.choose_subnet([IPv4Network("10.213.0.0/16")]) == second
    with pytest.raises(engine.EngineMissing):
        engine.choose_subnet([IPv4Network("10.0.0.0/8")])


@pytest.mark.parametrize(
    ("sources", "codename", "expected"),
    [
        ([("http://a/debian-security", "x", "main", "Debian", "Debian-Security")], "", None),
        ([("http://a/debian", "x", "main", "Debian", "Debian")], "", "http://a/debian"),
        ([("http://a/ubuntu", "noble", "main", "Ubuntu", "Ubuntu")], "", None),
        ([("http://b", "bookworm", "main", "$(ORIGIN)", "$(LABEL)")], "bookworm", "http://b"),
        ([("cdrom:[x]", "bookworm", "main", "Debian", "Debian")], "bookworm", None),
    ],
    ids=["security only", "after an update", "another distribution", "before an update", "a disc"],
)
def test_the_mirror_is_the_machines_own(sources: list[tuple[str, ...]], codename: str, expected: str | None) -> None:
    assert _debian.choose_mirror([_debian._Source(*source) for source in sources], codename) == expected
