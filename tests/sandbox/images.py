# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's images, from Debian packages: no image registry is needed.

    python -m sandbox.images                       build what is missing or outdated
    python -m sandbox.images --only v2.66.0        one version's backend and frontend, and what they need
    python -m sandbox.images --remove              remove them all

Every image carries the label `phase.console.sandbox` with a hash of what it is made of, so an unchanged image is never
built twice and a tag that somebody else's image bears is never taken away. Containers inherit the label.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import _debian, noted
from . import engine as engines
from .engine import Engine

LABEL = "phase.console.sandbox"
BASE = "phase-console-sandbox/base:latest"
RUNTIME = "phase-console-sandbox/runtime:latest"
POSTGRES = "phase-console-sandbox/postgres:latest"
REDIS = "phase-console-sandbox/redis:latest"
NGINX = "phase-console-sandbox/nginx:latest"
ANSIBLE = "phase-console-sandbox/ansible:1"
"""ansible-core and this collection, for runs that a cluster schedules; made where a test asks for it. Of `latest` a
cluster would look for a newer one."""

PACKAGES = {
    POSTGRES: ["postgresql-[0-9]*"],
    REDIS: ["redis-server"],
    NGINX: ["nginx"],
    RUNTIME: ["python3", "python3-django", "python3-psycopg2", "gunicorn"],
}
SERVICES = (POSTGRES, REDIS, NGINX)
VERSIONS = ("v2.37.2", "v2.42.0", "v2.54.0", "v2.66.0", "v2.73.2")

HERE = Path(__file__).resolve().parent
_PROJECT = (
    HERE / "phase",
    HERE / "schema",
    HERE / "facts.py",
    HERE / "render.py",
)  # what a rendered checkout depends on
_COLLECTION = tuple(HERE.parents[1] / name for name in ("galaxy.yml", "meta", "playbooks", "plugins", "roles"))
_BASE_PACKAGES = "python3,ca-certificates"

ANOTHER_ENGINE = "Use another engine (DOCKER_HOST), or a private one (python -m sandbox.engine start)."


class ImagesError(Exception):
    """The images cannot be made here; the message says why and what to do."""


@dataclass(frozen=True)
class Image:
    """One image: a folder with a Dockerfile that starts `FROM ${BASE}`, the image it stands on, and its release."""

    name: str
    folder: str
    base: str
    version: str = ""
    checkout: bool = False
    collection: bool = False

    @property
    def sources(self) -> tuple[Path, ...]:
        """What of this project goes into it, beside its folder."""
        return _PROJECT if self.checkout else _COLLECTION if self.collection else ()


def _images() -> dict[str, Image]:
    stack = [
        Image(RUNTIME, "runtime", BASE),
        Image(POSTGRES, "postgres", BASE),
        Image(REDIS, "redis", BASE),
        Image(NGINX, "nginx", BASE),
        Image(ANSIBLE, "ansible", BASE, collection=True),
    ]
    for version in VERSIONS:
        stack.append(Image(backend(version), "backend", RUNTIME, version, checkout=True))
        stack.append(Image(without_psycopg2(version), "without_psycopg2", backend(version)))
        stack.append(Image(frontend(version), "frontend", BASE, version))
    return {image.name: image for image in stack}


def backend(version: str) -> str:
    return f"phasehq/backend:{version}"


def frontend(version: str) -> str:
    return f"phasehq/frontend:{version}"


def without_psycopg2(version: str) -> str:
    """A backend image whose Python lacks the database driver; it only sleeps."""
    return f"phasehq/backend:{version}-without-psycopg2"


IMAGES = _images()


def for_versions(versions: Iterable[str], services: Iterable[str] = SERVICES) -> list[str]:
    """The images a whole instance needs that may run these versions."""
    return [*services, *(name(version) for version in versions for name in (backend, frontend))]


# --- what an image is made of ---------------------------------------------------------------------------------------


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:32]


def _files(path: Path) -> list[bytes]:
    found = (
        [path]
        if path.is_file()
        else sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    )
    return [part for file in found for part in (str(file.relative_to(path.parent)).encode(), file.read_bytes())]


@functools.cache
def content(name: str) -> str:
    """A hash of all an image is made of: its base, its folder, its release, and what of the project it holds."""
    if name == BASE:
        return _digest(
            part.encode() for part in (_debian.SUITE, _BASE_PACKAGES, os.environ.get("PHASE_CONSOLE_BASE_IMAGE", ""))
        )
    image = IMAGES[name]
    parts = [content(image.base).encode(), image.version.encode(), *_files(HERE / "docker" / image.folder)]
    parts += [part for path in image.sources for part in _files(path)]
    return _digest(parts)


def labels(engine: Engine, names: Sequence[str]) -> dict[str, str | None]:
    """Each existing image's hash: None for an image that is not the sandbox's. Missing images are left out."""
    command = ["image", "inspect", "--format", "{{json .RepoTags}}\t{{json .Config.Labels}}", *names]
    found: dict[str, str | None] = {}
    for line in engine.docker(*command, check=False).splitlines():
        tags, label = (json.loads(field) for field in line.split("\t"))
        found.update({tag: (label or {}).get(LABEL) for tag in tags})
    return {name: found[name] for name in names if name in found}


def _with_bases(names: Iterable[str]) -> list[str]:
    """The images with all they stand on, bases first."""
    ordered: dict[str, None] = {}

    def add(name: str) -> None:
        if name != BASE:
            add(IMAGES[name].base)
        ordered[name] = None

    for name in names:
        add(name)
    return list(ordered)


# --- building -------------------------------------------------------------------------------------------------------


def ensure(
    engine: Engine, names: Iterable[str] | None = None, report: Callable[[str], None] = lambda message: None
) -> list[str]:
    """Build the images (default: every release's) that are missing or outdated; return them. Raises ImagesError."""
    needed = _with_bases(for_versions(VERSIONS) if names is None else names)
    present = labels(engine, needed)
    foreign = [name for name, label in present.items() if label is None]
    if foreign:
        raise ImagesError(
            f"This Docker engine holds {', '.join(foreign)}, which the sandbox has not made: somebody's real Phase, "
            f"which the tests leave alone. {ANOTHER_ENGINE}"
        )
    age = max((days(engine, name) for name in present), default=0)
    if age and os.environ.get("CI") != "true":
        report(f"The images are up to {age} days old. `--fresh` makes them of today's packages, as CI does.")
    if not _outdated(engine, needed, present):
        return []
    with engines.lock("images"):  # another run may have built them while this one waited
        outdated = _outdated(engine, needed, labels(engine, needed))
        for name in outdated:
            started = time.monotonic()
            if name == BASE:
                _make_base(engine)
            else:
                _build(engine, IMAGES[name])
            report(f"{name}: {time.monotonic() - started:.1f} s")
        # What the new images replaced, unless a container still runs it: the cache must not grow with every change.
        engine.docker("image", "prune", "--force", "--filter", f"label={LABEL}", check=False)
    return outdated


def _outdated(engine: Engine, needed: list[str], present: dict[str, str | None]) -> list[str]:
    """Those that are missing, were made of other files or, in CI, of packages of another day."""
    daily = os.environ.get("CI") == "true"
    return [name for name in needed if present.get(name) != content(name) or (daily and days(engine, name) > 0)]


def days(engine: Engine, name: str) -> int:
    """The age of an image."""
    made = engine.docker("image", "inspect", "--format", "{{.Created}}", name)[:19]
    then = datetime.datetime.fromisoformat(made).replace(tzinfo=datetime.timezone.utc)
    return (datetime.datetime.now(tz=datetime.timezone.utc) - then).days


def note_versions(engine: Engine) -> None:
    """Of the packages in the images that the tests run."""
    for image, packages in PACKAGES.items():
        form = "--showformat=${Package} ${Version}\\n"
        said = engine.docker("run", "--rm", "--entrypoint=dpkg-query", image, "--show", form, *packages, check=False)
        for line in said.splitlines():
            name, _space, version = line.partition(" ")
            if not version:  # a name that another package mentions
                continue
            noted.note(f"{name} (in containers)", version)


def _build(engine: Engine, image: Image) -> None:
    with tempfile.TemporaryDirectory(prefix="phase-console-") as scratch:
        context = HERE / "docker" / image.folder
        if image.sources:
            if image.checkout:
                _render(image.version, Path(scratch) / "checkout")
            else:
                _copy_collection(Path(scratch) / "collection")
            dockerfile = Path(scratch) / "Dockerfile"
            dockerfile.write_bytes((context / "Dockerfile").read_bytes())
            context = Path(scratch)
        # The classic builder is in every engine and takes local images as a base; BuildKit may lack its plugin.
        command = [
            "docker",
            "build",
            "--quiet",
            "--network",
            "host",
            "--force-rm",
            "--tag",
            image.name,
            "--label",
            f"{LABEL}={content(image.name)}",
            "--build-arg",
            f"BASE={image.base}",
        ]
        if image.version and not image.checkout:
            command += ["--build-arg", f"VERSION={image.version}"]
        command.append(str(context))
        done = subprocess.run(
            command, env={**engine.environment(), "DOCKER_BUILDKIT": "0"}, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise ImagesError(f"Building {image.name} failed: {(done.stdout + done.stderr).strip()[-2000:]}")


def _render(version: str, destination: Path) -> None:
    command = [sys.executable, "-m", "sandbox.render", version, str(destination)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(HERE.parent)}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ImagesError(f"Rendering the sandbox Phase {version} failed: {done.stderr.strip()[-1000:]}")


def _copy_collection(destination: Path) -> None:
    destination.mkdir()
    for path in _COLLECTION:
        if path.is_dir():
            shutil.copytree(path, destination / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, destination)


def _make_base(engine: Engine) -> None:
    given = os.environ.get("PHASE_CONSOLE_BASE_IMAGE")
    label = f"{LABEL}={content(BASE)}"
    if given:  # a Debian image that the engine has or can pull
        engine.docker("build", "--tag", BASE, "--label", label, "-", stdin=f"FROM {given}\n{_BASE_FROM_IMAGE}".encode())
        return
    if os.geteuid() != 0 or engines.which("debootstrap") is None:
        raise ImagesError(
            "The base image is made with debootstrap, by root. Install debootstrap, or name a Debian 13 image in "
            "PHASE_CONSOLE_BASE_IMAGE that this engine has or can pull."
        )
    _debian.cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rootfs-", dir=_debian.cache_folder()) as scratch:
        root = Path(scratch) / "root"
        command = [
            *("unshare", "--mount"),  # or what it mounts would stay where it is killed
            str(engines.which("debootstrap")),
            "--variant=minbase",
            f"--include={_BASE_PACKAGES}",
            _debian.SUITE,
            str(root),
            _debian.mirror(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ImagesError(f"debootstrap failed: {(done.stdout + done.stderr).strip()[-1000:]}")
        (root / "etc/apt/apt.conf.d/99machine").write_text(_debian.apt_settings(), encoding="utf-8")
        _import(engine, root, label)


_BASE_FROM_IMAGE = """\
RUN apt-get update \\
 && apt-get install --yes --no-install-recommends python3 ca-certificates \\
 && rm -rf /var/lib/apt/lists/*
"""


def _import(engine: Engine, root: Path, label: str) -> None:
    unneeded = [
        f"--exclude=./{path}"
        for path in (
            "var/cache/apt/archives/*.deb",
            "var/lib/apt/lists/*",
            "usr/share/doc/*",
            "usr/share/man/*",
            "usr/share/locale/*",
            "var/log/*.log",
        )
    ]
    tar = subprocess.Popen(["tar", "--create", "--directory", str(root), *unneeded, "."], stdout=subprocess.PIPE)
    imported = subprocess.run(
        ["docker", "import", "--change", f"LABEL {label}", "-", BASE],
        stdin=tar.stdout,
        env=engine.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if tar.stdout is not None:
        tar.stdout.close()  # or tar would wait for a reader that has failed
    if tar.wait() or imported.returncode:
        raise ImagesError(f"docker import failed: {imported.stderr.strip()[-1000:]}")


# --- tags -----------------------------------------------------------------------------------------------------------


def point_latest(engine: Engine, version: str) -> None:
    """Let `phasehq/{backend,frontend}:latest` be this version, as after a pull. A foreign image keeps its tag."""
    for name in (backend, frontend):
        if labels(engine, [name("latest")]).get(name("latest"), "") is None:
            raise ImagesError(f"{name('latest')} on this Docker engine is not the sandbox's. {ANOTHER_ENGINE}")
        engine.docker("tag", name(version), name("latest"))


def forget_latest(engine: Engine) -> None:
    """Take the `:latest` tags away again, so that nothing on this engine runs a sandbox image by accident."""
    ours = [tag for tag, label in labels(engine, [backend("latest"), frontend("latest")]).items() if label]
    for tag in ours:
        engine.docker("image", "rm", tag, check=False)


def remove(engine: Engine) -> list[str]:
    """Remove every image of the sandbox that no container uses; return the names."""
    forget_latest(engine)
    ours = [name for name, label in labels(engine, [*reversed(IMAGES), BASE]).items() if label]
    for name in ours:
        engine.docker("image", "rm", name, check=False)
    return ours


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.images", description="The sandbox's Docker images.")
    parser.add_argument(
        "--only", action="append", choices=VERSIONS, metavar="VERSION", help="this version alone; may be repeated"
    )
    parser.add_argument("--fresh", action="store_true", help="build them anew, of today's packages")
    parser.add_argument("--remove", action="store_true", help="remove the sandbox's images")
    arguments = parser.parse_args(argv)
    names = for_versions(arguments.only) if arguments.only else None
    try:
        with engines.running() as engine:
            if arguments.remove:
                print("\n".join(remove(engine)) or "nothing to remove")
                return 0
            if arguments.fresh:
                remove(engine)
            built = ensure(engine, names, report=lambda line: print(line, flush=True))
    except (engines.EngineMissing, _debian.DebianError, ImagesError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(built)} built, the others are up to date" if built else "every image is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
