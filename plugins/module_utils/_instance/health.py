# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting until an instance answers as the version that it should be."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional

from .._call.argspec import APPLICATION, ArgumentSpec
from .._call.module import Call
from .._errors import NotSupported, PhaseError
from .._operations.instance import health as operations
from .._target.base import Report, Target

POLL = 1.0  # seconds between two looks
# A component that is just being replaced looks like this; anything else ends the wait at once.
PASSING = ("container_missing", "container_not_running", "pod_not_ready", "stream_lost", "interpreter_missing")


SPEC = ArgumentSpec(
    {
        "components": {"type": "list", "elements": "str", "default": ["backend"]},
        "version": {"type": "str"},
        "url": {"type": "str", "default": "http://127.0.0.1:8000/health/"},
        "wait_timeout": {"type": "float", "default": 120},
    },
    deployments=APPLICATION,
    instead="It asks the running application. phase_info asks the database.",
)


class NotHealthy(PhaseError):
    """Components are not healthy within the time that was given."""

    kind = "not_healthy"


def same_version(found: Optional[str], wanted: str) -> bool:
    """Phase v2.73.2 calls itself ``v2.73.2``; the letter is no difference."""
    return (found or "").lstrip("v") == wanted.lstrip("v")


def complaints(
    components: Mapping[str, Mapping[str, Any]], wanted: List[str], probe: Mapping[str, Any], version: Optional[str]
) -> List[str]:
    """What is not yet as it should be, in words; nothing when the instance is well."""
    found = []
    for name in wanted:
        component = components.get(name)
        if component is None:
            found.append("%s does not exist" % name)
            continue
        replicas = component.get("containers") or [component]
        for one in replicas:
            which = "%s (%s)" % (name, one["container"]) if len(replicas) > 1 else name
            if one.get("status") not in (None, "running"):
                found.append("%s is %s" % (which, one["status"]))
            elif one.get("health") not in (None, "healthy"):
                found.append("%s is %s" % (which, one["health"]))
    if not probe["alive"]:
        found.append("the backend does not answer (%s)" % (probe["detail"] or "status is not alive"))
    elif version and not same_version(probe["version"], version):
        found.append("the backend answers as %s, not %s" % (probe["version"], version))
    return found


def look(target: Target, url: str, report: Report) -> Dict[str, Any]:
    """``components`` and ``backend`` (alive, version, detail), as they are now."""
    components = target.describe()["components"]
    if (components["backend"].get("replicas") or {}).get("wanted") == 0:
        return {"components": components, "backend": {"alive": False, "version": None, "detail": "it is scaled to 0"}}
    try:
        probe = target.run(operations.probe, {"url": url, "timeout": 5}, report)
    except PhaseError as error:
        if error.kind not in PASSING:
            raise
        probe = {"alive": False, "version": None, "detail": error.message}
    return {"components": components, "backend": probe}


def wait(
    target: Target,
    params: Mapping[str, Any],
    report: Report,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Dict[str, Any]:
    """Look until nothing is wrong: ``health`` and ``seconds``. Raises NotHealthy with the last complaints."""
    start = clock()
    told: List[str] = []
    while True:
        seen = look(target, params["url"], report)
        wrong = complaints(seen["components"], params["components"], seen["backend"], params["version"])
        waited = clock() - start
        if not wrong:
            return {"changed": False, "health": seen, "seconds": round(waited, 1)}
        if wrong != told:
            report("Waiting: " + "; ".join(wrong))
            told = wrong
        if waited >= params["wait_timeout"]:
            raise NotHealthy(
                "After %g s, %s." % (params["wait_timeout"], "; ".join(wrong)),
                "Look at that component's log, mend it, then run again.",
                partial={"health": seen},
            )
        sleep(POLL)


def run(call: Call) -> Dict[str, Any]:
    """The module's result."""
    unseen = set(call.params["components"]) - {"backend"}
    if call.target.deployment == "local" and unseen:
        raise NotSupported(
            "deployment=local sees whether the backend answers, and nothing of %s." % ", ".join(sorted(unseen)),
            "Leave it out of components; ask what runs it, such as systemctl is-active.",
        )
    return wait(call.target, call.params, call.report, call.clock, call.sleep)
