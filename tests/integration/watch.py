# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Looking for planted secrets wherever they could get out, while something runs."""

from __future__ import annotations

import base64
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from integration.harness import Ansible, Run
from sandbox.local import LocalInstance

MOST_BYTES = 20_000_000
EVERY = 0.05


def forms(secret: str) -> set[bytes]:
    """A secret as it is, in a URL, in JSON, in Python's repr, and in base64."""
    written = {secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    return {form.encode() for form in written} | {base64.b64encode(secret.encode()).rstrip(b"=")}


class Watch:
    """While its block runs, samples the arguments of all processes and the files that are written to `folders`.

    `found` has a line for each place where a secret was; `arguments` the number of samples, since a watch that has
    not looked proves nothing. What lies in `own` may hold secrets: it is where they were planted.
    """

    def __init__(self, secrets: Mapping[str, str], folders: Iterable[Path] = (), own: Iterable[Path] = ()) -> None:
        self.secrets = {name: forms(secret) for name, secret in secrets.items() if secret}
        self.folders = list(folders)
        self.own = [path.resolve() for path in own]
        self.found: list[str] = []
        self.samples = 0
        self._seen: dict[Path, int] = {}
        self._arguments: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    @classmethod
    def for_local(cls, instance: LocalInstance, ansible: Ansible) -> Watch:
        """For what a local instance knows, and the folders that Ansible writes to."""
        planted = {name: instance.environment[name] for name in ("DATABASE_PASSWORD", "SECRET_KEY", "SERVER_SECRET")}
        return cls({**planted, "the URL": instance.database_url}, [ansible.folder], [instance.directory])

    def __enter__(self) -> Watch:
        self._started = time.time()
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look_at_files()

    def look_at(self, place: str, content: bytes | str) -> None:
        raw = content.encode() if isinstance(content, str) else content
        for name, written in self.secrets.items():
            if any(form in raw for form in written):
                self.found.append(f"{name} in {place}")

    def look_at_run(self, run: Run) -> None:
        """What a user saw, and every result, masked or not."""
        self.look_at("the output", run.output())
        self.look_at("the results", (run.folder / "record").read_bytes())

    def _sample(self) -> None:
        while not self._stop.wait(EVERY):
            self._look_at_processes()
            if self.samples % 10 == 0:
                self._look_at_files()
            self.samples += 1

    def _look_at_processes(self) -> None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    arguments = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if arguments not in self._arguments:
                    self._arguments.add(arguments)
                    self.look_at(f"the arguments of {arguments[:60]!r}", arguments)

    def _look_at_files(self) -> None:
        for folder in [*self.folders, *self._new_in(Path(tempfile.gettempdir()))]:
            for path in _files(folder):
                self._look_at_file(path)

    def _new_in(self, folder: Path) -> Iterator[Path]:
        """What was put there meanwhile, by a program that does not ask for the folder of temporary files.

        Not what runc puts there for a moment whenever a container is given a process, whoever asks for it: the
        container's environment is in it.
        """
        entries = (entry for entry in os.scandir(folder) if not entry.name.startswith("runc-process"))
        for entry in entries:
            try:
                if entry.stat(follow_symlinks=False).st_mtime >= self._started - 1:
                    yield Path(entry.path)
            except OSError:
                continue

    def _look_at_file(self, path: Path) -> None:
        try:
            state = path.stat()
            new = state.st_mtime >= self._started - 1 and self._seen.get(path) != state.st_mtime_ns
            if new and state.st_size <= MOST_BYTES and not any(path.is_relative_to(own) for own in self.own):
                self._seen[path] = state.st_mtime_ns
                self.look_at(str(path), path.read_bytes())
        except OSError:
            return  # gone, or not for us


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
    for base, folders, names in os.walk(folder, onerror=None):
        # A server's own data are where secrets belong.
        folders[:] = [name for name in folders if name not in ("base", "pg_wal", "site-packages", "__pycache__")]
        yield from (Path(base) / name for name in names if not (Path(base) / name).is_symlink())
