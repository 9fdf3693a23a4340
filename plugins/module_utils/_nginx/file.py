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

from .._call.files import sync_folder, write_private
from .._errors import PhaseError


class Busy(PhaseError):
    """Another run works on the same file."""

    kind = "busy"


class FileTrouble(PhaseError):
    """The operating system does not let this user read or write."""

    kind = "file_trouble"


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileTrouble(
            "%s: %s." % (path, error.strerror or error), "Run as a user that may read and write there (become: true)."
        ) from error


def journal_of(path: str) -> str:
    return os.path.join(os.path.dirname(path), ".%s.phase-console" % os.path.basename(path))


def read_journal(path: str) -> Optional[bytes]:
    """What the file held before a run that has not ended; None where every run has. Raises FileTrouble."""
    if not os.path.lexists(journal_of(path)):
        return None
    return base64.b64decode(json.loads(read(journal_of(path)))["before"])


def write_journal(path: str, before: bytes) -> None:
    with _told(journal_of(path)):
        write_private(journal_of(path), json.dumps({"before": base64.b64encode(before).decode()}).encode())


def remove_journal(path: str) -> None:
    with _told(journal_of(path)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(journal_of(path))
        sync_folder(os.path.dirname(path))


def write_in_place(path: str, content: bytes) -> None:
    """Change what is in the file, and leave the file itself: its inode, owner and mode. Raises FileTrouble."""
    with _told(path):
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
    """One run at a time, by a lock on the file itself, which ends with the process. Raises Busy, FileTrouble."""
    with _told(path):
        descriptor = os.open(path, os.O_RDWR)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy("Another run works on %s." % path, "Let it finish.") from None
        yield
    finally:
        os.close(descriptor)


def read(path: str) -> bytes:
    with _told(path), open(path, "rb") as file:
        return file.read()
