# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives of what a purge deletes: on disk and synced before the transaction that deletes it commits.

``NAME.ndjson.gz`` holds a gzip member for each batch, so the whole is a gzip file as any other. Each line is
``{"table", "batch", "row"}``: one row with all its columns. While it is written, ``NAME.journal`` stands beside it: a
line of JSON that says what the archive is of, then one for each batch that is on disk and one for what became of it in
the database. At the end ``NAME.manifest.json`` takes its place. All are readable by their owner alone.

A journal that nobody has locked is of an interrupted run. ``settle`` completes it: data behind the last batch in the
journal were never acknowledged, so those rows were not deleted, and the data are cut off. A batch is deleted in one
transaction: where its outcome is unknown, whether one of its rows is still in the database decides for all of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, TypedDict, cast

from .._call.files import sync_folder, write_private
from .._errors import PhaseError
from .._operations.core.api import Deliveries
from .._operations.core.words import people_bytes
from .._operations.purge.types import Batch

FORMAT = "phase.console archive"
VERSION = 1
DATA, JOURNAL, MANIFEST = ".ndjson.gz", ".journal", ".manifest.json"
CHUNK = 1 << 20
MODE = 0o600

Facts = Dict[str, Any]


class Stored(Batch):
    """A batch in the data: it begins at ``offset``. ``state`` is deleted or kept, None where it is not known."""

    offset: int
    state: Optional[str]


class Totals(TypedDict):
    """Of the batches that were deleted: ``tables`` are the rows by table, ``first`` and ``last`` times."""

    rows: int
    tables: Dict[str, int]
    first: Optional[str]
    last: Optional[str]


class Content(Totals):
    """What a manifest says beside its header."""

    file: str
    bytes: int
    sha256: str
    batches: List[Stored]


# States by batch, None while its transaction is still open, for batches whose state is not known.
Ask = Callable[[Sequence[Stored]], Mapping[str, Optional[str]]]


class ArchiveFailed(PhaseError):
    """The rows cannot be archived, so they are not deleted."""

    kind = "archive_failed"


@contextlib.contextmanager
def told(path: str, what: str) -> Iterator[None]:
    """Turn the system's errors about a file into the one of this module."""
    try:
        yield
    except OSError as error:
        raise ArchiveFailed(
            "%s cannot be %s: %s." % (path, what, error.strerror or error),
            "The rows are still in the database. Repair that, or name another archive_dest, then run again.",
        ) from error


def check_folder(dest: str) -> str:
    """The folder's full path. Raises ArchiveFailed unless files can be made in it."""
    folder = os.path.abspath(os.path.expanduser(dest))
    if not os.path.isdir(folder):
        what = "is no directory" if os.path.exists(folder) else "does not exist"
        raise ArchiveFailed(
            "archive_dest %s %s." % (folder, what), "Make it, on the host where the module runs, with mode 0700."
        )
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise ArchiveFailed(
            "archive_dest %s cannot be written." % folder, "Name a directory that this user may write to."
        )
    facts = os.stat(folder)
    if facts.st_mode & 0o022 or facts.st_uid not in (0, os.geteuid()):
        raise ArchiveFailed(
            "Others than this user may write to archive_dest %s." % folder, "Make it this user's, with mode 0700."
        )
    return folder


def free(folder: str) -> int:
    """Bytes that this user may still write there."""
    info = os.statvfs(folder)
    return info.f_bavail * info.f_frsize


def check_room(folder: str, needed: int) -> None:
    if free(folder) < needed:
        raise ArchiveFailed(
            "The archive may take %s, and %s has %s free." % (people_bytes(needed), folder, people_bytes(free(folder))),
            "Make room, name another archive_dest, or purge in parts, an app or a few months at a time.",
        )


def name_of(run: str, now: float) -> str:
    return "phase-purge-%s-%s" % (time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)), run)


def moment(now: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))


# The journal


def line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True).encode("ascii") + b"\n"


def parse_journal(data: bytes) -> Tuple[Optional[Facts], List[Stored], int]:
    """The header, the batches, and how many bytes are whole.

    What follows the first line that is not whole was never acknowledged. Raises ArchiveFailed where a batch follows: it
    was written when everything before it was on disk, so that has been damaged since.
    """
    header: Optional[Facts] = None
    batches: Dict[str, Stored] = {}
    entries = [(text, entry_of(text)) for text in data.splitlines(keepends=True)]
    whole = 0
    for number, (text, entry) in enumerate(entries):
        if entry is None:
            if any(later and "offset" in later for _text, later in entries[number:]):
                raise damaged("A journal of an archive was damaged in line %d." % (number + 1))
            break
        if header is None:
            header = entry
        elif "offset" in entry:
            batches[entry["batch"]] = cast(Stored, dict(entry, state=None))
        elif entry.get("batch") in batches:
            batches[entry["batch"]]["state"] = entry["state"]
        whole += len(text)
    return header, list(batches.values()), whole


def entry_of(text: bytes) -> Optional[Facts]:
    """A whole line of the journal."""
    with contextlib.suppress(ValueError):
        entry = json.loads(text)
        return entry if text.endswith(b"\n") and isinstance(entry, dict) else None
    return None


def damaged(text: str) -> ArchiveFailed:
    return ArchiveFailed(text, "Move the archive away with its journal, look into it by hand, then run again.")


def open_locked(path: str, flags: int = os.O_RDWR, wait: bool = False) -> Optional[int]:
    """A descriptor of a journal, locked; None where it is gone or, unless we ``wait``, its writer lives."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW, MODE)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    if os.fstat(descriptor).st_nlink == 0:  # another process settled it meanwhile
        os.close(descriptor)
        return None
    return descriptor


def read_all(descriptor: int) -> bytes:
    parts = []
    offset = 0
    while part := os.pread(descriptor, CHUNK, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


# Writing


class Archive(Deliveries):
    """The archive of a run. Its files are made when its first batch comes."""

    def __init__(self, folder: str, header: Mapping[str, Any], run: str, now: float) -> None:
        self.stem = os.path.join(folder, name_of(run, now))
        self._header = dict(header, format=FORMAT, version=VERSION, run=run, created=moment(now))
        self._files: Optional[Tuple[int, int]] = None  # descriptors of the data and of the locked journal
        self._end = 0  # of the last batch that is on disk
        self._journal_end = 0
        self._size = 0  # of the batch under way
        self._batch = hashlib.sha256()
        self._whole = self._pending = hashlib.sha256()  # up to the last batch, and with the one under way
        self.rows = 0
        self.failed: Optional[PhaseError] = None

    def piece(self, offset: int, data: bytes) -> None:
        if self.failed is not None:
            return
        with self._noted(), told(self.stem + DATA, "written"):
            file = self._open()[0]
            if offset == 0:
                self._size, self._batch, self._pending = 0, hashlib.sha256(), self._whole.copy()
                os.ftruncate(file, self._end)
            write_all(file, data, self._end + offset)
            self._size = offset + len(data)
            self._batch.update(data)
            self._pending.update(data)

    def settle(self, batch: Facts) -> None:
        if self.failed is not None:
            raise self.failed
        if (batch["bytes"], batch["sha256"]) != (self._size, self._batch.hexdigest()):
            raise ArchiveFailed(
                "Batch %s was damaged on its way." % batch["batch"],
                "Rows that were not archived are still in the database. Run it again.",
            )
        with self._noted(), told(self.stem + DATA, "written"):
            os.fsync(self._open()[0])
            self._note(dict(batch, offset=self._end))
            os.fsync(self._open()[1])
        self._end += self._size
        self._whole = self._pending
        self.rows += batch["rows"]

    def outcome(self, batch: str, state: str) -> None:
        if self.failed is None:
            with contextlib.suppress(ArchiveFailed), self._noted(), told(self.stem + JOURNAL, "written"):
                self._note({"batch": batch, "state": state})

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        """After an error nothing is written any more: a line that is half there must be the last one."""
        try:
            yield
        except ArchiveFailed as error:
            self.failed = error
            raise

    def _note(self, entry: Facts) -> None:
        data = line(entry)
        write_all(self._open()[1], data, self._journal_end)
        self._journal_end += len(data)

    def _open(self) -> Tuple[int, int]:
        if self._files is None:
            journal = None
            while journal is None:  # who settles others' journals may have taken ours for one in between
                journal = open_locked(self.stem + JOURNAL, os.O_RDWR | os.O_CREAT | os.O_EXCL, wait=True)
            data = line(self._header)
            write_all(journal, data, 0)
            os.fsync(journal)
            self._journal_end = len(data)
            self._files = (os.open(self.stem + DATA, os.O_RDWR | os.O_CREAT | os.O_EXCL, MODE), journal)
            sync_folder(os.path.dirname(self.stem))
        return self._files

    def close(self, ask: Ask) -> Optional[Facts]:
        """Write the manifest, where anything was deleted; what ``settle`` returns."""
        if self._files is None:
            return None
        data, journal = self._files
        self._files = None
        os.close(data)
        try:
            return settle(self.stem, journal, ask, "" if self.failed else self._whole.hexdigest(), own=True)
        finally:
            os.close(journal)


# Settling


def settle(stem: str, journal: int, ask: Ask, digest: str = "", own: bool = False) -> Optional[Facts]:
    """Complete an archive by its locked journal: ``path``, ``manifest``, ``rows``, ``bytes``, ``sha256``,
    ``batches``, ``waiting`` (batches whose transaction is still open, for which the journal stays, without a manifest).

    None, and no file, where nothing was handed over, or nothing of one's ``own`` was deleted. Of another run's that is
    a database's word, and a copy of it may give another. ``digest`` is that of all batches, where it is known.
    """
    path = stem + DATA
    with told(stem + JOURNAL, "read or written"):
        header, batches, whole = parse_journal(read_all(journal))
        if header is None and os.path.exists(path):
            raise damaged("The journal of %s was damaged in line 1." % path)
        unknown = [batch for batch in batches if batch["state"] is None]
        states = ask(unknown) if unknown else {}
        os.ftruncate(journal, whole)
        for batch in unknown:
            batch["state"] = states[batch["batch"]]
            if batch["state"] is not None:
                entry = line({"batch": batch["batch"], "state": batch["state"]})
                write_all(journal, entry, whole)
                whole += len(entry)
        os.fsync(journal)
        waiting = [batch["batch"] for batch in batches if batch["state"] is None]
        if header is None or not batches or (own and all(batch["state"] == "kept" for batch in batches)):
            _remove(path, stem + JOURNAL)
            return None
        end = max(batch["offset"] + batch["bytes"] for batch in batches)
        _cut(path, end)
        result = summary(path, batches, digest or sha256(path))
        if waiting:
            return dict(result, manifest=None, waiting=waiting)
        content = dict(header, **manifest(path, batches, result["sha256"]), finished=moment(time.time()))
        write_private(stem + MANIFEST, printed(content))
        _remove(stem + JOURNAL)
    return dict(result, waiting=[])


def _cut(path: str, end: int) -> None:
    """Take away what is behind the last batch. Raises ArchiveFailed when there is less."""
    size = os.stat(path).st_size if os.path.exists(path) else 0
    if size < end:
        raise ArchiveFailed(
            "%s was damaged: it has %d bytes, and %d were written." % (path, size, end),
            "Move it away with its journal. Rows that are in its last batches only may be lost.",
        )
    if size > end:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW), "r+b") as file:
            file.truncate(end)
            os.fsync(file.fileno())


def _remove(*paths: str) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    sync_folder(os.path.dirname(paths[0]))


def sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for data in iter(lambda: file.read(CHUNK), b""):
            digest.update(data)
    return digest.hexdigest()


def totals(batches: Sequence[Stored]) -> Totals:
    deleted = [batch for batch in batches if batch["state"] == "deleted"]
    tables: Dict[str, int] = {}
    for batch in deleted:
        for table, rows in batch["tables"].items():
            tables[table] = tables.get(table, 0) + rows
    return {
        "rows": sum(batch["rows"] for batch in deleted),
        "tables": tables,
        "first": min((batch["first"] for batch in deleted), default=None),
        "last": max((batch["last"] for batch in deleted), default=None),
    }


def manifest(path: str, batches: Sequence[Stored], digest: str) -> Content:
    return {
        **totals(batches),
        "file": os.path.basename(path),
        "bytes": sum(batch["bytes"] for batch in batches),
        "sha256": digest,
        "batches": list(batches),
    }


def printed(content: Facts) -> bytes:
    """The manifest as JSON, a batch on each line."""
    head = json.dumps({name: value for name, value in content.items() if name != "batches"}, indent=1, sort_keys=True)
    batches = b",\n".join(b"  " + line(batch).rstrip() for batch in content["batches"])
    return head[:-2].encode() + b',\n "batches": [\n' + batches + b"\n ]\n}\n"


def summary(path: str, batches: Sequence[Stored], digest: str) -> Facts:
    """What a result has of it."""
    content = {name: value for name, value in manifest(path, batches, digest).items() if name != "file"}
    return dict(
        content,
        path=path,
        manifest=path[: -len(DATA)] + MANIFEST,
        batches=len(batches),
        kept=sum(batch["state"] == "kept" for batch in batches),
    )


def left(folder: str, database: Mapping[str, Any]) -> Iterator[Tuple[str, int]]:
    """Stems and locked journals of interrupted runs on this database; each is closed after its turn."""
    for name in sorted(os.listdir(folder)):
        if not (name.startswith("phase-purge-") and name.endswith(JOURNAL)):
            continue
        path = os.path.join(folder, name)
        with told(path, "read"):
            journal = open_locked(path)
        if journal is None:
            continue
        try:
            with told(path, "read"):
                header = parse_journal(read_all(journal))[0]
            if header is None or header.get("database") == database:
                yield path[: -len(JOURNAL)], journal
        finally:
            os.close(journal)
