# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restores: a backup of phase_backup into a new database beside the present one, and the renames that change them.

What the backup holds is counted from the dump itself: ``pg_restore`` writes its data as text, and each line between
``COPY ... FROM stdin;`` and ``\\.`` is a row (PostgreSQL documentation, COPY, Text Format).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple, TypedDict

from .._call.argspec import ArgumentSpec
from .._call.files import about
from .._call.module import Call
from .._errors import BadOption, NoSpace, NotAllowed, PhaseError
from .._operations.core.releases import in_words, release_of
from .._operations.core.words import people_bytes, people_rows, people_seconds
from .._operations.instance import restore as operations
from .._operations.instance.restore import KEPT, RESTORED, RETURNED, TAKEN_BACK, WATCHED, Mark, RestoreFailed, Watched
from .backup import SUFFIX, Manifest, age, blocks, command, sha256, timestamp

PROGRESS = 5.0  # seconds between two lines of progress
GROWTH = 2  # bytes on disk, with indexes, for a byte of the dump's text
CATALOG = 32 * 10**6  # bytes of an empty database, and of what is written beside it
LONGEST = 63  # bytes of a name in PostgreSQL: NAMEDATALEN - 1
SHOWN = 5  # names of a list in a sentence

SPEC = ArgumentSpec(
    {
        "state": {"type": "str", "choices": ["restored", "returned", "dropped"], "default": "restored"},
        "src": {"type": "path"},
        "image": {"type": "str"},
        "pg_bin_dir": {"type": "path"},
        "free_space": {},
        "end_other_sessions": {"type": "bool", "default": False},
        "force": {"type": "bool", "default": False},
    },
    deployments=("docker", "compose", "local"),
    instead="It runs pg_restore beside the backend. Elsewhere create a database and run pg_restore yourself.",
)


class BackupMissing(PhaseError):
    """There is no backup where ``src`` leads."""

    kind = "backup_missing"


class BackupCut(PhaseError):
    """The backup's file has another size than its manifest says, as after an interrupted copy."""

    kind = "backup_cut"


class BackupDamaged(PhaseError):
    """The backup's file has another SHA-256 than its manifest says, or pg_restore cannot read it."""

    kind = "backup_damaged"


class BackupTooNew(PhaseError):
    """The backup or the pg_restore is of a newer major version of PostgreSQL than the server."""

    kind = "backup_too_new"


class Backup(TypedDict):
    """The backup of a plan. ``started`` and ``sha256_checked`` say nothing where there is no manifest."""

    path: str
    bytes: int
    started: Optional[str]
    sha256: str
    sha256_checked: bool
    server_version: str
    release: str
    rows: int
    tables: Dict[str, int]


class Plan(TypedDict):
    """What a restore will do, as the module returns it."""

    backup: Backup
    database: str
    old_database: str
    release: str
    newer_rows: Dict[str, Optional[int]]
    secret_changed: Optional[str]
    secret_read: Optional[str]
    access: List[str]
    bytes_needed: int
    bytes_free: Optional[int]
    summary: List[str]


# The backup


def manifest_of(path: str) -> Optional[Manifest]:
    """The manifest beside a dump, whether or not it agrees with it."""
    try:
        with about(path + ".json"), open(path + ".json", encoding="utf-8") as file:
            found = json.load(file)
        return {name: found[name] for name in ("bytes", "sha256", "started", "server_version", "leaf", "migrations")}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise BackupDamaged(
            "The manifest %s.json is no manifest of phase_backup." % path, "Name another backup with src."
        ) from error


def chosen(src: Optional[str]) -> Tuple[str, Optional[Manifest]]:
    """The file to restore, of a folder the newest, and its manifest. Raises BadOption, BackupMissing, BackupCut."""
    if not src:
        raise BadOption("Nothing says which backup to restore.", "Set src to a dump of phase_backup, or to its folder.")
    path = os.path.abspath(os.path.expanduser(src))
    if os.path.isdir(path):
        found = [os.path.join(path, name) for name in os.listdir(path) if name.endswith(SUFFIX)]
        if not found:
            raise BackupMissing("There is no backup (NAME%s) in %s." % (SUFFIX, path), "Name its folder with src.")
        path = max(found, key=lambda one: (str((manifest_of(one) or _undated(one))["started"]), one))
    if not os.path.isfile(path):
        raise BackupMissing("There is no backup %s." % path, "Name an existing one with src.")
    manifest, size = manifest_of(path), os.stat(path).st_size
    if manifest and manifest["bytes"] != size:
        raise BackupCut(
            "%s has %d bytes and its manifest says %d." % (path, size, manifest["bytes"]),
            "Copy it whole once more, or name an older backup with src.",
        )
    return path, manifest


def _undated(path: str) -> Manifest:
    return {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(os.stat(path).st_mtime))}


def unescaped(field: str) -> Optional[str]:
    """A field of COPY's text format; None for NULL."""
    if field == "\\N":
        return None
    plain = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
    return re.sub(r"\\(.)", lambda found: plain.get(found[1], found[1]), field, flags=re.DOTALL)


class Content:
    """What a dump holds, read from its data as text: rows by table, the ledger, and what ``WATCHED`` names."""

    _COPY = re.compile(rb'COPY ("?[^."]+"?)\.("?[^"(]+"?) \((.*)\) FROM stdin;$')

    def __init__(self) -> None:
        self.bytes = 0
        self.rows: Dict[str, int] = {}
        self.ledger: List[List[str]] = []
        self.watched: Watched = {}
        self._rest = b""
        self._table = ""
        self._columns: List[str] = []

    def feed(self, data: bytes) -> None:
        self.bytes += len(data)
        data, at = self._rest + data, 0
        while True:
            if not self._table:
                end = data.find(b"\n", at)
                if end < 0:
                    break
                self._line(data[at:end])
                at = end + 1
            elif data.startswith(b"\\.\n", at):
                self._table, at = "", at + 3
            else:
                end = data.find(b"\n\\.\n", at)
                end = (data.rfind(b"\n", at) if end < 0 else end) + 1
                if end <= at:
                    break
                self._data(data, at, end)
                at = end
        self._rest = data[at:]

    def _line(self, line: bytes) -> None:
        found = self._COPY.match(line) if line.startswith(b"COPY ") else None
        if found:
            names = [one.decode().strip().strip('"') for one in found.group(1, 2)]
            self._table = ".".join(names)
            self._columns = [name.strip().strip('"') for name in found[3].decode().split(",")]
            self.rows[self._table] = 0
            if names[1] in WATCHED:
                self.watched[names[1]] = {}

    def _data(self, data: bytes, at: int, end: int) -> None:
        self.rows[self._table] += data.count(b"\n", at, end)
        schema, _dot, name = self._table.partition(".")
        if schema != "public" or (name not in WATCHED and name != "django_migrations"):
            return
        for line in data[at : end - 1].decode("utf-8", "replace").split("\n"):
            row = dict(zip(self._columns, map(unescaped, line.split("\t"))))
            if name == "django_migrations":
                self.ledger.append([str(row["app"]), str(row["name"])])
            else:
                known = [column for column in WATCHED[name] if column in row]
                self.watched[name][str(row["id"])] = {c: operations.shown(c, row[c]) for c in known}


def fed(path: str, doing: str, report: Callable[..., None], clock: Callable[[], float]) -> Iterator[bytes]:
    """A file's blocks, with the part of it that is read as progress."""
    total, done, told = os.stat(path).st_size, 0, clock()
    for block in blocks(path):
        yield block
        done += len(block)
        if clock() - told >= PROGRESS:
            told = clock()
            report("pg_restore: %s, %d %%" % (doing, done * 100 // total), bytes=done, bytes_total=total)


def _pg_restore(call: Call, path: str, doing: str, sink: Callable[[bytes], None], *options: str) -> Tuple[int, str]:
    """Run pg_restore on the file: exit code, the end of what it said. A password is in its environment alone."""
    program = ["env", "PGAPPNAME=phase.console restore", "pg_restore", "--no-password", *options]
    return call.target.pipe(
        command(program, call.params["pg_bin_dir"] or ""),
        sink,
        image=call.params["image"],
        stdin=fed(path, doing, call.report, call.clock),
    )


def listed(call: Call, path: str, server: str) -> str:
    """The version of the server that the dump was made of. Raises BackupDamaged and BackupTooNew."""
    said = bytearray()
    code, stderr = _pg_restore(call, path, "reading the table of contents", said.extend, "--list")
    words = " ".join(stderr.strip().splitlines()[-3:])
    if code == 127 or "not found" in words:
        raise RestoreFailed(
            "There is no pg_restore to use: %s" % words,
            "Set image to one that has it, such as postgres:17 (local: put it on PATH or set pg_bin_dir).",
        )
    if "unsupported version" in words:
        raise BackupTooNew(
            "This pg_restore is older than the pg_dump that made %s: %s" % (path, words),
            "Set image (local: pg_bin_dir) to newer tools, or restore it on a newer server.",
        )
    if code != 0:
        raise BackupDamaged("pg_restore cannot read %s: %s" % (path, words), "Name another backup with src.")
    text = said.decode("utf-8", "replace")
    found = re.findall(r"^;\s+Dumped (?:from database|by pg_dump) version: (\S+)", text, re.MULTILINE)
    return found[0] if found else server


def tools(call: Call, server: str) -> None:
    """Raises BackupTooNew for a pg_restore whose first statement the server does not know: 17 sets
    transaction_timeout."""
    said = bytearray()
    program = command(["pg_restore", "--version"], call.params["pg_bin_dir"] or "")
    call.target.pipe(program, said.extend, image=call.params["image"])
    found = re.search(rb"\d+", bytes(said))
    if found and int(found.group()) >= 17 > major(server):
        raise BackupTooNew(
            "pg_restore is of PostgreSQL %s, and the server of %s does not know its settings."
            % (found.group().decode(), server),
            "Set image (local: pg_bin_dir) to tools of PostgreSQL %d." % major(server),
        )


def major(version: str) -> int:
    return int(re.split(r"\D", version)[0])


# The plan: pure


def named(database: str, what: str, stamp: str) -> str:
    """``phase_before_restore_20261130T213436Z``: shortened at the database's own name where it would be too long."""
    tail = "_%s_%s" % (what, stamp)
    return database.encode()[: LONGEST - len(tail)].decode("utf-8", "ignore") + tail


def some(names: List[str]) -> str:
    more = " and %d more" % (len(names) - SHOWN) if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


_KINDS = {
    "api_networkaccesspolicy": "Network policies",
    "api_organisationssoprovider": "Single sign-on providers",
    "api_organisation": "Organisations (whether they demand single sign-on)",
    "api_serviceaccounttoken": "Service account tokens",
    "api_servicetoken": "Service tokens",
    "api_usertoken": "User tokens",
}


def access(backup: Watched, present: Watched) -> List[str]:
    """Sentences on whose access changes, by name."""
    found = []
    for table, words in _KINDS.items():
        then, now = backup.get(table, {}), present.get(table, {})
        back: List[str] = []
        gone: List[str] = []
        changed: List[str] = []
        for key in sorted({*then, *now}, key=lambda one: (then.get(one) or now[one]).get("name", "")):
            old, new = then.get(key), now.get(key)
            name = (old or new or {}).get("name", key)
            if old is None:
                gone.append(name)
            elif new is None or old.get("deleted_at") != new.get("deleted_at"):
                (gone if old.get("deleted_at") == "True" else back).append(name)
            elif any(old[column] != new[column] for column in old if column in new):
                changed.append(name)
        for names, what in (
            (back, "deleted or revoked since, valid again"),
            (changed, "changed since, as they were again"),
            (gone, "new since, gone again"),
        ):
            if names:
                found.append("%s %s: %s." % (words, what, some(names)))
    return found


def lost(survey: Mapping[str, Any], since: str) -> List[str]:
    """Sentences on what is newer than a moment and will not be in the database any more."""
    newer = {name: count for name, count in survey["newer"].items() if count != 0}
    found = []
    if newer:
        ordered = sorted(newer.items(), key=lambda pair: -1 if pair[1] is None else pair[1], reverse=True)
        told = ["%s %s" % (name, "(too many to count in time)" if n is None else n) for name, n in ordered]
        known = people_rows(sum(count or 0 for count in newer.values()))
        found.append("Added or changed since %s, and so not in it: %s (%s)." % (since, known, some(told)))
    else:
        found.append("No row was added or changed since %s; deleted ones come back." % since)
    for key, what in (("secret_changed", "secret change"), ("secret_read", "read event")):
        if survey[key]:
            found.append("The newest %s in the present database is of %s." % (what, survey[key]))
    return found


def make_plan(
    backup: Backup, content: Content, survey: Mapping[str, Any], free: Optional[int], now: float, since: str
) -> Plan:
    """The plan of a restore. ``free``: bytes free on the server's disk, None where that cannot be seen."""
    me, database = survey["me"], survey["me"]["database"]
    release = in_words(release_of((app, name) for app, name in content.ledger))
    present = in_words(release_of((app, name) for app, name in survey["ledger"]))
    needed = content.bytes * GROWTH + CATALOG
    old = named(database, "before_restore", timestamp(now))
    size = "%s, %s in %d tables" % (people_bytes(backup["bytes"]), people_rows(backup["rows"]), len(backup["tables"]))
    summary = [
        "Restores %s into database %s: made at %s (%s ago), %s, PostgreSQL %s."
        % (
            backup["path"],
            database,
            since,
            people_seconds(max(0, age({"started": since}, now))),
            size,
            backup["server_version"],
        ),
        "Its SHA-256 is that of its manifest."
        if backup["sha256_checked"]
        else "It has no manifest, so whether it is the file that was written is unknown; the time is the file's.",
    ]
    if sorted(content.ledger) == sorted(survey["ledger"]):
        summary.append("It has the migrations that the present database has: those of Phase %s." % release)
    else:
        summary.append(
            "It has the migrations of Phase %s, the present database has those of %s: afterwards run a backend of"
            " such a version, or migrate." % (release, present if survey["ledger"] else "no Phase")
        )
    summary += lost(survey, since)
    found = access(content.watched, survey["watched"])
    summary += found
    if survey["slots"]:
        summary.append("Logical replication slots stay with the old database: %s." % some(survey["slots"]))
    summary.append(
        "The present database stays as %s (%s): state=returned takes the restore back, state=dropped drops it."
        % (old, people_bytes(me["bytes"]))
    )
    summary.append(
        "It takes about %s of the server's disk; %s."
        % (
            people_bytes(needed),
            "how much is free cannot be seen" if free is None else people_bytes(free) + " are free",
        )
    )
    return {
        "backup": backup,
        "database": database,
        "old_database": old,
        "release": release,
        "newer_rows": survey["newer"],
        "secret_changed": survey["secret_changed"],
        "secret_read": survey["secret_read"],
        "access": found,
        "bytes_needed": needed,
        "bytes_free": free,
        "summary": summary,
    }


def refuse_server(survey: Mapping[str, Any], others: bool) -> None:
    """Raise for a server or a role that this cannot be done with, and for sessions that are in the way."""
    me = survey["me"]
    if me["standby"]:
        raise NotAllowed("The server is a standby, which takes no changes.", "Name the primary server.")
    if not me["may_create"]:
        raise NotAllowed(
            "Role %s may not create databases, and a restore makes one beside the present one." % me["role"],
            "Have an administrator run ALTER ROLE %s CREATEDB, and take it back afterwards (NOCREATEDB)." % me["role"],
        )
    if not me["owns"]:
        raise NotAllowed(
            "Database %s belongs to role %s, so %s may not rename it." % (me["database"], me["owner"], me["role"]),
            "Have an administrator run ALTER DATABASE %s OWNER TO %s." % (me["database"], me["role"]),
        )
    told = operations.in_the_way([one for one in survey["sessions"] if one["database"] == me["database"]])
    if told and not others:
        raise operations.refusal(me["database"], told)
    if told and not me["may_end"]:
        raise NotAllowed(
            "Role %s may not end sessions of others: %s." % (me["role"], told),
            "Have them closed, or have an administrator run GRANT pg_signal_backend TO %s." % me["role"],
        )


def refuse_version(made_by: str, server: str) -> None:
    if major(made_by) > major(server):
        raise BackupTooNew(
            "The backup is of PostgreSQL %s and the server of %s." % (made_by, server),
            "Restore it on a server of PostgreSQL %d or newer, or name an older backup with src." % major(made_by),
        )


def refuse_space(plan: Plan) -> None:
    if plan["bytes_free"] is not None and plan["bytes_free"] < plan["bytes_needed"]:
        raise NoSpace(
            "The restore takes about %s beside the present database, and the server's disk has %s free."
            % (people_bytes(plan["bytes_needed"]), people_bytes(plan["bytes_free"])),
            "Free some: state=dropped drops databases that earlier restores kept. Then run it again.",
        )


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> Dict[str, str]:
    """A diff of databases: what each of them is, by name."""
    text = ["".join("%s: %s\n" % pair for pair in sorted(side.items())) for side in (before, after)]
    return {"before": text[0], "after": text[1], "before_header": "databases", "after_header": "databases"}


def in_use(survey: Mapping[str, Any]) -> str:
    """What the present database is, in a diff."""
    mark = survey["mark"]
    release = in_words(release_of((app, name) for app, name in survey["ledger"]))
    return "Phase %s%s" % (release, ", restored from " + mark["backup"] if mark and mark["state"] == RESTORED else "")


# The three states


class Restore:
    """One call: where the operations run, and what they are given."""

    def __init__(self, call: Call) -> None:
        self.call = call
        described = call.target.describe()
        # A backend that does not run is no obstacle: its image runs beside the database instead.
        self.image = None if described.get("status") in (None, "running") else described["image_id"]
        self.stamp = timestamp(call.now())
        self.at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(call.now()))
        self.others = call.params["end_other_sessions"]

    def operation(self, operation: Callable[..., Any], request: Dict[str, Any]) -> Any:
        return self.call.run(operation, request, image=self.image)

    def mark(self, state: str, database: str, backup: str, digest: str) -> Mark:
        return {"state": state, "database": database, "backup": backup, "sha256": digest, "at": self.at}

    def restored(self) -> Dict[str, Any]:
        call = self.call
        path, manifest = chosen(call.params["src"])
        call.report("Reading %s" % path)
        digest = sha256(path)
        if manifest and manifest["sha256"] != digest:
            raise BackupDamaged(
                "%s is not what was written: its SHA-256 is not that of its manifest." % path,
                "Copy it whole once more, or name an older backup with src.",
            )
        since = str((manifest or _undated(path))["started"])
        survey = self.operation(operations.survey, {"since": since})
        mark, database = survey["mark"], survey["me"]["database"]
        if mark and mark["state"] == RESTORED and mark["sha256"] == digest and not call.params["force"]:
            said = "Database %s was restored from this backup at %s; force=true does it again." % (database, mark["at"])
            return {"changed": False, "database": database, "plan": {"summary": [said, *lost(survey, since)]}}
        server = survey["me"]["server_version"]
        refuse_version(manifest["server_version"] if manifest else server, server)
        refuse_server(survey, self.others)
        tools(call, server)
        made_by = listed(call, path, server)
        refuse_version(made_by, server)
        content = Content()
        self._read(path, content.feed, "counting what it holds", "--data-only", "--file=-")
        if not content.ledger:
            raise BackupDamaged("%s is no backup of Phase: it has no migrations." % path, "Name another with src.")
        if manifest and len(content.ledger) != manifest["migrations"]:
            raise BackupDamaged("%s has other migrations than its manifest says." % path, "Name another with src.")
        backup: Backup = {
            "path": path,
            "bytes": os.stat(path).st_size,
            "started": manifest["started"] if manifest else None,
            "sha256": digest,
            "sha256_checked": bool(manifest),
            "server_version": made_by,
            "release": in_words(release_of((app, name) for app, name in content.ledger)),
            "rows": sum(content.rows.values()),
            "tables": content.rows,
        }
        free = call.free_disk()
        plan = make_plan(backup, content, survey, survey["free"] if free is None else free, call.now(), since)
        refuse_space(plan)
        if not manifest:
            call.warn("%s has no manifest: whether it is whole was seen from its content alone." % path)
        restored = "Phase %s, restored from %s" % (plan["release"], os.path.basename(path))
        before = {database: in_use(survey)}
        result = {
            "changed": True,
            "database": database,
            "old_database": plan["old_database"],
            "plan": plan,
            "diff": difference(before, {database: restored, plan["old_database"]: before[database]}),
        }
        if not call.check:
            start = call.clock()
            self._apply(plan, content)
            result["seconds"] = round(call.clock() - start, 1)
        return result

    def _read(self, path: str, sink: Callable[[bytes], None], doing: str, *options: str) -> None:
        code, stderr = _pg_restore(self.call, path, doing, sink, *options)
        if code != 0:
            words = " ".join(stderr.strip().splitlines()[-6:]) or "it said nothing"
            raise RestoreFailed(
                "pg_restore ended with exit code %d: %s" % (code, words),
                "The present database is as it was. Mend what it says (a missing role or extension, a full disk), "
                "then run it again.",
            )

    def _apply(self, plan: Plan, content: Content) -> None:
        database, backup = plan["database"], plan["backup"]
        name, base = named(database, "restored", self.stamp), os.path.basename(backup["path"])
        half = self.mark(operations.HALF, database, base, backup["sha256"])
        stem = name[: -len(self.stamp)]
        self.operation(operations.prepare, {"database": database, "name": name, "stem": stem, "mark": half})
        try:
            conninfo = "--dbname=dbname='%s'" % re.sub(r"(['\\])", r"\\\1", name)
            self._read(backup["path"], bytearray().extend, "restoring", "--exit-on-error", conninfo)
            self.call.report("Restored into %s; comparing it with the backup" % name)
            seen = self.operation(operations.check, {"name": name, "rows": content.rows, "ledger": content.ledger})
            if seen["doubtful"]:
                self.call.warn("Not valid, as in the backup: %s." % some(seen["doubtful"]))
            self.exchange(
                name,
                plan["old_database"],
                database,
                self.mark(RESTORED, database, base, backup["sha256"]),
                self.mark(KEPT, database, base, backup["sha256"]),
                carry=True,
            )
        except PhaseError:
            with contextlib.suppress(PhaseError):  # the next run drops it
                self.operation(operations.discard, {"database": database, "names": [name], "force": True})
            raise

    def exchange(
        self, incoming: str, outgoing: str, database: str, becomes: Mark, stays: Mark, carry: bool = False
    ) -> None:
        self.call.report("Renaming %s to %s, and %s to %s" % (database, outgoing, incoming, database))
        self.operation(
            operations.exchange,
            {
                "database": database,
                "incoming": incoming,
                "outgoing": outgoing,
                "marks": {"incoming": becomes, "outgoing": stays},
                "others": self.others,
                "carry": carry,
            },
        )

    def returned(self) -> Dict[str, Any]:
        survey = self.operation(operations.survey, {"since": None})
        mark, database = survey["mark"], survey["me"]["database"]
        if not mark or mark["state"] != RESTORED:
            said = "Database %s was not restored, or that was taken back already: nothing to do." % database
            return {"changed": False, "database": database, "plan": {"summary": [said]}}
        kept = [one for one in survey["databases"] if one["mark"]["state"] == KEPT]
        if not kept or kept[-1]["mark"]["sha256"] != mark["sha256"]:
            raise BackupMissing(
                "The database from before the restore of %s is not there any more." % mark["backup"],
                "It was dropped or renamed. Restore a backup from before that restore.",
            )
        refuse_server(survey, self.others)
        name, outgoing = kept[-1]["name"], named(database, "taken_back", self.stamp)
        summary = [
            "Takes back the restore of %s at %s: %s becomes %s." % (mark["backup"], mark["at"], name, database),
            "The restored database stays as %s; state=dropped drops it." % outgoing,
            *lost(survey, mark["at"]),
        ]
        before = {database: in_use(survey), name: "from before that restore"}
        after = {database: before[name], outgoing: before[database]}
        if not self.call.check:
            self.exchange(
                name,
                outgoing,
                database,
                self.mark(RETURNED, database, mark["backup"], mark["sha256"]),
                self.mark(TAKEN_BACK, database, mark["backup"], mark["sha256"]),
            )
        return {
            "changed": True,
            "database": database,
            "old_database": outgoing,
            "plan": {"summary": summary},
            "diff": difference(before, after),
        }

    def dropped(self) -> Dict[str, Any]:
        survey = self.operation(operations.survey, {"since": None})
        database = survey["me"]["database"]
        kept = [one for one in survey["databases"] if one["mark"]["state"] in (KEPT, TAKEN_BACK)]
        names = [one["name"] for one in kept]
        told = operations.in_the_way([one for one in survey["sessions"] if one["database"] in names])
        if told and not self.others:
            raise operations.refusal(some(names), told)
        summary = ["Drops %s (%s), for good." % (one["name"], people_bytes(one["bytes"])) for one in kept]
        if kept and not self.call.check:
            self.operation(operations.discard, {"database": database, "names": names, "force": self.others})
        return {
            "changed": bool(kept),
            "database": database,
            "dropped": names,
            "plan": {"summary": summary or ["No restore of %s has kept a database." % database]},
            "diff": difference(dict.fromkeys(names, "kept"), {}),
        }


def run(call: Call) -> Dict[str, Any]:
    """The module's result."""
    result: Dict[str, Any] = getattr(Restore(call), call.params["state"])()
    return result
