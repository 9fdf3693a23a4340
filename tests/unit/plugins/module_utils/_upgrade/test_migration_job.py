# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._target.docker import DockerTarget
from ansible_collections.phase.console.plugins.module_utils._upgrade.migration_job import Containers, verdict, waiting

BLOCKER = {"pid": 7, "application": "psql", "state": "idle in transaction", "seconds": 900}


def job(status="running", exit_code=0, seconds=600.0):
    return {"container": "phase-migrations", "status": status, "exit_code": exit_code, "seconds": seconds}


def session(state="active", seconds=5, waits=False, **more):
    default = {"pid": 3, "state": state, "seconds": seconds, "waits": waits, "index": None, "own": False}
    return dict(default, blocked_by=[BLOCKER] if waits else [], **more)


@pytest.mark.parametrize(
    ("container", "sessions", "state", "words"),
    [
        (None, [], "none", "No container"),
        (job("exited"), [], "done", "ended well"),
        (job("exited", 1), [], "failed", "exit code 1"),
        (job("created"), [], "failed", "never started"),
        (job("dead", 137), [], "failed", "137"),
        (job("restarting", 1), [], "stuck", "restarting"),
        (job("paused"), [session()], "stuck", "paused"),
        (job(), [session()], "working", "pid 3"),
        (job(), [session(seconds=300, waits=True)], "blocked", "pid 7 (psql, idle in transaction"),
        (job(), [session(seconds=30, waits=True)], "working", "for 30 s"),
        (
            job(),
            [session(seconds=300, waits=True, index="an_idx")],
            "working",
            "builds index an_idx, held back by pid 7",
        ),
        (job(), [session("idle in transaction", 300)], "stuck", "does nothing"),
        (job(), [session("idle in transaction", 300), session("idle", 10)], "working", "for 10 s"),
        (job(), [], "stuck", "no session"),
        (job(seconds=20.0), [], "working", "no session"),
        (job(), [session(waits=True, seconds=900), dict(session(), own=True)], "own", "joins"),
        (None, [dict(session(), own=True)], "own", "joins"),
    ],
)
def test_a_verdict(container, sessions, state, words):
    said = verdict(container, sessions, 60.0, told_apart=True)
    assert (said["state"], words in said["sentence"]) == (state, True), said


OTHER = {"pid": 9, "application": "", "client": "192.0.2.1"}


@pytest.mark.parametrize(
    ("sessions", "told_apart", "others", "state", "words"),
    [
        ([], False, [], "working", "cannot be told apart"),  # an external database, behind NAT
        ([], False, [OTHER], "working", "pid 9 from 192.0.2.1"),
        ([], True, [OTHER], "working", "pid 9 from 192.0.2.1"),  # by a pooler, say
        ([], True, [dict(OTHER, client="")], "working", "pid 9 from a socket"),
        ([session("idle", 300)], False, [OTHER], "stuck", "does nothing"),  # the address is the container's
        ([session(waits=True, seconds=300)], False, [], "blocked", "pid 7"),
    ],
)
def test_what_cannot_be_seen_is_not_ended(sessions, told_apart, others, state, words):
    said = verdict(job(), sessions, 60.0, told_apart=told_apart, others=others)
    assert (said["state"], words in said["sentence"]) == (state, True), said
    assert sessions or "docker stop phase-migrations" in said["sentence"]


def containers(migrations, host="postgres", **more):
    """An instance's containers as the engine describes them; DATABASE_HOST is ``host``."""
    found = Containers.__new__(Containers)
    found.target = DockerTarget.__new__(DockerTarget)
    backend = {"Id": "b", "Name": "/phase-backend", "Config": {"Env": ["DATABASE_HOST=" + host]}}
    network = {"net": {"IPAddress": "", "GlobalIPv6Address": "", "Aliases": None}}
    found.found = {
        "backend": backend,
        "migrations": {"Id": "m", "NetworkSettings": {"Networks": {"net": dict(network["net"], **migrations)}}},
        **more,
    }
    for name, one in found.found.items():
        one.setdefault("Name", "/phase-" + name)
        one.setdefault("NetworkSettings", {"Networks": network})
    found.target.siblings = lambda _backend: found.found
    return found


def test_only_a_database_in_a_container_beside_it_sees_its_address():
    postgres, pooler = {"Id": "p"}, {"Id": "q"}
    v4, v6 = {"IPAddress": "172.18.0.5"}, {"GlobalIPv6Address": "fd00::5"}
    assert containers({**v4, **v6}).addresses() == ["172.18.0.5", "fd00::5"]
    assert containers(v4, postgres=dict(postgres)).told_apart()
    assert containers(v6, host="phase-postgres", postgres=dict(postgres)).told_apart()
    assert not containers({}, postgres=dict(postgres)).told_apart()
    assert not containers(v4, host="db.example.com").told_apart()
    assert not containers(v4, host="db.example.com", postgres=dict(postgres)).told_apart()
    assert not containers(v4, host="pgbouncer", postgres=dict(postgres), pgbouncer=dict(pooler)).told_apart()


def test_what_waits_is_what_was_never_started_and_a_backend_that_has_ended():
    states = {"nginx": "created", "backend": "exited", "worker": "exited", "migrations": "exited", "redis": "created"}
    assert waiting({name: {"status": state} for name, state in states.items()}) == ["backend", "nginx"]
    assert waiting({"backend": {"status": "running"}}) == []
