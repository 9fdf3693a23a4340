# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.core.pooler import limited

LIMITS = {"statement_timeout": "0", "lock_timeout": "5000"}
SET = "set local lock_timeout = '5000'; set local statement_timeout = '0'"


@pytest.mark.parametrize(
    ("statement", "sent"),
    [
        ("select 1", SET + "; select 1"),
        ("begin isolation level read committed;", "begin isolation level read committed; " + SET),
        ("start transaction read only", "start transaction read only; " + SET),
        ("VACUUM (verbose) api_secretevent", "VACUUM (verbose) api_secretevent"),
        ("create unique index\n concurrently i on t (a)", "create unique index\n concurrently i on t (a)"),
        ("create index i on t (a)", SET + "; create index i on t (a)"),
        ("commit", "commit"),
    ],
)
def test_a_transaction_gets_its_timeouts(statement, sent):
    assert limited(statement, LIMITS) == sent


def test_a_transaction_that_is_to_read_only_stays_so():
    assert limited("begin read only", dict(LIMITS, transaction_read_only="off")) == "begin read only; " + SET
    assert "set local transaction_read_only = 'off'" in limited("begin", {"transaction_read_only": "off"})
