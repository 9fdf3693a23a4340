# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""A few rounds of ``tools.kill_loop``; by hand it goes on for hundreds."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.local import LocalInstance
from tools.kill_loop import RELEASE, WAYS, Local, Loop


def test_killed_at_random_moments(module_local_instance: Callable[..., LocalInstance]) -> None:
    loop = Loop(Local(module_local_instance(RELEASE, events=3000, superuser=False)), 3, list(WAYS))
    for _round in range(4):
        loop.round()
    print(loop.table())
    assert loop.seen.total() == 4
