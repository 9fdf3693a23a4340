# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.core import passwords


@pytest.mark.parametrize(
    ("kind", "algorithms", "state"),
    [
        ("none", passwords.ALGORITHMS, "none"),
        ("damaged", passwords.ALGORITHMS, "damaged"),
        ("argon2", passwords.ALGORITHMS, "set"),
        ("pbkdf2_sha256", passwords.ALGORITHMS, "unknown"),
        ("pbkdf2_sha256", ["pbkdf2_sha256"], "set"),
        ("md5", passwords.ALGORITHMS, "unknown"),
    ],
)
def test_what_the_application_can_compare(kind, algorithms, state):
    assert passwords.state(kind, algorithms) == state
