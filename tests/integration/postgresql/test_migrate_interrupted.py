# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""phase_migrate with something in its way: other sessions, other runs, kill -9 in the midst of an index build."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from integration.forks import Fork, eventually
from integration.harness import Ansible, Run

FIRST, WEDGE, LAST = "v2.53.0", "v2.54.0", "v2.73.2"
BUILDS = ("secret_event_history_idx", "secret_logs_env_idx", "sa_token_last_used_idx")
MIGRATION = "api.0112_secretevent_secret_event_history_idx_and_more"


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., Any]) -> Any:
    started = module_local_instance(FIRST, 5000)
    for service in ("worker", "backend"):
        started.stop_service(service)
    return started


@pytest.fixture
def fork(instance: Any) -> Iterator[Fork]:
    made = Fork(instance)
    yield made
    made.kill_runners()


def waits_for_snapshots(fork: Fork, index: str) -> bool:
    return (index, "waiting for old snapshots") in fork.building()


@contextlib.contextmanager
def midway_through_the_second_index(ansible: Ansible, fork: Fork) -> Iterator[Run]:
    """A run of 0112 that has its first index, and waits for a snapshot at the end of its second."""
    with fork.snapshot() as before_the_first:
        run = ansible.popen_playbook(fork.play(LAST))
        eventually(lambda: waits_for_snapshots(fork, BUILDS[0]))
        with fork.snapshot():
            before_the_first.close()
            eventually(lambda: waits_for_snapshots(fork, BUILDS[1]))
            yield run


def test_kill_in_the_second_index_then_repair_and_resume(ansible: Ansible, fork: Fork) -> None:
    with midway_through_the_second_index(ansible, fork) as run:
        fork.kill_runners()
        killed = run.wait()
        eventually(lambda: not fork.sessions(), timeout=10)  # the server looks for its client every two seconds
    assert killed.failed[0].result["error"]["kind"] == "stream_lost"
    assert fork.index_state(*BUILDS) == {BUILDS[0]: True, BUILDS[1]: False}

    found = ansible.module("phase_migrate", fork.options(LAST), check=True, expect_failure=True)
    assert found["error"]["kind"] == "leftover_index" and "INVALID" in found["msg"]
    assert [(item["index"], item["valid"]) for item in found["leftover_indexes"]] == [
        (BUILDS[0], True),
        (BUILDS[1], False),
    ]
    assert "repair_indexes=true" in found["error"]["next_step"]
    assert ansible.module("phase_migrate", fork.options(LAST, repair_indexes=True), check=True)["changed"]

    ledger = fork.ledger()
    refused = ansible.module("phase_migrate", fork.options(LAST), expect_failure=True)
    assert refused["error"]["kind"] == "leftover_index"
    assert "INVALID index secret_logs_env_idx on api_secretevent" in refused["msg"]
    assert fork.ledger() == ledger and fork.index_state(*BUILDS) == {BUILDS[0]: True, BUILDS[1]: False}

    repaired = ansible.module("phase_migrate", fork.options(LAST, repair_indexes=True))
    assert [item["index"] for item in repaired["repaired_indexes"]] == list(BUILDS[:2])
    assert [item["name"] for item in repaired["applied"]] == repaired["pending"]
    assert fork.index_state(*BUILDS) == dict.fromkeys(BUILDS, True)
    assert not ansible.module("phase_migrate", fork.options(LAST, repair_indexes=True))["changed"]


def test_an_index_of_that_name_on_another_table_is_never_dropped(ansible: Ansible, fork: Fork) -> None:
    fork.sql("create index secret_logs_env_idx on api_secret (id)")
    result = ansible.module("phase_migrate", fork.options(LAST, repair_indexes=True), expect_failure=True)
    assert result["error"]["kind"] == "leftover_index" and "taken by something else on api_secret" in result["msg"]
    assert fork.index_state(BUILDS[1]) == {BUILDS[1]: True}


def test_an_index_that_somebody_else_builds_is_waited_for(ansible: Ansible, fork: Fork) -> None:
    statement = f"create index concurrently {BUILDS[0]} on api_secretevent (secret_id, event_type, timestamp)"
    with contextlib.closing(fork.connect()) as other:
        builder = threading.Thread(target=lambda: other.cursor().execute(statement))
        with fork.snapshot():
            builder.start()
            eventually(lambda: waits_for_snapshots(fork, BUILDS[0]))
            options = fork.options(LAST, repair_indexes=True, wait_for_lock="1s")
            result = ansible.module("phase_migrate", options, expect_failure=True)
        builder.join()
    assert result["error"]["kind"] == "index_busy"
    assert "being built right now by pid" in result["msg"] and "the test" in result["msg"]
    assert fork.index_state(BUILDS[0]) == {BUILDS[0]: True}


def test_a_lock_timeout_names_who_holds_the_lock(ansible: Ansible, fork: Fork) -> None:
    with fork.reading("api_secret") as blocker:
        pid = blocker.info.backend_pid
        result = ansible.module(
            "phase_migrate", fork.options(LAST, timeouts={"lock": "500ms"}, lock_retries=1), expect_failure=True
        )
    assert result["error"]["kind"] == "lock_timeout"
    assert result["failed_migration"] == "api.0118_secret_type_field" and result["retries"] == 1
    assert f"ACCESS EXCLUSIVE on api_secret, held back by pid {pid} (the test, idle in transaction" in result["msg"]
    assert "kept to itself" not in str(result)
    assert [item["name"] for item in result["applied"]][-1] == "api.0117_alter_environmentsync_service_and_more"
    assert fork.ledger()[-1] == "api.0117_alter_environmentsync_service_and_more"


def test_a_lock_that_comes_free_is_got_in_a_later_try(ansible: Ansible, fork: Fork) -> None:
    with fork.reading("api_secret") as blocker:
        run = ansible.popen_playbook(fork.play(LAST, timeouts={"lock": "300ms"}))
        run.wait_for_output("Try 2 of 9")
        assert "held back by pid" in run.output() and 'select ? from "api_secret" limit ?' in run.output()
        blocker.close()
        result = run.wait().results("phase_migrate")[0]
    assert result["retries"] >= 1
    assert [item["name"] for item in result["applied"]] == result["pending"]


def test_no_setting_of_the_database_ends_an_atomic_migration(ansible: Ansible, fork: Fork) -> None:
    """Whatever the database has set to end statements and sessions, or to keep them from writing."""
    settings = {"statement_timeout": "250ms", "idle_session_timeout": "250ms", "default_transaction_read_only": "on"}
    settings.update(idle_in_transaction_session_timeout="250ms", client_encoding="LATIN1", lock_timeout="1ms")
    with fork.reading("api_secret") as blocker:
        fork.sql("; ".join(f"alter database {fork.name} set {name} = '{value}'" for name, value in settings.items()))
        run = ansible.popen_playbook(fork.play(LAST, timeouts={"lock": "300ms"}))
        run.wait_for_output("Try 2 of 9")
        assert "held back by pid" in run.output() and 'select ? from "api_secret" limit ?' in run.output()
        blocker.close()
        result = run.wait().results("phase_migrate")[0]
    assert result["retries"] >= 1
    assert [item["name"] for item in result["applied"]] == result["pending"]


def test_a_concurrent_build_outlasts_lock_timeout(ansible: Ansible, fork: Fork) -> None:
    """lock_timeout would leave an INVALID index, so a concurrent build has none; who holds it back is told."""
    with fork.snapshot() as blocker:
        run = ansible.popen_playbook(fork.play(WEDGE, timeouts={"lock": "200ms"}))
        run.wait_for_output("waits for older transactions to end, held back by pid")
        eventually(lambda: waits_for_snapshots(fork, BUILDS[0]))
        time.sleep(1)
        blocker.close()
        result = run.wait().results("phase_migrate")[0]
    assert result["retries"] == 0 and fork.index_state(*BUILDS) == dict.fromkeys(BUILDS, True)
    assert result["blocked_by"][0]["name"] == "the test"


def test_the_database_s_own_timeouts_do_not_reach_a_concurrent_build(ansible: Ansible, fork: Fork) -> None:
    fork.sql(f"alter database {fork.name} set statement_timeout = '1s'")
    with fork.snapshot() as blocker:
        run = ansible.popen_playbook(fork.play(WEDGE))
        eventually(lambda: waits_for_snapshots(fork, BUILDS[0]))
        time.sleep(2)
        blocker.close()
        result = run.wait().results("phase_migrate")[0]
    assert fork.index_state(*BUILDS) == dict.fromkeys(BUILDS, True) and result["changed"]


def test_of_two_at_once_one_migrates_and_the_other_waits(ansible: Ansible, fork: Fork) -> None:
    with fork.snapshot() as hold:
        runs = [ansible.popen_playbook(fork.play(LAST, wait_for_lock="60s")) for _each in range(2)]
        eventually(lambda: waits_for_snapshots(fork, BUILDS[0]))
        eventually(lambda: any("Waiting for another run" in run.output() for run in runs))
        hold.close()
        results = [run.wait().results("phase_migrate")[0] for run in runs]
    second, first = sorted(results, key=lambda result: bool(result["changed"]))
    assert first["changed"] and not second["changed"]
    assert [item["name"] for item in first["applied"]] == second["applied_elsewhere"] == first["pending"]
    assert not first["joined"] and not second["joined"]
    assert len(fork.ledger()) == len(set(fork.ledger())) == 190


def test_the_second_may_leave_at_once_and_learns_who_migrates(ansible: Ansible, fork: Fork) -> None:
    with fork.snapshot() as hold:
        first = ansible.popen_playbook(fork.play(LAST))
        eventually(lambda: waits_for_snapshots(fork, BUILDS[0]))
        result = ansible.module("phase_migrate", fork.options(LAST, wait_for_lock="0"), expect_failure=True)
        hold.close()
        assert first.wait().rc == 0
    assert result["error"]["kind"] == "lock_held"
    assert result["holder"]["name"].startswith(f"phase.console migrate {os.uname().nodename}")
    assert f"pid {result['holder']['pid']}" in result["msg"] and result["holder"]["since"].endswith("Z")


def test_a_run_that_outlived_its_caller_is_joined(ansible: Ansible, fork: Fork) -> None:
    with fork.snapshot() as hold:
        first = ansible.popen_playbook(fork.play(LAST))
        eventually(lambda: waits_for_snapshots(fork, BUILDS[0]))
        left_alone = set(fork.runners())
        first.kill(everything=True)
        second = ansible.popen_playbook(fork.play(LAST))
        second.wait_for_output("Joining a run that outlived its caller")
        assert left_alone < set(fork.runners())
        hold.close()
        result = second.wait().results("phase_migrate")[0]
    assert result["joined"] and result["changed"]
    assert [item["name"] for item in result["applied"]] == result["pending"]
    assert len(fork.ledger()) == len(set(fork.ledger())) == 190
    eventually(lambda: not fork.runners() and not fork.sessions())


def test_a_run_that_only_waits_ends_with_its_caller(ansible: Ansible, fork: Fork) -> None:
    with fork.snapshot() as hold:
        first = ansible.popen_playbook(fork.play(LAST))
        eventually(lambda: waits_for_snapshots(fork, BUILDS[0]))
        migrating = set(fork.runners())
        second = ansible.popen_playbook(fork.play(LAST, wait_for_lock="5m"))
        second.wait_for_output("Waiting for another run")
        second.kill(everything=True)
        eventually(lambda: set(fork.runners()) == migrating, timeout=30)
        hold.close()
        assert first.wait().rc == 0


def test_sigterm_cancels_the_statement_and_says_what_was_done(ansible: Ansible, fork: Fork) -> None:
    with fork.reading("api_secret"):
        run = ansible.popen_playbook(fork.play(LAST, timeouts={"lock": "60s"}))
        run.wait_for_output("0118_secret_type_field waits for ACCESS EXCLUSIVE on api_secret")
        os.kill(min(fork.runners()), signal.SIGTERM)
        result = run.wait()
    failure = result.failed[0].result
    assert failure["error"]["kind"] == "cancelled"
    assert [item["name"] for item in failure["applied"]][-1] == "api.0117_alter_environmentsync_service_and_more"
    eventually(lambda: not fork.runners() and not fork.sessions())
    assert ansible.module("phase_migrate", fork.options(LAST))["changed"]
