# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._target.base import Target
from ansible_collections.phase.console.plugins.module_utils._upgrade.migrate import SPEC, run

OWN = {"pid": 3, "own": True, "waits": False, "index": None, "state": "active", "seconds": 1, "blocked_by": []}


class WithoutContainers(Target):
    deployment = "local"

    def __init__(self, sessions):
        self.sessions, self.asked = sessions, []

    def run(self, operation, request, report, *, image=None, detached=False):
        self.asked.append((operation.__name__, request, image))
        return {"sessions": self.sessions, "others": []}


def job(sessions=(), **more):
    params = {name: option.get("default") for name, option in SPEC.options.items()}
    target = WithoutContainers(list(sessions))
    return run(Call({**params, "state": "info", **more}, False, False, target, None, None)), target.asked


def test_without_containers_only_the_collections_own_runs_are_told_of():
    result, asked = job(image="/srv/phase/v2.73.2")
    assert (result["changed"], result["job"]["state"], result["waiting"]) == (False, "none", [])
    assert asked == [("look", {"addresses": []}, None)]
    assert job([OWN])[0]["job"]["state"] == "own"


def test_there_is_nothing_to_end_or_to_start():
    for state in ("cleared", "started"):
        result, asked = job([OWN], state=state)
        assert not result["changed"] and [name for name, _request, _image in asked] == ["look"]
