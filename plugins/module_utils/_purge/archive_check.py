# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading archives of purges back: whether they are intact, and which rows are in them twice.

Everything is read as a stream. What grows with the number of rows is 16 bytes for each: they are sorted in parts of
AT_ONCE that go to a temporary file, and merged at the end.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import stat
import tempfile
import zlib
from functools import partial
from typing import IO, Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from .._call.argspec import ArgumentSpec
from .._call.module import Call
from .._errors import BadOption, PhaseError, said
from .archive import (
    CHUNK,
    DATA,
    FORMAT,
    JOURNAL,
    MANIFEST,
    VERSION,
    Facts,
    Stored,
    open_locked,
    parse_journal,
    read_all,
)
from .archive import totals as totals_of

AT_ONCE = 100_000  # rows whose marks are sorted in memory
MARK, NUMBER = 12, 4  # bytes of a row's digest, and of its batch's number
BUFFER = 4096 * (MARK + NUMBER)
GZIP = 31  # zlib's window bits
RAW = 1 << 20  # bytes that are decompressed at once
TOLD = 5  # of each kind, in words
NEEDED = {"batch", "offset", "bytes", "sha256", "rows", "table", "key", "time", "tables", "first", "last", "state"}

AGAIN = "Take another copy of it. Deleted rows that are in no other archive are lost."
COMPLETE = "Run phase_purge_logs on that database with archive_dest=%s; it completes the archive."


SPEC = ArgumentSpec({"path": {"type": "path", "required": True}})


class ArchiveDamaged(PhaseError):
    """An archive is damaged or incomplete."""

    kind = "archive_damaged"


class Marks:
    """(mark of a row, number of a batch) pairs, as many as come, and then in order."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._here: List[bytes] = []
        self._parts: List[Tuple[int, int]] = []
        self._file: Optional[IO[bytes]] = None

    def add(self, batch: int, row: str) -> None:
        mark = hashlib.blake2b(row.encode("utf-8", "surrogatepass"), digest_size=MARK).digest()
        self._here.append(mark + batch.to_bytes(NUMBER, "big"))
        if len(self._here) >= self._at_once:
            self._spill()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self._here.sort()
        data = b"".join(self._here)
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(data)
        self._parts.append((start, start + len(data)))
        self._here = []

    def _part(self, start: int, end: int) -> Iterator[bytes]:
        if self._file is not None:
            self._file.flush()
            while start < end:
                data = os.pread(self._file.fileno(), min(BUFFER, end - start), start)
                start += len(data)
                for place in range(0, len(data), MARK + NUMBER):
                    yield data[place : place + MARK + NUMBER]

    def repeated(self) -> Iterator[List[int]]:
        """The batches of each row that is there more than once."""
        self._here.sort()
        before, batches = b"", [0]
        for entry in heapq.merge(self._here, *[self._part(*part) for part in self._parts]):
            mark, number = entry[:MARK], int.from_bytes(entry[MARK:], "big")
            if mark == before:
                batches.append(number)
                continue
            if len(batches) > 1:
                yield batches
            before, batches = mark, [number]
        if len(batches) > 1:
            yield batches

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Reading:
    """One archive. ``problems`` are (sentence, next step); ``batches`` those that were read, with their states."""

    def __init__(self, stem: str) -> None:
        self.stem = stem
        self.path = stem + DATA
        self.problems: List[Tuple[str, str]] = []
        self.warnings: List[str] = []
        self.batches: List[Stored] = []
        self.state = "whole"
        self._content: Facts = {}

    def wrong(self, text: str, next_step: str = AGAIN) -> None:
        self.problems.append(("%s %s" % (self.path, text), next_step))

    def describe(self) -> None:
        """Read what the manifest or the journal says of it."""
        complete = COMPLETE % os.path.dirname(self.stem)
        for suffix in (DATA, MANIFEST, JOURNAL):
            if os.path.exists(self.stem + suffix) and stat.S_IMODE(os.stat(self.stem + suffix).st_mode) & 0o077:
                self.warnings.append(
                    "%s can be read or written by others than its owner (chmod 600)." % (self.stem + suffix)
                )
        if os.path.exists(self.stem + JOURNAL):
            lock = open_locked(self.stem + JOURNAL, os.O_RDONLY)
            if lock is None:
                self.state = "being written"
                self.warnings.append("%s is being written, so it was not read." % self.path)
                return
            _header, self.batches, _whole = parse_journal(read_all(lock))
            os.close(lock)
            self.state = "interrupted"
            self.wrong("is of an interrupted run.", complete)
        elif not os.path.exists(self.stem + MANIFEST):
            self.state = "without a manifest"
            self.wrong("has no manifest, so it cannot be verified.", "Put its manifest beside it again.")
        else:
            self._manifest()
        if not os.path.exists(self.path):
            self.wrong("is missing.", "Put it beside its manifest again.")
            self.state = "missing"

    def _manifest(self) -> None:
        try:
            with open(self.stem + MANIFEST, encoding="utf-8") as file:
                content = json.load(file)
            if (content["format"], content["version"]) != (FORMAT, VERSION):
                raise ValueError
            if any(not set(batch) >= NEEDED for batch in content["batches"]):
                raise ValueError
            self.batches, self._content = list(content["batches"]), content
        except (OSError, ValueError, KeyError, TypeError):
            self.state = "without a manifest"
            self.wrong("has a manifest that cannot be read.", "Take another copy of the manifest.")

    def read(self, row: Callable[[int, str], None], number: int, report: Callable[..., None]) -> None:
        """Read every batch; ``row`` takes each row's batch, ``number`` for the first, and what tells it from others."""
        if self.state in ("missing", "being written", "without a manifest"):
            return
        whole = hashlib.sha256()
        with open(self.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            for place, batch in enumerate(self.batches):
                if place % 50 == 0:
                    name = os.path.basename(self.path)
                    report("Reading %s: batch %d of %d" % (name, place + 1, len(self.batches)))
                if file.tell() != batch["offset"]:
                    self.wrong("is not described by its manifest: batch %s begins elsewhere." % batch["batch"])
                    return
                problem = read_batch(file, batch, whole, partial(row, number + place))
                if problem:
                    self.wrong("is damaged in batch %s: %s." % (batch["batch"], problem))
                    file.seek(batch["offset"] + batch["bytes"])
            if size > file.tell():
                behind = size - file.tell()
                self.wrong(
                    "has %d bytes behind its last batch." % behind,
                    COMPLETE % os.path.dirname(self.stem) if self.state == "interrupted" else AGAIN,
                )
        if self._content and not self.problems:
            self._compare(whole.hexdigest())

    def _compare(self, digest: str) -> None:
        """What the manifest says of the whole."""
        found = dict(totals_of(self.batches), sha256=digest, bytes=sum(batch["bytes"] for batch in self.batches))
        for name, value in found.items():
            if self._content.get(name) != value:
                self.wrong("has other %s than its manifest says: %s." % (name, value))

    def result(self) -> Facts:
        return dict(
            totals_of(self.batches),
            path=self.path,
            state="damaged" if self.problems and self.state == "whole" else self.state,
            batches=len(self.batches),
            kept=sum(batch["state"] == "kept" for batch in self.batches),
            bytes=sum(batch["bytes"] for batch in self.batches),
            problems=[problem[0] for problem in self.problems],
        )


def read_batch(file: IO[bytes], batch: Stored, whole: Any, row: Callable[[str], None]) -> str:
    """Read a batch from where the file stands: what is wrong with it, or nothing."""
    digest = hashlib.sha256()
    lines = Lines(batch, row)
    unzip = zlib.decompressobj(GZIP)
    left = batch["bytes"]
    try:
        while left:
            data = file.read(min(CHUNK, left))
            if not data:
                return "%d bytes are missing at its end" % left
            left -= len(data)
            digest.update(data)
            whole.update(data)
            while data and not unzip.eof:
                lines.feed(unzip.decompress(data, RAW))
                data = unzip.unconsumed_tail
        if not unzip.eof or unzip.unused_data:
            return "its compressed data do not end where they should"
    except zlib.error as error:
        return "it cannot be decompressed (%s)" % error
    except (ValueError, KeyError, TypeError):
        return "line %d is not a row" % (lines.count + 1)
    if digest.hexdigest() != batch["sha256"]:
        return "its SHA-256 is another"
    return lines.problem()


class Lines:
    """Cuts decompressed data into rows and compares them with what is said of the batch."""

    def __init__(self, batch: Stored, row: Callable[[str], None]) -> None:
        self._batch = batch
        self._row = row
        self._rest = b""
        self._tables: Dict[str, int] = {}
        self._times: List[str] = []
        self.count = 0

    def feed(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for text in whole:
            self._take(json.loads(text))

    def _take(self, entry: Mapping[str, Any]) -> None:
        table, row, own = entry["table"], entry["row"], entry["table"] == self._batch["table"]
        if entry["batch"] != self._batch["batch"]:
            raise ValueError
        self._row("%s %s" % (table, row[self._batch["key"] if own else "id"]))
        if own:
            moment = row[self._batch["time"]]
            self._times = [min([*self._times[:1], moment]), max([*self._times[1:], moment])]
        self._tables[table] = self._tables.get(table, 0) + 1
        self.count += 1

    def problem(self) -> str:
        expected = {table: rows for table, rows in self._batch["tables"].items() if rows}
        if self._rest or (self.count, self._tables) != (self._batch["rows"], expected):
            return "it has %d rows, and %d were written" % (self.count, self._batch["rows"])
        if self._times != [self._batch["first"], self._batch["last"]]:
            return "its rows have other times than the manifest says"
        return ""


def stems(path: str) -> List[str]:
    """The archives at a path: a directory of them, or a file of one."""
    path = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(path):
        names = sorted(os.listdir(path))
        found = {cut(name) for name in names if cut(name) and not name.startswith(".")}
        if not found:
            raise BadOption("There is no archive in %s." % path, "Name the archive_dest of a purge, or a file in it.")
        return [os.path.join(path, name) for name in sorted(found)]
    if not os.path.exists(path):
        raise BadOption("There is no %s." % path, "Name the archive_dest of a purge, or a file in it.")
    if not cut(path):
        raise BadOption("%s is no archive." % path, "Name a file that ends in %s or %s." % (DATA, MANIFEST))
    return [cut(path)]


def cut(name: str) -> str:
    """The name without an archive's suffix; empty for other files."""
    for suffix in (DATA, MANIFEST, JOURNAL):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return ""


def check(path: str, report: Callable[..., None], warn: Callable[[str], None], at_once: int = AT_ONCE) -> Facts:
    """Read everything. Raises ArchiveDamaged where something is wrong, with the same result."""
    readings = [Reading(stem) for stem in stems(path)]
    marks = Marks(at_once)
    try:
        batches: List[Stored] = []
        for reading in readings:
            try:
                reading.describe()
                reading.read(marks.add, len(batches), report)
            except PhaseError as error:
                reading.wrong("is not intact: %s" % error.message, error.next_step)
            except (OSError, KeyError, TypeError) as error:
                reading.wrong("cannot be read: %s: %s." % (type(error).__name__, said(error)))
            batches += reading.batches
        report("Looking for rows that are archived twice")
        duplicates = count(marks.repeated(), batches)
    finally:
        marks.close()
    for text in [text for reading in readings for text in reading.warnings]:
        warn(text)
    if duplicates["deleted_twice"]:
        warn("%d rows are in more than one batch that was deleted." % duplicates["deleted_twice"])
    result = {
        "changed": False,
        "archives": [reading.result() for reading in readings],
        "rows": sum(totals_of(reading.batches)["rows"] for reading in readings),
        "duplicates": duplicates,
    }
    wrong = [reading for reading in readings if reading.problems]
    if wrong:
        text = " ".join(reading.problems[0][0] for reading in wrong[:TOLD])
        more = " And %d more." % (len(wrong) - TOLD) if len(wrong) > TOLD else ""
        raise ArchiveDamaged(
            "%d of %d archives are not intact: %s%s" % (len(wrong), len(readings), text, more),
            wrong[0].problems[0][1],
            partial=result,
        )
    return result


def count(repeated: Iterator[List[int]], batches: Sequence[Stored]) -> Facts:
    """``rows`` that are there more than once, ``deleted_twice`` those in more than one batch that was deleted, and
    ``pairs`` of batches [{first, again, rows}], those with the most rows."""
    rows = twice = 0
    pairs: Dict[Tuple[int, int], int] = {}
    for numbers in repeated:
        rows += 1
        twice += sum(batches[number]["state"] == "deleted" for number in numbers) > 1
        pairs[numbers[0], numbers[-1]] = pairs.get((numbers[0], numbers[-1]), 0) + 1
    most = sorted(pairs.items(), key=lambda item: -item[1])[:TOLD]
    return {
        "rows": rows,
        "deleted_twice": twice,
        "pairs": [
            {"first": batches[pair[0]]["batch"], "again": batches[pair[1]]["batch"], "rows": number}
            for pair, number in most
        ],
    }


def run(call: Call) -> Dict[str, Any]:
    """The module's result."""
    return check(call.params["path"], call.report, call.warn)
