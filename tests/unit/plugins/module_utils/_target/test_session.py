# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import os
import select
import threading
import time

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import (
    Cancelled,
    IdleTimeout,
    NotTaken,
    PhaseError,
    RemoteError,
    StreamLost,
    TotalTimeout,
)
from ansible_collections.phase.console.plugins.module_utils._operations.core import remote as _remote
from ansible_collections.phase.console.plugins.module_utils._operations.core.api import Deliveries
from ansible_collections.phase.console.plugins.module_utils._target.session import Channel, converse


def line(event, **fields):
    return json.dumps(dict(fields, event=event)).encode() + b"\n"


class Script(Channel):
    """Plays what a far end says; None is a second of silence, the end of the script is the end of the stream."""

    def __init__(self, *said, code=1):
        self.said, self.code, self.sent, self.now = list(said), code, [], 0.0

    def clock(self):
        return self.now

    def send(self, data):
        self.sent.append(data)

    def receive(self, timeout):
        if not self.said:
            raise EOFError
        self.now += 1
        item = self.said.pop(0)
        return item if item is None or isinstance(item, tuple) else (1, item)

    def exit_code(self):
        return self.code


def talk(channel, idle=60, total=0, **more):
    reports = []
    result = converse(
        channel,
        b"opening",
        lambda message, **counters: reports.append((message, counters)),
        idle=idle,
        total=total,
        clock=channel.clock,
        **more,
    )
    return result, reports


def test_result_progress_and_heartbeats():
    channel = Script(line("alive"), line("progress", message="half", done=1), None, line("result", result={"a": 1}))
    assert talk(channel) == ({"a": 1}, [("half", {"done": 1})])
    assert channel.sent[0] == b"opening" and set(channel.sent[1:]) == {b"\n"}


def test_heartbeats_say_whether_to_pause():
    states = iter([True, False])
    channel = Script(None, None, line("result", result={}))
    talk(channel, paused=lambda: next(states))
    assert channel.sent[1:] == [b"p", b"\n"]


def test_lines_cut_anywhere_are_put_together():
    whole = line("progress", message="ünïcode") + line("result", result={})
    channel = Script(*[whole[i : i + 3] for i in range(0, len(whole), 3)])
    assert talk(channel) == ({}, [("ünïcode", {})])


def test_the_remote_error_keeps_its_kind_step_and_partial():
    error = {"kind": "lock_held", "message": "m", "next_step": "n", "partial": {"applied": [1]}}
    with pytest.raises(RemoteError) as caught:
        talk(Script(line("error", error=error)))
    assert caught.value.as_dict() == error


def test_a_lost_stream_tells_code_last_words_and_last_progress_masked():
    channel = Script(line("progress", message="half"), (2, b"Traceback\nKeyError: hunter22\n"), code=137)
    with pytest.raises(StreamLost) as caught:
        talk(channel, mask=lambda text: text.replace("hunter22", "***"))
    assert "137" in caught.value.message and "KeyError: ***" in caught.value.message
    assert caught.value.partial == {"last_progress": "half"}


def test_words_of_a_runtime_that_failed_before_ours_started():
    with pytest.raises(StreamLost, match="executable file not found"):
        talk(Script(b"OCI runtime exec failed: executable file not found\n", code=127))


def test_silence_is_idle_not_total():
    with pytest.raises(IdleTimeout, match="5 s"):
        talk(Script(*[None] * 50), idle=5, total=100)


def test_signs_of_life_hold_off_idle_but_not_total():
    with pytest.raises(TotalTimeout, match="20 s"):
        talk(Script(*[line("alive")] * 50), idle=5, total=20)


def test_a_detached_run_says_that_it_can_be_joined():
    with pytest.raises(TotalTimeout) as caught:
        talk(Script(*[line("alive")] * 50), total=20, detached=True)
    assert "join" in caught.value.next_step


def test_a_lost_caller_ends_it():
    with pytest.raises(Cancelled):
        talk(Script(*[None] * 50), lost=lambda: True)


# What an operation delivers


class Kept(Deliveries):
    """Keeps what comes; settling takes as long as it is told to, or fails."""

    def __init__(self, delay=0.0, failure=None):
        self.said, self._delay, self._failure = [], delay, failure

    def piece(self, offset, data):
        self.said.append((offset, data))

    def settle(self, batch):
        time.sleep(self._delay)
        if self._failure:
            raise self._failure
        self.said.append(batch)

    def outcome(self, batch, state):
        self.said.append((batch, state))


def delivered(*pieces):
    """The lines of a batch."""
    said, offset = [], 0
    for data in pieces:
        said.append(line("piece", offset=offset, data=base64.b64encode(data).decode()))
        offset += len(data)
    return [*said, line("settle", batch={"batch": "a-1"})]


def test_a_batch_is_answered_once_it_is_kept():
    kept = Kept()
    script = Script(*delivered(b"\0one", b"two"), line("outcome", batch="a-1", state="deleted"))
    script.said.append(line("result", result={}))
    talk(script, deliveries=kept)
    assert kept.said == [(0, b"\0one"), (4, b"two"), {"batch": "a-1"}, ("a-1", "deleted")]
    assert [data for data in script.sent[1:] if data != _remote.GO_ON] == [_remote.TAKEN]


def test_a_slow_disk_holds_no_heartbeat_back():
    """Nor does it count as silence of the far end, however long it takes."""
    script = Script(*delivered(b"one"), line("result", result={}))
    script.clock = time.monotonic
    talk(script, idle=1, deliveries=Kept(2.3))
    assert script.sent.count(_remote.GO_ON) >= 2 and script.sent[-1] == _remote.TAKEN


def test_what_cannot_be_kept_is_refused_and_told_with_what_was_done():
    failure = PhaseError("The disk is full.", "Make room.")
    error = {"kind": "not_taken", "message": "m", "next_step": "n", "partial": {"deleted": 7}}
    script = Script(*delivered(b"one"), line("error", error=error))
    with pytest.raises(PhaseError) as caught:
        talk(script, deliveries=Kept(failure=failure))
    assert caught.value is failure and caught.value.partial == {"deleted": 7}
    assert script.sent[-1] == _remote.REFUSED


def test_no_more_is_read_than_can_be_written():
    """What waits to be written is bounded, and heartbeats go on meanwhile."""
    kept, waiting = Kept(), threading.Event()
    kept.piece = lambda offset, data: waiting.wait(10) and kept.said.append(data)
    script = Script(*delivered(*[b"x"] * 40), line("result", result={}))
    script.clock = time.monotonic
    runner = threading.Thread(target=talk, args=(script,), kwargs={"deliveries": kept})
    runner.start()
    while script.sent.count(_remote.GO_ON) < 2:
        time.sleep(0.05)
    assert 20 <= len(script.said) <= 30
    waiting.set()
    runner.join(10)
    assert kept.said == [b"x"] * 40 + [{"batch": "a-1"}]


@pytest.fixture
def far():
    """The far end's life, what it says, and how it ended."""
    reading, writing = os.pipe()
    ended = []
    life = _remote.Life(False, _remote.Voice(writing), ended.append)
    yield life, _remote.RemoteDeliveries(_remote.Voice(writing), life), reading
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("heard", "paused"), [(b"t", True), (b"\nt", False), (b"tp", True), (b"t\n", False), (b"\npt", True)]
)
def test_answers_and_heartbeats_that_come_at_once(far, heard, paused):
    life, deliveries, reading = far
    life.hear(b"p")
    life.hear(heard)
    deliveries.settle({"batch": "a-1"})
    assert life.paused.is_set() is paused
    assert json.loads(os.read(reading, 1000)) == {"event": "settle", "batch": {"batch": "a-1"}}


def test_a_refused_delivery_ends_the_operation(far):
    life, deliveries, _reading = far
    life.hear(b"r\n")
    with pytest.raises(NotTaken):
        deliveries.settle({})


@pytest.mark.parametrize("when", ["before", "while waiting"])
def test_nobody_waits_for_the_answer_of_a_lost_caller(far, when):
    life, deliveries, _reading = far
    timer = threading.Timer(0 if when == "before" else 0.3, life.cancel)
    timer.start()
    if when == "before":
        timer.join()
    with pytest.raises(Cancelled):
        deliveries.settle({})
    timer.join()


def test_a_statement_that_begins_after_the_cancelling_is_cancelled_before_the_end(monkeypatch):
    """The server would go on with it, and wait for a lock as long as that takes, when its client is gone."""
    seen, ended = [], threading.Event()
    reading, writing = os.pipe()
    monkeypatch.setattr(_remote, "GRACE", 0.2)
    life = _remote.Life(False, _remote.Voice(writing), lambda code: (seen.append(code), ended.set()))

    class Connection:
        closed = False

        def cancel(self):
            seen.append("cancelled")

    life.adopt(Connection())
    life.caller_lost()
    assert ended.wait(5)
    assert seen == ["cancelled", "cancelled", _remote.GAVE_UP]
    os.close(reading)
    os.close(writing)


def test_a_caller_that_stopped_reading_is_lost_all_the_same(far):
    """Whoever is speaking to it is stuck, and holds nothing up that ends the operation."""
    life, deliveries, reading = far
    speaker = threading.Thread(target=deliveries.piece, args=(0, bytes(1 << 20)))
    speaker.start()
    end = threading.Thread(target=life.caller_lost)
    end.start()
    assert life.cancelled.wait(5)
    while speaker.is_alive() or end.is_alive():
        if select.select([reading], [], [], 0.05)[0]:
            os.read(reading, 1 << 20)
