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


WITH_SECRETS = dict(
    CONTAINER,
    Config=dict(
        CONTAINER["Config"],
        WorkingDir="/app",
        Env=[
            "PATH=/old/bin",
            "SECRET_KEY=one",
            "SERVER_SECRET=two",
            "REDIS_PASSWORD=three",
            "DATABASE_HOST=postgres",
            "DATABASE_PASSWORD_FILE=/run/secrets/database",
            "DATABASE_SSL_CA_PATH=/certs/deep/ca.pem",
            "PGOPTIONS=-c lock_timeout=2s",
        ],
    ),
    HostConfig=dict(CONTAINER["HostConfig"], Privileged=True, CapAdd=["ALL"], VolumesFrom=["other"], Mounts=[{}]),
    Mounts=[
        {"Type": "bind", "Source": "/etc/phase", "Destination": "/etc/phase"},
        {"Type": "bind", "Source": "/srv/secrets", "Destination": "/run/secrets"},
        {"Type": "volume", "Name": "certs", "Source": "/var/lib/docker/volumes/certs/_data", "Destination": "/certs"},
        {"Type": "volume", "Name": "data", "Source": "/var/lib/docker/volumes/data/_data", "Destination": "/data"},
    ],
)


def test_a_program_gets_the_databases_settings_and_their_files_alone():
    body = _clone.program(WITH_SECRETS, IMAGE, "postgres:17", ["/bin/sh"], {"ours": "1"})
    assert [pair.partition("=")[0] for pair in body["Env"]] == [
        "DATABASE_HOST",
        "DATABASE_PASSWORD_FILE",
        "DATABASE_SSL_CA_PATH",
        "PGOPTIONS",
    ]
    host = body["HostConfig"]
    assert host["Mounts"] == [
        {"Type": "bind", "Source": "/srv/secrets/database", "Target": "/run/secrets/database", "ReadOnly": True},
        {"Type": "volume", "Source": "certs", "Target": "/certs", "ReadOnly": True},
    ]
    assert not {"Binds", "VolumesFrom", "Tmpfs", "Privileged", "CapAdd"} & set(host) and "WorkingDir" not in body
    assert host["NetworkMode"] == "phase_phase-net" and host["CapDrop"] == ["ALL"] and body["User"] == "1000:1000"


def test_a_file_that_is_bound_alone_comes_as_it_is():
    mounts = [{"Type": "bind", "Source": "/srv/one", "Destination": "/run/secrets/database"}]
    assert _clone.file_mounts({"Mounts": mounts}, ["/run/secrets/database", "/elsewhere"]) == [
        {"Type": "bind", "Source": "/srv/one", "Target": "/run/secrets/database", "ReadOnly": True}
    ]


def test_no_one_off_container_is_privileged():
    body = _clone.one_off(WITH_SECRETS, IMAGE, "new:1", ["python3"], {}, keep=False, log=False)
    assert not {"Privileged", "CapAdd"} & set(body["HostConfig"]) and "SECRET_KEY=one" in body["Env"]


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


def container(name, image="phasehq/backend:v1", command=(), health=None, running=True, host="postgres"):
    state = {"Running": running, "Status": "running" if running else "exited"}
    return {
        "Name": "/" + name,
        "Config": {"Image": image, "Cmd": list(command), "Env": ["DATABASE_HOST=" + host, "DATABASE_NAME=phase"]},
        "State": dict(state, Health={"Status": health}) if health else state,
    }


def test_the_best_is_well_and_first_by_its_number():
    found = [
        container("b-1", running=False),
        container("b-2", health="unhealthy"),
        container("b-3", health="starting"),
        container("b-10", health="healthy"),
        container("b-9"),
    ]
    assert [one["Name"] for one in _clone.best_first(found)] == ["/b-9", "/b-10", "/b-2", "/b-3", "/b-1"]


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (container("x", image="phasehq/backend:v2@sha256:00"), True),
        (container("x", image="phasehq/frontend:v1"), False),
        (container("x", host="elsewhere"), False),
        (container("x", command=["python", "manage.py", "rqworker", "default"]), False),
        (container("x", command=["sh", "-c", "python manage.py migrate"]), False),
    ],
)
def test_replicas_share_image_database_and_work(other, same):
    assert _clone.same_part(container("phase-backend"), other) is same


def test_health():
    assert _clone.healthy(CONTAINER) == "healthy"
    assert _clone.healthy({"State": {}}) is None
