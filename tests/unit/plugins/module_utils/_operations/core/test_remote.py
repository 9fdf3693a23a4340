# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The two time limits of the dead-man's switch."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.core import remote


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_caller_that_falls_silent_is_lost(pipe):
    """Though its end of the pipe stays open."""
    lost, heard = threading.Event(), []
    thread = threading.Thread(target=remote.watch, args=(pipe[0], 0.3, lost.set, heard.append), daemon=True)
    thread.start()
    for _number in range(3):
        os.write(pipe[1], remote.GO_ON)
        time.sleep(0.15)
    assert not lost.is_set() and b"".join(heard) == remote.GO_ON * 3
    assert lost.wait(10)
    thread.join(10)


@pytest.mark.parametrize("detached", [False, True])
def test_what_does_not_end_by_itself_is_ended(pipe, monkeypatch, detached):
    """A detached operation goes on."""
    monkeypatch.setattr(remote, "GRACE", 0.1)
    if detached:
        monkeypatch.setattr(remote.os, "dup2", lambda *descriptors: None)  # of standard error, which is pytest's here
    ended, codes = threading.Event(), []

    def end(code):
        codes.append(code)
        ended.set()

    life = remote.Life(detached, remote.Voice(pipe[1]), end)
    life.caller_lost()
    assert ended.wait(0.5 if detached else 10) is not detached
    assert codes == ([] if detached else [remote.GAVE_UP]) and life.cancelled.is_set() is not detached


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (ModuleNotFoundError("No module named 'x'"), "library_missing", sys.executable),
        (OSError(errno.EROFS, "", "/srv/planted"), "system_refused", "/srv/******** is on a read-only"),
        (KeyError("planted"), "unforeseen", "KeyError: '********' (test_remote.py, line"),
    ],
)
def test_an_exception_that_is_not_ours_is_a_sentence_without_secrets(error, kind, word):
    def operation():
        raise error

    closing = remote.translate(operation, lambda text: text.replace("planted", "********"))
    assert closing["event"] == "error" and closing["error"]["kind"] == kind
    assert word in closing["error"]["message"] and closing["error"]["next_step"]
