# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.phase.console.plugins.module_utils._operations.core.releases import (
    NOTES,
    RELEASES,
    in_words,
    next_after,
    release_of,
    releases_of,
)


def test_the_releases_that_brought_migrations():
    names = ["api.0129_wipe_orphan_envkeys_from_deleted_sas", "api.0116_app_description", "auth.0001_initial"]
    assert releases_of([*names, "api.0999_from_the_future"]) == [
        {"release": "v2.61.0", "notes": NOTES + "/tag/v2.61.0", "migrations": ["0116_app_description"]},
        {
            "release": "v2.69.0",
            "notes": NOTES + "/tag/v2.69.0",
            "migrations": ["0129_wipe_orphan_envkeys_from_deleted_sas"],
        },
        {"release": None, "notes": NOTES, "migrations": ["0999_from_the_future"]},
    ]
    assert releases_of([]) == []


def test_a_release_without_migrations_is_told_as_a_range():
    applied = [("api", name) for _release, added in RELEASES[:5] for name in added]
    assert release_of(applied) == "v2.41.0"  # and v2.42.0 has no other ledger
    assert in_words("v2.41.0") == "v2.41.0 or later, before v2.48.0"
    assert in_words(RELEASES[-1][0]) == RELEASES[-1][0] + " or later" and next_after(RELEASES[-1][0]) is None
    assert in_words("") == in_words(None) == "an unknown release"
