# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""A real disk that is too small for the copy of a rewrite, with the WAL on another one and on the same."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from integration.forks import eventually
from integration.purging import Instance
from integration.rewriting import STATE, Subject
from integration.vacuuming import Vacuum
from sandbox.local import DATABASE, LocalInstance
from sandbox.postgresql import Server, server_user

MB = 1 << 20


@dataclass
class Small:
    """A server whose data are on a file system of their own, and ballast that fills it up."""

    server: Server
    database_url: str

    @property
    def ballast(self) -> Path:
        return self.server.home / "ballast"

    def leave(self, room: int) -> None:
        """Fill the disk until that many bytes are free."""
        volume = os.statvfs(self.server.home)
        self.ballast.write_bytes(b"\0" * (volume.f_bavail * volume.f_frsize - room))

    def make_room(self) -> None:
        self.ballast.unlink()


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    started = module_local_instance("v2.73.2", events=8000, superuser=False)
    started.stop()
    return started


@contextlib.contextmanager
def small_disk(instance: LocalInstance, wal_elsewhere: Path | None) -> Iterator[Small]:
    """The instance's database on a disk in memory. Only root may make one."""
    home = Path(tempfile.mkdtemp(prefix="phase-sandbox-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", home], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        home.rmdir()
        text = f"A small file system cannot be mounted here: {mounted.stderr.strip() or 'not as this account'}"
        assert os.environ.get("CI") != "true", text
        pytest.skip(text)
    port = instance.postgres_port
    server = Server(home, port, home / "note.json", home / "log", instance.server.version)
    try:
        server.make_home()
        subprocess.run(["cp", "-a", instance.server.data, server.data], check=True)
        if wal_elsewhere is not None:
            subprocess.run(["mv", server.data / "pg_wal", wal_elsewhere], check=True)  # with its owner
            (server.data / "pg_wal").symlink_to(wal_elsewhere / "pg_wal")
        server.start()
        yield Small(server, instance.database_url)
    finally:
        server.stop()
        subprocess.run(["umount", home], check=True)
        home.rmdir()


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on the ordinary disk that the server's account can reach."""
    folder = Path(tempfile.mkdtemp(prefix="phase-sandbox-"))
    user = server_user()
    if user is not None:
        shutil.chown(folder, user)
    yield folder
    shutil.rmtree(folder)


def test_no_room_for_the_copy(instance: LocalInstance, elsewhere: Path) -> None:
    """Refused beforehand where the disk can be seen; else it is found out on the way, and all is as before."""
    with small_disk(instance, elsewhere) as small:
        subject = Subject(small, DATABASE)  # type: ignore[arg-type]
        purges, vacuum = Instance(subject.url), Vacuum(subject)
        before = subject.rows(), subject.sql(STATE)
        small.leave(4 * MB)
        most_stay = {"all_organisations": True, "retain_days": 170}
        with pytest.raises(PhaseError) as refused:
            purges.purge(strategy="rewrite", **most_stay)
        assert refused.value.kind == "rewrite_refused" and "no room for the copy" in refused.value.message
        assert "Nothing was changed" in refused.value.next_step
        assert "no room for the copy" in vacuum.refused("rewrite", force=True).message
        assert (subject.rows(), subject.sql(STATE)) == before
        assert subject.leftovers() is None and not subject.lingering()

        subject.administrator("grant pg_read_all_settings to phase")  # who may know where the data are sees the disk
        for check in (True, False):
            with pytest.raises(PhaseError) as refused:
                purges.purge(check=check, strategy="rewrite", **most_stay)
            assert refused.value.kind == "rewrite_refused" and "have to be free" in refused.value.message
        assert purges.purge(check=True, **most_stay)["strategy"] == "delete", "auto takes what needs no room"
        paused = purges.purge(strategy="delete", throttle={"free_disk": "20MB"}, max_duration="1s", **most_stay)
        assert (paused["deleted"], paused["stopped_by"]) == (0, "max_duration") and paused["paused"]["free_disk"] > 0
        assert "have to be free" in vacuum.refused("rewrite", free_space=None, force=True).message
        assert (subject.rows(), subject.sql(STATE)) == before

        kept = subject.kept()
        assert purges.purge(strategy="delete", **most_stay)["deleted"] > 100
        small.make_room()
        done = purges.purge(strategy="rewrite", all_organisations=True, retain_days=30)
        assert done["deleted"] > 100 and subject.rows() == kept and subject.sql(STATE) == before[1]


def test_no_room_for_the_wal(instance: LocalInstance) -> None:
    """The server itself gives up; once it has room and is started again, the next run puts everything right."""
    with small_disk(instance, None) as small:
        subject = Subject(small, DATABASE)  # type: ignore[arg-type]
        purges, every, kept, state = Instance(subject.url), subject.rows(), subject.kept(), subject.sql(STATE)
        small.leave(MB)
        with pytest.raises(PhaseError) as failed:
            for _turn in range(8):  # until the segments that are there are full
                subject.rewrite("false")
                small.ballast.unlink()
                small.leave(MB)
        assert failed.value.kind in ("rewrite_refused", "database_unreachable", "database_error"), failed.value
        small.make_room()
        if not small.server.answers():
            small.server.stop()
            small.server.start()
        eventually(lambda: not subject.sessions(), 20)
        assert subject.rows() == every
        done = purges.purge(strategy="rewrite", all_organisations=True, retain_days=30)
        assert done["deleted"] > 100 and subject.rows() == kept and subject.sql(STATE) == state
        assert subject.leftovers() is None
