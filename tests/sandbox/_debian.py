# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages: the mirror this machine already uses, installations, and downloads that leave the machine alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SUITE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SERVICE_POLICY = Path("/usr/sbin/policy-rc.d")

# What a mirror behind a proxy or a snapshot needs; nothing else of the machine's apt configuration goes into an image.
_SETTINGS = re.compile(r'^Acquire::(?:https?::Proxy|Check-Valid-Until|Check-Date|Retries)\b.* "[^"]*";$', re.MULTILINE)


class DebianError(Exception):
    """Debian's packages cannot be had from here; the message says how they could."""


class _Source(NamedTuple):
    uri: str
    release: str
    component: str
    origin: str
    label: str


def cache_folder() -> Path:
    """Where engines and images survive between runs: outside the checkout, one for all checkouts."""
    return Path(os.environ.get("PHASE_CONSOLE_CACHE") or "~/.cache/phase.console").expanduser()


def _os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    return {key: value.strip('"') for key, _separator, value in (line.partition("=") for line in lines)}


def _sources() -> list[_Source]:
    form = "|".join(f"$({name})" for name in ("REPO_URI", "RELEASE", "COMPONENT", "ORIGIN", "LABEL"))
    try:
        listing = subprocess.run(
            ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return []
    return [_Source(*line.split("|")) for line in listing.splitlines() if line.count("|") == 4]


def choose_mirror(sources: list[_Source], codename: str) -> str | None:
    """The first http(s) archive of Debian itself. Before the first `apt-get update` apt knows no origin: then the
    source that carries the system's own release (`codename`, empty on other systems than Debian) must do."""
    usable = [source for source in sources if source.uri.startswith("http") and source.component == "main"]
    named = [source.uri for source in usable if (source.origin, source.label) == ("Debian", "Debian")]
    fallback = [source.uri for source in usable if codename and source.release == codename]
    return next(iter(named + fallback), None)


def mirror() -> str:
    """The Debian archive of this machine's own apt configuration, or PHASE_CONSOLE_DEBIAN_MIRROR."""
    system = _os_release()
    codename = system.get("VERSION_CODENAME", "") if system.get("ID") == "debian" else ""
    chosen = os.environ.get("PHASE_CONSOLE_DEBIAN_MIRROR") or choose_mirror(_sources(), codename)
    if not chosen:
        raise DebianError(
            "This machine's apt names no Debian archive. Set PHASE_CONSOLE_DEBIAN_MIRROR to the URL of one."
        )
    return chosen


DAY = 24 * 3600


def outdated(path: Path) -> bool:
    """Whether something that was made of packages has to be made anew: in CI after a day, elsewhere never.

    What a cache keeps would hide what the distribution ships by now.
    """
    return os.environ.get("CI") == "true" and time.time() - path.stat().st_mtime > DAY


def apt_settings() -> str:
    """Lines for an apt.conf: the proxy and date checks of this machine."""
    try:
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
    return "".join(f"{line}\n" for line in _SETTINGS.findall(dump))


def install(packages: Sequence[str]) -> None:
    """Install packages of this machine's own release and start none of their services; one run at a time.

    Raises DebianError where apt or root is missing, or apt fails.
    """
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise DebianError(f"apt and root could install {', '.join(packages)}.")
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _no_services():
            for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
                done = subprocess.run(
                    ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *arguments],
                    env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    raise DebianError(f"apt-get {arguments[0]} failed: {done.stderr.strip()[-400:]}")


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """The tests start what they need themselves, on ports of their own."""
    if SERVICE_POLICY.exists():
        yield
        return
    SERVICE_POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    SERVICE_POLICY.chmod(0o755)
    try:
        yield
    finally:
        SERVICE_POLICY.unlink()


def security_mirror() -> str:
    """The archive of Debian's security updates: beside the other one."""
    named = [source.uri for source in _sources() if source.release.endswith("-security")]
    return next(iter(named), re.sub(r"/debian/?$", "/debian-security", mirror()))


def _apt(state: Path, suite: str, security: bool) -> list[str]:
    """An apt-get that lives in `state` alone and knows no installed package, with the lists of `suite`."""
    if not KEYRING.exists():
        raise DebianError(f"{KEYRING} is missing. Install the package debian-archive-keyring.")
    for folder in ("lists/partial", "archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    lines = [f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n"]
    if security:
        lines.append(f"deb [signed-by={KEYRING}] {security_mirror()} {suite}-security main\n")
    (state / "sources.list").write_text("".join(lines), encoding="utf-8")
    options = {
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Sandbox::User": "",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    apt = ["apt-get", "-q"] + [f"-o{name}={value}" for name, value in options.items()]
    _run(apt, state, "update")
    return apt


def _run(apt: list[str], state: Path, *arguments: str) -> str:
    done = subprocess.run([*apt, *arguments], cwd=state, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DebianError(f"apt-get {arguments[0]} from {mirror()} failed: {done.stderr.strip()[-400:]}")
    return done.stdout


def download(packages: list[str], state: Path, suite: str = SUITE, *, security: bool = False) -> list[Path]:
    """Download packages of `suite` with an apt that lives in `state` alone: the system gains no source; no root.

    With `security`, as they are with the security updates of the day.
    """
    _run(_apt(state, suite, security), state, "download", *packages)
    return [sorted(state.glob(f"{package}_*.deb"))[-1] for package in packages]


def needed(packages: list[str], state: Path, suite: str, *, security: bool = False) -> list[str]:
    """The packages and all that they depend on, as an installation on an empty machine would have them."""
    apt = _apt(state, suite, security)
    told = _run(apt, state, "install", "--simulate", "--no-install-recommends", *packages)
    return re.findall(r"^Inst (\S+)", told, re.MULTILINE)
