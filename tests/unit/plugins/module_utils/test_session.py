# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import (
    Cancelled,
    IdleTimeout,
    RemoteError,
    StreamLost,
    TotalTimeout,
)
from ansible_collections.phase.console.plugins.module_utils._target._session import Channel, converse


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
