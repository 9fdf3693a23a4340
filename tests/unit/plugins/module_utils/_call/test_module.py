# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import plain_values, sentences

ENVIRONMENT = {"DATABASE_NAME": "phase", "DATABASE_PASSWORD": "correct horse", "DATABASE_PORT": 5432, "A_TOKEN": "5432"}


@pytest.mark.parametrize(
    ("params", "plain"),
    [
        ({}, set()),
        ({"environment": None}, set()),
        ({"environment": ENVIRONMENT}, {"phase"}),  # the port is a token's value as well, so it stays hidden
        ({"environment": ENVIRONMENT, "login_password": "phase"}, set()),
    ],
)
def test_only_names_that_sound_secret_hide_their_values(params, plain):
    hidden = {str(value) for value in ENVIRONMENT.values()}
    assert plain_values(params, hidden) == plain


def test_sentences():
    assert sentences("It broke: no such host", "Mend it.") == "It broke: no such host. Mend it."
    assert sentences("Stop!", "") == "Stop!"
