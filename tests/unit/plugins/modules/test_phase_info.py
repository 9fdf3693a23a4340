# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._instance import info as _info
from ansible_collections.phase.console.plugins.module_utils._target.base import Target


class Known(Target):
    """A target that answers from what it was given, and keeps what it was asked."""

    def __init__(self, phase, free=None):
        self.phase, self.free, self.asked = phase, free, []

    def run(self, operation, request, report, *, image=None, detached=False):
        self.asked.append((operation.__name__, request))
        return {name: dict(self.phase[name]) for name in request["subsets"]}

    def describe(self):
        return {"image": "phasehq/backend:v2.73.2"}

    def free_disk(self):
        return self.free


def inform(target, *subsets):
    call = Call({"gather_subset": list(subsets)}, False, False, target, lambda *args, **more: None, lambda text: None)
    return _info.run(call)


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (["all"], ["connection", "instance", "migrations", "storage", "activity"]),
        (["storage", "instance"], ["instance", "storage"]),
        (["activity", "all"], ["connection", "instance", "migrations", "storage", "activity"]),
    ],
)
def test_subsets(wanted, chosen):
    assert _info.chosen(wanted) == chosen


def test_the_containers_are_joined_with_the_server():
    target = Known({"instance": {"database": {"user": "app"}}})
    result = inform(target, "instance")
    assert result == {
        "changed": False,
        "phase": {"instance": {"database": {"user": "app"}, "image": "phasehq/backend:v2.73.2"}},
    }
    assert target.asked == [("gather", {"subsets": ["instance"]})]


def test_free_disk_is_the_targets_to_know_where_the_database_does_not():
    assert inform(Known({"storage": {"free_bytes": None}}, free=5), "storage")["phase"]["storage"]["free_bytes"] == 5
    assert inform(Known({"storage": {"free_bytes": 7}}, free=5), "storage")["phase"]["storage"]["free_bytes"] == 7
