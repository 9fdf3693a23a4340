# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""WebSocket frames and the channels in them, over a socket pair."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
from unittest import mock

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import NotSupported
from ansible_collections.phase.console.plugins.module_utils._target.kubernetes_streams import (
    BINARY,
    PING,
    PONG,
    V4,
    V5,
    ExecChannel,
    Frames,
    Stream,
    frame,
)


def served(opcode, data, final=True):
    """A frame as a server sends it, without a mask."""
    first, size = (0x80 if final else 0) | opcode, len(data)
    if size < 126:
        return struct.pack(">BB", first, size) + data
    if size < 1 << 16:
        return struct.pack(">BBH", first, 126, size) + data
    return struct.pack(">BBQ", first, 127, size) + data


def unmasked(data):
    """Opcode, payload and rest of what a client sent."""
    size, begin = data[1] & 0x7F, 2
    assert data[1] & 0x80
    if size > 125:
        wide = 2 if size == 126 else 8
        size, begin = int.from_bytes(data[begin : begin + wide], "big"), begin + wide
    mask, body = data[begin : begin + 4], data[begin + 4 : begin + 4 + size]
    return data[0] & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(body)), data[begin + 4 + size :]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70001])
def test_a_frame_is_whole_and_masked(size):
    data = os.urandom(size)
    assert unmasked(frame(BINARY, data, b"\x01\x80\xff\x00")) == (BINARY, data, b"")


@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
def test_messages_are_cut_wherever_the_stream_is(step):
    bodies = [b"", b"a" * 125, b"b" * 126, b"c" * 70000]
    stream = b"".join(served(BINARY, body) for body in bodies)
    stream += served(BINARY, b"one ", final=False) + served(PING, b"!") + served(0, b"message")
    frames, found = Frames(), []
    for start in range(0, len(stream), step):
        found.extend(frames.feed(stream[start : start + step]))
    assert found == [(BINARY, body) for body in bodies] + [(PING, b"!"), (BINARY, b"one message")]


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_what_comes_is_told_apart_and_a_ping_is_answered(pair):
    ours, theirs = pair
    channel = ExecChannel(Stream(ours, served(BINARY, b"\x01first"), V5), lambda status: status)
    theirs.sendall(served(PING, b"there?") + served(BINARY, b"\x02oh") + served(BINARY, b"\x01"))
    status = {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}
    theirs.sendall(served(BINARY, b"\x03" + json.dumps(status).encode()))
    theirs.close()
    found = []
    with pytest.raises(EOFError):
        while True:
            found.append(channel.receive(1))
    assert [one for one in found if one] == [(1, b"first"), (2, b"oh"), (1, b"")]
    assert channel.exit_code() == status


def test_a_pong_is_sent(pair):
    ours, theirs = pair
    stream = Stream(ours, b"", V5)
    theirs.sendall(served(PING, b"there?"))
    assert stream.receive(1) is None
    assert unmasked(theirs.recv(100))[:2] == (PONG, b"there?")


def test_input_is_fed_without_waiting_and_then_closed(pair):
    ours, theirs = pair
    data = os.urandom(3 << 20)
    channel = ExecChannel(Stream(ours, b"", V5), lambda status: None)
    blocks = iter([data[: 1 << 20], data[1 << 20 :]])
    received, feeding = b"", True
    theirs.setblocking(False)
    while feeding or not received.endswith(b"end"):
        feeding = feeding and channel.feed(blocks)
        try:
            received += theirs.recv(1 << 20)
        except BlockingIOError:
            if not feeding:  # so all of it has been sent
                break
    got, closing = b"", None
    while received:
        _opcode, body, received = unmasked(received)
        if body[0] == 0:
            got += body[1:]
        else:
            closing = body
    assert got == data and closing == b"\xff\x00"


def test_it_is_fed_until_its_end_has_gone_out():
    """Nothing else sends what a full socket did not take, and the far end would wait for the end of its input."""
    stream = mock.Mock()
    stream.push.side_effect = [True, False, False, True]
    channel = ExecChannel(stream, lambda status: None)
    assert [channel.feed(iter(())) for _time in range(3)] == [True, True, False]
    stream.close_input.assert_called_once_with()


def test_an_old_server_cannot_end_an_input(pair):
    with pytest.raises(NotSupported, match="input has ended"):
        ExecChannel(Stream(pair[0], b"", V4), lambda status: None).feed(iter(()))


def test_what_cannot_be_read_is_no_error_of_the_stream(pair):
    def blocks():
        yield b"a block"
        raise OSError(errno.EIO, "Input/output error", "/backups/x.dump")

    reading, channel = blocks(), ExecChannel(Stream(pair[0], b"", V5), lambda status: None)
    assert channel.feed(reading)
    with pytest.raises(OSError, match=r"x\.dump"):
        channel.feed(reading)
