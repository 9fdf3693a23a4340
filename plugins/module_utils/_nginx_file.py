# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""nginx's configuration file on this host, and the journal beside it.

The file is written in place: a container that has it as a single-file bind mount keeps the inode it was started with,
and would not see one that a rename brought.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
from typing import Iterator, Optional

from ._errors import BadOption, PhaseError
from ._files import sync_folder, write_private


class Busy(PhaseError):
    kind = "busy"


def journal_of(path: str) -> str:
    return os.path.join(os.path.dirname(path), ".%s.phase-console" % os.path.basename(path))


def read_journal(path: str) -> Optional[bytes]:
    """What the file held before a run that has not ended; None where every run has."""
    try:
        with open(journal_of(path), encoding="ascii") as file:
            return base64.b64decode(json.load(file)["before"])
    except FileNotFoundError:
        return None


def write_journal(path: str, before: bytes) -> None:
    write_private(journal_of(path), json.dumps({"before": base64.b64encode(before).decode()}).encode())


def remove_journal(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(journal_of(path))
    sync_folder(os.path.dirname(path))


def write_in_place(path: str, content: bytes) -> None:
    """Change what is in the file, and leave the file itself: its inode, owner and mode."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        view = memoryview(content)
        written = 0
        while written < len(view):
            written += os.pwrite(descriptor, view[written:], written)
        os.ftruncate(descriptor, len(content))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def only_one(path: str) -> Iterator[None]:
    """One run at a time, by a lock on the file itself, which ends with the process. Raises Busy, BadOption."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError as error:
        raise BadOption(
            "%s cannot be written: %s." % (path, error.strerror), "Run as a user that may (become: true)."
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy("Another run works on %s." % path, "Let it finish.") from None
        yield
    finally:
        os.close(descriptor)


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
