# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The targets that need no container: ``local`` (a checkout on this host) and ``database`` (a direct connection)."""

from __future__ import annotations

import os
import signal
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration import targets
from integration.harness import Ansible, target

Factory = Callable[..., Any]


@pytest.fixture(scope="module")
def instance(module_local_instance: Factory) -> Any:
    return module_local_instance("v2.73.2")


@pytest.fixture(params=["local", "database"])
def options(request: pytest.FixtureRequest, instance: Any) -> dict[str, Any]:
    if request.param == "local":
        return target(instance)
    return {"deployment": "database", "database_url": instance.database_url}


def test_info_is_the_same_through_every_target(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    phase = targets.info(ansible, options)
    ((applied,),) = instance.sql("select count(*) from django_migrations")
    assert phase["migrations"]["applied"] == applied == 190
    assert phase["migrations"]["duplicates"] == []
    assert phase["migrations"]["release"] == "v2.73.0"  # the last release that brought a migration
    assert phase["migrations"]["before_release"] is None
    assert phase["instance"]["deployment"] == options["deployment"]
    assert phase["storage"]["invalid_indexes"] == []
    assert {table["name"] for table in phase["storage"]["tables"]} >= {"api_secretevent"}
    volume = os.statvfs(instance.directory)
    assert phase["storage"]["free_bytes"] == pytest.approx(volume.f_bavail * volume.f_frsize, rel=0.2)


def test_a_subset_alone(ansible: Ansible, options: dict[str, Any]) -> None:
    assert set(targets.info(ansible, options, "activity")) == {"activity"}


def test_activity_names_who_blocks_whom(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    with targets.locked(instance.database_url, "api_secret"):
        activity = targets.info(ansible, options, "activity")["activity"]
    assert activity["blocked"] == []
    assert activity["sessions"] >= 1


def test_old_reads_go(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    targets.old_reads_go(ansible, instance, options)


def test_lock_timeout(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    targets.a_lock_is_not_waited_for_without_end(ansible, instance, options)


def test_rows_are_changed_and_put_back(
    ansible: Ansible, instance: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    targets.rows_are_changed_and_put_back(ansible, instance, options, tmp_path)


def test_a_lockout_by_sso_ends_at_once(
    ansible: Ansible, instance: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    targets.a_lockout_by_sso_ends_at_once(ansible, instance, options, tmp_path)


def test_a_table_is_vacuumed(ansible: Ansible, instance: Any, options: dict[str, Any]) -> None:
    targets.a_table_is_vacuumed(ansible, instance, options)


def test_local_ends_when_its_caller_dies(ansible: Ansible, instance: Any) -> None:
    targets.ends_when_the_caller_dies(ansible, instance, target(instance))


def test_local_silence_is_noticed(ansible: Ansible, instance: Any) -> None:
    """A far end that is frozen, not dead, is what timeouts.idle is for."""
    task = {"phase.console.phase_info": {**target(instance), "timeouts": {"lock": "0", "idle": "7s"}}}
    with targets.locked(instance.database_url):
        run = ansible.popen_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}])
        run.wait_until(lambda: targets.ours(instance) == 1)
        far_end = _far_end(instance)
        os.kill(far_end, signal.SIGSTOP)
        try:
            result = run.wait(60)
        finally:
            os.kill(far_end, signal.SIGCONT)
        assert result.failed[0].result["error"]["kind"] == "idle_timeout"
        targets.until(lambda: targets.ours(instance) == 0, 10)


def _far_end(instance: Any) -> int:
    """The process in the checkout that runs the packed operation."""
    folder = Path(os.path.realpath(instance.current))
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"-c" in words and (process / "cwd").resolve() == folder:
                return int(process.name)
        except OSError:
            continue
    raise AssertionError("no far end in the checkout")


WRONG = {
    "wrong_password": {"DATABASE_PASSWORD": "not the one"},
    "database_missing": {"DATABASE_NAME": "nosuch"},
    "not_phase": {"DATABASE_NAME": "postgres"},
    "database_unreachable": {"DATABASE_PORT": "1"},
    "tls_refused": {"DATABASE_SSL": "true"},
    "application_failed": {"DATABASE_USER": ""},
}


@pytest.mark.parametrize("kind", WRONG)
def test_local_says_what_is_in_the_way(ansible: Ansible, instance: Any, kind: str) -> None:
    wrong = {"DATABASE_HOST": "127.0.0.1", **WRONG[kind]}
    message = targets.refused(ansible, {**target(instance), "environment": wrong}, kind)
    assert instance.environment["DATABASE_PASSWORD"] not in message


def test_database_says_what_is_in_the_way(ansible: Ansible, instance: Any) -> None:
    direct = {"deployment": "database", "login_host": "127.0.0.1", "login_port": 1, "login_user": "x", "login_db": "x"}
    assert "Connection refused" in targets.refused(ansible, direct, "database_unreachable")


@pytest.fixture
def bare_python(tmp_path: Path, instance: Any) -> Iterator[str]:
    """The backend's Python without its packages."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec "{instance.python}" -S -E "$@"\n', encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    yield str(script)


def test_a_python_without_psycopg2(ansible: Ansible, instance: Any, bare_python: str) -> None:
    targets.refused(ansible, {**target(instance), "python": bare_python}, "psycopg2_missing")


def test_no_python_and_no_checkout(ansible: Ansible, instance: Any, tmp_path: Path) -> None:
    targets.refused(ansible, {**target(instance), "python": str(tmp_path / "python")}, "interpreter_missing")
    targets.refused(ansible, {**target(instance), "manage_dir": str(tmp_path)}, "checkout_missing")


def test_bad_options_touch_nothing(ansible: Ansible, instance: Any) -> None:
    targets.refused(ansible, {**target(instance), "timeouts": {"lock": "soon"}}, "bad_option")
    targets.refused(ansible, {**target(instance), "env_file": "/nonexistent"}, "bad_option")


def test_settings_that_are_no_secrets_are_not_blanked(ansible: Ansible, instance: Any) -> None:
    environment = {name: value for name, value in instance.environment.items() if name.startswith("DATABASE_")}
    options = {**target(instance), "environment": environment, "gather_subset": ["instance"]}
    result = ansible.task("phase_info", options, verbosity=3)
    assert result["phase"]["instance"]["database"]["database"] == environment["DATABASE_NAME"]
    assert environment["DATABASE_PASSWORD"] not in str(result)


def test_health_of_a_release_that_looks_at_the_host_first(ansible: Ansible, local_instance: Factory) -> None:
    """Before v2.68.0, with the ALLOWED_HOSTS of the stock Compose file, 127.0.0.1 gets 400."""
    instance = local_instance("v2.66.0")
    settings = instance.env_file.read_text(encoding="utf-8")
    allowed = "ALLOWED_HOSTS=127.0.0.1,backend"
    assert allowed in settings
    instance.env_file.write_text(settings.replace(allowed, "ALLOWED_HOSTS=phase.example,backend"), encoding="utf-8")
    instance.restart("backend")
    url = f"{instance.url}/health/"
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(url, timeout=10)  # noqa: S310 - http, its own
    options = {**target(instance), "url": url, "version": "v2.66.0", "wait_timeout": 20}
    health = ansible.module("phase_health", options)["health"]
    assert health["backend"] == {"alive": True, "version": "v2.66.0", "detail": ""}


def test_health_is_not_asked_of_a_database(ansible: Ansible, instance: Any) -> None:
    start = time.monotonic()
    options = {"deployment": "database", "database_url": instance.database_url}
    result = ansible.module("phase_health", options, expect_failure=True)
    assert result["error"]["kind"] == "not_supported" and "phase_info" in result["error"]["next_step"]
    assert time.monotonic() - start < 60  # not its wait_timeout of 120 s
