# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Python environments, made by plain pip from pinned requirement files, and the interpreters of this machine."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from .paths import BUILD, CACHE, REQUIREMENTS, ROOT

RUN_REQUIREMENTS = (REQUIREMENTS / "run.txt", ROOT / "tests" / "sandbox" / "requirements.txt")
STAMP = "phase.console.json"


class SetupError(Exception):
    """Something on this machine stands in the way; the message says what to do."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Keep a second run of the tools out while this one makes `path`."""
    locks = BUILD / "locks" if path.is_relative_to(ROOT) else CACHE / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / path.name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: list[str], log: TextIO | None) -> None:
    output = log or subprocess.PIPE
    done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SetupError(f"{' '.join(command)} failed: {(done.stdout or '')[-2000:]}")


def _create(path: Path, python: str, log: TextIO | None) -> None:
    """Make an empty environment with pip; Debian's Python may come without ensurepip, then its own pip helps."""
    if path.exists():
        shutil.rmtree(path)
    if subprocess.run([python, "-c", "import ensurepip"], capture_output=True, check=False).returncode == 0:
        _run([python, "-m", "venv", str(path)], log)
        return
    if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        raise SetupError(f"{python} has neither ensurepip nor pip. On Debian and Ubuntu: apt install python3-venv")
    _run([python, "-m", "venv", "--without-pip", str(path)], log)
    _run([python, "-m", "pip", "--python", str(path / "bin" / "python"), "install", "--quiet", "pip"], log)


class Environment:
    """A virtual environment that knows which requirement files it holds."""

    def __init__(self, path: Path, python: str = sys.executable) -> None:
        self.path, self.python = path, python
        self.bin = path / "bin"

    def require(self, *requirements: Path, log: TextIO | None = None) -> Environment:
        """Install what is not there yet, and nothing when all of it is."""
        with exclusive(self.path):
            wanted = {str(file.relative_to(ROOT)): _digest(file) for file in requirements}
            held = self._held()
            if held is None:
                _create(self.path, self.python, log)
                held = {}
            missing = [file for file in requirements if held.get(str(file.relative_to(ROOT))) != _digest(file)]
            if missing:
                pip = [str(self.bin / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                _run(pip + [part for file in missing for part in ("-r", str(file))], log)
            self._write_stamp({**held, **wanted})
        return self

    def site_packages(self) -> Path:
        return next(iter(sorted((self.path / "lib").glob("python3.*/site-packages"))))

    def _held(self) -> dict[str, str] | None:
        """What the stamp says, or None where there is no usable environment of this Python."""
        try:
            stamp = json.loads((self.path / STAMP).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        usable = stamp["python"] == _identity(self.python) and (self.bin / "python").exists() and not self._outdated()
        return dict(stamp["requirements"]) if usable else None

    def _outdated(self) -> bool:
        """In CI after a day: the packages that the pinned ones ask for are not pinned themselves."""
        made = (self.path / "pyvenv.cfg").stat().st_mtime
        return os.environ.get("CI") == "true" and time.time() - made > 24 * 3600

    def _write_stamp(self, requirements: dict[str, str]) -> None:
        stamp = {"python": _identity(self.python), "requirements": requirements}
        (self.path / STAMP).write_text(json.dumps(stamp, indent=1), encoding="utf-8")


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@functools.cache
def _identity(python: str) -> str:
    code = "import sys; print(sys.base_prefix, sys.version)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def cached_environment(
    name: str, *requirements: str, python: str = sys.executable, log: TextIO | None = None
) -> Environment:
    """An environment outside the checkout, named by what is in it: files of tests/requirements."""
    files = [REQUIREMENTS / f"{requirement}.txt" for requirement in requirements]
    key = hashlib.sha256("".join([_identity(python), *map(_digest, files)]).encode()).hexdigest()[:12]
    return Environment(CACHE / "venvs" / f"{name}-{key}", python).require(*files, log=log)


def project_environment(*more: Path, log: TextIO | None = None) -> Environment:
    """``.venv`` of the checkout: Ansible, the drivers, the sandbox's packages, and the collection linked into it."""
    environment = Environment(ROOT / ".venv").require(*RUN_REQUIREMENTS, *more, log=log)
    with exclusive(environment.path):  # two tiers begin at once
        _link_collection(environment.site_packages() / "ansible_collections" / "phase" / "console")
    return environment


def _link_collection(target: Path) -> None:
    """Only what Ansible uses, as links: an edit takes effect at once, and nothing walks in circles through .venv."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("galaxy.yml", "meta", "playbooks", "plugins", "roles"):
        link, source = target / name, ROOT / name
        if source.exists() and not (link.is_symlink() and link.resolve() == source):
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(source, target))


@functools.cache
def interpreters(versions: tuple[str, ...]) -> dict[str, Path]:
    """Real interpreters by version, such as ``{"3.9": Path(".../bin/python3.9")}``; found by running them.

    A pyenv shim is on PATH even where it runs nothing, and ansible-test cannot use one: what counts is the program
    that a Python says it is.
    """
    found = {}
    for version in versions:
        candidates = [shutil.which(f"python{version}")]
        candidates += sorted(str(path) for path in _pyenv_versions().glob(f"{version}.*/bin/python{version}"))
        for candidate in candidates:
            real = candidate and _real_executable(candidate, version)
            if real:
                found[version] = real
                break
    return found


def _real_executable(candidate: str, version: str) -> Path | None:
    code = "import os, sys; print('%d.%d' % sys.version_info[:2], os.path.realpath(sys.executable))"
    done = subprocess.run([candidate, "-I", "-c", code], capture_output=True, text=True, check=False)
    reported, *path = done.stdout.strip().split(" ", 1)
    return Path(path[0]) if done.returncode == 0 and reported == version else None


def _pyenv_versions() -> Path:
    if os.environ.get("PYENV_ROOT"):
        return Path(os.environ["PYENV_ROOT"]) / "versions"
    if shutil.which("pyenv"):
        done = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False)
        return Path(done.stdout.strip() or "/nonexistent") / "versions"
    return Path.home() / ".pyenv" / "versions"
