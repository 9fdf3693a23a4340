# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real nginx, HAProxy, Caddy and PgBouncer on this host, out of Debian packages that are unpacked, not installed.

They bring their own C library and loader, so they run on any Linux of the same processor.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import _debian

_BASE = ("libc6", "libcrypt1", "libpcre2-8-0", "zlib1g")

# The oldest nginx that is supported, and one that has the directive http2.
PACKAGES = {
    "bookworm": (*_BASE, "libssl3", "nginx"),
    "trixie": (
        *_BASE,
        *("libssl3t64", "libzstd1", "nginx", "caddy", "haproxy"),
        *("libjemalloc2", "libstdc++6", "libgcc-s1", "liblua5.4-0", "libopentracing-c-wrapper0t64", "libopentracing1"),
    ),
    "pgbouncer": (
        *("libc6", "libcares2", "libevent-2.1-7t64", "libssl3t64", "libzstd1", "zlib1g"),
        *("libpam0g", "libaudit1", "libcap-ng0", "libsystemd0", "libcap2", "pgbouncer"),
    ),
}
SUITES = {"pgbouncer": "trixie"}


@dataclass(frozen=True)
class Programs:
    """The programs of one suite, unpacked under ``root``."""

    root: Path

    def command(self, program: str) -> list[str]:
        """What starts a program, such as ``nginx``: its own loader, its libraries, the program."""
        found = next(
            path for path in (self.root / "usr/sbin" / program, self.root / "usr/bin" / program) if path.exists()
        )
        libraries = ":".join(str(folder) for folder in sorted(self.root.glob("**/*-linux-gnu*")) if folder.is_dir())
        return [str(next(self.root.glob("**/ld-linux*.so.*"))), "--library-path", libraries, str(found)]


def programs(suite: str) -> Programs:
    """The packages of a suite, or of one program, unpacked once into the cache. Raises DebianError, with what to do,
    where Debian's packages cannot be had."""
    packages = PACKAGES[suite]
    cache = _debian.cache_folder() / "proxies"
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / suite
    with (cache / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        listed = root / "packages"
        if not listed.exists() or listed.read_text(encoding="utf-8").split() != list(packages):
            shutil.rmtree(root, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                for package in _debian.download(list(packages), Path(scratch), SUITES.get(suite, suite)):
                    subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)
            listed.write_text("\n".join(packages), encoding="utf-8")
    return Programs(root)
