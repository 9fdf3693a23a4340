# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox Phase in plain containers: the Compose file's topology made with `docker run`, without Compose's labels."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from . import images
from ._containers import ContainerInstance, InstanceError
from ._topology import COMPONENTS, HEALTH_CHECK, STOCK, Variant, run_options

__all__ = ["COMPONENTS", "HEALTH_CHECK", "STOCK", "DockerInstance", "InstanceError", "Variant"]


class DockerInstance(ContainerInstance):
    """The same containers as those of ComposeInstance, without Compose; see ContainerInstance for the rest."""

    @property
    def project_name(self) -> str:
        return ""

    @property
    def network(self) -> str:
        return "phase-net"

    @property
    def volume(self) -> str:
        return "phase-postgres-data"

    def _make_volume(self) -> None:
        label = f"--label={images.LABEL}=instance"
        self.docker("network", "create", label, self.network)
        for volume in self.topology["volumes"]:
            self.docker("volume", "create", label, volume)

    def _start_database(self) -> None:
        self._run("postgres", "redis")
        self.wait_database()

    def _up(self) -> None:
        self._run("migrations")
        if self.docker("wait", "phase-migrations") != "0":
            raise InstanceError(f"phase-migrations has failed.\n{self.trouble()}")
        self._run("backend", "worker", "frontend", "nginx")

    def _replace(self, services: Sequence[str]) -> None:
        self.docker("rm", "--force", *(f"phase-{service}" for service in services))
        self._run(*services)

    def _run(self, *services: str) -> None:
        for name in services:
            self.replica(name, self.topology["services"][name]["container_name"])

    def replica(self, name: str, container: str, *more: str, image: str = "") -> None:
        """Run a container of a service under a name, with `more` options of `docker run`, of another image if asked."""
        service = self.topology["services"][name]
        options, environment = run_options(service, self.environment, self.directory)
        options += ["--name", container, "--network", self.network, "--network-alias", name, *more]
        command = shlex.split(service.get("command", ""))
        self.engine.docker("run", "--detach", *options, image or service["image"], *command, environment=environment)
