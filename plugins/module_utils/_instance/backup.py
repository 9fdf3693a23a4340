# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups of Phase's database: pg_dump into a file that is verified before it gets its name.

Beside ``NAME.dump`` stands ``NAME.dump.json``, the manifest; it is written last, so a dump with a manifest whose size
and SHA-256 agree is whole. Under way the data is in ``.NAME.dump.partial``, which is locked while its writer lives.
"""

from __future__ import annotations

import calendar
import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from typing import Any, BinaryIO, Callable, Dict, Iterable, Iterator, List, Mapping, Optional

from .._call.argspec import APPLICATION, ArgumentSpec
from .._call.files import about, check_folder, write_private
from .._call.module import Call
from .._errors import NoSpace, PhaseError, refusal
from .._operations.core.words import people_bytes
from .._operations.instance import backup as operations
from .._target.base import Report, Target

Manifest = Dict[str, Any]
CHUNK = 1 << 20
PROGRESS = 5.0  # seconds between two lines of progress
MARGIN = 1.05  # of the tables' size: a dump without compression, and a little
SUFFIX = ".dump"

# The backend's own settings in libpq's words (settings of Phase v2.73.2). The password stays in the environment.
_LIBPQ = """
set -eu
secret=${DATABASE_PASSWORD_FILE:+$(cat "$DATABASE_PASSWORD_FILE" 2>/dev/null || :)}
export PGPASSWORD="${secret:-${DATABASE_PASSWORD-}}"
export PGHOST="$DATABASE_HOST" PGPORT="${DATABASE_PORT:-5432}" PGUSER="$DATABASE_USER" PGDATABASE="$DATABASE_NAME"
export PGAPPNAME="phase.console backup" PGCONNECT_TIMEOUT=10 LC_ALL=C
if [ "$(printf %s "${DATABASE_SSL-}" | tr '[:upper:]' '[:lower:]')" = true ]; then
  export PGSSLMODE=require
  if [ -n "${DATABASE_SSL_CA_PATH-}" ]; then
    export PGSSLMODE=verify-full PGSSLROOTCERT="$DATABASE_SSL_CA_PATH"
  fi
fi
PATH="${0:+$0:}$PATH"
exec "$@"
"""


# Secrets are stored encrypted, and ciphertext hardly shrinks: on a seeded instance level 1 took 0.2 s of processor time
# where the default took 0.5 s, for a file a tenth larger.
DUMP = ["pg_dump", "--format=custom", "--compress=1", "--no-password"]


SPEC = ArgumentSpec(
    {
        "dest": {"type": "path", "required": True},
        "format": {"type": "str", "choices": ["custom"], "default": "custom"},
        "image": {"type": "str"},
        "pg_bin_dir": {"type": "path"},
        "verify": {"type": "str", "choices": ["list", "full"], "default": "list"},
        "max_age": {"type": "int", "default": 0},
        "force": {"type": "bool", "default": False},
    },
    deployments=APPLICATION,
    instead="It runs pg_dump beside the backend. Over a direct connection run pg_dump yourself.",
)


class BackupFailed(PhaseError):
    """The backup could not be written or read back; no file stays that looks like one."""

    kind = "backup_failed"


class BackupRunning(PhaseError):
    """Another backup is being written to the same folder."""

    kind = "backup_running"


def command(program: List[str], folder: str = "") -> List[str]:
    """The argument list that runs a PostgreSQL program with the backend's settings; ``folder`` is looked in first."""
    return ["/bin/sh", "-c", _LIBPQ, folder] + program


def listed_tables(listing: str) -> List[str]:
    """Tables with data in the output of ``pg_restore --list``: ``schema.table``, sorted.

    A line reads ``1234; 0 16385 TABLE DATA public api_app owner`` (PostgreSQL documentation, pg_restore, --list).
    """
    found = re.findall(r"^\d+; \d+ \d+ TABLE DATA (\S+) (.+) \S+$", listing, re.MULTILINE)
    return sorted("%s.%s" % pair for pair in found)


def needed(survey: Mapping[str, Any]) -> int:
    """Bytes that a dump takes at most: the tables without their indexes, which a dump holds as definitions only."""
    return int(survey["bytes"] * MARGIN) + CHUNK


def timestamp(now: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def age(manifest: Manifest, now: float) -> float:
    """Seconds since the dump's snapshot was taken."""
    return now - calendar.timegm(time.strptime(manifest["started"], "%Y-%m-%dT%H:%M:%SZ"))


def current(manifest: Manifest, survey: Mapping[str, Any], max_age: float, now: float) -> bool:
    """Whether a backup still stands for this database: young enough, same database, same migrations."""
    same = all(manifest[key] == survey[key] for key in ("database", "leaf", "migrations"))
    return same and -60 <= age(manifest, now) <= max_age


def sha256(path: str) -> str:
    digest = hashlib.sha256()
    with about(path), open(path, "rb") as file:
        for data in iter(lambda: file.read(CHUNK), b""):
            digest.update(data)
    return digest.hexdigest()


def read_manifest(path: str) -> Optional[Manifest]:
    """The manifest of a dump whose size agrees with it; None when there is none, or it speaks of another file."""
    try:
        with open(path + ".json", encoding="utf-8") as file:
            manifest = json.load(file)
        whole = os.stat(path).st_size == manifest["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(manifest, path=path) if whole else None


def candidates(dest: str) -> List[Manifest]:
    """Manifests at ``dest``, a dump or a folder of dumps, the youngest first."""
    paths = [dest]
    if os.path.isdir(dest):
        paths = [os.path.join(dest, name) for name in os.listdir(dest) if name.endswith(SUFFIX)]
    found = [manifest for manifest in map(read_manifest, paths) if manifest]
    return sorted(found, key=lambda manifest: str(manifest["started"]), reverse=True)


def is_folder(dest: str) -> bool:
    return dest.endswith("/") or os.path.isdir(dest)


def existing(dest: str, survey: Mapping[str, Any], max_age: float, now: float) -> Optional[Manifest]:
    """The youngest backup at ``dest`` that still stands for the database and whose content has its SHA-256."""
    for manifest in candidates(dest):
        if current(manifest, survey, max_age, now) and sha256(manifest["path"]) == manifest["sha256"]:
            return manifest
    return None


def free_at(path: str) -> int:
    """Bytes that this user may still write where ``path`` will be."""
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    info = os.statvfs(folder)
    return info.f_bavail * info.f_frsize


class Partial:
    """The unfinished dump. It is locked while its writer lives, so a leftover is told from a backup under way."""

    def __init__(self, path: str, clock: Callable[[], float], report: Report) -> None:
        self.final = path
        self.path = os.path.join(os.path.dirname(path), "." + os.path.basename(path) + ".partial")
        self._clock, self._report, self._told = clock, report, clock()
        self._digest = hashlib.sha256()
        self.bytes = 0
        with about(self.path):
            self._file: BinaryIO = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._file.close()
                raise BackupRunning(
                    "Another backup to %s is under way." % path, "Let it finish, or name another dest."
                ) from None
            self._file.truncate(0)

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.bytes += len(data)
        if self._clock() - self._told >= PROGRESS:
            self._told = self._clock()
            self._report("pg_dump: %s written" % people_bytes(self.bytes), bytes=self.bytes)

    def settle(self) -> str:
        """Put everything on the disk; the SHA-256 of what was written."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()

    def publish(self, manifest: Manifest) -> None:
        """Give the dump its name, then write its manifest: both whole or not at all."""
        os.replace(self.path, self.final)
        write_private(self.final + ".json", json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n")
        self._file.close()

    def discard(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._file.close()


def remove_leftovers(folder: str, report: Report) -> None:
    """Remove unfinished dumps in ``folder`` whose writer is gone."""
    for name in os.listdir(folder):
        if not (name.startswith(".") and name.endswith(SUFFIX + ".partial")):
            continue
        path = os.path.join(folder, name)
        with open(path, "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            report("Removing %s, left over from a backup that was cut off" % path)
            os.unlink(path)


def blocks(path: str) -> Iterator[bytes]:
    with about(path), open(path, "rb") as file:
        yield from iter(lambda: file.read(CHUNK), b"")


def check_tools(target: Target, server_version: str, image: Optional[str], folder: str) -> str:
    """The version of the pg_dump that will be used. Raises BackupFailed when there is none, or one too old.

    pg_dump refuses a server of a newer major version than its own (PostgreSQL documentation, pg_dump, Notes).
    """
    said = bytearray()
    code, stderr = target.pipe(command(["pg_dump", "--version"], folder), said.extend, image=image)
    found = re.search(r"\d+(\.\d+)*", said.decode("utf-8", "replace"))
    if code != 0 or found is None:
        raise BackupFailed("There is no pg_dump to use: %s" % _last(stderr), _dump_advice(127, stderr))
    if int(found.group().split(".")[0]) < int(re.split(r"\D", server_version)[0]):
        raise BackupFailed(
            "pg_dump is of PostgreSQL %s and the server of %s." % (found.group(), server_version),
            _dump_advice(code, "version mismatch"),
        )
    return found.group()


def dump(target: Target, partial: Partial, image: Optional[str], folder: str) -> None:
    """Run pg_dump into the unfinished file. Raises BackupFailed with pg_dump's own words."""
    code, stderr = target.pipe(command(DUMP, folder), partial.write, image=image)
    if code != 0:
        raise BackupFailed("pg_dump ended with exit code %d: %s" % (code, _last(stderr)), _dump_advice(code, stderr))


def _last(stderr: str) -> str:
    """The end of it: a cause may have a hint and the query after it."""
    return " ".join(stderr.strip().splitlines()[-6:]) or "it said nothing"


def _dump_advice(code: int, stderr: str) -> str:
    if "version mismatch" in stderr:
        return "Set image (local: pg_bin_dir) to client tools that are at least as new as the server."
    if code == 127 or "not found" in stderr:
        return "Set image to one that has pg_dump, such as postgres:17 (local: put pg_dump on PATH or set pg_bin_dir)."
    return "Mend what it says, then run again."


def verify(
    target: Target, partial: Partial, tables: Iterable[Mapping[str, Any]], image: Optional[str], folder: str, full: bool
) -> None:
    """Read the dump with pg_restore and compare the tables it holds with the catalog's.

    ``full`` has it decompress and write out all data as well, to nowhere. Raises BackupFailed.
    """
    program = ["pg_restore", "--list"]
    listing = bytearray()
    code, stderr = target.pipe(command(program, folder), listing.extend, image=image, stdin=blocks(partial.path))
    if code == 0 and full:
        code, stderr = target.pipe(
            command(["pg_restore", "--file=/dev/null"], folder),
            bytearray().extend,
            image=image,
            stdin=blocks(partial.path),
        )
    if code != 0:
        raise BackupFailed("pg_restore cannot read the dump: %s" % _last(stderr), "Run again; nothing was kept.")
    lacking = {str(table["name"]) for table in tables} - set(listed_tables(listing.decode("utf-8", "replace")))
    if lacking:
        raise BackupFailed(
            "The dump lacks the data of %s." % ", ".join(sorted(lacking)[:5]),
            "Run it as the role that owns Phase's tables; nothing was kept.",
        )


def make(
    target: Target,
    path: str,
    survey: Mapping[str, Any],
    report: Report,
    *,
    image: Optional[str] = None,
    folder: str = "",
    full: bool = False,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> Manifest:
    """Dump, verify, publish; the manifest. Nothing is left behind on any failure."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    remove_leftovers(os.path.dirname(path), report)
    free, need = free_at(path), needed(survey)
    if free < need:
        raise NoSpace(
            "The backup may take %s and %s has %s free."
            % (people_bytes(need), os.path.dirname(path), people_bytes(free)),
            "Free some space, or name a dest elsewhere.",
        )
    began, start = now(), clock()
    partial = Partial(path, clock, report)
    try:
        dump(target, partial, image, folder)
        digest = partial.settle()
        report("pg_dump: done, %s; reading it back" % people_bytes(partial.bytes), bytes=partial.bytes)
        verify(target, partial, survey["tables"], image, folder, full)
        manifest: Manifest = {
            "path": path,
            "format": "custom",
            "bytes": partial.bytes,
            "sha256": digest,
            "tables": len(survey["tables"]),
            "rows": sum(table["rows"] for table in survey["tables"]),
            "database": survey["database"],
            "server_version": survey["server_version"],
            "leaf": survey["leaf"],
            "migrations": survey["migrations"],
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
            "seconds": round(clock() - start, 1),
        }
        partial.publish(manifest)
    except OSError as error:
        partial.discard()
        raise refusal(error, path) from error
    except BaseException:
        partial.discard()
        raise
    return manifest


def backup(target: Target, params: Mapping[str, Any], check: bool, report: Report, now: float) -> Dict[str, Any]:
    """Keep a backup that still stands for the database, or make one: the module's result."""
    survey = target.run(operations.survey, {}, report)
    dest = os.path.expanduser(params["dest"])
    if not params["force"]:
        kept = existing(dest, survey, params["max_age"], now)
        if kept:
            return {"changed": False, "manifest": kept}
    image, folder = params["image"], params["pg_bin_dir"] or ""
    check_folder(dest if is_folder(dest) else os.path.dirname(os.path.abspath(dest)))
    tools = check_tools(target, survey["server_version"], image, folder)
    path = os.path.abspath(dest)
    if is_folder(dest):
        path = os.path.join(path, "phase-%s-%s%s" % (survey["database"], timestamp(now), SUFFIX))
    predicted = {
        "path": path,
        "pg_dump": tools,
        "leaf": survey["leaf"],
        "tables": len(survey["tables"]),
        "rows": sum(table["rows"] for table in survey["tables"]),
        "bytes_at_most": needed(survey),
        "bytes_free": free_at(path),
    }
    diff = {"before": "", "after": "%s\n" % path, "before_header": "backups", "after_header": "backups"}
    if check:
        return {"changed": True, "predicted": predicted, "diff": diff}
    manifest = make(target, path, survey, report, image=image, folder=folder, full=params["verify"] == "full")
    return {"changed": True, "manifest": manifest, "predicted": predicted, "diff": diff}


def run(call: Call) -> Dict[str, Any]:
    """The module's result."""
    return backup(call.target, call.params, call.check, call.report, call.now())
