# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.phase.console.plugins.module_utils._operations.core.secrets import MASK, masker, secret_values


def test_values_of_secret_names_and_of_the_files_they_point_to():
    environment = {
        "DATABASE_PASSWORD": "correct horse",
        "SECRET_KEY_FILE": "/run/secrets/key",
        "DATABASE_HOST": "postgres",
        "EMPTY_TOKEN": "",
        "KEYBOARD": "qwerty",
    }
    assert secret_values(environment, {"/run/secrets/key": "from the file"}.__getitem__) == [
        "correct horse",
        "from the file",
    ]


def test_long_secrets_go_everywhere_short_ones_only_where_they_stand_alone():
    mask = masker(["correct horse", "phase"])
    assert mask("xcorrect horsex") == "x%sx" % MASK
    assert mask("user phase of phase-backend in api_phase") == "user %s of phase-backend in api_phase" % MASK


def test_passwords_in_urls_go_without_being_known():
    assert masker([])("postgres://me:hidden@db/phase") == "postgres://me:%s@db/phase" % MASK


def test_a_secret_that_contains_another_is_masked_whole():
    assert masker(secret_values({"A_SECRET": "abcdefgh", "B_SECRET": "abcdefghijkl"}))("abcdefghijkl") == MASK


def test_switches_and_small_numbers_are_no_secrets():
    environment = {
        "ENABLE_PASSWORD_AUTH": "true",
        "TOKEN_LIFETIME": "3600",
        "SECRET_MODE": "Required",
        "A_TOKEN": "truely",
    }
    assert secret_values(environment) == ["truely"]
