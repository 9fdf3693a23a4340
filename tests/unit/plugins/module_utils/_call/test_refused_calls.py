# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The system refuses a call on a file, each in its turn: whoever runs the module reads one sentence with the path."""

from __future__ import annotations

import builtins
import datetime
import errno
import itertools
import json
import os
import sys
from types import SimpleNamespace

import pytest
from ansible_collections.phase.console.plugins.module_utils._access import confirm, snapshot
from ansible_collections.phase.console.plugins.module_utils._call import files
from ansible_collections.phase.console.plugins.module_utils._call.module import unforeseen
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._instance import backup, restore
from ansible_collections.phase.console.plugins.module_utils._nginx import file as nginx_file
from ansible_collections.phase.console.plugins.module_utils._nginx import nginx
from ansible_collections.phase.console.plugins.module_utils._purge import archive, archive_check
from ansible_collections.phase.console.plugins.module_utils._realip import ranges
from ansible_collections.phase.console.plugins.module_utils._target.kubernetes_access import access
from ansible_collections.phase.console.plugins.module_utils._target.local import read_env_file
from ansible_collections.phase.console.plugins.module_utils._upgrade import state

OURS = "ansible_collections.phase.console."
CALLS = ["open", "fdopen", "replace", "rename", "unlink", "makedirs", "fsync", "ftruncate", "pread", "pwrite"]
CALLS += ["stat", "listdir", "statvfs"]
REFUSALS = [errno.ENOSPC, errno.EROFS, errno.ENOTDIR, errno.EACCES, errno.EISDIR]
NOW = 1_790_000_000.0


class Refusing:
    """Makes call number ``at`` of our own code on a file fail; ``made`` is how many there were."""

    def __init__(self, monkeypatch, at, number):
        self.made, self._at, self._number = itertools.count(), at, number
        for module, name in [(builtins, "open"), *((os, name) for name in CALLS)]:
            monkeypatch.setattr(module, name, self._wrapped(getattr(module, name)))

    def turn(self, place=None):
        if next(self.made) == self._at:
            named = [os.fspath(place)] if isinstance(place, (str, os.PathLike)) else []
            raise OSError(self._number, os.strerror(self._number), *named)

    def _wrapped(self, real):
        def call(*given, **more):
            if not sys._getframe(1).f_globals.get("__name__", "").startswith(OURS):
                return real(*given, **more)
            self.turn(given[0])
            done = real(*given, **more)
            return Stream(done, self) if hasattr(done, "fileno") else done

        return call


class Stream:
    """A file whose every reading and writing is a call as well; as from the system, its errors name no path."""

    def __init__(self, stream, refusing):
        self._stream, self._refusing = stream, refusing

    def __getattr__(self, name):
        if name in ("read", "write", "flush", "truncate"):
            self._refusing.turn()
        return getattr(self._stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self._stream.close()


class Programs:
    """A target with a pg_dump and a pg_restore."""

    def pipe(self, argv, sink, *, image=None, stdin=None):
        restores = argv[4] != "pg_dump"
        sink(b"1; 0 1 TABLE DATA public api_app phase\n" if restores and list(stdin) else b"pg_dump 17.1")
        return 0, ""


def quiet(*words, **more):
    """Progress that nobody looks at."""


def write(path, content="{}"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


# Each makes what has to be there, and returns what a module then does.


def private(folder):
    return lambda: files.write_private(str(folder / "a"), b"content")


def upgrade_state(folder):
    given = {"action": "begin", "owner": {"id": "a"}, "owner_gone": False, "phase": None, "notes": {}}
    given.update(path=str(folder / "states" / "a.json"), upgrade_target={"image": "v2"})

    def run():
        begun = state.run_step(given, False, NOW)["state"]
        state.save(given["path"], state.load(given["path"]))
        state.save(given["path"], None)
        assert begun

    return run


def question(folder):
    path = str(folder / "q" / "a")

    def run():
        confirm.ask(path, 5.0, 0.0, lambda: NOW, quiet)
        confirm.give(path, confirm.KEPT, False, NOW)

    return run


def snapshot_file(folder):
    content = snapshot.body("phase_sso", {"database": "phase"}, "SpaceX", [], now=NOW)
    return lambda: snapshot.load(snapshot.save(str(folder / "snapshots"), content, {}), "phase_sso")


def published_ranges(folder):
    path = str(folder / "cache" / "cloudflare.json")
    given = {"source": "cloudflare", "cache": path, "urls": ["http://x"], "max_change": 1, "accept_change": True}
    answer = SimpleNamespace(body="\n".join(ranges.PUBLISHERS["cloudflare"].bundled).encode(), etag=None)
    now = datetime.datetime(2026, 8, 1, tzinfo=datetime.timezone.utc)

    def run():
        for _time in range(2):
            ranges.refresh(given, False, lambda url, etag: answer, lambda: now, quiet)

    return run


SURVEY = {"database": "phase", "server_version": "15.4", "bytes": 1, "migrations": 1, "leaf": "api.1"}
SURVEY["tables"] = [{"name": "public.api_app", "rows": 3}]


def backup_file(folder):
    write(folder / ".phase-old.dump.partial")
    target = SimpleNamespace(pipe=Programs().pipe, run=lambda *_asked: SURVEY)
    given = {"dest": str(folder) + "/", "force": False, "max_age": 60, "image": None, "pg_bin_dir": None}

    def run():
        for _time in range(2):
            backup.backup(target, dict(given, verify="full"), False, quiet, backup.time.time())

    return run


def backup_to_restore(folder):
    write(folder / "phase-a.dump", "dump")
    kept = {"bytes": 4, "sha256": "x", "started": "2026-01-01T00:00:00Z", "server_version": "15", "leaf": "api.1"}
    write(folder / "phase-a.dump.json", dict(kept, migrations=1))
    write(folder / "phase-b.dump", "dump")

    def run():
        path, _manifest = restore.chosen(str(folder))
        list(restore.fed(path, "reading", quiet, lambda: 0.0))
        backup.sha256(path)

    return run


def purge_archive(folder):
    (folder / "a").mkdir(mode=0o700)

    def run():
        place = archive.check_folder(str(folder / "a"))
        archive.check_room(place, 1)
        made = archive.Archive(place, {"database": {}}, "run", NOW)
        made.piece(0, b"rows")
        batch = {"batch": "1", "bytes": 4, "sha256": archive.hashlib.sha256(b"rows").hexdigest(), "rows": 1}
        made.settle(dict(batch, tables={"t": 1}, first="a", last="b"))
        made.outcome("1", "deleted")
        made.close(lambda unknown: {one["batch"]: "deleted" for one in unknown})

    return run


def purge_archive_left(folder):
    made = archive.Archive(str(folder), {"database": {}}, "run", NOW)
    made.piece(0, b"rows")
    batch = {"batch": "1", "bytes": 4, "sha256": archive.hashlib.sha256(b"rows").hexdigest(), "rows": 1}
    made.settle(dict(batch, tables={"t": 1}, first="a", last="b"))
    made.piece(0, b"cut off")
    for descriptor in made._files:
        os.close(descriptor)

    def run():
        for stem, journal in archive.left(str(folder), {}):
            archive.settle(stem, journal, lambda unknown: {one["batch"]: "deleted" for one in unknown})

    return run


def purge_archive_read(folder):
    purge_archive(folder)()
    stem = archive_check.stems(str(folder / "a"))[0]

    def run():
        try:
            archive_check.check(stem + archive.DATA, quiet, quiet)
        except archive_check.ArchiveDamaged as error:  # its rows are none
            raise PhaseError("%s %s" % (folder, error.message), "Mend.") from error

    return run


def nginx_configuration(folder):
    path = write(folder / "default.conf", "old")

    def run():
        nginx.wanted_from({"content": None, "src": path, "probe": "none", "attempts": 1, "hops": [], **AFTER})
        with nginx_file.only_one(path):
            nginx_file.write_journal(path, nginx_file.read(path))
            nginx_file.write_in_place(path, b"new")
            nginx_file.read_journal(path)
            nginx_file.remove_journal(path)

    return run


AFTER = {"restart": False, "reload_timeout": 1.0}


def kubeconfig(folder):
    known = {"clusters": [{"name": "c", "cluster": {"server": "https://x", "certificate-authority": "ca"}}]}
    known["users"] = [{"name": "u", "user": {"tokenFile": "token"}}]
    known["contexts"] = [{"name": "prod", "context": {"cluster": "c", "user": "u"}}]
    for name in ("ca", "token", "key"):
        write(folder / name)
    path, key = write(folder / "config", known), str(folder / "key")
    return lambda: access({"kubeconfig": path, "client_cert": key, "client_key": key}, {})


def env_file(folder):
    path = write(folder / "env", "DATABASE_HOST=x\n")
    return lambda: read_env_file(path)


@pytest.mark.parametrize("number", REFUSALS, ids=lambda number: errno.errorcode[number])
@pytest.mark.parametrize(
    "task",
    [
        *(private, upgrade_state, question, snapshot_file, published_ranges, backup_file, backup_to_restore),
        *(purge_archive, purge_archive_left, purge_archive_read, nginx_configuration, kubeconfig, env_file),
    ],
    ids=lambda task: task.__name__,
)
def test_a_refused_call_is_a_sentence_with_the_path(tmp_path, monkeypatch, task, number):
    refused, wrong = 0, []
    for at in itertools.count():
        folder = tmp_path / str(at)
        folder.mkdir(mode=0o700)
        run = task(folder)
        with monkeypatch.context() as patched:
            refusing = Refusing(patched, at, number)
            try:
                run()
            except Exception as error:
                refused += 1
                told = error if isinstance(error, PhaseError) else unforeseen(error)
                if str(folder) not in told.message or "[Errno" in told.message or told.kind == "unforeseen":
                    wrong.append((at, told.kind, told.message))
        if next(refusing.made) <= at:
            break
    assert not wrong
    assert refused > 0
