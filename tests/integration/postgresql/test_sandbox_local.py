# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""A local instance starts, is upgraded the hard way with somebody reading, and ends without a trace."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis
from sandbox.client import Client, Read, summarise
from sandbox.local import SERVICES, LocalInstance
from sandbox.processes import StartError

TESTS = Path(__file__).resolve().parents[2]


def run_sandbox(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments], cwd=TESTS, capture_output=True, text=True, check=True
    )


def health(instance: LocalInstance) -> dict[str, str]:
    with urllib.request.urlopen(f"{instance.url}/health/", timeout=5) as answer:  # noqa: S310 - its own address
        body: dict[str, str] = json.load(answer)
        return body


def test_an_old_backend_cannot_read_once_its_table_is_ahead(local_instance: Callable[..., LocalInstance]) -> None:
    instance = local_instance("v2.62.0", events=300)
    with Client(instance.url) as client:
        time.sleep(1)
        instance.manage("migrate", version="v2.64.0")
        time.sleep(1)
        instance.point_to("v2.64.0")
        assert health(instance)["version"] == "v2.62.0"
        instance.restart("backend")
        time.sleep(1)
    report = client.report()
    assert [window.error for window in report.windows] == ["HTTP 500"]
    assert report.windows[0].end is not None
    assert 'null value in column "type"' in (instance.directory / "log" / "backend.log").read_text()
    assert health(instance) == {"status": "alive", "version": "v2.64.0"}


def test_another_process_can_restart_and_end_it(tmp_path: Path) -> None:
    instance = LocalInstance.start(tmp_path, "v2.73.2", events=2000)
    try:
        before = instance.status()
        for service in ("backend", "worker"):
            run_sandbox("restart", "--dir", str(tmp_path), service)
        after = instance.status()
        assert all(after.values())
        assert {name for name in SERVICES if before[name] != after[name]} == {"backend", "worker"}
        assert json.loads(run_sandbox("status", "--dir", str(tmp_path)).stdout)["processes"] == after
        run_sandbox("down", "--dir", str(tmp_path))
        assert instance.status() == dict.fromkeys(SERVICES)
        assert not any(psutil.pid_exists(pid) and is_alive(pid) for pid in after.values() if pid)
        run_sandbox("up", "--dir", str(tmp_path))
        assert health(instance)["version"] == "v2.73.2"
        assert run_sandbox("seed", "--dir", str(tmp_path), "--events", "10").stdout == '{"events": 2010}\n'
    finally:
        instance.remove()
    assert not tmp_path.exists()
    assert not instance.server.home.exists()


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_its_settings_are_for_their_owner_alone_and_in_no_argument(
    local_instance: Callable[..., LocalInstance],
) -> None:
    instance = local_instance("v2.73.2", events=2000, superuser=False)
    assert stat.S_IMODE(instance.env_file.stat().st_mode) == 0o600
    planted = [instance.environment[name] for name in ("DATABASE_PASSWORD", "SECRET_KEY", "SERVER_SECRET")]
    arguments = [" ".join(psutil.Process(pid).cmdline()) for pid in instance.status().values() if pid]
    assert len(arguments) == len(SERVICES)
    assert not [line for line in arguments if any(secret in line for secret in planted)]
    assert instance.sql("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]


def test_the_worker_takes_jobs_and_health_needs_no_database(local_instance: Callable[..., LocalInstance]) -> None:
    instance = local_instance("v2.73.2", events=2000)
    with redis.Redis(port=instance.redis_port) as connection:
        connection.rpush("rq:queue:default", "job")
        deadline = time.monotonic() + 10
        while connection.get("sandbox:jobs_done") != b"1":
            assert time.monotonic() < deadline, "the worker took no job"
            time.sleep(0.05)
    instance.stop_service("postgres")
    assert health(instance)["status"] == "alive"
    assert Client(instance.url).read().error == "HTTP 500"
    instance.start_service("postgres")
    assert Client(instance.url).read().error == ""


def test_what_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="migrate ended with 1"):
        LocalInstance.start(Broken.directory(tmp_path), "v2.73.2")
    left = LocalInstance(tmp_path)
    assert left.status() == dict.fromkeys(SERVICES)
    left.remove()


class Broken:
    """A checkout whose settings do not import, where `start` would write a good one."""

    @staticmethod
    def directory(path: Path) -> Path:
        checkout = path / "releases" / "v2.73.2"
        checkout.mkdir(parents=True)
        (checkout / "manage.py").write_text("raise SystemExit(1)")
        return path


def test_failures_in_a_row_are_one_window() -> None:
    reads = [Read(0, 0.1), Read(1, 1.1, "HTTP 500"), Read(2, 2.1, "refused"), Read(3, 3.4), Read(4, 4.1, "HTTP 502")]
    report = summarise(reads)
    assert (report.reads, report.failures) == (5, 3)
    assert [(w.begin, w.end, w.failures, w.error) for w in report.windows] == [
        (1, 3, 2, "HTTP 500"),
        (4, None, 1, "HTTP 502"),
    ]
    assert report.failing_seconds == 2
    assert report.slowest == pytest.approx(0.4)
