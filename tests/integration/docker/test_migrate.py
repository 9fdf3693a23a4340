# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""phase_migrate in one-off containers of the target image: killed, repaired, cut off, joined, and nothing left over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.migration.lock import MARK
from integration.forks import Database, eventually
from integration.harness import Ansible, Run, target
from sandbox import images
from sandbox.docker_instance import DockerInstance

FIRST, LAST = "v2.42.0", "v2.73.2"
BUILDS = ("secret_event_history_idx", "secret_logs_env_idx", "sa_token_last_used_idx")


@pytest.fixture
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with DockerInstance.start(tmp_path_factory.mktemp("phase"), FIRST, 3000) as started:
        images.ensure(started.engine, [images.backend(LAST)])
        yield started


def one_offs(instance: Any, *more: str) -> list[str]:
    """Containers that the collection started beside the backend."""
    return str(instance.docker("ps", "--quiet", "--filter", "label=phase.console.operation", *more)).split()


def play(options: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"hosts": "localhost", "gather_facts": False, "tasks": [{"phase.console.phase_migrate": options}]}]


def test_killed_repaired_cut_off_and_joined(ansible: Ansible, instance: Any) -> None:
    database = Database(instance.database_url)
    options = {**target(instance), "image": images.backend(LAST)}
    before = database.catalog()
    plan = ansible.module("phase_migrate", options, check=True)
    assert plan["pending"] and plan["image"]["running_id"] == instance.inspect("phase-backend")["Image"]
    assert database.catalog() == before and one_offs(instance, "--all") == []

    _kill_midway(ansible, instance, database, options)
    refused = ansible.module("phase_migrate", options, expect_failure=True)
    assert refused["error"]["kind"] == "leftover_index" and "INVALID index secret_logs_env_idx" in refused["msg"]

    repairing = {**options, "repair_indexes": True}
    with database.snapshot() as hold:
        first = ansible.popen_playbook(play(repairing))
        first.wait_for_output("Dropping valid index secret_event_history_idx")
        first.kill(everything=True)
        # A container of this collection may take ten seconds to notice that its caller is gone.
        eventually(lambda: any(name.endswith(MARK) for name in database.sessions()), timeout=20)
        second = ansible.popen_playbook(play(options))
        second.wait_for_output("Joining a run that goes on")
        hold.close()
        joined = second.wait().results("phase_migrate")[0]
    assert joined["joined"] and joined["changed"]
    assert [item["name"] for item in joined["applied"]] == refused["pending"]
    assert [item["index"] for item in joined["repaired_indexes"]] == list(BUILDS[:2])
    assert database.index_state(*BUILDS) == dict.fromkeys(BUILDS, True)
    assert len(database.ledger()) == len(set(database.ledger())) == 190

    again = ansible.module("phase_migrate", options)
    assert not again["changed"] and again["pending"] == []
    older = ansible.module("phase_migrate", target(instance), expect_failure=True)  # the backend that still runs
    assert older["error"]["kind"] == "database_ahead"
    eventually(lambda: one_offs(instance, "--all") == [] and database.sessions() == [])


def _kill_midway(ansible: Ansible, instance: Any, database: Database, options: dict[str, Any]) -> None:
    """kill -9 of the container that migrates, when it has its first index and works on its second."""

    def waits(index: str) -> bool:
        return (index, "waiting for old snapshots") in database.building()

    with database.snapshot() as before_the_first:
        run: Run = ansible.popen_playbook(play(options))
        eventually(lambda: waits(BUILDS[0]))
        with database.snapshot():
            before_the_first.close()
            eventually(lambda: waits(BUILDS[1]))
            (container,) = one_offs(instance)
            instance.docker("kill", "--signal=KILL", container)
            killed = run.wait()
            eventually(lambda: not database.sessions(), timeout=10)
    assert killed.failed[0].result["error"]["kind"] == "stream_lost"
    assert database.index_state(*BUILDS) == {BUILDS[0]: True, BUILDS[1]: False}
    assert [name for name in database.ledger() if ".0112" in name] == []
