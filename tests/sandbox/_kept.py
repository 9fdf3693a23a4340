# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases in containers that were made before: initdb, all migrations and the seeder take longer than a copy.

One of the same day alone, because events are seeded up to now.
"""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from . import _debian, images

if TYPE_CHECKING:
    from ._containers import ContainerInstance

MOST_EVENTS = 20_000  # above that the disk is better used otherwise
KEPT = 16
DATA = "/var/lib/postgresql/data"
FOLDER = "/kept"


def start_database(instance: ContainerInstance, events: int) -> None:
    """Start phase-postgres with all migrations of the instance's release, organisations and so many events."""
    # What TLS needs is in PostgreSQL's settings, and so among its data.
    worth = events <= MOST_EVENTS and instance.variant.tls == "off"
    archive = _place(instance, events)
    if worth and archive.exists():
        _tar(instance, archive, "--extract", f"--file={FOLDER}/{archive.name}")
        instance._start_database()
        _set_password(instance)
        return
    instance._start_database()
    instance.manage("migrate", "--verbosity", "0")
    instance.manage("seed", "--events", str(events))
    if worth:
        instance.stop_service("postgres")
        fresh = archive.with_suffix(".fresh")
        archive.parent.mkdir(parents=True, exist_ok=True)
        _tar(instance, archive, "--create", f"--file={FOLDER}/{fresh.name}", ".")
        fresh.replace(archive)
        for old in sorted(archive.parent.glob("*.tar"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            old.unlink()
        instance.start_service("postgres")
        instance.wait_database()


def _place(instance: ContainerInstance, events: int) -> Path:
    made_of = [images.content(images.POSTGRES), images.content(images.backend(instance.version))]
    made_of += [Path(__file__).read_text(encoding="utf-8"), instance.variant.auth, str(events)]
    key = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:20]
    today = datetime.datetime.now(tz=datetime.timezone.utc).date()
    return _debian.cache_folder() / "docker" / "databases" / f"{today}-{key}.tar"


def _tar(instance: ContainerInstance, archive: Path, *arguments: str) -> None:
    """tar on the volume, in a container, so that owners and modes are the image's."""
    mounts = [f"--volume={instance.volume}:{DATA}", f"--volume={archive.parent}:{FOLDER}"]
    command = ["--entrypoint=tar", images.POSTGRES, f"--directory={DATA}", *arguments]
    instance.docker("run", "--rm", *mounts, *command)


def _set_password(instance: ContainerInstance) -> None:
    """Each instance has its own; it goes through a pipe, since arguments can be read by everyone."""
    user, password = (instance.environment[f"DATABASE_{key}"] for key in ("USER", "PASSWORD"))
    statement = "ALTER ROLE \"{}\" PASSWORD '{}';\n".format(user, password.replace("'", "''"))
    psql = ["psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--username={user}", "postgres"]
    instance.engine.docker("exec", "--interactive", "phase-postgres", *psql, stdin=statement.encode())
