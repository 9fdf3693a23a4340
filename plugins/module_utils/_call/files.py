# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import Iterator

from .._errors import refusal


@contextlib.contextmanager
def about(path: str) -> Iterator[None]:
    """The system names no path where a file that is open can be read, written or synced no more: it is this one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


def check_folder(folder: str) -> None:
    """Raise SystemRefused unless files can be made in ``folder``, which may have to be made first."""
    there = os.path.abspath(folder)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise refusal(OSError(errno.ENOTDIR, "", folder))
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        raise refusal(OSError(errno.EROFS, "", folder))
    if not os.access(there, os.W_OK | os.X_OK):
        raise refusal(OSError(errno.EACCES, "", there))


def write_private(path: str, data: bytes) -> None:
    """Replace a file in one step, readable by its owner only, on disk before it shows."""
    folder = os.path.dirname(path) or "."
    hidden = os.path.join(folder, ".%s.%d" % (os.path.basename(path), os.getpid()))
    with about(path):
        try:
            with os.fdopen(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(hidden, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(hidden)
    sync_folder(folder)


def sync_folder(folder: str) -> None:
    """Put a rename in ``folder`` on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with about(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the lock file ``path``; waits for its holder, who holds it for milliseconds or has died."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
