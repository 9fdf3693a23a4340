# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.core.words import (
    identifier,
    people_bytes,
    people_rows,
    people_seconds,
    people_size,
    quoted,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe 日本", '"Größe 日本"'),
        ('a "b" \\', '"a \\"b\\" \\\\"'),
        ("one\ntwo\u202e\ud800", '"one\\ntwo\\u202e\\ud800"'),
        ("x" * 81, '"%s..."' % ("x" * 77)),
    ],
)
def test_a_text_from_outside_stays_in_its_quotes_and_on_its_line(text, shown):
    assert quoted(text) == shown


def test_a_name_as_sql():
    assert identifier('a"b') == '"a""b"'


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "unknown"),
        (0, "0 B"),
        (999, "999 B"),
        (8192, "8.2 kB"),
        (81920, "82 kB"),
        (2_100_000_000, "2.1 GB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_bytes_for_people(size, text):
    assert people_bytes(size) == text


def test_seconds_and_rows_for_people():
    assert people_seconds(5400) == "1.5 h" and people_seconds(5.9) == "5 s" and people_seconds(61) == "1 min"
    assert [people_rows(count) for count in (None, 1, 9999, 12_345, 999_400, 1_992_592)] == [
        "unknown number of rows",
        "1 row",
        "9999 rows",
        "12 k rows",
        "999 k rows",
        "2.0 M rows",
    ]
    assert people_size({"rows": 1, "bytes": None}) == "1 row"
