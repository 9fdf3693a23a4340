# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to Phase's database, and its errors in words.

Settings follow the backend of Phase v2.73.2: ``DATABASE_HOST``, ``_PORT`` (5432), ``_NAME``, ``_USER``, ``_PASSWORD``
or ``_PASSWORD_FILE`` (a missing file falls back to the variable), ``DATABASE_SSL=true`` for sslmode ``require``,
with ``DATABASE_SSL_CA_PATH`` for ``verify-full``.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Type

from ..._errors import (
    ApplicationFailed,
    ConnectionFailed,
    DatabaseFailed,
    DatabaseMissing,
    DatabaseUnreachable,
    DriverMissing,
    NotPhase,
    PhaseError,
    TlsRefused,
    WrongPassword,
)
from .pooler import REFUSED, differing, set_each_time
from .settings import AT_START, each_time, options, wanted

Settings = Dict[str, Any]  # keyword arguments of psycopg2.connect
Timeouts = Mapping[str, float]  # seconds: connect, statement, lock; 0 is none


def _read(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return None


def settings_from_environment(environment: Mapping[str, str], read: Callable[[str], Optional[str]] = _read) -> Settings:
    """Connection settings as Phase's backend takes them from its environment."""
    missing = [name for name in ("DATABASE_HOST", "DATABASE_NAME", "DATABASE_USER") if not environment.get(name)]
    if missing:
        raise ApplicationFailed(
            "The backend's environment has no %s." % ", ".join(missing),
            "Point the target options at Phase's backend, or name the settings with env_file or environment.",
        )

    def secret(name: str) -> Optional[str]:
        path = environment.get(name + "_FILE")
        return (read(path) if path else None) or environment.get(name)

    settings: Settings = {
        "host": environment["DATABASE_HOST"],
        "port": int(environment.get("DATABASE_PORT") or 5432),
        "dbname": environment["DATABASE_NAME"],
        "user": environment["DATABASE_USER"],
    }
    password = secret("DATABASE_PASSWORD")
    if password:
        settings["password"] = password
    if environment.get("DATABASE_SSL", "").lower() == "true":
        settings["sslmode"] = "require"
        if environment.get("DATABASE_SSL_CA_PATH"):
            settings.update(sslmode="verify-full", sslrootcert=environment["DATABASE_SSL_CA_PATH"])
    return settings


def connect(settings: Settings, purpose: str, timeouts: Timeouts, database: str = "") -> Any:
    """A new connection in autocommit mode, with timeouts and TCP keepalive, named for its purpose; to another
    ``database`` of the server where one is named.

    Behind a pooler the timeouts go with each transaction (``core/pooler``). Raises what ``connection_error`` gives.
    """
    try:
        import psycopg2.extensions
    except ImportError as error:
        raise DriverMissing(
            "The Python that should talk to PostgreSQL has no psycopg2 (%s)." % error,
            "Use Phase's own backend image or container, or install psycopg2-binary for that Python.",
        ) from error
    limits = {
        "statement_timeout": round(timeouts.get("statement", 0) * 1000),
        "lock_timeout": round(timeouts.get("lock", 0) * 1000),
    }
    arguments: Settings = {
        "connect_timeout": max(1, round(timeouts.get("connect", 10))),
        "application_name": ("phase.console " + purpose).strip()[:63],
        "keepalives": 1,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    arguments.update(settings, **({"dbname": database} if database else {}))
    # What the caller's own options ask for stays (a search_path, say), but for ours, which come last.
    own = settings.get("options") or psycopg2.extensions.parse_dsn(settings.get("dsn") or "").get("options")
    arguments.update(options=" ".join([own] * bool(own) + [options(limits)]), client_encoding="UTF8")
    try:
        try:
            connection = psycopg2.connect(**arguments)
        except psycopg2.OperationalError as error:
            if REFUSED not in str(error) and "idle_session_timeout" not in str(error):  # unknown before version 14
                raise
            del arguments["options"]
            connection = psycopg2.connect(**arguments)
        connection.autocommit = True
        settle(connection, limits)
    except psycopg2.OperationalError as error:
        raise connection_error(str(error)) from error
    return connection


def settle(connection: Any, limits: Mapping[str, int]) -> None:
    """Give a new session the settings of ``core/settings``: those that only newer servers have, once; or, where a
    pooler dropped what the session asked for, each transaction all of them."""
    version = connection.server_version
    missing = differing(connection, wanted(limits, version))
    if not missing:
        return
    if any(name in missing for name in wanted(limits, AT_START)):
        set_each_time(connection, each_time(limits, version))
        return
    with connection.cursor() as cursor:
        for name, value in missing.items():
            cursor.execute("select set_config(%s, %s, false)", (name, value))


# The texts are those of libpq and PostgreSQL 12 to 18. The order matters: a server that demands TLS names pg_hba.conf.
_CONNECTION_ERRORS: Tuple[Tuple[Tuple[str, ...], Type[PhaseError], str, str], ...] = (
    (
        ("password authentication failed", "no password supplied", "fe_sendauth"),
        WrongPassword,
        "PostgreSQL refused the user name or password",
        "Compare DATABASE_USER and DATABASE_PASSWORD (or login_user, login_password) with the server's role.",
    ),
    (
        ("server does not support SSL", "sslmode value", "SSL was required"),
        TlsRefused,
        "The connection asks for TLS and PostgreSQL does not offer it",
        "Unset DATABASE_SSL (or lower ssl_mode), or switch TLS on in the server.",
    ),
    (
        ("SSL off", "no encryption"),
        TlsRefused,
        "PostgreSQL refuses a connection without TLS for this host and user (pg_hba.conf)",
        "Set DATABASE_SSL=true (or ssl_mode=require).",
    ),
    (
        ("certificate verify failed", "root certificate file", "does not match host name", "SSL error"),
        TlsRefused,
        "The TLS certificate of PostgreSQL was not accepted",
        "Check DATABASE_SSL_CA_PATH (or ca_cert) and the name in the server's certificate.",
    ),
    (
        ("pg_hba.conf",),
        WrongPassword,
        "PostgreSQL has no rule that lets this host and user in (pg_hba.conf)",
        "Run the operation where the backend runs, or add a rule for this address.",
    ),
    (
        ("does not exist",),
        DatabaseMissing,
        "PostgreSQL has no such database or role",
        "Compare DATABASE_NAME and DATABASE_USER (or login_db, login_user) with the server.",
    ),
)


# libpq's own words for a server that does not answer; they come from this process, so they are never translated. libpq
# gives no SQLSTATE for a refused login, so another text, in whatever language, claims nothing about its cause.
_UNREACHABLE = (
    *("Connection refused", "Connection timed out", "timeout expired", "could not translate host name"),
    *("No route to host", "Network is unreachable", "No such file or directory", "Connection reset by peer"),
    *("server closed the connection unexpectedly", "Host is unreachable", "SSL SYSCALL"),
)


def connection_error(text: str) -> PhaseError:
    """The typed error for libpq's message of a failed connection."""
    detail = " ".join(text.split())
    for patterns, kind, message, next_step in _CONNECTION_ERRORS:
        if any(pattern in text for pattern in patterns):
            return kind("%s: %s" % (message, detail), next_step)
    if any(pattern in text for pattern in _UNREACHABLE):
        return DatabaseUnreachable(
            "PostgreSQL did not answer: %s" % detail,
            "Check that it runs and that its host and port are reachable from where the operation runs.",
        )
    return ConnectionFailed(
        "There is no connection to PostgreSQL: %s" % detail,
        "The server or the driver says so in its own words. Compare host, port, DATABASE_NAME, DATABASE_USER and "
        "DATABASE_PASSWORD (or login_host, login_port, login_db, login_user, login_password) with the server.",
    )


def database_error(error: Exception) -> PhaseError:
    """The typed error for a psycopg2 error in a statement: PostgreSQL's own words, with the SQLSTATE."""
    code = getattr(error, "pgcode", None)
    message = " ".join(str(error).split())
    if code == "55P03":
        return DatabaseFailed(
            "A lock was not granted within timeouts.lock: %s" % message,
            "phase_info with gather_subset=activity shows who holds it; run again when it is free.",
        )
    if code == "57014":
        return DatabaseFailed("A statement was cancelled or ran past timeouts.statement: %s" % message, "Run it again.")
    if code == "42501":
        return DatabaseFailed(
            "PostgreSQL denied it: %s" % message,
            "Run it as the role that owns Phase's tables (DATABASE_USER); where a table has row security, as one that "
            "it does not apply to (BYPASSRLS), since rows that cannot be seen would be left out.",
        )
    if code == "25006":
        return DatabaseFailed(
            "The server takes no writes: %s" % message,
            "It is a standby, or it was made read-only: connect to the primary server, or let it take writes again.",
        )
    if code is None or code[:2] in ("08", "57"):
        return DatabaseUnreachable(
            "The connection to PostgreSQL broke: %s" % message, "Check the server, then run it again."
        )
    return DatabaseFailed("PostgreSQL refused a statement (%s): %s" % (code, message), "Report it with this text.")


def require_phase(connection: Any) -> None:
    """Raise NotPhase unless the database has the tables that every release of Phase since v2.37.2 has."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select name from unnest(%s) as name where to_regclass(name) is null",
            (["django_migrations", "api_organisation", "api_secretevent"],),
        )
        missing = [row[0] for row in cursor.fetchall()]
        cursor.execute("select current_database()")
        database = cursor.fetchone()[0]
    if missing:
        raise NotPhase(
            "Database %s is not Phase's, or was never migrated: it has no %s." % (database, ", ".join(missing)),
            "Check DATABASE_NAME (or login_db); a new instance makes its tables when it first starts.",
        )


def supports_check_interval(connection: Any) -> bool:
    """Whether the server takes client_connection_check_interval: version 14, and a platform that can poll for it."""
    import psycopg2

    if connection.server_version < 140000:
        return False
    with connection.cursor() as cursor:
        cursor.execute("begin")
        try:
            cursor.execute("set local client_connection_check_interval = 2000")
        except psycopg2.Error:
            return False
        finally:
            cursor.execute("rollback")
    return True
