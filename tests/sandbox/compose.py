# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox Phase as a Compose project with the topology of Phase's own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

from ._containers import ContainerInstance, InstanceError
from ._topology import COMPONENTS, HEALTH_CHECK, STOCK, Variant

__all__ = ["COMPONENTS", "HEALTH_CHECK", "STOCK", "ComposeInstance", "InstanceError", "Variant"]


LOCAL = ("--no-build", "--pull", "never")


class ComposeInstance(ContainerInstance):
    """The Compose project in `project_src`; see ContainerInstance for the rest."""

    @property
    def project_name(self) -> str:
        """The name that Compose makes of the folder's."""
        return re.sub(r"[^a-z0-9_-]", "", self.directory.name.lower()).lstrip("_-")

    @property
    def network(self) -> str:
        return f"{self.project_name}_phase-net"

    def compose(self, *argv: str, check: bool = True) -> str:
        """`docker compose ARGV` in the project's folder, as an operator would call it; its standard output."""
        done = subprocess.run(
            ["docker", "compose", *argv],
            cwd=self.project_src,
            env=self.engine.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise InstanceError(f"docker compose {argv[0]} failed: {done.stderr.strip()[-2000:]}\n{self.trouble()}")
        return done.stdout

    @property
    def volume(self) -> str:
        return f"{self.project_name}_phase-postgres-data"

    def _make_volume(self) -> None:
        self.compose("create", *LOCAL, "postgres")

    def _start_database(self) -> None:
        self.compose("up", "--detach", *LOCAL, "postgres", "redis")
        self.wait_database()

    def _up(self) -> None:
        self.compose("up", "--detach", *LOCAL)

    def _replace(self, services: Sequence[str]) -> None:
        self.compose("up", "--detach", "--no-deps", *LOCAL, *services)
