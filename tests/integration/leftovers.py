# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""A plugin of pytest: what a test leaves on the Docker engine fails that test, and is gone before the next one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandbox import engine
from sandbox._containers import ContainerInstance, remove_left, things


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Containers, networks and volumes with the sandbox's label, or on its networks, that no running instance has.

    An instance of the test's own is gone by then. One that the next tests share is mended after a failure.
    """
    found = engine.find()
    if found is None:
        yield
        return
    before = things(found)
    failed = request.session.testsfailed
    yield
    left = remove_left(found, before)
    if request.session.testsfailed > failed and ContainerInstance._running is not None:
        ContainerInstance._running.mend()
    elif left:
        pytest.fail(f"The test has left {', '.join(left)}: removed now.")
