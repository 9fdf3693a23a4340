# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every target offers. A target knows where the instance is and how an operation gets next to its database."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple

from .._errors import NotSupported
from .._operations.core.api import Deliveries, Operation, Request, Result

Lost = Callable[[], bool]  # whether the one who called this module is gone
Report = Callable[..., None]
Sink = Callable[[bytes], None]


@dataclass(frozen=True)
class Limits:
    """Time limits of a call, in seconds; 0 is none. ``total`` and ``pause_file`` are the module's own options."""

    connect: float = 10.0
    statement: float = 0.0
    lock: float = 5.0
    idle: float = 60.0
    total: float = 0.0
    pause_file: str = ""

    def paused(self) -> bool:
        return bool(self.pause_file) and os.path.exists(self.pause_file)

    def timeouts(self) -> Dict[str, float]:
        return {"connect": self.connect, "statement": self.statement, "lock": self.lock}


class Target:
    """Base of the targets; a method that a deployment has no way to offer says so."""

    deployment = ""
    found: Optional[Dict[str, Any]] = None  # what deployment=auto has found: see connection, and found (in words)
    ran_in: List[Dict[str, Optional[str]]] = []  # kubernetes: by (exec, job), job, pod of each way that was taken

    def connection(self) -> Dict[str, Any]:
        """Which instance this is: ``deployment``; in containers also ``container``, ``project_name``, ``project_src``
        (both null without Compose). It asks no database, and answers while a rollout replaces the backend."""
        return {"deployment": self.deployment}

    def run(
        self,
        operation: Operation,
        request: Request,
        report: Report,
        *,
        image: Optional[str] = None,
        detached: bool = False,
        deliveries: Optional[Deliveries] = None,
    ) -> Result:
        """Run an operation next to the database; with ``image``, by the code of that image (local: checkout).

        A ``detached`` operation goes on when the caller dies; any other ends within 10 seconds. ``deliveries`` takes
        what the operation hands over on its way.
        """
        raise NotImplementedError

    def expect_long(self) -> None:
        """What is run from now on may take hours. In Kubernetes it should survive a rollout of the backend."""

    def describe(self) -> Dict[str, Any]:
        """What runs: ``deployment``, ``image``, ``image_id``, ``digest``, ``container``, ``components`` by name
        (container, image, image_id, digest, status, health; with Docker and Compose ``containers``, the same of each of
        its replicas) and ``external_migration`` (value, misspelt)."""
        raise NotImplementedError

    def pipe(
        self, argv: List[str], sink: Sink, *, image: Optional[str] = None, stdin: Optional[Iterable[bytes]] = None
    ) -> Tuple[int, str]:
        """Run a PostgreSQL program with the backend's settings of the database, and in its network: exit code, tail of
        standard error.

        Its output goes to ``sink``; ``stdin`` is fed to it for as long as it reads. ``image`` None is the database's.
        """
        raise NotSupported(
            "deployment=%s cannot start a program beside the backend." % self.deployment,
            "Use deployment=docker, compose, kubernetes or local.",
        )

    def database_image(self) -> Optional[str]:
        """The image of the database's container, when it runs beside the backend: it has PostgreSQL's own tools."""
        return None

    def free_disk(self) -> Optional[int]:
        """Bytes free where PostgreSQL keeps its data; None where that cannot be seen from here."""
        return None

    def close(self) -> None:
        """Let go of what was kept for the next step of this call. It may be called twice."""


def program_environment(environment: Mapping[str, str]) -> Dict[str, str]:
    """Of the backend's environment what a PostgreSQL program reads: DATABASE_*, by the backend's own names, and libpq's
    and Kerberos's variables. SECRET_KEY and SERVER_SECRET are none of its business.
    """
    return {name: value for name, value in environment.items() if name.startswith(("DATABASE_", "PG", "KRB5"))}


def external_migration(environment: Dict[str, str]) -> Dict[str, Any]:
    """Who migrates: the backend's start script does unless EXTERNAL_MIGRATION is exactly ``true`` (Phase v2.73.2).

    One version of Phase's documentation spells it EXTERNAL_MIGRATIONS, which nothing reads.
    """
    return {"value": environment.get("EXTERNAL_MIGRATION"), "misspelt": "EXTERNAL_MIGRATIONS" in environment}


def external_warnings(external: Optional[Mapping[str, Any]], deployment: str) -> List[str]:
    """What a person should know about these settings. For ``local`` the name alone counts, as no start script runs."""
    if not external or deployment == "database":
        return []
    found = []
    if external["misspelt"]:
        found.append(
            "The backend has EXTERNAL_MIGRATIONS set, which nothing reads; Phase knows EXTERNAL_MIGRATION, without S."
        )
    value = external["value"]
    if value != "true" and deployment != "local":
        found.append(
            "EXTERNAL_MIGRATION of the running backend is %s, and Phase takes only the word true in small letters for "
            "true. So the backend also migrates whenever it starts. Set it to true."
            % ("not set" if value is None else repr(value))
        )
    return found
