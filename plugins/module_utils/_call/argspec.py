# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Argument specifications that can be merged, and the options every module shares."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Sequence

from .._errors import BadOption

_UNITS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(name: str, value: Any) -> float:
    """Seconds from ``90``, ``1.5``, ``500ms``, ``5s``, ``2m``, ``1h`` or ``1d``; 0 is no limit."""
    match = re.match(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\s*$", str(value))
    if not match:
        raise BadOption("%s is not a duration: %s" % (name, value), "Write seconds or a number with ms, s, m, h or d.")
    return float(match.group(1)) * _UNITS[match.group(2)]


@dataclass
class ArgumentSpec:
    """The keyword arguments of AnsibleModule, in parts that can be put together.

    ``states`` are the values that the option ``state`` may have. They are checked here: ansible-test allows no ``info``
    among an option's choices, and telling without changing is what a module here does unless told otherwise.
    ``target``: whether the options of the doc fragment ``target`` come beside these; a module that works on files alone
    has none.
    """

    options: Dict[str, Dict[str, Any]]
    required_if: List[Sequence[Any]] = field(default_factory=list)
    required_together: List[Sequence[str]] = field(default_factory=list)
    mutually_exclusive: List[Sequence[str]] = field(default_factory=list)
    states: Sequence[str] = ()
    target: bool = True

    def merge(self, other: "ArgumentSpec") -> "ArgumentSpec":
        return ArgumentSpec(
            options=dict(self.options, **other.options),
            required_if=self.required_if + other.required_if,
            required_together=self.required_together + other.required_together,
            mutually_exclusive=self.mutually_exclusive + other.mutually_exclusive,
            states=[*self.states, *other.states],
            target=self.target and other.target,
        )

    def check_state(self, params: Mapping[str, Any]) -> None:
        """Raise BadOption for a ``state`` that there is not."""
        if self.states and params["state"] not in self.states:
            raise BadOption("There is no state=%s." % params["state"], "It can be %s." % ", ".join(self.states))

    def arguments(self) -> Dict[str, Any]:
        return {
            "argument_spec": self.options,
            "required_if": self.required_if,
            "required_together": self.required_together,
            "mutually_exclusive": self.mutually_exclusive,
            "supports_check_mode": True,
        }


def _from(*variables: str) -> Dict[str, Any]:
    """Environment variables an option falls back to; AnsibleModule wants the function itself."""
    from ansible.module_utils.basic import env_fallback

    return {"fallback": (env_fallback, list(variables))}


def target_spec() -> ArgumentSpec:
    """The options of the doc fragment ``target``."""
    options: Dict[str, Dict[str, Any]] = {
        "deployment": {"default": "docker", "choices": ["docker", "compose", "database", "local"]},
        "container": {"default": "phase-backend"},
        "docker_host": dict(_from("DOCKER_HOST"), default="unix:///var/run/docker.sock", aliases=["docker_url"]),
        "tls": dict(_from("DOCKER_TLS"), type="bool", default=False),
        "validate_certs": dict(_from("DOCKER_TLS_VERIFY"), type="bool", default=False, aliases=["tls_verify"]),
        "ca_path": {"type": "path", "aliases": ["tls_ca_cert", "cacert_path"]},
        "client_cert": {"type": "path", "aliases": ["tls_client_cert", "cert_path"]},
        "client_key": {"type": "path", "no_log": False, "aliases": ["tls_client_key", "key_path"]},
        "api_version": dict(_from("DOCKER_API_VERSION"), default="auto", aliases=["docker_api_version"]),
        "project_src": {"type": "path"},
        "project_name": {},
        "service": {"default": "backend"},
        "database_url": dict(_from("DATABASE_URL"), no_log=True),
        "login_host": dict(_from("PGHOST"), aliases=["host"]),
        "login_port": dict(_from("PGPORT"), type="int", aliases=["port"]),
        "login_user": dict(_from("PGUSER"), aliases=["login"]),
        "login_password": dict(_from("PGPASSWORD"), no_log=True),
        "login_db": dict(_from("PGDATABASE"), aliases=["db"]),
        "ssl_mode": dict(
            _from("PGSSLMODE"), choices=["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
        ),
        "ca_cert": dict(_from("PGSSLROOTCERT"), type="path", aliases=["ssl_rootcert"]),
        "manage_dir": {"type": "path"},
        "python": {"type": "path", "default": "python3"},
        "env_file": {"type": "path"},
        "environment": {"type": "dict", "no_log": True},
        "connect_timeout": {"default": "10s"},
        "statement_timeout": {"default": "0"},
        "lock_timeout": {"default": "5s"},
        "idle_timeout": {"default": "60s"},
    }
    return ArgumentSpec(
        options,
        required_if=[
            ("deployment", "local", ["manage_dir"]),
            ("deployment", "compose", ["project_src", "project_name"], True),
        ],
        required_together=[("client_cert", "client_key")],
        mutually_exclusive=[("database_url", "login_host")],
    )


def database_settings(params: Mapping[str, Any]) -> Dict[str, Any]:
    """Keyword arguments of psycopg2.connect from the options of ``deployment: database``.

    What is not given is left to libpq, which knows the rest of its PG* variables.
    """
    names = {
        "dsn": params["database_url"],
        "host": params["login_host"],
        "port": params["login_port"],
        "user": params["login_user"],
        "password": params["login_password"],
        "dbname": params["login_db"],
        "sslmode": params["ssl_mode"],
        "sslrootcert": params["ca_cert"],
    }
    return {name: value for name, value in names.items() if value is not None}
