# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Argument specifications that can be merged, and the options every module shares."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Sequence

from .._errors import BadOption, NotSupported

APPLICATION = ("docker", "compose", "kubernetes", "local")  # deployments in which the application can be reached
EVERYWHERE = APPLICATION + ("database",)

_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SECONDS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(name: str, value: Any) -> float:
    """Seconds from ``90``, ``1.5``, ``500ms``, ``5s``, ``2m``, ``1h`` or ``1d``; 0 is no limit."""
    match = re.match(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\s*$", str(value))
    if not match:
        raise BadOption("%s is not a duration: %s" % (name, value), "Write seconds or a number with ms, s, m, h or d.")
    return float(match.group(1)) * _SECONDS[match.group(2)]


def size(name: str, value: Any) -> int:
    """Bytes from ``5000000``, ``50MB``, ``2 GiB``: KB is 1000 bytes and KiB 1024; 0 is no limit."""
    match = re.match(r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]i?|)b?(?:/s)?\s*$", str(value).lower())
    if not match:
        raise BadOption("%s is not a size: %s" % (name, value), "Write bytes or a number with KB, MB, GB or GiB.")
    return int(float(match.group(1)) * _BYTES[match.group(2)])


@dataclass
class ArgumentSpec:
    """The keyword arguments of AnsibleModule, in parts that can be put together.

    ``states`` are the values that the option ``state`` may have. They are checked here: ansible-test allows no ``info``
    among an option's choices, and telling without changing is what a module here does unless told otherwise.
    ``deployments``: where the module works; elsewhere it is refused at once, with ``instead`` as the next step.
    """

    options: Dict[str, Dict[str, Any]]
    required_if: List[Sequence[Any]] = field(default_factory=list)
    required_together: List[Sequence[str]] = field(default_factory=list)
    mutually_exclusive: List[Sequence[str]] = field(default_factory=list)
    states: Sequence[str] = ()
    deployments: Sequence[str] = EVERYWHERE
    instead: str = ""

    def merge(self, other: "ArgumentSpec") -> "ArgumentSpec":
        return ArgumentSpec(
            options=dict(self.options, **other.options),
            required_if=self.required_if + other.required_if,
            required_together=self.required_together + other.required_together,
            mutually_exclusive=self.mutually_exclusive + other.mutually_exclusive,
            states=[*self.states, *other.states],
            deployments=[name for name in self.deployments if name in other.deployments],
            instead=self.instead or other.instead,
        )

    def check_state(self, params: Mapping[str, Any]) -> None:
        """Raise BadOption for a ``state`` that there is not."""
        if self.states and params["state"] not in self.states:
            raise BadOption("There is no state=%s." % params["state"], "It can be %s." % ", ".join(self.states))

    def check_deployment(self, deployment: str) -> None:
        """Raise NotSupported for a deployment in which this module can do nothing."""
        if deployment not in self.deployments:
            works = ", ".join(self.deployments)
            raise NotSupported(
                "This module does not work with deployment=%s, but with %s." % (deployment, works), self.instead
            )

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


def _certificate(name: str) -> Dict[str, Any]:
    """A file in the folder that DOCKER_CERT_PATH names, as the docker command reads it."""
    return {"type": "path", "fallback": (certificate_fallback, ["DOCKER_CERT_PATH", name])}


def certificate_fallback(variable: str, name: str) -> str:
    from ansible.module_utils.basic import AnsibleFallbackNotFound

    if not os.environ.get(variable):
        raise AnsibleFallbackNotFound
    return os.path.join(os.environ[variable], name)


def docker_spec() -> Dict[str, Any]:
    """The option ``docker``: names, defaults and environment fallbacks of community.docker."""
    return {
        "type": "dict",
        "apply_defaults": True,
        "required_together": [("client_cert", "client_key")],
        "options": {
            "docker_host": dict(_from("DOCKER_HOST"), default="unix:///var/run/docker.sock"),
            "tls": dict(_from("DOCKER_TLS"), type="bool", default=False),
            "validate_certs": dict(_from("DOCKER_TLS_VERIFY"), type="bool", default=False),
            "ca_path": _certificate("ca.pem"),
            "client_cert": _certificate("cert.pem"),
            "client_key": dict(_certificate("key.pem"), no_log=False),
            "api_version": dict(_from("DOCKER_API_VERSION"), default="auto"),
            "timeout": dict(_from("DOCKER_TIMEOUT"), type="int", default=60),
            "use_ssh_client": {"type": "bool", "default": False},
        },
    }


TIMEOUTS = {"connect": "10s", "statement": "0", "lock": "5s", "idle": "60s"}


def timeouts(params: Mapping[str, Any]) -> Dict[str, float]:
    """Seconds of the option ``timeouts``: connect, statement, lock, idle."""
    given = dict(TIMEOUTS, **(params.get("timeouts") or {}))
    return {name: duration("timeouts.%s" % name, given[name]) for name in TIMEOUTS}


def target_spec() -> ArgumentSpec:
    """The options of the doc fragment ``target``.

    Those of the database have no fallback here: an environment variable must not choose a database beside one that an
    option names (see ``database_settings``).
    """
    options: Dict[str, Dict[str, Any]] = {
        "deployment": {"default": "auto", "choices": ["auto", "docker", "compose", "kubernetes", "database", "local"]},
        "container": {},
        "docker": docker_spec(),
        "project_src": {"type": "path"},
        "project_name": {},
        "service": {"default": "backend"},
        "namespace": {},
        "release": {},
        "label_selector": {},
        "kubernetes": {"type": "dict", "options": kubernetes_options()},
        "database_url": {"no_log": True},
        "login_host": {},
        "login_port": {"type": "int"},
        "login_user": {},
        "login_password": {"no_log": True},
        "login_db": {},
        "ssl_mode": {"choices": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]},
        "ca_cert": {"type": "path"},
        "manage_dir": {"type": "path"},
        "python": {"type": "path", "default": "python3"},
        "env_file": {"type": "path"},
        "environment": {"type": "dict", "no_log": True},
        "timeouts": {
            "type": "dict",
            "apply_defaults": True,
            "options": {name: {"default": value} for name, value in TIMEOUTS.items()},
        },
    }
    return ArgumentSpec(
        options,
        required_if=[
            ("deployment", "local", ["manage_dir"]),
            ("deployment", "compose", ["project_src", "project_name"], True),
            ("deployment", "kubernetes", ["namespace", "kubernetes"]),
        ],
        mutually_exclusive=[("database_url", "login_host"), ("release", "label_selector")],
    )


def kubernetes_options() -> Dict[str, Dict[str, Any]]:
    """The parts of the option ``kubernetes``, with kubernetes.core's names and environment variables.

    What names a cluster (kubeconfig, context, host) falls back to nothing: a variable shall not choose it. Nor do the
    credentials, here: those in variables are for an API server named by ``host`` (see ``kubernetes_access``).
    """
    return {
        "kubeconfig": {"type": "path"},
        "context": {},
        "host": {},
        "in_cluster": {"type": "bool", "default": False},
        "api_key": {"no_log": True},
        "username": {},
        "password": {"no_log": True},
        "ca_cert": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},
        "validate_certs": dict(_from("K8S_AUTH_VERIFY_SSL"), type="bool", default=True),
        "proxy": _from("K8S_AUTH_PROXY"),
        "impersonate_user": _from("K8S_AUTH_IMPERSONATE_USER"),
        "impersonate_groups": dict(_from("K8S_AUTH_IMPERSONATE_GROUPS"), type="list", elements="str"),
    }


_LIBPQ = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")  # each of them names a database


def database_settings(params: Mapping[str, Any], environ: Mapping[str, str]) -> Dict[str, Any]:
    """Keyword arguments of psycopg2.connect from the options of ``deployment: database``.

    The options win; DATABASE_URL counts where none of them names a database. What is not given is left to libpq, which
    reads its own PG* variables. Raises BadOption when nothing names a database.
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
    settings = {name: value for name, value in names.items() if value is not None}
    if not {"dsn", "host", "port", "user", "dbname"} & set(settings) and environ.get("DATABASE_URL"):
        settings["dsn"] = environ["DATABASE_URL"]
    if not {"dsn", "host", "dbname"} & set(settings) and not any(environ.get(name) for name in _LIBPQ):
        raise BadOption(
            "deployment=database, and nothing names a database.",
            "Set database_url, or login_host, login_db and login_user (or DATABASE_URL or PGHOST for the module).",
        )
    return settings
