# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time

import pytest
from ansible_collections.phase.console.plugins.plugin_utils import _progress
from ansible_collections.phase.console.plugins.plugin_utils._progress import (
    follow,
    machine_readable,
    orderly_end,
    parse_event,
    parse_poll,
    poll_command,
    progress_line,
)


def event(message, **counters):
    return {**counters, "event": "progress", "time": 1.0, "message": message}


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (event("0112: index 2 of 3"), "phase.console phase_migrate: [db1] 0112: index 2 of 3"),
        (event("rows", done=12, rate=1.5), "phase.console phase_migrate: [db1] rows | done=12 rate=1.5"),
        (
            event("on", table="api_secretevent", why=""),
            'phase.console phase_migrate: [db1] on | table=api_secretevent why=""',
        ),
        (event("by", lock="access share"), 'phase.console phase_migrate: [db1] by | lock="access share"'),
        (event("so", finished=True, rest=None), "phase.console phase_migrate: [db1] so | finished=true rest=null"),
        (event("a\n\x1b[2Jb\tc"), "phase.console phase_migrate: [db1] a  [2Jb c"),
        (event("Löschen"), "phase.console phase_migrate: [db1] Löschen"),
        ({"event": "progress"}, "phase.console phase_migrate: [db1] "),
    ],
)
def test_a_line(told, shown):
    assert progress_line("phase_migrate", "db1", told) == shown


def test_an_endless_message_is_cut():
    line = progress_line("phase_migrate", "db1", event("x" * 10_000))
    assert len(line) < 600
    assert line.endswith("x...")


@pytest.mark.parametrize(
    ("callback", "expected"),
    [("default", False), ("ansible.builtin.minimal", False), ("json", True), ("ansible.posix.jsonl", True)],
)
def test_lines_stay_out_of_a_json_document(callback, expected):
    assert machine_readable(callback) is expected


@pytest.mark.parametrize("line", ["", "garbage", '{"event": "progr', "[1]", "3"])
def test_what_is_no_event_is_empty(line):
    assert parse_event(line) == {}


class Folder:
    """A real folder of progress, looked at with the real command in a real shell."""

    def __init__(self, path):
        self.path = path
        (path / "events.lease").write_text("30\n")

    def look(self, seen=0, pid=None, around="{}"):
        command = around.format(poll_command(str(self.path), seen, pid))
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
        return done.stdout

    def tell(self, text):
        with (self.path / "events").open("a") as file:
            file.write(text)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "phase console's"
    path.mkdir()
    return Folder(path)


def test_a_poll_before_the_first_line(folder):
    assert parse_poll(folder.look()) == (True, False, [])


def test_a_poll_brings_whole_lines_from_the_asked_one_on(folder):
    folder.tell("one\ntwo\nthr")
    assert parse_poll(folder.look()).lines == ["one", "two"]
    assert parse_poll(folder.look(seen=1)).lines == ["two"]
    folder.tell("ee\n")
    assert parse_poll(folder.look(seen=2)).lines == ["three"]
    assert parse_poll(folder.look(seen=3)).lines == []


def test_a_poll_moves_a_bounded_number_of_lines(folder):
    folder.tell("".join(f"{number}\n" for number in range(1000)))
    seen = []
    while True:
        lines = parse_poll(folder.look(seen=len(seen))).lines
        if not lines:
            break
        assert len(lines) <= _progress.LINES_PER_POLL
        seen += lines
    assert seen == [str(number) for number in range(1000)]


def test_a_poll_tells_whether_the_process_lives(folder):
    process = subprocess.Popen(["sleep", "60"])
    assert parse_poll(folder.look(pid=process.pid)).alive
    process.kill()
    process.wait()
    assert not parse_poll(folder.look(pid=process.pid)).alive


def test_a_poll_renews_the_lease_and_never_makes_one(folder):
    lease = folder.path / "events.lease"
    os.utime(lease, (1, 1))
    folder.look()
    assert lease.stat().st_mtime > 1
    lease.unlink()
    folder.look()
    assert not lease.exists()


def test_a_folder_that_is_gone(folder):
    (folder.path / "events.lease").unlink()
    folder.path.rmdir()
    assert parse_poll(folder.look()) == (False, False, [])


def test_a_greeting_and_the_line_ends_of_a_terminal_pass(folder):
    folder.tell("one\ntwo\n")
    output = "Welcome to db1!\r\n" + folder.look().replace("\n", "\r\n") + "Shared connection to db1 closed.\r\n"
    assert parse_poll(output).lines == ["one", "two"]


def test_an_answer_cut_off_anywhere_is_none_or_whole(folder):
    folder.tell("one\ntwo\n")
    output = folder.look()
    answers = [parse_poll(output[:end]) for end in range(len(output) + 1)]
    assert answers[0] is None
    assert {len(answer.lines) for answer in answers if answer} == {2}


class Following:
    def __init__(self, path):
        self.events = path / "events"
        self.lease = path / "events.lease"
        self.lease.write_text("10\n")
        self.shown = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=follow, args=(self.events, self.shown.append, self.stop))
        self.thread.start()

    def tell(self, text):
        with self.events.open("a") as file:
            file.write(text)

    def wait(self, count):
        end = time.monotonic() + 5
        while len(self.shown) < count and time.monotonic() < end:
            time.sleep(0.01)
        assert len(self.shown) == count

    def end(self):
        self.stop.set()
        self.thread.join(5)
        assert not self.thread.is_alive()


@pytest.fixture
def following(tmp_path):
    started = Following(tmp_path)
    yield started
    started.end()


def test_following_shows_each_line_once_and_half_ones_never(following):
    following.tell('{"n": 1}\n{"n"')
    following.wait(1)
    following.tell(": 2}\n")
    following.wait(2)
    assert following.shown == [{"n": 1}, {"n": 2}]


def test_following_drains_after_the_end(following):
    following.tell(json.dumps({"n": 3}) + "\n")
    following.end()
    assert following.shown == [{"n": 3}]


def test_following_renews_the_lease(following):
    os.utime(following.lease, (1, 1))
    end = time.monotonic() + 5
    while following.lease.stat().st_mtime < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert following.lease.stat().st_mtime > 2


def test_following_takes_the_lease_away_when_ansible_has_died(tmp_path, monkeypatch):
    parents = iter([7, 7])
    monkeypatch.setattr(_progress.os, "getppid", lambda: next(parents, 1))
    started = Following(tmp_path)
    started.thread.join(5)
    started.end()
    assert not started.lease.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_comes_after_the_tidying_up(number):
    order = []
    before = signal.signal(number, lambda *_: order.append("handled as before"))
    try:
        with pytest.raises(KeyboardInterrupt), orderly_end():
            try:
                os.kill(os.getpid(), number)
                time.sleep(5)
            finally:
                order.append("tidied up")
        assert signal.getsignal(number) is not signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert order == ["tidied up", "handled as before"]


def test_signals_are_as_before_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with orderly_end():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
