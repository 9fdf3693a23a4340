# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._migration_job import verdict, waiting

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
    said = verdict(container, sessions, 60.0)
    assert (said["state"], words in said["sentence"]) == (state, True), said


def test_what_waits_is_what_was_never_started_and_a_backend_that_has_ended():
    states = {"nginx": "created", "backend": "exited", "worker": "exited", "migrations": "exited", "redis": "created"}
    assert waiting({name: {"status": state} for name, state in states.items()}) == ["backend", "nginx"]
    assert waiting({"backend": {"status": "running"}}) == []
