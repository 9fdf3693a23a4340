# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import NotSupported
from ansible_collections.phase.console.plugins.module_utils._instance.health import NotHealthy
from ansible_collections.phase.console.plugins.module_utils._target.base import Target
from ansible_collections.phase.console.plugins.modules import phase_health


class Known(Target):
    """A target whose backend answers as v2.73.2."""

    def __init__(self):
        self.asked = []

    def describe(self):
        return {"components": {"backend": {"status": "running", "health": "healthy"}}}

    def run(self, operation, request, report, *, image=None, detached=False):
        self.asked.append(request)
        return {"alive": True, "version": "v2.73.2", "detail": ""}


def silent(message, **counters):
    pass


def health(deployment="docker", **more):
    params = {name: option.get("default") for name, option in phase_health.SPEC.options.items()}
    target = Known()
    target.deployment = deployment
    return phase_health.run(Call({**params, **more}, False, False, target, silent, silent)), target.asked


def test_it_asks_and_changes_nothing():
    result, asked = health()
    assert not result["changed"] and result["health"]["backend"]["version"] == "v2.73.2"
    assert asked == [{"url": "http://127.0.0.1:8000/health/", "timeout": 5}]


def test_without_time_it_looks_once():
    with pytest.raises(NotHealthy, match="worker does not exist"):
        health(components=["backend", "worker"], wait_timeout=0)


def test_what_a_checkout_does_not_show_is_refused_at_once():
    assert not health("local")[0]["changed"]
    with pytest.raises(NotSupported, match="nothing of worker"):
        health("local", components=["backend", "worker"])
