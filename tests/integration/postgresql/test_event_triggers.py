# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""An event trigger that forbids to drop: the plan finds it, and what cannot be tidied up keeps no other work away."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from integration.purging import Instance
from integration.rewriting import Subject, fork
from integration.vacuuming import PURGE, Vacuum
from sandbox.local import LocalInstance

FORBIDS = (
    """create function forbid() returns event_trigger language plpgsql as
    $$ begin raise exception 'nothing is dropped here'; end $$""",
    "create event trigger no_drops on sql_drop execute function forbid()",
)


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    started = module_local_instance("v2.73.2", events=3000, superuser=False)
    for service in ("backend", "worker"):
        started.stop_service(service)
    return started


@pytest.fixture
def subject(instance: LocalInstance) -> Subject:
    return fork(instance)


def test_the_plan_names_it_and_auto_deletes(subject: Subject) -> None:
    subject.administrator(*FORBIDS)
    (reason,) = subject.plan()["refused"]
    assert reason.startswith("event trigger no_drops fires when something is dropped")
    done = Instance(subject.url).purge(all_organisations=True, strategy="auto")
    assert done["strategy"] == "delete" and done["remaining"] == 0 < done["deleted"]


@pytest.mark.parametrize("harmless", ["disable", "other command"])
def test_one_that_never_fires_is_no_reason(subject: Subject, harmless: str) -> None:
    subject.administrator(*FORBIDS, "drop event trigger no_drops")
    if harmless == "disable":
        subject.administrator(FORBIDS[1], "alter event trigger no_drops disable")
    else:
        more = " when tag in ('DROP VIEW') execute"
        subject.administrator(FORBIDS[1].replace(" execute", more))
    assert subject.plan()["refused"] == [] and subject.rewrite()["unfinished"] is None


def test_what_is_left_keeps_nothing_from_being_done(subject: Subject) -> None:
    """The trigger comes while a rewrite is at its swap: its end has to wait, and all but another rewrite goes on."""
    kept = subject.kept()

    def meanwhile(message: str, **counters: object) -> None:
        if "is in place" in message:
            subject.administrator(*FORBIDS)

    result = subject.rewrite(context=subject.context(report=meanwhile))
    assert "nothing is dropped here" in result["unfinished"] and subject.leftovers()["swapped"]
    database = Instance(subject.url)
    assert database.purge(all_organisations=True, strategy="delete", retain_days=5)["remaining"] == 0
    subject.sql(PURGE)
    vacuum = Vacuum(subject)
    for mode in ("plain", "compact", "reindex", "full"):
        vacuum(mode, force=True)
        assert [text for text in vacuum.warned if "nothing is dropped here" in text], (mode, vacuum.warned)
    subject.administrator("drop event trigger no_drops")
    vacuum("plain", force=True)
    assert subject.leftovers() is None and set(subject.rows()) < set(kept)
