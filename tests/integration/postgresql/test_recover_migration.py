# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""recover on a database that an interrupted index build has wedged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from integration.forks import Fork
from integration.harness import Ansible, answers

FIRST, LAST = "v2.53.0", "v2.54.0"
BUILDS = ("secret_event_history_idx", "secret_logs_env_idx", "sa_token_last_used_idx")


@pytest.fixture(scope="module")
def fork(module_local_instance: Callable[..., Any]) -> Fork:
    instance = module_local_instance(FIRST, 1000)
    for service in ("worker", "backend"):
        instance.stop_service(service)
    return Fork(instance)


def wedge(fork: Fork) -> None:
    """0112's first index, and its second as a build that was cut off leaves it."""
    fork.sql(f"create index concurrently {BUILDS[0]} on api_secretevent (secret_id, event_type, timestamp)")
    with contextlib.suppress(psycopg2.errors.UniqueViolation):
        fork.sql(f"create unique index concurrently {BUILDS[1]} on api_secretevent (event_type)")
    assert fork.index_state(*BUILDS) == {BUILDS[0]: True, BUILDS[1]: False}


def test_a_wedged_migration_is_shown_repaired_and_done(ansible: Ansible, fork: Fork) -> None:
    wedge(fork)
    before = fork.catalog()
    variables = {
        "phase_hosts": "localhost",
        "phase_target": fork.options(),
        **answers("recover", phase_recover_image=str(fork.instance.release(LAST))),
    }
    checked = ansible.playbook("recover", variables, check=True)
    told = " ".join(checked.custom["phase_recover"]["found"])
    assert f"INVALID index {BUILDS[1]}" in told and f"valid index {BUILDS[0]}" in told and "api.0112" in told
    assert checked.custom["phase_recover"]["outcome"] == "check" and fork.catalog() == before

    done = ansible.playbook("recover", variables).custom["phase_recover"]
    assert done["outcome"] == "recovered"
    assert [item["index"] for item in done["repaired_indexes"]] == list(BUILDS[:2])
    assert fork.index_state(*BUILDS) == dict.fromkeys(BUILDS, True)

    again = ansible.playbook("recover", variables)
    assert (again.changed, again.custom["phase_recover"]["outcome"]) == (0, "nothing")
