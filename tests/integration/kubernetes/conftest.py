# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Tests on trial: written, and not seen to pass from start to end yet. ``./test.sh`` runs them where they are named.

Whoever sees one pass adds it to SEEN; when nothing is on trial any more, this file goes.
"""

from __future__ import annotations

import pytest

ON_TRIAL = ("test_targets.py", "test_migrate.py", "test_rollout.py", "test_upgrade.py")
SEEN = {
    "test_info",
    "test_health",
    "test_nothing_is_made_for_a_look",
    "test_rows_are_changed_and_put_back",
    "test_a_table_is_vacuumed",
    "test_a_lockout_by_sso_ends_at_once",
    "test_old_reads_go",
    "test_the_far_end_ends_with_its_caller",
    "test_lock_timeout",
    "test_no_cluster_is_taken_from_the_environment",
    "test_what_is_not_there",
    "test_a_wrong_context",
    "test_a_certificate_that_is_not_trusted_and_a_token_that_is_not_known",
    "test_an_instance_without_the_chart",
    "test_it_says_what_is_wrong_with_the_database",
    "test_a_backend_without_a_ready_pod",
    "test_two_releases_in_a_namespace",
    "test_who_may_only_look",
    "test_who_may_maintain",
    "test_who_may_upgrade",
    "test_a_backup_that_is_read_back_whole",
    "test_a_backend_that_is_scaled_to_none",
    "test_an_image_that_cannot_be_pulled_is_told_at_once_and_goes_back",
    "test_pods_that_keep_ending_are_told_with_their_log",
    "test_stopped_and_put_back",
    "test_what_would_be_undone_is_refused",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        here = item.path.parent.name == "kubernetes" and item.path.name in ON_TRIAL
        if here and getattr(item, "originalname", item.name) not in SEEN:
            item.add_marker("trial")
