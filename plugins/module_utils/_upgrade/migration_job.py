# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The container that migrates when an instance starts: how it fares, ending a stuck one, starting what waits for it.

Phase's Compose file (v2.73.2) has a one-shot service ``migrations``; backend and worker start once it has ended with 0.
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from .._call.argspec import duration
from .._call.module import Call
from .._errors import PhaseError
from .._operations.core.secrets import masker, secret_values
from .._operations.migration import sessions as migration_sessions
from .._target import clone as _clone
from .._target.base import Target
from .._target.docker import DockerTarget, _seconds
from .._target.engine import engine_errors

Facts = Dict[str, Any]
SERVICE = "migrations"
WAITING = ("backend", "worker", "frontend", "nginx")  # in the order in which they are started
LOG_LINES = 15
STOP = 10  # seconds between SIGTERM and SIGKILL
ENDED = ("exited", "dead", "created", "removing")


class MigrationAtWork(PhaseError):
    """The migration container is at work, so it is not ended."""

    kind = "migration_at_work"


def verdict(
    job: Optional[Mapping[str, Any]],
    sessions: Sequence[Mapping[str, Any]],
    stuck_after: float,
    *,
    told_apart: bool,
    others: Sequence[Mapping[str, Any]] = (),
) -> Facts:
    """``state`` and ``sentence``.

    ``none``, ``done`` and ``failed`` are over. ``working`` is to be left alone, and so is ``own``, a run of this
    collection's, which phase_migrate joins. ``blocked`` (by others' locks) and ``stuck`` have lasted ``stuck_after``
    seconds and may be ended: what they did not commit is rolled back.

    That there is no session says nothing where the database may see another address than the container's
    (``told_apart`` is false), nor where one of the ``others`` (``migration_sessions.look``) may be its own.
    """
    own = [session for session in sessions if session["own"]]
    if own:
        return _said("own", "A run of phase_migrate is at work (pid %d); the next one joins it." % own[0]["pid"])
    if job is None:
        return _said("none", "No container migrates here.")
    name, status = job["container"], job["status"]
    if status in ENDED and job["exit_code"] == 0 and status != "created":
        return _said("done", "%s has ended well." % name)
    if status in ENDED:
        how = "was never started" if status == "created" else "has ended with exit code %s" % job["exit_code"]
        return _said("failed", "%s %s." % (name, how))
    if status in ("restarting", "paused"):
        return _said("stuck", "%s is %s (exit code %s)." % (name, status, job["exit_code"]))
    if sessions:
        return _running(name, job["seconds"], sessions, stuck_after)
    return _unseen(name, job["seconds"], stuck_after, told_apart, others)


def _unseen(
    name: str, seconds: float, stuck_after: float, told_apart: bool, others: Sequence[Mapping[str, Any]]
) -> Facts:
    by_hand = "If it hangs, stop it with docker stop %s." % name
    if others:
        maybe = ["pid %(pid)d from %(client)s" % dict(one, client=one["client"] or "a socket") for one in others[:5]]
        what = "which of the sessions that may migrate is its own cannot be told (%s)" % ", ".join(maybe)
        return _said("working", "%s runs, for %d s; %s. %s" % (name, seconds, what, by_hand))
    if not told_apart:
        what = "its session cannot be told apart, since the database may see it under another address"
        return _said("working", "%s runs, for %d s; %s. %s" % (name, seconds, what, by_hand))
    state = "stuck" if seconds >= stuck_after else "working"
    return _said(state, "%s runs and has no session in the database, for %d s." % (name, seconds))


def _running(name: str, seconds: float, sessions: Sequence[Mapping[str, Any]], stuck_after: float) -> Facts:
    building = [session for session in sessions if session["index"]]
    if building:
        # Ended now, it would leave an INVALID index; and writes go on meanwhile.
        return _said("working", "%s builds index %s%s." % (name, building[0]["index"], _waits(building[0])))
    waiting = [session for session in sessions if session["waits"]]
    if waiting:
        state = "blocked" if waiting[0]["seconds"] >= stuck_after else "working"
        return _said(state, "%s has waited for a lock for %d s%s." % (name, waiting[0]["seconds"], _waits(waiting[0])))
    active = [session for session in sessions if session["state"] == "active"]
    if active:
        return _said("working", "%s is at work (pid %d)." % (name, active[0]["pid"]))
    idle = min([session["seconds"] for session in sessions] + [seconds])
    state = "stuck" if idle >= stuck_after else "working"
    return _said(state, "%s runs and does nothing in its session, for %d s." % (name, idle))


def _waits(session: Mapping[str, Any]) -> str:
    blockers = [
        "pid %d (%s, %s, its transaction %s s old)"
        % (one["pid"], one["application"] or "no application_name", one["state"], one["seconds"])
        for one in session["blocked_by"]
    ]
    return ", held back by %s" % ", ".join(blockers) if blockers else ""


def _said(state: str, sentence: str) -> Facts:
    return {"state": state, "sentence": sentence}


def waiting(components: Mapping[str, Mapping[str, Any]]) -> List[str]:
    """Components to start: what Compose made and never started, and a backend that has ended."""
    return [
        name
        for name in WAITING
        if name in components
        and (components[name]["status"] == "created" or (name == "backend" and components[name]["status"] == "exited"))
    ]


class Containers:
    """The instance's containers; none where the deployment has none."""

    def __init__(self, target: Target) -> None:
        self.target = target if isinstance(target, DockerTarget) else None
        self.found: Facts = {}
        if self.target is not None:
            self.found = self.target.siblings(self.target.backend())

    def job(self) -> Optional[Facts]:
        container = self.found.get(SERVICE)
        if container is None or self.target is None:
            return None
        client, state = self.target.client, container["State"]
        now = _seconds(client.info()["SystemTime"])
        since = state["StartedAt"] if state["Running"] else state["FinishedAt"]
        mask = masker(secret_values(_clone.environment(container), read=lambda path: ""))
        log = client.logs(container["Id"], tail=LOG_LINES).decode("utf-8", "replace")
        return {
            "container": container["Name"].lstrip("/"),
            "image": container["Config"]["Image"],
            "status": state["Status"],
            "exit_code": state["ExitCode"],
            "seconds": 0.0 if since.startswith("0001") else max(0.0, round(now - _seconds(since), 1)),
            "log": [mask(line) for line in log.splitlines()],
        }

    def addresses(self) -> List[str]:
        networks = self.found[SERVICE]["NetworkSettings"]["Networks"] if SERVICE in self.found else {}
        known = [network.get(name) for network in networks.values() for name in ("IPAddress", "GlobalIPv6Address")]
        return [address for address in known if address]

    def told_apart(self) -> bool:
        """Whether the database sees the container's own address: it is a container beside it, and no pooler is between.

        An external one may see that of a gateway.
        """
        if self.target is None or "postgres" not in self.found or not self.addresses():
            return False
        database = self.target.database_container(self.found["backend"])
        return database is not None and bool(database["Id"] == self.found["postgres"]["Id"])

    def running(self, name: str) -> bool:
        return bool(name in self.found and self.found[name]["State"]["Running"])

    def waiting(self) -> List[str]:
        return waiting({name: {"status": one["State"]["Status"]} for name, one in self.found.items()})

    def start(self, names: Sequence[str]) -> None:
        if self.target is not None:
            for name in names:
                self.target.client.start(self.found[name]["Id"])

    def stop(self) -> None:
        if self.target is not None:
            self.target.client.stop(self.found[SERVICE]["Id"], timeout=STOP)


@contextlib.contextmanager
def _reached(target: Target) -> Iterator[None]:
    """The engine's errors as ours. Without containers there may be no library for them either."""
    with engine_errors() if isinstance(target, DockerTarget) else contextlib.nullcontext():
        yield


def run(call: Call) -> Facts:
    """The module's result."""
    with _reached(call.target):
        containers = Containers(call.target)
        job = containers.job()
        told_apart = containers.told_apart()
    image = call.params["image"] or (job["image"] if job else None)
    # A backend that does not run cannot be asked; a container of its image can.
    asked = image if containers.found and not containers.running("backend") else None
    addresses = containers.addresses()
    seen = call.target.run(migration_sessions.look, {"addresses": addresses}, call.report, image=asked)
    sessions = seen["sessions"]
    stuck_after = duration("stuck_after", call.params["stuck_after"])
    found = verdict(job, sessions, stuck_after, told_apart=told_apart, others=seen["others"])
    result: Facts = {
        "changed": False,
        "job": dict(job or {}, **found, image=image),
        "sessions": sessions,
        "waiting": containers.waiting(),
    }
    if call.params["state"] == "cleared" and found["state"] in ("blocked", "stuck"):
        result["changed"] = True
        if not call.check:
            with _reached(call.target):
                containers.stop()
            call.report("Stopped %s" % result["job"]["container"])
            pids = [session["pid"] for session in sessions]
            call.target.run(migration_sessions.end, {"addresses": addresses, "pids": pids}, call.report, image=asked)
    elif call.params["state"] != "info" and found["state"] == "working":
        raise MigrationAtWork(found["sentence"], "Let it finish, then run this again.", partial=result)
    if call.params["state"] == "started" and result["waiting"]:
        result["changed"] = True
        if not call.check:
            with _reached(call.target):
                containers.start(result["waiting"])
    return result
