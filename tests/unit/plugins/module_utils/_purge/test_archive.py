# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
from pathlib import Path

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption
from ansible_collections.phase.console.plugins.module_utils._operations.purge.export import Stream
from ansible_collections.phase.console.plugins.module_utils._purge import archive as _archive
from ansible_collections.phase.console.plugins.module_utils._purge.archive import (
    Archive,
    ArchiveFailed,
    check_folder,
    check_room,
    left,
    parse_journal,
    settle,
)
from ansible_collections.phase.console.plugins.module_utils._purge.archive_check import ArchiveDamaged, Marks, check

HERE = {"database": "phase", "cluster": "1"}
NOW = 1_790_000_000.0


def sure(batches):
    """For archives in which nothing is left to be asked."""
    raise AssertionError("the database was asked about %s" % batches)


def quiet(message, **counters):
    """Progress that nobody looks at."""


def rows(batch, first, count):
    """Lines of rows with one tag each, and what the far end says of them."""
    times = ["2026-01-%02dT00:00:00.5+00:00" % (day % 28 + 1) for day in range(first, first + count)]
    lines = []
    for number, time in enumerate(times, first):
        row = {"id": "e%d" % number, "timestamp": time, "value": 'back\\slash "quote" \n é'}
        lines.append({"table": "api_secretevent", "batch": batch, "row": row})
        lines.append({"table": "api_secretevent_tags", "batch": batch, "row": {"id": number, "secrettag_id": "t"}})
    data = gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode())
    return data, {
        "batch": batch,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "rows": 2 * count,
        "table": "api_secretevent",
        "key": "id",
        "time": "timestamp",
        "tables": {"api_secretevent": count, "api_secretevent_tags": count},
        "first": min(times),
        "last": max(times),
        "samples": ["e%d" % first],
        "transaction": 7,
    }


class Writer:
    """An archive that is being written, a batch of five events at a time."""

    def __init__(self, folder, run="aa", database=None):
        self.archive = Archive(str(folder), {"database": database or HERE, "scope": {}}, run, NOW)
        self.run, self.number = run, 0

    def batch(self, state="deleted", again=False):
        self.number += not again
        name = "%s-%d" % (self.run, self.number + 10 * again)
        data, facts = rows(name, 5 * self.number, 5)
        half = len(data) // 2
        self.archive.piece(0, data[:half])
        self.archive.piece(half, data[half:])
        self.archive.settle(facts)
        if state:
            self.archive.outcome(name, state)
        return self

    def torn(self):
        """Data of a batch that was never settled, and half a line of it."""
        self.archive.piece(0, b"\x1f\x8bnever settled")
        os.write(os.open(self.archive.stem + _archive.JOURNAL, os.O_WRONLY | os.O_APPEND), b'{"batch": "aa-9", "off')
        return self

    def die(self):
        """As the end of its process does."""
        for descriptor in self.archive._files or ():
            os.close(descriptor)


def names(folder):
    return sorted(path.name.partition("-aa")[2] or path.name for path in folder.iterdir())


def manifest(folder):
    (path,) = folder.glob("*.manifest.json")
    return json.loads(path.read_text())


def settle_all(folder, ask=sure):
    return [settle(stem, journal, ask) for stem, journal in left(str(folder), HERE)]


def test_an_archive_and_its_manifest(tmp_path):
    writer = Writer(tmp_path).batch().batch()
    assert names(tmp_path) == [".journal", ".ndjson.gz"]
    done = writer.archive.close(sure)
    assert names(tmp_path) == [".manifest.json", ".ndjson.gz"]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    data = Path(done["path"]).read_bytes()
    content = manifest(tmp_path)
    assert content["sha256"] == done["sha256"] == hashlib.sha256(data).hexdigest()
    assert (done["rows"], done["batches"], done["kept"], done["bytes"]) == (20, 2, 0, len(data))
    assert content["tables"] == {"api_secretevent": 10, "api_secretevent_tags": 10}
    assert (content["first"], content["last"]) == ("2026-01-06T00:00:00.5+00:00", "2026-01-15T00:00:00.5+00:00")
    lines = gzip.decompress(data).decode().splitlines()
    assert len(lines) == 20 and json.loads(lines[0])["row"]["value"] == 'back\\slash "quote" \n é'
    result = check(str(tmp_path), quiet, sure)
    assert [one["state"] for one in result["archives"]] == ["whole"] and result["rows"] == 20
    assert result["duplicates"] == {"rows": 0, "deleted_twice": 0, "pairs": []}


def test_nothing_deleted_leaves_nothing(tmp_path):
    assert Writer(tmp_path).archive.close(sure) is None and names(tmp_path) == []
    assert Writer(tmp_path).batch("kept").archive.close(sure) is None and names(tmp_path) == []


def test_a_batch_that_begins_anew_replaces_what_came_of_it(tmp_path):
    writer = Writer(tmp_path).batch()
    writer.archive.piece(0, bytes(100_000))
    writer.batch()
    writer.archive.close(sure)
    assert check(str(tmp_path), quiet, sure)["rows"] == 20


def test_what_was_damaged_on_its_way_is_refused(tmp_path):
    writer = Writer(tmp_path).batch()
    data, facts = rows("aa-2", 0, 3)
    writer.archive.piece(0, data[:-1] + b"?")
    with pytest.raises(ArchiveFailed, match="damaged on its way"):
        writer.archive.settle(facts)
    assert writer.archive.close(sure)["rows"] == 10
    assert check(str(tmp_path), quiet, sure)["rows"] == 10


@pytest.mark.parametrize("state", ["deleted", "kept"])
def test_a_run_that_was_cut_off_is_put_right(tmp_path, state):
    """The tail goes, the batch of which nothing is known is asked about, and once more nothing is to do."""
    writer = Writer(tmp_path).batch().batch(state=None).torn()
    assert list(left(str(tmp_path), HERE)) == []  # its writer lives
    writer.die()
    assert list(left(str(tmp_path), dict(HERE, cluster="2"))) == []  # another database's
    with pytest.raises(ArchiveDamaged, match="interrupted") as caught:
        check(str(tmp_path), quiet, sure)
    assert "archive_dest=%s" % tmp_path in caught.value.next_step
    asked = []

    def ask(batches):
        asked.extend(batch["batch"] for batch in batches)
        return {"aa-2": state}

    (done,) = settle_all(tmp_path, ask)
    assert asked == ["aa-2"] and done["rows"] == (20 if state == "deleted" else 10)
    assert names(tmp_path) == [".manifest.json", ".ndjson.gz"] and settle_all(tmp_path) == []
    result = check(str(tmp_path), quiet, sure)
    assert result["archives"][0]["kept"] == (state == "kept") and result["rows"] == done["rows"]


def test_a_run_that_was_cut_off_and_deleted_nothing(tmp_path):
    """That is a database's word, and a copy of the database would say the same: the archive stays."""
    Writer(tmp_path).batch(state=None).die()
    (done,) = settle_all(tmp_path, lambda batches: {"aa-1": "kept"})
    assert (done["rows"], done["kept"]) == (0, 1) and names(tmp_path) == [".manifest.json", ".ndjson.gz"]
    assert check(str(tmp_path), quiet, sure)["rows"] == 0


def test_a_run_that_was_cut_off_in_its_first_batch(tmp_path):
    Writer(tmp_path).torn().die()
    assert settle_all(tmp_path) == [None] and names(tmp_path) == []


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_damaged_journal_takes_nothing_away(tmp_path, number):
    """What was acknowledged was on disk: a line that is bad before such a line is no torn end."""
    writer = Writer(tmp_path).batch().batch()
    writer.die()
    journal, data = (Path(writer.archive.stem + suffix) for suffix in (_archive.JOURNAL, _archive.DATA))
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[number] = b"\x00" + lines[number][1:]
    journal.write_bytes(b"".join(lines))
    before = (journal.read_bytes(), data.read_bytes())
    with pytest.raises(ArchiveFailed, match="damaged in line"):
        settle_all(tmp_path)
    with pytest.raises(ArchiveDamaged, match="damaged in line"):
        check(str(tmp_path), quiet, sure)
    assert (journal.read_bytes(), data.read_bytes()) == before


def test_a_journal_that_has_lost_all(tmp_path):
    writer = Writer(tmp_path).batch()
    writer.die()
    Path(writer.archive.stem + _archive.JOURNAL).write_bytes(b"")
    with pytest.raises(ArchiveFailed, match="damaged in line 1"):
        settle_all(tmp_path)
    assert Path(writer.archive.stem + _archive.DATA).stat().st_size


def test_a_journal_that_could_not_be_synced(tmp_path, monkeypatch):
    """Its batch was refused, and counts all the same once its transaction is found to be over."""
    writer = Writer(tmp_path).batch()
    real, calls = os.fsync, []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(ArchiveFailed, match="Input/output error"):
            writer.batch()
    assert writer.archive.close(lambda batches: {"aa-2": "kept"})["rows"] == 10
    assert check(str(tmp_path), quiet, sure)["archives"][0]["kept"] == 1


def test_links_are_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = tmp_path / "archives"
    folder.mkdir(mode=0o700)
    (folder / "phase-purge-x.journal").symlink_to(victim)
    with pytest.raises(ArchiveFailed):
        settle_all(folder)
    assert victim.read_text() == "mine"


def test_a_folder_that_others_may_write_to(tmp_path):
    tmp_path.chmod(0o770)
    with pytest.raises(ArchiveFailed, match="may write"):
        check_folder(str(tmp_path))


@pytest.mark.parametrize("hurt", ["offset", "state", "sha256"])
def test_a_manifest_that_lacks_something(tmp_path, hurt):
    writer = Writer(tmp_path).batch()
    writer.archive.close(sure)
    manifest = Path(writer.archive.stem + _archive.MANIFEST)
    content = json.loads(manifest.read_text())
    del content["batches"][0][hurt]
    manifest.write_text(json.dumps(content))
    with pytest.raises(ArchiveDamaged):
        check(str(tmp_path), quiet, sure)


def test_settling_that_was_cut_off(tmp_path, monkeypatch):
    """Before the manifest is written, and before the journal goes."""
    Writer(tmp_path).batch(state=None).torn().die()

    def cut(*arguments):
        raise OSError(28, "No space left on device")

    for name in ("write_private", "_remove"):
        with monkeypatch.context() as patch:
            patch.setattr(_archive, name, cut)
            with pytest.raises(ArchiveFailed, match="No space left"):
                settle_all(tmp_path, lambda batches: {"aa-1": "deleted"})
    assert settle_all(tmp_path)[0]["rows"] == 10 and names(tmp_path) == [".manifest.json", ".ndjson.gz"]


def test_a_transaction_that_is_still_open_is_left_to_the_next_run(tmp_path):
    Writer(tmp_path).batch().batch(state=None).die()
    (done,) = settle_all(tmp_path, lambda batches: {"aa-2": None})
    assert done["waiting"] == ["aa-2"] and names(tmp_path) == [".journal", ".ndjson.gz"]
    (done,) = settle_all(tmp_path, lambda batches: {"aa-2": "kept"})
    assert (done["waiting"], done["rows"]) == ([], 10)


def test_a_run_that_died_before_its_first_line(tmp_path):
    (tmp_path / "phase-purge-x.journal").touch()
    assert settle_all(tmp_path) == [None] and names(tmp_path) == []


def test_data_that_are_gone_are_not_passed_over(tmp_path):
    writer = Writer(tmp_path).batch().batch()
    writer.die()
    os.truncate(writer.archive.stem + _archive.DATA, 10)
    with pytest.raises(ArchiveFailed, match="damaged"):
        settle_all(tmp_path)


def test_a_full_disk_refuses_and_says_so(tmp_path, monkeypatch):
    """What was settled before stays; the line that did not fit is none."""
    writer = Writer(tmp_path).batch()
    real = _archive.write_all

    def full(descriptor, data, offset):
        if b'"offset"' in data:
            real(descriptor, data[:20], offset)
            raise OSError(28, "No space left on device")
        real(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(_archive, "write_all", full)
        with pytest.raises(ArchiveFailed, match="No space left") as caught:
            writer.batch()
    assert "still in the database" in caught.value.next_step
    writer.archive.outcome("aa-2", "kept")
    with pytest.raises(ArchiveFailed, match="No space left"):
        writer.batch()
    assert writer.archive.close(sure)["rows"] == 10
    assert check(str(tmp_path), quiet, sure)["rows"] == 10


def test_a_journal_that_was_settled_while_it_was_made_is_made_again(tmp_path, monkeypatch):
    writer = Writer(tmp_path)
    real, stolen = fcntl.flock, []

    def flock(descriptor, how):
        real(descriptor, how)
        if not stolen:
            stolen.append(Path(writer.archive.stem + _archive.JOURNAL).unlink())

    monkeypatch.setattr(fcntl, "flock", flock)
    writer.batch()
    assert names(tmp_path) == [".journal", ".ndjson.gz"]
    writer.archive.close(sure)


def test_a_journal_of_any_length_is_understood():
    """Cut anywhere, it says what was acknowledged and no more."""
    entries = [{"database": HERE}]
    entries += [{"batch": "a-1", "offset": 0}, {"batch": "a-1", "state": "deleted"}, {"batch": "a-2", "offset": 5}]
    data = b"".join(_archive.line(entry) for entry in entries)
    ends = [len(b"".join(_archive.line(entry) for entry in entries[:count])) for count in range(5)]
    for length in range(len(data) + 1):
        header, batches, whole = parse_journal(data[:length])
        lines = sum(end <= length for end in ends[1:])
        assert (header is not None, len(batches), whole) == (lines > 0, (0, 0, 1, 1, 2)[lines], ends[lines])
        assert [batch["state"] for batch in batches][:1] == [[], [], [None], ["deleted"], ["deleted"]][lines]


def test_where_it_can_be(tmp_path, monkeypatch):
    assert check_folder(str(tmp_path) + "/") == str(tmp_path)
    (tmp_path / "file").touch()
    for path, words in ((tmp_path / "file", "no directory"), (tmp_path / "none", "does not exist")):
        with pytest.raises(ArchiveFailed, match=words) as caught:
            check_folder(str(path))
        assert caught.value.next_step
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, how: False)
        with pytest.raises(ArchiveFailed, match="cannot be written"):
            check_folder(str(tmp_path))
    check_room(str(tmp_path), 1)
    with pytest.raises(ArchiveFailed, match="free"):
        check_room(str(tmp_path), 1 << 60)


# Verifying


@pytest.fixture
def archive(tmp_path):
    writer = Writer(tmp_path).batch().batch()
    done = writer.archive.close(sure)
    return {name: Path(done[name]) for name in ("path", "manifest")}


def damage(path, place):
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 0x40]))


def test_every_byte_counts(archive, tmp_path):
    """A bit that flips anywhere, and any part that is missing, is found."""
    whole = archive["path"].read_bytes()
    for place in range(len(whole)):
        damage(archive["path"], place)
        with pytest.raises(ArchiveDamaged) as caught:
            check(str(tmp_path), quiet, sure)
        assert caught.value.partial["archives"][0]["state"] == "damaged"
        damage(archive["path"], place)
    for size in range(0, len(whole), 7):
        os.truncate(archive["path"], size)
        with pytest.raises(ArchiveDamaged, match=r"missing|damaged"):
            check(archive["path"], quiet, sure)
        archive["path"].write_bytes(whole)
    assert check(archive["manifest"], quiet, sure)["rows"] == 20


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows", 21),
        ("tables", {}),
        ("first", "2020"),
        ("bytes", 1),
        ("sha256", "0"),
        ("format", "other"),
        ("batches", []),
    ],
)
def test_a_manifest_that_tells_otherwise(archive, tmp_path, name, value):
    content = dict(manifest(tmp_path), **{name: value})
    archive["manifest"].write_text(json.dumps(content))
    with pytest.raises(ArchiveDamaged) as caught:
        check(str(tmp_path), quiet, sure)
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows", 9),
        ("first", "2025-01-01"),
        ("tables", {"api_secretevent": 4, "api_secretevent_tags": 6}),
        ("batch", "bb-1"),
    ],
)
def test_a_batch_of_which_the_manifest_tells_otherwise(archive, tmp_path, name, value):
    content = manifest(tmp_path)
    content["batches"][0][name] = value
    archive["manifest"].write_text(json.dumps(content))
    with pytest.raises(ArchiveDamaged, match="damaged in batch"):
        check(str(tmp_path), quiet, sure)


def test_data_behind_the_last_batch(archive, tmp_path):
    with archive["path"].open("ab") as file:
        file.write(b"more")
    with pytest.raises(ArchiveDamaged, match="4 bytes behind"):
        check(str(tmp_path), quiet, sure)


def test_parts_that_are_missing(archive, tmp_path):
    archive["manifest"].rename(tmp_path / "away")
    with pytest.raises(ArchiveDamaged, match="no manifest"):
        check(str(tmp_path), quiet, sure)
    (tmp_path / "away").rename(archive["manifest"])
    archive["path"].unlink()
    with pytest.raises(ArchiveDamaged, match="missing"):
        check(str(tmp_path), quiet, sure)
    archive["manifest"].rename(tmp_path / "away")
    for path in (tmp_path / "nobody", tmp_path / "away", tmp_path):
        with pytest.raises(BadOption):
            check(str(path), quiet, sure)


def test_who_may_read_it_is_told(archive, tmp_path):
    warned = []
    archive["path"].chmod(0o640)
    check(str(tmp_path), quiet, warned.append)
    assert len(warned) == 1 and "chmod 600" in warned[0]


def test_an_archive_that_is_being_written_is_left_alone(archive, tmp_path):
    writer, warned = Writer(tmp_path, run="aab").batch(), []
    result = check(str(tmp_path), quiet, warned.append)
    assert [one["state"] for one in result["archives"]] == ["whole", "being written"] and len(warned) == 1
    writer.archive.close(sure)
    assert {one["state"] for one in check(str(tmp_path), quiet, warned.append)["archives"]} == {"whole"}


@pytest.mark.parametrize("at_once", [3, 1000])
def test_rows_that_are_there_twice(tmp_path, at_once):
    """In a batch that was not deleted and again in the next, and in the archive of another run; in memory or not."""
    first = Writer(tmp_path).batch("kept").batch(again=True)
    first.archive.close(sure)
    result = check(str(tmp_path), quiet, sure, at_once)
    assert result["duplicates"] == {
        "rows": 10,
        "deleted_twice": 0,
        "pairs": [{"first": "aa-1", "again": "aa-11", "rows": 10}],
    }
    Writer(tmp_path, run="aab").batch().archive.close(sure)
    warned = []
    result = check(str(tmp_path), quiet, warned.append, at_once)
    assert result["duplicates"]["rows"] == result["duplicates"]["deleted_twice"] == 10 and "10 rows" in warned[0]


def test_marks_in_many_parts():
    marks = Marks(at_once=7)
    for number in range(1000):
        marks.add(number % 3, "row %d" % (number % 600))
    assert sorted(map(sorted, marks.repeated())) == sorted([number % 3] * 2 for number in range(400))
    marks.close()


# What the far end makes of COPY's rows


class Pieces:
    def __init__(self):
        self.data = b""

    def piece(self, offset, data):
        assert offset == len(self.data)
        self.data += data


def test_copys_rows_become_one_gzip_member():
    """Backslashes are doubled on the way, and nothing else; the totals may come at any place."""
    pieces = Pieces()
    stream = Stream(pieces)
    values = ["a\\b\\\\n", 'q"\n\t', "é", "\\" * 9, "x" * 300_000, os.urandom(300_000).hex()]
    texts = [json.dumps({"row": value}) for value in values]
    stream.write(b'{"total": {"gone": 6, "samples": ["\\\\\\\\"]}}\n')
    for text in texts:
        stream.write(text.replace("\\", "\\\\").encode() + b"\n")
    facts = stream.end()
    assert gzip.decompress(pieces.data).decode().splitlines() == texts
    assert facts == {"bytes": len(pieces.data), "sha256": hashlib.sha256(pieces.data).hexdigest()}
    assert stream.rows == 6 and stream.totals == {"gone": 6, "samples": ["\\"]}
