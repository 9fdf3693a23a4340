# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""A prepared transaction holds locks without a session: whoever waits for it says which one it is and how it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.purge import foreign_key, walk
from integration.purging import Instance
from integration.rewriting import Subject, fork
from integration.vacuuming import PURGE, Vacuum
from sandbox.local import LocalInstance

CHANGE = """
update api_secretevent set path = path where id = (select min(id) from api_secretevent where event_type = 'C')
"""


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    started = module_local_instance("v2.73.2", events=3000, superuser=False)
    for service in ("backend", "worker"):
        started.stop_service(service)
    with started.server.administrator() as connection, connection.cursor() as cursor:
        cursor.execute("alter system set max_prepared_transactions = 5")
    started.server.stop()
    started.server.start()
    return started


@pytest.fixture(params=["", "after a restart"])
def left(request: pytest.FixtureRequest, instance: LocalInstance) -> Iterator[Subject]:
    """A database in which somebody prepared a change of an event and went away, maybe before the server restarted."""
    subject = fork(instance)
    with contextlib.closing(subject.connect(autocommit=False)) as connection, connection.cursor() as cursor:
        cursor.execute(CHANGE)
        cursor.execute("prepare transaction %s", ("jta-'17",))
    if request.param:
        instance.server.stop()
        instance.server.start()
    yield subject
    with contextlib.suppress(Exception):
        subject.sql("rollback prepared %s", "jta-'17")


def named(text: str, subject: Subject) -> bool:
    """Whether the gid, its owner and what ends it are there."""
    ends = f"ROLLBACK PREPARED 'jta-''17' in database {subject.name} ends it"
    return "the prepared transaction 'jta-''17' of phase (open for " in text and ends in text


def test_a_rewrite(left: Subject) -> None:
    assert named(left.plan()["waits_for"], left)
    with pytest.raises(PhaseError) as blocked:
        left.rewrite(wait=5.0)
    assert named(blocked.value.message, left) and any(named(line, left) for line in left.told), left.told
    left.sql("rollback prepared %s", "jta-'17")
    assert left.rewrite()["deleted"] > 0 and left.leftovers() is None


def test_a_purge_that_sets_the_foreign_key_aside(left: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_key, "PATIENCE", 1.0)
    monkeypatch.setattr(walk, "WORTH_IT", 1)
    monkeypatch.setattr(walk, "SMALLEST", 1)
    database = Instance(left.url)
    checked = database.purge(check=True, all_organisations=True, foreign_key="set_aside", strategy="delete")
    assert [text for text in checked["plan"]["blocked_by"] if named(text, left)], checked["plan"]["blocked_by"]
    done = database.purge(all_organisations=True, foreign_key="set_aside", strategy="delete")
    assert done["foreign_key"]["state"] == "kept" and [line for line in database.told if named(line, left)]


@pytest.mark.parametrize("mode", ["full", "rewrite"])
def test_a_vacuum(left: Subject, mode: str) -> None:
    left.sql(PURGE)
    vacuum = Vacuum(left)
    refused = vacuum.refused(mode, max_lock_wait="1s", force=True)
    assert named(f"{refused.message} {refused.next_step}", left), refused.message
