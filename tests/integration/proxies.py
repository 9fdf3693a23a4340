# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Real proxies on this host with what role realip renders, and requests from any loopback address.

Phase's backend and frontend are stood in for by servers that answer with what reached them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible_collections.phase.console.plugins.module_utils._operations.access.rule import client_address
from ansible_collections.phase.console.plugins.module_utils._realip.settings import settings
from sandbox._debian import DebianError
from sandbox.proxies import Programs, programs

ROLES = Path(__file__).resolve().parents[2] / "roles"
ROLE = ROLES / "realip"
Lines = Sequence[tuple[str, str]]


def environment(role: str) -> jinja2.Environment:
    """As Ansible renders: only trim_blocks differs from Jinja's own defaults, and to_json is Ansible's."""
    made = jinja2.Environment(  # noqa: S701 - configurations, no web pages
        loader=jinja2.FileSystemLoader(str(ROLES / role / "templates")),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters["to_json"] = json.dumps
    return made


ENVIRONMENT = environment("realip")
VARS = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
PREFIX = "phase_realip_"


@functools.cache
def _defaults() -> dict[str, Any]:
    render = yaml.safe_load((ROLE / "tasks" / "render.yml").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    names = render[0]["vars"]["_phase_realip_given"]
    return {**{name: defaults[PREFIX + name] for name in names if name != "published"}, "published": {}}


def options(**changes: Any) -> dict[str, Any]:
    """What the role hands to its filter: its defaults, with changes."""
    return {**_defaults(), **changes}


def render(**changes: Any) -> str:
    found = settings(options(**changes))
    wanted = VARS["_phase_realip_templates"][found["proxy"]]
    marker = VARS["_phase_realip_marker"]
    return ENVIRONMENT.get_template(wanted).render(_phase_realip=found, _phase_realip_marker=marker)


def unpacked(suite: str) -> Programs:
    """Debian's programs; where they cannot be had, the test is skipped, but not in CI."""
    try:
        return programs(suite)
    except DebianError as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))


@dataclass(frozen=True)
class Seen:
    """What reached Phase: which part, its path, the headers in order, and the address that it would believe."""

    part: str
    path: str
    headers: list[tuple[str, str]]
    cookie: str

    def all(self, name: str) -> list[str]:
        """The values of a header as a WSGI server would find them: hyphens and underscores are one."""
        wanted = name.lower().replace("_", "-")
        return [value for given, value in self.headers if given.lower().replace("_", "-") == wanted]

    @property
    def believed(self) -> str | None:
        joined: dict[str, str] = {}
        for name, value in self.headers:
            key = name.lower().replace("_", "-")
            joined[key] = f"{joined[key]},{value}" if key in joined else value
        return client_address(joined, "192.0.2.254")[0]


class _Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"part": self.server.part, "path": self.path, "headers": self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "sessionid=1; Path=/; Secure")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def phase() -> Iterator[dict[str, int]]:
    """The stand-ins, as options of the role."""
    with contextlib.ExitStack() as stack:
        ports = {}
        for part in ("backend", "frontend"):
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), _Echo))
            server.daemon_threads = True
            server.part = part
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            stack.callback(server.shutdown)
            ports[f"{part}_port"] = server.server_address[1]
        yield ports


@dataclass(frozen=True)
class Proxy:
    http: int
    https: int
    log: Path

    def raw(
        self, lines: Lines, peer: str, *, path: str, tls: ssl.SSLContext | None = None, before: bytes = b""
    ) -> bytes:
        """The whole answer to one request, whose header lines are sent as they are."""
        port = self.https if tls else self.http
        where = ("::1" if ":" in peer else "127.0.0.1", port)
        with socket.create_connection(where, timeout=10, source_address=(peer, 0)) as plain:
            plain.sendall(before)
            with (
                tls.wrap_socket(plain, server_hostname="phase.test") if tls else contextlib.nullcontext(plain) as stream
            ):
                host = [] if any(name.lower() == "host" for name, value in lines) else [("Host", "phase.test")]
                end = [] if any(name.lower() == "connection" for name, value in lines) else [("Connection", "close")]
                head = "".join(f"{name}: {value}\r\n" for name, value in [*host, *lines, *end])
                answer = b""
                with contextlib.suppress(ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
                    stream.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1"))
                    while chunk := stream.recv(65536):
                        answer += chunk
                return answer

    def ask(self, lines: Lines, peer: str = "127.0.0.1", path: str = "/service/x", **more: Any) -> Seen | None:
        """What reached Phase; None when the proxy refused the request."""
        answer = self.raw(lines, peer, path=path, **more)
        if answer[8:13] != b" 200 ":
            assert answer[9:10] in (b"4", b""), answer[:200]
            return None
        head, _separator, body = answer.partition(b"\r\n\r\n")
        cookies = [line for line in head.decode().splitlines() if line.lower().startswith("set-cookie:")]
        start, end = body.index(b"{"), body.rindex(b"}") + 1  # a chunked answer has numbers around it
        told = json.loads(body[start:end])
        return Seen(told["part"], told["path"], [tuple(pair) for pair in told["headers"]], "".join(cookies))


NGINX = """
daemon off;
pid {folder}/pid;
error_log {folder}/log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    {paths}
    include {folder}/default.conf;
}}
"""
_PATHS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def nginx_files(folder: Path, text: str) -> Path:
    """A main file that includes the text as conf.d/default.conf is included."""
    paths = " ".join(f"{name}_temp_path {folder}/{name};" for name in _PATHS)
    (folder / "default.conf").write_text(text, encoding="utf-8")
    main = folder / "nginx.conf"
    main.write_text(NGINX.format(folder=folder, paths=paths), encoding="utf-8")
    return main


def nginx_test(programs: Programs, folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    main = nginx_files(folder, text)
    command = [*programs.command("nginx"), "-t", "-p", str(folder), "-c", str(main)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def _command(proxy: str, programs: Programs, folder: Path, text: str) -> list[str]:
    if proxy == "nginx":
        return [*programs.command("nginx"), "-p", str(folder), "-c", str(nginx_files(folder, text))]
    name, start = {
        "haproxy": ("haproxy", ["-db", "-f"]),
        "caddy": ("caddy", ["run", "--adapter", "caddyfile", "--config"]),
    }[proxy]
    file = folder / "config"
    file.write_text(text, encoding="utf-8")
    return [*programs.command(name), *start, str(file)]


@contextlib.contextmanager
def running(programs: Programs, folder: Path, text: str, proxy: str, ports: Mapping[str, int]) -> Iterator[Proxy]:
    """A proxy with this configuration, once it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    with log.open("ab") as output:
        env = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
        command = _command(proxy, programs, folder, text)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=folder)
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", ports["http_port"]), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{proxy} does not run:\n{log.read_text(encoding='utf-8')}\n{text}")
            time.sleep(0.02)
        yield Proxy(ports["http_port"], ports["https_port"], log)
    finally:
        process.terminate()
        process.wait(timeout=20)
