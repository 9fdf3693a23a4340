# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox Phase in plain containers: the Compose file's topology made with `docker run`, without Compose's labels."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import images
from ._containers import COMPONENTS, ContainerInstance, Document, InstanceError, topology, wait_for

NETWORK = "phase-net"


class DockerInstance(ContainerInstance):
    """The same containers as those of ComposeInstance, without Compose."""

    @property
    def project_name(self) -> str:
        return ""

    def _up(self) -> None:
        label = ["--label", images.LABEL]
        document = topology(self.variant)
        self.docker("network", "create", *label, NETWORK)
        for volume in document["volumes"]:
            self.docker("volume", "create", *label, volume)
        for component in ("postgres", "redis"):
            self._run(component, document)
        wait_for(self._database_healthy, 60, "phase-postgres is not healthy", self.trouble)
        self._run("migrations", document)
        if self.docker("wait", "phase-migrations") != "0":
            raise InstanceError(f"phase-migrations has failed.\n{self.trouble()}")
        for component in ("backend", "worker", "frontend", "nginx"):
            self._run(component, document)

    def _replace(self, services: Sequence[str]) -> None:
        document = topology(self.variant)
        for component in services:
            self.docker("rm", "--force", f"phase-{component}")
            self._run(component, document)

    def _database_healthy(self) -> bool:
        return bool(self.inspect("phase-postgres")["State"]["Health"]["Status"] == "healthy")

    def _run(self, component: str, document: Document) -> None:
        self.docker(
            "run", "--detach", *run_arguments(component, document["services"][component], self.settings, self.directory)
        )


def run_arguments(component: str, service: Document, settings: Mapping[str, str], directory: Path) -> list[str]:
    """The arguments of `docker run` that make the container a Compose service stands for."""

    def filled(text: Any) -> str:
        return re.sub(r"\$\{(\w+)\}", lambda match: settings[match[1]], str(text))

    unknown = set(service) - _UNDERSTOOD
    if unknown:
        raise InstanceError(f"A plain container cannot be given {', '.join(sorted(unknown))}.")
    arguments = ["--name", service["container_name"], "--network", NETWORK, "--network-alias", component]
    arguments += ["--restart", service.get("restart", "no")]
    if "env_file" in service:
        arguments += ["--env-file", str(directory / service["env_file"])]
    for name, value in service.get("environment", {}).items():
        arguments += ["--env", f"{name}={filled(value)}"]
    for port in service.get("ports", []):
        arguments += ["--publish", filled(port)]
    for volume in service.get("volumes", []):
        arguments += ["--volume", re.sub(r"^\./", f"{directory}/", volume)]
    for key, option in _LIMITS.items():
        if key in service:
            arguments += [option, str(service[key])]
    check = service.get("healthcheck", {})
    if check:
        kind, *command = check["test"]
        arguments += ["--health-cmd", filled(command[0] if kind == "CMD-SHELL" else shlex.join(command))]
        arguments += [f"--health-{key}={check[key]}" for key in ("interval", "timeout", "retries") if key in check]
    return [*arguments, service["image"], *shlex.split(service.get("command", ""))]


_LIMITS = {
    "mem_limit": "--memory",
    "cpus": "--cpus",
    "user": "--user",
    "shm_size": "--shm-size",
    "pids_limit": "--pids-limit",
}
_UNDERSTOOD = {
    *_LIMITS, "command", "container_name", "depends_on", "env_file", "environment", "healthcheck", "image", "networks",
    "ports", "restart", "volumes",
}  # fmt: skip

__all__ = ["COMPONENTS", "DockerInstance", "run_arguments"]
