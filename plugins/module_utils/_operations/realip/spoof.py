# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lying to nginx from next to Phase's backend, and seeing which address the backend would believe.

``probe`` stands in for the backend: a listener of its own answers each request with the headers that reached it, so
what a lie came to is in the answer to it. Nothing of Phase is asked, read or changed.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ..._errors import PhaseError
from ..access.rule import client_address
from ..core.api import Context, Request, Result
from .forgeries import CLIENTS, FORGED, Attempt, as_dict, forgeries, genuine, through

TIMEOUT = 10.0  # seconds for one request
TOLD = 20  # findings that are told in full
PROGRESS = 250  # attempts between two lines of progress
LIMIT = 1 << 20  # bytes of an answer


class ProbeFailed(PhaseError):
    """Nothing could be proved, neither good nor bad."""

    kind = "probe_failed"


class _Echo(BaseHTTPRequestHandler):
    """Answers with the headers that came, duplicates and order kept, and with the address of the peer."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        seen = {"headers": [list(pair) for pair in self.headers.items()], "peer": self.client_address[0]}
        body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Phase-Echo", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Standard error is for the caller."""


class _EchoServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@contextlib.contextmanager
def echo(host: str, port: int) -> Iterator[None]:
    kind = type("_EchoServer", (_EchoServer,), {"address_family": socket.AF_INET6 if ":" in host else socket.AF_INET})
    try:
        server: ThreadingHTTPServer = kind((host, port), _Echo)
    except OSError as error:
        raise ProbeFailed(
            "Port %d cannot be listened on beside the backend: %s" % (port, error), "Run it again."
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def plain(address: str) -> str:
    """The address in one spelling; an IPv4-mapped one is the IPv4 one that it stands for on the wire."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def believed(seen: Dict[str, Any]) -> Optional[str]:
    """The address that Phase takes from these headers. gunicorn joins equal names with a comma, and a name with
    underscores would reach Django as the one with dashes (WSGI)."""
    joined: Dict[str, str] = {}
    for name, value in seen["headers"]:
        key = name.lower().replace("_", "-")
        joined[key] = "%s,%s" % (joined[key], value) if key in joined else value
    address = client_address(joined, seen["peer"])[0]
    return plain(address) if address else None


def passed_on(seen: Dict[str, Any], truth: str) -> bool:
    """Whether X-Forwarded-For starts with something else than the truth: Phase before v2.54.2 goes by that."""
    values = [value for name, value in seen["headers"] if name.lower() == "x-forwarded-for"]
    first = ",".join(values).partition(",")[0].strip()
    try:
        return bool(first) and plain(first) != truth
    except ValueError:
        return True


def open_connection(address: str, endpoint: Dict[str, Any], proxy_source: str) -> Tuple[socket.socket, str]:
    """A connection to an endpoint, and the address it comes from."""
    raw = socket.create_connection((address, endpoint["port"]), timeout=TIMEOUT)
    own = plain(raw.getsockname()[0])
    if endpoint["proxy_protocol"]:
        family = "TCP6" if ":" in proxy_source else "TCP4"
        there = "2001:db8::1" if ":" in proxy_source else "192.0.2.1"
        raw.sendall(("PROXY %s %s %s 40000 443\r\n" % (family, proxy_source, there)).encode())
    if endpoint["tls"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # whose certificate it is is not the question; nothing secret is sent
        raw = context.wrap_socket(raw, server_hostname=endpoint["host"])
    return raw, own


def send(connection: socket.socket, head: List[str], body: bytes = b"") -> Tuple[int, bytes, bytes]:
    """Send one request: the status (0: the connection was closed instead), the header and the body of the answer."""
    answer = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):  # refused midway: an oversized head is
        connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode() + body)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while len(answer) < LIMIT:
            data = connection.recv(65536)
            if not data:
                break
            answer += data
    top, _blank, rest = answer.partition(b"\r\n\r\n")
    words = top.split(None, 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0, top, rest


def lines_of(attempt: Attempt) -> List[str]:
    return ["%s: %s" % line for line in attempt.lines]


def exchange(address: str, endpoint: Dict[str, Any], attempt: Attempt, source: str) -> Tuple[str, Optional[Any]]:
    """Send one request; the address it came from, and what the listener saw of it, None where it was refused.

    ``source`` is what the PROXY protocol says, where it is spoken. Raises ProbeFailed when nginx is not there any more,
    or cannot reach the listener.
    """
    path = endpoint["path"] if endpoint["path"].startswith("/") else "/"
    head = ["GET %s HTTP/1.1" % path, "Host: %s" % endpoint["host"], "Connection: close", *lines_of(attempt)]
    try:
        connection, own = open_connection(address, endpoint, source)
        with contextlib.closing(connection):
            status, top, body = send(connection, head)
    except OSError as error:
        raise ProbeFailed(
            "nginx does not answer at port %d: %s." % (endpoint["port"], error), "Run it again."
        ) from error
    if b"\nx-phase-echo:" in top.lower():
        return own, json.loads(body)
    if status in (502, 504):
        raise ProbeFailed(
            "nginx cannot reach a listener beside the backend.",
            "See whether something between the two filters by port, or set probe=none to do without.",
        )
    return own, None


class Finding:
    """Counts what came of the attempts, and keeps the first ones that went wrong."""

    def __init__(self) -> None:
        self.attempts = self.refused = self.reached = self.passed_on = self.wrong = 0
        self.told: List[Dict[str, Any]] = []

    def add(self, source: str, where: Dict[str, Any], attempt: Attempt, truth: str, seen: Optional[Any]) -> None:
        self.attempts += 1
        if seen is None:
            self.refused += 1
            return
        self.reached += 1
        view = believed(seen)
        self.passed_on += passed_on(seen, truth)
        if view != truth:
            self.wrong += 1
            if len(self.told) < TOLD:
                told = dict(as_dict(attempt), source=source, port=where["live_port"], path=where["path"])
                self.told.append(dict(told, truth=truth, believed=view))

    def as_dict(self) -> Dict[str, Any]:
        return {
            "attempts": self.attempts,
            "refused": self.refused,
            "reached": self.reached,
            "wrong": self.wrong,
            "passed_on": self.passed_on,
        }


def reachable(address: str, endpoint: Dict[str, Any]) -> bool:
    try:
        open_connection(address, endpoint, "192.0.2.1")[0].close()
        return True
    except OSError:
        return False


def places(addresses: List[str], endpoints: List[Dict[str, Any]]) -> List[Tuple[str, Dict[str, Any]]]:
    """The endpoints that can be reached, each with the address of nginx to reach it at."""
    known: Dict[Tuple[str, int], bool] = {}
    found = []
    for endpoint in endpoints:
        for address in addresses:
            key = (address, endpoint["port"])
            if key not in known:
                known[key] = reachable(address, endpoint)
            if known[key]:
                found.append((address, endpoint))
    return found


def probe(context: Context, request: Request) -> Result:
    """Send ``attempts`` lies as a stranger, and what a proxy sends as an insider; what the backend would believe.

    Request: ``echo`` (host, port), ``nginx`` (addresses), ``stranger`` and ``insider`` (endpoints as of
    ``_nginx_conf.Trial``), ``edges`` (trusted addresses to pretend), ``hops`` (as of ``_forgeries.genuine``),
    ``attempts``.
    Result: ``stranger`` and ``insider`` (attempts, refused, reached, wrong, passed_on), ``findings`` (source, attempt,
    headers, port, path, truth, believed), ``unreached`` (ports that nobody answered at).
    """
    stranger, insider, told_at = Finding(), Finding(), 0
    with echo(*request["echo"]):
        outside = places(request["nginx"], request["stranger"])
        inside = [place for place in places(request["nginx"], request["insider"]) if place[1]["ranges"]]
        if not outside:
            raise ProbeFailed("The prober reaches no port of nginx.", "Set probe=none to do without.")
        lies = [Attempt("no forged header", [], ""), *forgeries(request["attempts"], request["edges"])]
        for number, attempt in enumerate(lies):
            context.check_cancelled()
            # Every place gets the plain request; the lies go round.
            for address, endpoint in outside if number == 0 else [outside[number % len(outside)]]:
                own, seen = exchange(address, endpoint, attempt, attempt.forged or FORGED[0])
                stranger.add("stranger", endpoint, attempt, own, seen)
            if stranger.attempts - told_at >= PROGRESS:
                told_at = stranger.attempts
                context.report("Spoof probe: %d of %d attempts" % (told_at, len(lies)), attempts=told_at)
        for address, endpoint in inside:
            context.check_cancelled()
            _as_proxy(insider, address, endpoint, request)
    if not insider.reached and (inside or not stranger.reached):
        raise ProbeFailed(
            "No request of the probe reached the backend.",
            "See whether the configuration refuses it (allow, deny, return), or set probe=none to do without.",
        )
    live = {endpoint["live_port"] for endpoint in request["stranger"]}
    return {
        "stranger": stranger.as_dict(),
        "insider": insider.as_dict(),
        "findings": (stranger.told + insider.told)[:TOLD],
        "unreached": sorted(live - {endpoint["live_port"] for _address, endpoint in outside}),
    }


def _as_proxy(finding: Finding, address: str, endpoint: Dict[str, Any], request: Request) -> None:
    """The requests of a trusted proxy, its client told in the way that the configuration expects."""
    header, hops = endpoint["header"], request["hops"]
    attempts: List[Tuple[str, Attempt]] = []  # what the PROXY protocol says, where it is spoken, and the rest
    if header.lower() != "proxy_protocol":
        found = genuine(header, endpoint["recursive"], endpoint["ranges"], hops)
        attempts = [(FORGED[0], attempt) for attempt in found]
    elif endpoint["proxy_protocol"]:
        for client in CLIENTS:
            lies = [Attempt("%s, PROXY protocol" % lie.name, lie.lines, client) for lie in forgeries(20)]
            attempts += [(client, attempt) for attempt in [Attempt("PROXY protocol", [], client), *lies]]
            if hops:
                saw, lines = through(client, header, hops)
                attempts.append((saw, Attempt("the whole chain", lines, client)))
    for source, attempt in attempts:
        _own, seen = exchange(address, endpoint, attempt, source)
        finding.add("insider", endpoint, attempt, plain(attempt.forged), seen)
