# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.phase.console.plugins.module_utils._operations.core.sessions import (
    Blocker,
    both,
    told,
    wanted_mode,
)


def session(pid=7, transaction="3/1", name="psql", state="active", seconds=91.0, what="AccessShareLock"):
    return Blocker(pid, transaction, name, state, seconds, None, what)


def test_who_was_there_twice():
    first = [session(state="idle in transaction", seconds=90.0, what="a snapshot")]
    again = [session(), session(transaction="3/2", seconds=0.1, what="a snapshot"), session(0, "-1/99")]
    assert both(first, again) == again[:1]
    assert told(both(first, again)) == "psql (pid 7, active, open for 1 min) holds ACCESS SHARE"
    assert told([again[0]] * 9) == told(again[:1])
    assert "and 1 more" in told([session(number) for number in range(4)])


def test_what_cannot_be_seen_is_left_out():
    assert str(session(name="", state="hidden", seconds=None)) == "a session without a name (pid 7, hidden)"


def test_a_prepared_transaction_is_told_with_its_end():
    one = Blocker(
        0, "3/17", "jta-'17", "prepared", 300.0, "2026-11-30T12:00:00.000000Z", "RowExclusiveLock", "app", "ph"
    )
    assert str(one) == (
        "the prepared transaction 'jta-''17' of app (open for 5 min; "
        "ROLLBACK PREPARED 'jta-''17' in database ph ends it)"
    )
    assert one.text == str(one) + " holds ROW EXCLUSIVE"
    assert one.facts()["text"] == str(one) and one.facts()["pid"] == 0


def test_modes_as_the_documentation_writes_them():
    assert wanted_mode("AccessExclusiveLock") == "ACCESS EXCLUSIVE" and wanted_mode("ShareLock") == "SHARE"
