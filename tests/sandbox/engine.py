# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker engine for the tests: the one that runs here or, when asked for, a private one.

    python -m sandbox.engine status          which engine would be used
    python -m sandbox.engine start           start a private engine if none runs; installs what is missing (apt, root)
    python -m sandbox.engine env             shell lines that point docker and docker compose at it
    python -m sandbox.engine stop            stop the private engine; never another one

The private dockerd keeps its images in the cache folder (PHASE_CONSOLE_CACHE), so that they survive between runs, has a
socket, an exec root and a subnet of its own, and needs no systemd.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import ipaddress
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import _debian, _locks, noted

DEFAULT_SOCKET = Path("/var/run/docker.sock")
PLUGINS = {"compose": "docker-compose", "buildx": "docker-buildx"}  # plugin -> Debian package
START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0
COMMAND_TIMEOUT = 600.0

# Candidates: (bridge, pool of the compose networks). The first that nothing here routes is taken.
SUBNETS = [(f"10.{second}.0.1/24", f"10.{second}.128.0/17") for second in (213, 219, 223, 227, 233)]

HOW_TO_GET_ONE = (
    "Start Docker, or set DOCKER_HOST, or run the tests as root on Debian or Ubuntu with --with-engines: "
    "that installs docker.io with apt and starts a private engine."
)


class EngineMissing(Exception):
    """There is no engine; the message says how to get one."""


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers. `config` is a folder for DOCKER_CONFIG where the plugins are, None when docker
    finds them by itself; `started` tells whether this process started it (and so stops it)."""

    host: str
    config: Path | None = None
    started: bool = False

    def variables(self) -> dict[str, str]:
        """What docker, docker compose and the Docker SDK need in their environment."""
        return {"DOCKER_HOST": self.host, **({"DOCKER_CONFIG": str(self.config)} if self.config else {})}

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables()}

    def docker(
        self, *argv: str, check: bool = True, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> str:
        """`docker ARGV`; standard output, stripped. Raises RuntimeError with docker's own words."""
        done = subprocess.run(
            ["docker", *argv],
            env={**self.environment(), **(environment or {})},
            input=stdin,
            capture_output=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
        if check and done.returncode:
            said = done.stderr.decode(errors="replace").strip()[-2000:]
            raise RuntimeError(f"docker {shlex.join(argv[:2])} exited with {done.returncode}: {said}")
        return done.stdout.decode(errors="replace").strip()

    def note_versions(self) -> None:
        """Of the engine, of what it runs containers with, and of Compose."""
        form = "{{range .Server.Components}}{{.Name}} {{.Version}}\n{{end}}"
        for line in self.docker("version", "--format", form).splitlines():
            name, _space, version = line.partition(" ")
            noted.note({"Engine": "Docker"}.get(name, name), version.strip())
        noted.note("Docker Compose", self.docker("compose", "version", "--short"))

    def has_plugin(self, name: str) -> bool:
        probe = subprocess.run(["docker", name, "version"], env=self.environment(), capture_output=True, check=False)
        return probe.returncode == 0


@dataclass(frozen=True)
class _Private:
    """The places of the private engine. Sockets go to /run: their paths may have 108 characters only."""

    cache: Path

    @property
    def folder(self) -> Path:
        return self.cache / "docker"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def run(self) -> Path:
        return Path("/run/phase.console") / hashlib.sha256(str(self.cache.resolve()).encode()).hexdigest()[:8]

    @property
    def socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def exec_root(self) -> Path:
        return self.run / "exec"

    @property
    def pidfile(self) -> Path:
        return self.run / "docker.pid"

    @property
    def log(self) -> Path:
        return self.folder / "dockerd.log"

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    @property
    def config(self) -> Path:
        return self.folder / "config"


def _private() -> _Private:
    return _Private(_debian.cache_folder())


def _answers(host: str) -> bool:
    if shutil.which("docker") is None:
        return False
    command = ["docker", "--host", host, "version", "--format", "{{.Server.Version}}"]
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def wanted() -> bool:
    """Whether engines may be installed and started: asked for, or in CI."""
    return os.environ.get("PHASE_CONSOLE_WITH_ENGINES") == "1" or os.environ.get("CI") == "true"


def logs(engine: Engine, container: str, lines: int = 20) -> str:
    """The last lines a container has written, to either stream."""
    command = ["docker", "logs", "--tail", str(lines), container]
    done = subprocess.run(command, env=engine.environment(), capture_output=True, check=False)
    return (done.stdout + done.stderr).decode(errors="replace").strip()


def _with_plugins(engine: Engine) -> Engine:
    """The same engine, pointed at our own plugins when docker has none and an earlier run has fetched them."""
    config = _private().config
    plugin = config / "cli-plugins/docker-compose"
    if engine.has_plugin("compose") or not plugin.exists() or _debian.outdated(plugin):
        return engine
    return Engine(engine.host, config, engine.started)


def find() -> Engine | None:
    """The engine that runs: DOCKER_HOST's alone when that is set, else the default socket's, else our private one."""
    named = os.environ.get("DOCKER_HOST")
    private = _private()
    candidates = [named] if named else [f"unix://{path}" for path in (DEFAULT_SOCKET, private.socket) if path.exists()]
    host = next((candidate for candidate in candidates if _answers(candidate)), None)
    return _with_plugins(Engine(host)) if host else None


def ensure(install: bool | None = None) -> Engine:
    """An engine with Compose. With `install` (default: `wanted()`) what is missing is installed and a private engine
    started; the caller stops it with `stop()` when `Engine.started`. Raises EngineMissing."""
    install = wanted() if install is None else install
    engine = find()
    if engine is None:
        if os.environ.get("DOCKER_HOST"):
            raise EngineMissing(
                f"No Docker engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}. Correct or unset it."
            )
        if not install:
            raise EngineMissing(f"No Docker engine runs here. {HOW_TO_GET_ONE}")
        _install_packages()
        engine = find() or _start()
    if engine.has_plugin("compose"):
        return engine
    if not install:
        raise EngineMissing(
            "Docker runs, but without Compose v2. Install its plugin, or run the tests with --with-engines."
        )
    _install_plugins()
    return _with_plugins(engine)


@contextlib.contextmanager
def running(install: bool | None = None) -> Iterator[Engine]:
    """An engine for the length of a block. The block that started it stops it, once no other block uses it."""
    users = _private().folder / "users.lock"
    with contextlib.ExitStack() as use:
        use.enter_context(_locks.shared(users))
        engine = ensure(install)
        try:
            yield engine
        finally:
            if engine.started:
                use.close()
                with _locks.exclusive(users):
                    stop()


def _install_packages() -> None:
    """Debian's docker.io and debootstrap, as far as they are missing."""
    missing = [
        package
        for tool, package in (("dockerd", "docker.io"), ("debootstrap", "debootstrap"), ("iptables", "iptables"))
        if which(tool) is None
    ]
    if shutil.which("docker") is None and _apt_knows("docker-cli"):
        missing.append("docker-cli")  # from Debian 13 on the client is a package of its own
    if not missing:
        return
    try:
        _debian.install(missing)
    except _debian.DebianError as error:
        raise EngineMissing(f"No Docker engine runs here. {error} {HOW_TO_GET_ONE}") from error


def which(tool: str) -> str | None:
    """Also in the system's folders, which the PATH of some users leaves out."""
    return shutil.which(
        tool, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    )


def _apt_knows(package: str) -> bool:
    return subprocess.run(["apt-cache", "show", package], capture_output=True, check=False).returncode == 0


def _install_plugins() -> None:
    """The plugins' files out of Debian's packages, into a folder of our own: they run on older releases as well."""
    private = _private()
    state = private.cache / "apt"
    target = private.config / "cli-plugins"
    target.mkdir(parents=True, exist_ok=True)
    try:
        packages = _debian.download(list(PLUGINS.values()), state)
    except _debian.DebianError as error:
        raise EngineMissing(f"Docker runs, but without Compose v2. {error}") from error
    for package in packages:
        name = package.name.partition("_")[0]
        unpacked = state / f"{name}.unpacked"
        subprocess.run(["dpkg-deb", "--extract", str(package), str(unpacked)], check=True)
        plugin = next(unpacked.glob(f"usr/**/cli-plugins/{name}"))
        fresh = target / f".{name}"
        shutil.copy(plugin, fresh)  # with today's time: see _debian.outdated
        fresh.replace(target / name)
        shutil.rmtree(unpacked)
        package.unlink()


# --- the private engine ---------------------------------------------------------------------------------------------


def routes() -> list[ipaddress.IPv4Network]:
    """The networks this machine routes, the default route left out (proc(5): little-endian hexadecimal)."""
    found = []
    for line in Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        destination, mask = (bytes.fromhex(fields[index])[::-1] for index in (1, 7))
        network = ipaddress.IPv4Network((destination, str(ipaddress.IPv4Address(mask))), strict=False)
        if network.prefixlen:
            found.append(network)
    return found


def choose_subnet(routes: list[ipaddress.IPv4Network]) -> tuple[str, str]:
    """(bridge address, pool of the networks): the first candidate that overlaps with nothing in use."""
    for bridge, pool in SUBNETS:
        ours = [ipaddress.ip_interface(bridge).network, ipaddress.ip_network(pool)]
        if not any(route.overlaps(network) for route in routes for network in ours):
            return bridge, pool
    raise EngineMissing(
        "Every subnet that the private engine could use is routed on this machine already. Start Docker yourself."
    )


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _pid(private: _Private) -> int | None:
    """The pid of our dockerd, if it runs."""
    return _live(private.pidfile, private.host)


def _live(pidfile: Path, argument: str) -> int | None:
    """The pid in the file, if that process has the argument: the file outlives a kill, the number may be another's."""
    try:
        pid = int(pidfile.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return pid if any(argument in part for part in _command_line(pid)) else None


def _end(pid: int) -> None:
    """Ask a process to end, and wait until it has. Raises RuntimeError after STOP_TIMEOUT."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while _command_line(pid) not in ([], [""]):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # ours, when this process started it
        if time.monotonic() > deadline:
            raise RuntimeError(f"Process {pid} has not ended within {STOP_TIMEOUT:.0f} s.")
        time.sleep(0.1)


def _mounts(folder: Path) -> list[Path]:
    """What is mounted on the folder or below it, the last first. Path.is_mount misses a folder mounted on itself."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    points = [Path(line.split()[1].replace("\\040", " ")) for line in reversed(lines)]
    return [point for point in points if point.is_relative_to(folder.resolve())]


def _clear(private: _Private) -> None:
    """What dockerd leaves, above all a killed one: its containerd, pid files, sockets, and mounts of its own."""
    folder = private.exec_root / "containerd"
    containerd = _live(folder / "containerd.pid", str(private.exec_root))
    if containerd is not None:
        _end(containerd)
    for stale in (private.pidfile, private.socket, folder / "containerd.pid", folder / "containerd.sock"):
        stale.unlink(missing_ok=True)
    for point in [*_mounts(private.run), *_mounts(private.data)]:
        subprocess.run(["umount", str(point)], check=True)


def lock(name: str) -> contextlib.AbstractContextManager[None]:
    """One at a time among all runs that share the cache folder; the lock ends with the process that holds it."""
    return _locks.exclusive(_private().folder / f"{name}.lock")


def _start() -> Engine:
    if os.geteuid() != 0:
        raise EngineMissing(f"A private Docker engine can be started by root only. {HOW_TO_GET_ONE}")
    private = _private()
    with lock("engine"):
        if _answers(private.host):  # another run was faster
            return Engine(private.host)
        if _pid(private) is None:
            _clear(private)
        _launch(private)
    return _with_plugins(Engine(private.host, started=True))


def _launch(private: _Private) -> None:
    private.run.mkdir(parents=True, exist_ok=True)
    bridge, pool = choose_subnet(routes())
    command = [
        which("dockerd") or "dockerd",
        "--data-root",
        str(private.data),
        "--exec-root",
        str(private.exec_root),
        "--host",
        private.host,
        "--pidfile",
        str(private.pidfile),
        "--bip",
        bridge,
        "--default-address-pool",
        f"base={pool},size=24",
    ]
    with private.log.open("wb") as log:
        # A session of its own: Ctrl-C in the tests must not take the engine away before their clean-up.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + START_TIMEOUT
    while not _answers(private.host):
        if process.poll() is not None or time.monotonic() > deadline:
            if process.poll() is None:
                process.terminate()
            tail = private.log.read_text(encoding="utf-8", errors="replace").strip()[-600:]
            raise EngineMissing(f"A private Docker engine could not be started; the end of {private.log}: {tail}")
        time.sleep(0.2)


def stop() -> bool:
    """Stop the private engine, and with it its containers. False when it does not run."""
    private = _private()
    with lock("engine"):
        pid = _pid(private)
        if pid is None:
            return False
        _end(pid)
        _clear(private)
        shutil.rmtree(private.run)
    return True


def clear_killed() -> None:
    """Remove what a private engine that was killed has left: its mounts and notes. One that runs is left alone."""
    private = _private()
    if private.run.exists():
        with lock("engine"):
            if _pid(private) is None:
                _clear(private)
                shutil.rmtree(private.run, ignore_errors=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.engine", description="The Docker engine of the tests.")
    parser.add_argument("action", choices=["status", "start", "stop", "env"])
    action = parser.parse_args(argv).action
    if action == "stop":
        print("stopped" if stop() else "no private engine runs")
        return 0
    try:
        engine = ensure(install=action == "start")
    except EngineMissing as error:
        print(error, file=sys.stderr)
        return 1
    if action == "env":
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in engine.variables().items()))
    else:
        print(
            f"{engine.host} (Docker {engine.docker('version', '--format', '{{.Server.Version}}')}, "
            f"Compose {engine.docker('compose', 'version', '--short')})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
