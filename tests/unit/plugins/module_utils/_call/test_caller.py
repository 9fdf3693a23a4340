# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.caller import VARIABLE, Caller


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def events(tmp_path):
    folder = tmp_path / "phase-console-abc"
    folder.mkdir(mode=0o700)
    return folder / "events"


@pytest.fixture
def lease(events):
    path = events.parent / "events.lease"
    path.write_text("10\n")
    return path


def lines(events):
    return [json.loads(line) for line in events.read_text().splitlines()]


def renew(lease, at):
    os.utime(lease, (at, at))


def test_without_the_variable_nobody_is_told_and_nobody_is_lost(tmp_path):
    caller = Caller.from_environment({})
    caller.tell("halfway")
    caller.close()
    assert not caller.lost()
    assert list(tmp_path.iterdir()) == []


def test_the_variable_is_taken_out_for_the_children(events):
    environ = {VARIABLE: str(events), "PATH": "/bin"}
    Caller.from_environment(environ)
    assert environ == {"PATH": "/bin"}


def test_events_are_ascii_lines_that_begin_with_the_process(events):
    caller = Caller(events)
    caller.tell("Löschen\nzwei Zeilen", deleted=3, event="cannot be overridden")
    assert events.read_bytes().isascii()
    start, told = lines(events)
    assert start == {"event": "start", "pid": os.getpid()}
    assert (told["event"], told["message"], told["deleted"]) == ("progress", "Löschen\nzwei Zeilen", 3)


def test_the_file_is_for_the_owner_only(events):
    Caller(events)
    assert events.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_gone_does_not_fail_the_operation(events):
    caller = Caller(events)
    events.unlink()
    events.parent.rmdir()
    caller.tell("one")
    caller.tell("two")
    assert not events.parent.exists()


def test_a_file_named_by_a_person_has_no_lease(tmp_path):
    clock = Clock()
    caller = Caller(tmp_path / "log", clock)
    clock.now += 3600
    caller.tell("still here")
    assert not caller.lost()
    assert len(lines(tmp_path / "log")) == 2


def test_a_caller_that_left_before_the_module_began_is_lost(events):
    assert Caller(events, Clock()).lost()


def test_a_renewed_lease_keeps_the_caller(events, lease):
    clock = Clock()
    caller = Caller(events, clock)
    for second in range(5):
        renew(lease, 1000 + second)
        clock.now += 8
        assert not caller.lost()


def test_a_lease_that_is_not_renewed_runs_out(events, lease):
    clock = Clock()
    caller = Caller(events, clock)
    assert not caller.lost()
    clock.now += 10
    assert not caller.lost()
    clock.now += 0.1
    assert caller.lost()


def test_a_clock_set_back_on_the_host_counts_as_renewal_not_as_loss(events, lease):
    clock = Clock()
    caller = Caller(events, clock)
    renew(lease, 2000)
    assert not caller.lost()
    renew(lease, 500)
    clock.now += 9
    assert not caller.lost()


def test_a_lease_taken_away_is_noticed_at_once(events, lease):
    caller = Caller(events, Clock())
    lease.unlink()
    assert caller.lost()


def test_close_removes_the_folder_of_a_lost_caller_only(events, lease):
    caller = Caller(events, Clock())
    caller.close()
    assert events.exists()
    lease.unlink()
    caller.close()
    assert not events.parent.exists()


def test_close_never_removes_a_folder_that_is_not_ours(tmp_path):
    (tmp_path / "events.lease").write_text("10")
    caller = Caller(tmp_path / "events", Clock())
    (tmp_path / "events.lease").unlink()
    caller.close()
    assert (tmp_path / "events").exists()
