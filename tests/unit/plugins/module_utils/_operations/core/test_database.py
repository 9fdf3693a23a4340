# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import ApplicationFailed
from ansible_collections.phase.console.plugins.module_utils._operations.core.database import (
    connection_error,
    database_error,
    settings_from_environment,
)

GIVEN = {"DATABASE_HOST": "postgres", "DATABASE_NAME": "phase", "DATABASE_USER": "app", "DATABASE_PASSWORD": "plain"}
PLAIN = {"host": "postgres", "port": 5432, "dbname": "phase", "user": "app", "password": "plain"}


def test_settings_as_the_backend_takes_them():
    assert settings_from_environment(GIVEN) == PLAIN


def test_a_password_file_wins_and_a_missing_one_falls_back():
    given = dict(GIVEN, DATABASE_PASSWORD_FILE="/run/p")
    assert settings_from_environment(given, lambda path: "from file")["password"] == "from file"
    assert settings_from_environment(given, lambda path: None)["password"] == "plain"


def test_tls():
    assert settings_from_environment(dict(GIVEN, DATABASE_SSL="true"))["sslmode"] == "require"
    full = settings_from_environment(dict(GIVEN, DATABASE_SSL="True", DATABASE_SSL_CA_PATH="/ca.pem"))
    assert (full["sslmode"], full["sslrootcert"]) == ("verify-full", "/ca.pem")
    assert "sslmode" not in settings_from_environment(dict(GIVEN, DATABASE_SSL="false", DATABASE_SSL_CA_PATH="/ca.pem"))


def test_what_is_missing_is_named():
    with pytest.raises(ApplicationFailed, match="DATABASE_NAME, DATABASE_USER"):
        settings_from_environment({"DATABASE_HOST": "postgres"})


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('FATAL:  password authentication failed for user "app"', "wrong_password"),
        ("fe_sendauth: no password supplied", "wrong_password"),
        ("server does not support SSL, but SSL was required", "tls_refused"),
        (
            'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "app", database "phase", no encryption',
            "tls_refused",
        ),
        (
            'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "app", database "phase", SSL encryption',
            "wrong_password",
        ),
        ("SSL error: certificate verify failed", "tls_refused"),
        ('root certificate file "/ca.pem" does not exist', "tls_refused"),
        ('FATAL:  database "phase" does not exist', "database_missing"),
        ("Connection refused", "database_unreachable"),
        ('could not translate host name "postgres" to address: Name or service not known', "database_unreachable"),
        ("timeout expired", "database_unreachable"),
    ],
)
def test_connection_errors_have_their_kind_and_a_next_step(text, kind):
    error = connection_error(text)
    assert error.kind == kind
    assert error.next_step.endswith(".")


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        ("55P03", "database_error", "timeouts.lock"),
        ("57014", "database_error", "timeouts.statement"),
        ("42501", "database_error", "denied"),
        ("57P01", "database_unreachable", "broke"),
        (None, "database_unreachable", "broke"),
        ("22012", "database_error", "22012"),
    ],
)
def test_statement_errors(code, kind, word):
    failure = Exception("what PostgreSQL said")
    failure.pgcode = code
    error = database_error(failure)
    assert error.kind == kind
    assert word in error.message and "what PostgreSQL said" in error.message
