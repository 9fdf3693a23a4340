# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._access import confirm as _confirm


class Clock:
    """A clock that only sleeping moves; ``then`` happens at a time."""

    def __init__(self, at=None, then=None):
        self.now, self.at, self.then = 1000.0, at, then

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        assert 0 < seconds <= _confirm.POLL
        self.now += seconds
        if self.at is not None and self.now >= self.at:
            self.at = None
            self.then()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "snapshot")


def ask(path, clock, within=60.0, look=None):
    return _confirm.ask(path, within, look, clock, clock.sleep)


def test_time_runs_out(path):
    clock = Clock()
    assert ask(path, clock) == {"answer": "expired", "left": 0.0}
    assert clock.now == 1060.0
    assert _confirm.answer_of(path) == "expired" and _confirm.open_until(path) is None


@pytest.mark.parametrize(("given", "answer"), [("kept", "kept"), ("put_back", "put_back")])
def test_an_answer_is_seen_at_once(path, given, answer):
    clock = Clock(1010.0, lambda: _confirm.give(path, given, False, 1001.0))
    assert ask(path, clock)["answer"] == answer
    assert clock.now == 1010.0


def test_looking_in_between_leaves_the_end_where_it_is(path):
    clock = Clock()
    assert ask(path, clock, look=0) == {"answer": None, "left": 60.0}
    clock.now += 20
    assert ask(path, clock, within=999, look=10) == {"answer": None, "left": 30.0}
    clock.now += 40
    assert ask(path, clock, look=0)["answer"] == "expired"


def test_who_is_too_late_is_told(path):
    ask(path, Clock())
    with pytest.raises(_confirm.AnsweredOtherwise, match="was undone"):
        _confirm.give(path, "kept", False, 1001.0)


def test_the_same_answer_twice_changes_once(path):
    ask(path, Clock(), look=0)
    assert _confirm.give(path, "kept", True, 1001.0)["changed"]
    assert _confirm.give(path, "kept", False, 1001.0)["changed"]
    assert not _confirm.give(path, "kept", False, 1001.0)["changed"]
    assert ask(path, Clock())["answer"] == "kept"


def test_what_was_put_back_anyway_can_be_put_back(path):
    ask(path, Clock())
    assert _confirm.give(path, "put_back", False, 1061.0) == {"answer": "expired", "left": 0.0, "changed": False}


@pytest.mark.parametrize("check", [True, False])
def test_a_run_that_died_keeps_nothing_after_its_time(path, check):
    ask(path, Clock(), look=0)
    with pytest.raises(_confirm.NothingWaits, match="is still there"):
        _confirm.give(path, "kept", check, 1060.0)
    assert _confirm.give(path, "put_back", check, 1060.0)["changed"]


@pytest.mark.parametrize("place", ["snapshot", "file/snapshot"])
def test_nobody_asks(tmp_path, place):
    (tmp_path / "file").touch()
    path = str(tmp_path / place)
    with pytest.raises(_confirm.NothingWaits):
        _confirm.give(path, "kept", False, 1001.0)
    with pytest.raises(_confirm.NothingWaits):
        _confirm.give(path, "put_back", True, 1001.0)


@pytest.mark.parametrize("content", ["", "{}", '{"until": "soon"}'])
def test_a_damaged_question_is_not_kept_open(tmp_path, path, content):
    (tmp_path / "snapshot.waiting").write_text(content, encoding="utf-8")
    assert ask(path, Clock())["answer"] == "expired"


def test_a_question_that_was_taken_away_counts_as_expired(tmp_path, path):
    clock = Clock(1005.0, (tmp_path / "snapshot.waiting").unlink)
    assert ask(path, clock) == {"answer": "expired", "left": 0.0}
