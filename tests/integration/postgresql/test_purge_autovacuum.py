# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""A purge of a server whose autovacuum works on the same table, as it does after every larger one."""

from __future__ import annotations

import time
from collections.abc import Callable
from unittest import mock

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    foreign_key as _purge_foreign_key,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    walk as _purge_walk,
)
from integration.forks import eventually
from integration.purging import Instance
from integration.rewriting import Subject, fork
from sandbox.local import LocalInstance

WORKING = """
select pid from pg_stat_progress_vacuum where datname = current_database() and relid = 'api_secretevent'::regclass
"""


@pytest.fixture(scope="module")
def subject(module_local_instance: Callable[..., LocalInstance]) -> Subject:
    started = module_local_instance("v2.73.2", events=3000, superuser=False)
    for service in ("backend", "worker"):
        started.stop_service(service)
    return fork(started)


def vacuums(subject: Subject) -> list[int]:
    """Those that work on the events, which a superuser alone is told."""
    with subject.instance.server.administrator(subject.name) as connection, connection.cursor() as cursor:
        cursor.execute(WORKING)
        return [row[0] for row in cursor.fetchall()]


def test_the_foreign_key_comes_back_while_an_autovacuum_works_on_the_events(subject: Subject) -> None:
    """It sends the vacuum away, which would have gone on for hours."""
    kept, purges = subject.kept(), Instance(subject.url)
    restore, met = _purge_foreign_key.restore, []

    def later(*arguments: object) -> object:
        subject.administrator(
            "alter table api_secretevent set (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0, "
            "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)",
            "alter system set autovacuum_naptime = '1s'",
            "select pg_reload_conf()",
        )
        met[:] = eventually(lambda: vacuums(subject))
        begun = time.monotonic()
        result = restore(*arguments)
        assert not set(met) & set(vacuums(subject))
        assert time.monotonic() - begun < _purge_foreign_key.PATIENCE
        return result

    with (
        mock.patch.object(_purge_walk, "WORTH_IT", 0),
        mock.patch.object(_purge_foreign_key, "restore", later),
    ):
        result = purges.purge(all_organisations=True, strategy="delete", foreign_key="set_aside")
    assert result["foreign_key"]["state"] == "restored"
    assert met
    assert subject.rows() == kept
    assert purges.foreign_key()[0][1]
