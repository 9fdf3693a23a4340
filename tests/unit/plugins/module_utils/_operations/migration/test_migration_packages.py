# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.migration import packages

HAVE = {"Django": "4.2.16", "psycopg2": "2.9.9", "rq": "1.15", "odd": "unknown"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Django==4.2.16", []),
        ("Django == 4.2.2  # a comment", []),
        ("Django==5.0", ["Django is 4.2.16 instead of 5.0"]),
        ("Django[argon2]==4.2.17 \\", ["Django is 4.2.16 instead of 4.2.17"]),
        ("psycopg2-binary==2.9.9", []),
        ("rq==1.15.0", []),
        ("gone==1", ["gone 1 is missing"]),
        ("gone==1; sys_platform == 'win32'", []),
        ("# Django==9", []),
        ("-r other.txt", []),
        ("Django>=9", []),
        ("    --hash=sha256:00", []),
    ],
)
def test_pins(line, expected):
    assert packages.missing(line + "\n", HAVE.get) == expected


def test_a_checkout_without_pins_says_nothing(tmp_path):
    packages.check(str(tmp_path), "python3")
