# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._target import clone as _clone

IMAGE = {
    "Config": {"Env": ["PATH=/old/bin", "PYTHON_VERSION=3.11"], "User": "app", "Cmd": ["serve"], "Labels": {"v": "1"}}
}
CONTAINER = {
    "Id": "0123456789abcdef",
    "Name": "/phase-backend",
    "Config": {
        "Env": ["PATH=/old/bin", "PYTHON_VERSION=3.11", "DATABASE_HOST=postgres"],
        "User": "1000:1000",
        "Cmd": ["serve"],
        "Hostname": "0123456789ab",
        "Labels": {"v": "1", "com.docker.compose.service": "backend"},
        "ExposedPorts": {"8000/tcp": {}},
        "Image": "phasehq/backend:latest",
    },
    "HostConfig": {
        "NetworkMode": "phase_phase-net",
        "Binds": ["/etc/phase:/etc/phase:ro"],
        "Memory": 512,
        "PortBindings": {"8000/tcp": [{"HostPort": "8000"}]},
        "RestartPolicy": {"Name": "always"},
        "CapDrop": ["ALL"],
    },
    "NetworkSettings": {
        "Networks": {"other": {"Aliases": None}, "phase_phase-net": {"Aliases": ["backend", "0123456789ab"]}}
    },
    "State": {"Health": {"Status": "healthy"}},
}


@pytest.fixture
def body():
    return _clone.one_off(CONTAINER, IMAGE, "new:1", ["python3"], {"ours": "1"}, keep=False, log=False)


def test_one_off_reaches_what_the_backend_reaches(body):
    assert body["Env"] == ["DATABASE_HOST=postgres"]
    assert body["User"] == "1000:1000"
    assert body["HostConfig"]["Binds"] == ["/etc/phase:/etc/phase:ro"]
    assert body["HostConfig"]["Memory"] == 512 and body["HostConfig"]["CapDrop"] == ["ALL"]
    assert list(body["NetworkingConfig"]["EndpointsConfig"]) == ["phase_phase-net"]


def test_one_off_serves_nobody(body):
    text = repr(body)
    assert "PortBindings" not in text and "compose" not in text and "'backend'" not in text
    assert body["HostConfig"]["RestartPolicy"] == {"Name": "no"}
    assert body["Healthcheck"] == {"Test": ["NONE"]}


@pytest.mark.parametrize(("keep", "log"), [(False, False), (True, False), (True, True)])
def test_one_off_leaves_nothing_unless_asked(keep, log):
    host = _clone.one_off(CONTAINER, IMAGE, "new:1", ["x"], {}, keep=keep, log=log)["HostConfig"]
    assert host["AutoRemove"] is not keep
    assert (host["LogConfig"]["Type"] == "none") is not log


@pytest.mark.parametrize("mode", ["container:abc", "host", "none", "bridge"])
def test_networks_without_endpoints(mode):
    container = dict(CONTAINER, HostConfig=dict(CONTAINER["HostConfig"], NetworkMode=mode))
    body = _clone.one_off(container, IMAGE, "new:1", ["x"], {}, keep=False, log=False)
    assert body["HostConfig"]["NetworkMode"] == mode
    assert body["NetworkingConfig"] == {"EndpointsConfig": {}}


def test_successor_keeps_what_was_given_and_drops_what_was_inherited():
    body = _clone.successor(CONTAINER, IMAGE, "new:1")
    assert body["Image"] == "new:1"
    assert body["Env"] == ["DATABASE_HOST=postgres"]
    assert body["Labels"] == {"com.docker.compose.service": "backend"}
    assert "Cmd" not in body and "Hostname" not in body
    assert body["HostConfig"]["RestartPolicy"] == {"Name": "always"}
    assert body["NetworkingConfig"]["EndpointsConfig"]["phase_phase-net"]["Aliases"] == ["backend"]


def test_the_pattern_is_not_changed():
    before = repr(CONTAINER)
    _clone.successor(CONTAINER, IMAGE, "new:1")["HostConfig"]["Memory"] = 1
    assert repr(CONTAINER) == before


def test_health():
    assert _clone.healthy(CONTAINER) == "healthy"
    assert _clone.healthy({"State": {}}) is None
