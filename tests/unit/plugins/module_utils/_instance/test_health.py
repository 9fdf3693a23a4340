# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import ContainerNotRunning, WrongPassword
from ansible_collections.phase.console.plugins.module_utils._instance.health import (
    NotHealthy,
    complaints,
    same_version,
    wait,
)
from ansible_collections.phase.console.plugins.module_utils._operations.instance.health import allowed_host, probe

ALIVE = {"alive": True, "version": "v2.73.2", "detail": ""}
RUNNING = {"status": "running", "health": None}


@pytest.mark.parametrize(
    ("components", "probed", "version", "words"),
    [
        ({"backend": RUNNING}, ALIVE, "v2.73.2", []),
        ({"backend": RUNNING}, ALIVE, None, []),
        ({"backend": {}}, ALIVE, None, []),
        ({}, ALIVE, None, ["backend does not exist"]),
        ({"backend": {"status": "exited"}}, ALIVE, None, ["backend is exited"]),
        ({"backend": {"status": "running", "health": "starting"}}, ALIVE, None, ["backend is starting"]),
        ({"backend": RUNNING}, ALIVE, "v2.74.0", ["the backend answers as v2.73.2, not v2.74.0"]),
        (
            {"backend": RUNNING},
            {"alive": False, "version": None, "detail": "refused"},
            None,
            ["the backend does not answer (refused)"],
        ),
    ],
)
def test_complaints(components, probed, version, words):
    assert complaints(components, ["backend"], probed, version) == words


def test_each_replica_has_to_be_well():
    containers = [
        {"container": "c-1", "status": "running", "health": "healthy"},
        {"container": "c-2", "status": "running", "health": "unhealthy"},
        {"container": "c-3", "status": "exited", "health": None},
    ]
    seen = {"backend": dict(containers[0], containers=containers)}
    assert complaints(seen, ["backend"], ALIVE, None) == ["backend (c-2) is unhealthy", "backend (c-3) is exited"]


def test_versions_are_equal_with_and_without_the_letter():
    assert (
        same_version("2.73.2", "v2.73.2") and not same_version("v2.73.20", "v2.73.2") and not same_version(None, "v1")
    )


class Target:
    """Answers with the next of the given probes, or raises it."""

    def __init__(self, *probes):
        self.probes = list(probes)

    def describe(self):
        return {"components": {"backend": RUNNING}}

    def run(self, operation, request, report):
        answer = self.probes.pop(0) if len(self.probes) > 1 else self.probes[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def waited(target, timeout=3.0):
    clock, told = Clock(), []
    params = {"url": "http://x/", "components": ["backend"], "version": "v2.73.2", "wait_timeout": timeout}
    result = wait(target, params, lambda message, **counters: told.append(message), clock, clock.sleep)
    return result, told


def test_waits_while_the_backend_is_replaced():
    old = dict(ALIVE, version="v2.66.0")
    result, told = waited(Target(ContainerNotRunning("Container x is exited."), old, old, ALIVE))
    assert result["seconds"] == 3.0 and not result["changed"]
    assert len(told) == 2 and "exited" in told[0] and "v2.66.0" in told[1]


def test_gives_up_with_the_last_complaint():
    with pytest.raises(NotHealthy, match=r"v2\.66\.0") as failed:
        waited(Target(dict(ALIVE, version="v2.66.0")))
    assert failed.value.partial["health"]["backend"]["version"] == "v2.66.0"


def test_other_errors_end_the_wait_at_once():
    with pytest.raises(WrongPassword):
        waited(Target(WrongPassword("no")))


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        answer = b""

        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.answer)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"status": "alive", "version": "v2.73.2"}, (True, "v2.73.2")),
        ({"status": "ill"}, (False, None)),
        ([1], (False, None)),
        ("<html>", (False, None)),
    ],
)
def test_probe(server, answer, expected):
    server.RequestHandlerClass.answer = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
    found = probe(None, {"url": "http://127.0.0.1:%d/health/" % server.server_port, "timeout": 5})
    assert (found["alive"], found["version"]) == expected


def test_probe_of_nobody(server):
    port = server.server_port
    server.server_close()
    found = probe(None, {"url": "http://127.0.0.1:%d/health/" % port, "timeout": 1})
    assert not found["alive"] and str(port) in found["detail"]


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("phase.example,backend", "phase.example"),
        (",backend", "backend"),  # HOST is not set
        (" .example.com ", "example.com"),
        ("127.0.0.1,backend", ""),
        ("*", ""),
        ("phase.example,*", ""),
        ("", ""),
    ],
)
def test_a_host_that_the_instance_allows(allowed, host):
    assert allowed_host(allowed, "http://127.0.0.1:8000/health/") == host


def test_a_name_that_the_url_has_is_kept():
    assert allowed_host("other.example,.example.com", "http://phase.example.com/health/") == ""
