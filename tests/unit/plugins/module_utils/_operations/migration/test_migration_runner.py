# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.phase.console.plugins.module_utils._operations.core.monitor import describe_blocker
from ansible_collections.phase.console.plugins.module_utils._operations.core.sessions import wanted_mode
from ansible_collections.phase.console.plugins.module_utils._operations.migration.child import sqlstate
from ansible_collections.phase.console.plugins.module_utils._operations.migration.lock import (
    KEY,
    MARK,
    Holder,
    orphaned,
    session_name,
)
from ansible_collections.phase.console.plugins.module_utils._operations.migration.runner import (
    LONGEST_PAUSE,
    child_environment,
    pause,
)


def test_pauses_grow_to_a_limit():
    assert [pause(number) for number in range(1, 7)] == [1, 2, 4, 8, 16, LONGEST_PAUSE]
    assert pause(1000) == LONGEST_PAUSE


def test_the_user_s_own_options_stay_and_ours_win():
    made = child_environment({"PGOPTIONS": "-c work_mem=1GB -c lock_timeout=9", "PATH": "/bin"}, 5000, True, "ab12")
    assert made["PGOPTIONS"] == (
        "-c work_mem=1GB -c lock_timeout=9 -c lock_timeout=5000 -c statement_timeout=0 "
        "-c default_transaction_read_only=off -c row_security=off -c phase_console.direct=on "
        "-c idle_session_timeout=0 -c client_connection_check_interval=2000"
    )
    assert made["PGAPPNAME"] == "phase.console migrating ab12" and made["PATH"] == "/bin"
    assert "check_interval" not in child_environment({}, 0, False, "x")["PGOPTIONS"]


def test_a_session_s_name_fits_with_its_mark():
    name = session_name("a-very-long-host-name." * 5, "ab12cd")
    assert name.startswith("phase.console migrate a-very-long") and name.endswith(" ab12cd")
    assert len((name + MARK).encode()) == 63
    assert session_name("hö", "1").isascii()


def test_a_holder_is_described_and_known_when_orphaned():
    holder = Holder(71, "phase.console migrate web1 ab12", "10.0.0.7", "2026-01-01T00:00:00Z")
    assert str(holder) == "phase.console migrate web1 ab12 (pid 71 from 10.0.0.7, since 2026-01-01T00:00:00Z)"
    assert not orphaned(holder) and orphaned(Holder(71, holder.name + MARK, "", None))
    assert str(Holder(71, "", "", None)) == "a session without a name (pid 71, since an unknown time)"


def test_the_lock_s_key_never_changes():
    """Two versions of the collection must not migrate side by side."""
    assert KEY == -7223234988797572278 and -(2**63) <= KEY < 2**63


def test_what_blocks_is_told_in_words():
    blocker = {"pid": 71, "name": "", "state": "idle in transaction", "seconds": 130.2, "query": "select ?"}
    assert describe_blocker(blocker) == (
        "pid 71 (no application_name, idle in transaction for 2 min, last statement: select ?)"
    )
    assert wanted_mode("AccessExclusiveLock") == "ACCESS EXCLUSIVE" and wanted_mode("ShareLock") == "SHARE"


def test_the_driver_s_code_is_found_behind_django_s_error():
    class DriverError(Exception):
        pgcode = "55P03"

    error = ValueError("django's")
    error.__cause__ = DriverError()
    assert sqlstate(error) == "55P03"
    assert sqlstate(ValueError()) is None
