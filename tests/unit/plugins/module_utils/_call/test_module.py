# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import sys

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import plain_values, sentences, unforeseen
from ansible_collections.phase.console.plugins.module_utils._errors import LibraryMissing
from ansible_collections.phase.console.plugins.module_utils._target.engine import engine_errors, make_client

ENVIRONMENT = {
    "DATABASE_NAME": "phase",
    "DATABASE_PASSWORD": "correct horse",
    "DATABASE_PORT": 5432,
    "A_LABEL": "open sesame",
    "A_TOKEN": "open sesame",
}


@pytest.mark.parametrize(
    ("params", "plain"),
    [
        ({}, set()),
        ({"environment": None}, set()),
        ({"environment": ENVIRONMENT}, {"phase", "5432"}),  # the label is a token's value as well, so it stays hidden
        ({"environment": ENVIRONMENT, "login_password": "phase"}, {"5432"}),
    ],
)
def test_only_names_that_sound_secret_hide_their_values(params, plain):
    hidden = {str(value) for value in ENVIRONMENT.values()}
    assert plain_values(params, hidden) == plain


def test_sentences():
    assert sentences("It broke: no such host", "Mend it.") == "It broke: no such host. Mend it."
    assert sentences("Stop!", "") == "Stop!"


def raised(error):
    try:
        raise error
    except Exception as caught:
        return unforeseen(caught)


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/backups"), "system_refused", "/backups is on a read-only"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "system_refused", "Connection reset"),
        (ModuleNotFoundError("No module named 'yaml'"), "library_missing", sys.executable),
        (KeyError("rows"), "unforeseen", "KeyError: 'rows' (test_module.py, line"),
    ],
)
def test_an_exception_that_is_not_ours_is_a_sentence(error, kind, word):
    made = raised(error)
    assert made.kind == kind and word in made.message
    assert made.next_step.endswith(".") and "Traceback" not in made.message


@pytest.mark.parametrize("package", ["docker", "requests"])
def test_without_the_sdk(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    for use in (lambda: make_client({"docker_host": "unix:///x"}), engine_errors().__enter__):
        with pytest.raises(LibraryMissing) as refused:
            use()
        assert sys.executable in refused.value.message
        assert "pip install docker" in refused.value.next_step
