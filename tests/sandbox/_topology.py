# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase's containers as data: docker/compose's Compose file bent by a `Variant`, and the same for `docker run`."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent / "docker" / "compose"
COMPONENTS = ("nginx", "frontend", "migrations", "backend", "worker", "postgres", "redis")
APPLICATION = ("migrations", "backend", "worker")
PASSWORD_FILE = "/etc/phase/secrets/DATABASE_PASSWORD"
TLS_FOLDER = "/etc/postgresql/tls"
SECRETS = ("DATABASE_PASSWORD", "SECRET_KEY", "SERVER_SECRET", "NEXTAUTH_SECRET")

Document = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """How an instance differs from the stock one.

    `password_file`: the database password comes as DATABASE_PASSWORD_FILE, a mounted file; no environment has it.
    `auth`: PostgreSQL's method for the network: trust, scram-sha-256, md5.
    `tls`: off (the server refuses it), on, required (it refuses everything else). A running server that has it on can
    refuse it from then on: `ALTER SYSTEM SET ssl = off` and `SELECT pg_reload_conf()`.
    `database_ssl`: what the backend asks for: "", require, verify-full.
    `environment`: more lines for the .env file.
    `services`: Compose keys merged into services, such as {"backend": {"mem_limit": "512m"}}.
    """

    password_file: bool = False
    auth: str = "trust"
    tls: str = "off"
    database_ssl: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


STOCK = Variant()

_ASK_HEALTH = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/', timeout=4)"
HEALTH_CHECK = Variant(
    services={
        "backend": {
            "healthcheck": {
                "test": ["CMD", "python", "-c", _ASK_HEALTH],
                "interval": "1s",
                "timeout": "5s",
                "retries": 30,
            }
        }
    }
)


def topology(variant: Variant) -> Document:
    """The Compose document of this variant."""
    document: Document = yaml.safe_load((FOLDER / "docker-compose.yml").read_text(encoding="utf-8"))
    services = document["services"]
    database = services["postgres"]
    database["environment"]["POSTGRES_HOST_AUTH_METHOD"] = variant.auth
    for_application: list[str] = []
    if variant.password_file:
        mount = f"./secrets/DATABASE_PASSWORD:{PASSWORD_FILE}:ro"
        for_application.append(mount)
        database["volumes"].append(mount)
        del database["environment"]["POSTGRES_PASSWORD"]
        database["environment"]["POSTGRES_PASSWORD_FILE"] = PASSWORD_FILE
    if variant.tls != "off":
        database["volumes"].append(f"./tls:{TLS_FOLDER}:ro")
        database["environment"]["POSTGRES_TLS"] = variant.tls
    if variant.database_ssl == "verify-full":
        for_application.append(f"./tls/server.crt:{TLS_FOLDER}/server.crt:ro")
    for name in APPLICATION:
        if for_application:
            services[name]["volumes"] = list(for_application)
    return _merged(document, {"services": variant.services})


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Document:
    result = dict(base)
    for key, value in changes.items():
        inner = result.get(key)
        result[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return result


def settings(variant: Variant, ports: Sequence[int]) -> dict[str, str]:
    """What the .env file says, with secrets planted that no log, result or argument may ever show."""
    values = {
        "HOST": "127.0.0.1",
        "HTTP_PROTOCOL": "http://",
        "HTTP_PORT": str(ports[0]),
        "HTTPS_PORT": str(ports[1]),
        "NEXTAUTH_SECRET": secrets.token_hex(32),
        "SECRET_KEY": secrets.token_hex(32),
        "SERVER_SECRET": secrets.token_hex(32),
        "DATABASE_HOST": "postgres",
        "DATABASE_PORT": "5432",
        "DATABASE_NAME": "phase-db",
        "DATABASE_USER": "phase-user",
        # Characters that a URL, a shell or a format string would trip over.
        "DATABASE_PASSWORD": f"planted:p@ss/w%rd-{secrets.token_hex(8)}",
        "REDIS_HOST": "redis",
        "REDIS_PORT": "6379",
        "ENABLE_PASSWORD_AUTH": "true",
    }
    if variant.database_ssl:
        values["DATABASE_SSL"] = "true"
    if variant.database_ssl == "verify-full":
        values["DATABASE_SSL_CA_PATH"] = f"{TLS_FOLDER}/server.crt"
    if variant.password_file:
        values["DATABASE_PASSWORD_FILE"] = PASSWORD_FILE
    return {**values, **variant.environment}


# --- the same for docker run ----------------------------------------------------------------------------------------

_LIMITS = {
    "cpus": "--cpus",
    "mem_limit": "--memory",
    "pids_limit": "--pids-limit",
    "restart": "--restart",
    "shm_size": "--shm-size",
    "user": "--user",
}
# Who connects to what and what waits for what is said by whoever starts the containers.
_ELSEWHERE = {"command", "container_name", "depends_on", "image", "networks"}
_UNDERSTOOD = {*_LIMITS, *_ELSEWHERE, "env_file", "environment", "healthcheck", "ports", "volumes"}


def run_options(service: Document, values: Mapping[str, str], directory: Path) -> tuple[list[str], dict[str, str]]:
    """What a service says, as options of `docker run`, and the environment that `docker` itself must be given for them:
    values go through it and not through the arguments. Raises KeyError for what has no translation."""

    def filled(text: object) -> str:
        return re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], str(text))

    if set(service) - _UNDERSTOOD:
        raise KeyError(f"docker run is not told {', '.join(sorted(set(service) - _UNDERSTOOD))} here")
    environment = {name: filled(value) for name, value in service.get("environment", {}).items()}
    options = ["--env-file", str(directory / service["env_file"])] if "env_file" in service else []
    options += [f"--env={name}" for name in environment]
    options += [f"--publish={filled(port)}" for port in service.get("ports", [])]
    options += ["--volume=" + re.sub(r"^\./", f"{directory}/", volume) for volume in service.get("volumes", [])]
    options += [f"{option}={service[key]}" for key, option in _LIMITS.items() if key in service]
    return options + _health_options(service.get("healthcheck"), filled), environment


def _health_options(check: Document | None, filled: Any) -> list[str]:
    if not check:
        return []
    kind, *command = check["test"]
    options = [f"--health-{key}={check[key]}" for key in ("interval", "timeout", "retries") if key in check]
    return [*options, "--health-cmd=" + filled(command[0] if kind == "CMD-SHELL" else shlex.join(command))]
