# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import ContainerMissing
from ansible_collections.phase.console.plugins.module_utils._instance.rollout import (
    NameTaken,
    Seen,
    Slot,
    Watch,
    after_step,
    check_names,
    foresee,
    in_words,
)

NEW, OLD, OTHER = "sha256:new", "sha256:old", "sha256:other"
WHOLE = ["create_successor", "stop", "name_previous", "name_successor", "start", "retire_previous"]


def seen(current=None, successor=None, previous=None):
    return Seen("phase-worker", current, successor, previous)


def old(running=True):
    return Slot("1", OLD, running)


def new(running=False, image=NEW):
    return Slot("2", image, running, replaces="1")


def test_a_replacement_from_beginning_to_end():
    assert foresee(seen(old()), NEW) == WHOLE


@pytest.mark.parametrize("taken", range(len(WHOLE) + 1))
def test_what_is_left_after_each_step_is_the_rest(taken):
    state = seen(old())
    for step in WHOLE[:taken]:
        state = after_step(state, step, NEW)
    assert foresee(state, NEW) == WHOLE[taken:]


def test_nothing_to_do():
    assert foresee(seen(Slot("1", NEW, True)), NEW) == []


def test_a_stopped_container_of_the_image_is_started():
    assert foresee(seen(Slot("1", NEW, False)), NEW) == ["start"]


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        # another target after a run that was cut off before it touched the old container
        (seen(old(), new(image=OTHER)), ["remove_leftover", *WHOLE]),
        # the old one is stopped already, or away
        (seen(old(running=False), new()), WHOLE[2:]),
        (seen(None, new(), old(running=False)), WHOLE[3:]),
        # another target after the rename: the old one comes back first
        (seen(None, new(image=OTHER), old(running=False)), ["restore_name", "remove_leftover", WHOLE[0], *WHOLE[2:]]),
        # the successor of another target did not come up: it goes, the last good one stays until the end
        (
            seen(new(True, OTHER), None, old(running=False)),
            ["create_successor", "remove_failed", "name_successor", "start", "retire_previous"],
        ),
        # the old one was put back by a rollback that was cut off
        (seen(None, None, old(running=False)), ["restore_name", "create_successor", *WHOLE[2:]]),
        (seen(Slot("1", NEW, True), new(image=OTHER)), ["remove_leftover"]),
    ],
)
def test_what_other_runs_left(state, steps):
    check_names(state)
    assert foresee(state, NEW) == steps


def test_no_container_at_all():
    with pytest.raises(ContainerMissing):
        foresee(seen(), NEW)


@pytest.mark.parametrize(
    "state",
    [
        seen(old(), Slot("9", NEW, False)),
        seen(old(), None, Slot("9", OLD, False)),
        seen(new(True), None, Slot("9", OLD, False)),
    ],
)
def test_containers_of_strangers_are_refused(state):
    with pytest.raises(NameTaken):
        check_names(state)


def test_the_successor_of_a_failed_one_still_belongs_to_the_first():
    state = after_step(seen(new(True, OTHER), None, old(running=False)), "create_successor", NEW)
    assert state.next.replaces == "1"
    check_names(after_step(state, "remove_failed", NEW))


def test_words():
    assert in_words(["create_successor", "stop"], "phase-worker", "i:1") == [
        "create phase-worker-next from i:1",
        "stop phase-worker",
    ]


def container(status="running", health=None, started="1", restarts=0):
    state = {"Status": status, "Running": status == "running", "StartedAt": started}
    if health:
        state["Health"] = {"Status": health}
    return {"State": state, "RestartCount": restarts}


@pytest.mark.parametrize(
    ("looks", "verdict"),
    [
        ([(0, container(health="starting"))], None),
        ([(0, container(health="healthy"))], True),
        ([(0, container(health="unhealthy"))], False),
        ([(0, container())], None),
        ([(0, container()), (4.9, container())], None),
        ([(0, container()), (5, container())], True),
        ([(0, container()), (5, container(started="2"))], None),
        ([(0, container()), (2, container("restarting")), (5, container(started="2"))], None),
        ([(0, container("exited"))], False),
        ([(0, container("restarting", restarts=3))], False),
    ],
)
def test_whether_a_container_stays_up(looks, verdict):
    watch = Watch(settle=5)
    results = [watch.verdict(look, now) for now, look in looks]
    assert results[-1] is verdict and not any(results[:-1])
