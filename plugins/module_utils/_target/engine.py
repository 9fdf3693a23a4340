# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Docker engine: a client for it, its errors in words, and the way to the backend's container."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Tuple

from .._errors import BadOption, ContainerMissing, EngineUnreachable, LibraryMissing
from .clone import best_first

Inspect = Dict[str, Any]
Find = Callable[[Any], Inspect]  # the backend's container, given an API client

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
FOLDER_LABEL = "com.docker.compose.project.working_dir"
ONE_OFF_LABEL = "com.docker.compose.oneoff"
# Labels of those who make containers anew by their own description, and what to use instead of replacing one.
MANAGERS = (
    (PROJECT_LABEL, "Compose", "Set deployment=compose with project_src, or deployment=auto, which finds the project."),
    ("com.docker.swarm.service.name", "Swarm", "Set the image in the stack's file and deploy it: docker stack deploy."),
    ("io.kubernetes.pod.name", "Kubernetes", "Set the image in the release (helm upgrade)."),
    ("PODMAN_SYSTEMD_UNIT", "a systemd unit", "Set the image in the unit, then restart it."),
)


def manager(container: Inspect) -> Optional[Tuple[str, str]]:
    """Who makes this container anew by a description of its own, with what to do about that; None when nobody does."""
    labels = container["Config"].get("Labels") or {}
    return next(((who, what) for label, who, what in MANAGERS if label in labels), None)


def sdk() -> Tuple[Any, Any]:
    """The packages ``docker`` and ``requests``. Raises LibraryMissing."""
    try:
        import docker
        import requests
    except ImportError as error:
        raise missing("docker", error) from error
    return docker, requests


def missing(package: str, error: ImportError, why: str = "") -> LibraryMissing:
    return LibraryMissing(
        "The Python package %s is missing for %s, which runs this module%s (%s)."
        % (package, sys.executable, why, error),
        "Install it: %s -m pip install %s, or the distribution's package python3-%s. Or set ansible_python_interpreter "
        "to a Python that has it." % (sys.executable, package, package),
    )


def make_client(options: Mapping[str, Any]) -> Any:
    """An API client of the Docker SDK from the option ``docker``."""
    docker, _requests = sdk()
    host = options["docker_host"]
    if host.startswith("ssh://"):
        try:
            importlib.import_module("paramiko")  # the SDK needs it even where use_ssh_client is set
        except ImportError as error:
            raise missing("paramiko", error, " and reaches the engine %s" % host) from error
    with engine_errors(host):
        tls: Any = False
        if options.get("tls") or options.get("validate_certs"):
            certificate = (options["client_cert"], options["client_key"]) if options.get("client_cert") else None
            tls = docker.tls.TLSConfig(
                client_cert=certificate, ca_cert=options.get("ca_path"), verify=bool(options.get("validate_certs"))
            )
        return docker.APIClient(
            base_url=host,
            version=options.get("api_version") or "auto",
            timeout=options.get("timeout") or None,
            tls=tls,
            use_ssh_client=bool(options.get("use_ssh_client")),
        )


@contextlib.contextmanager
def engine_errors(host: str = "") -> Iterator[None]:
    """Turn the SDK's errors of an unreachable or unwilling engine into typed ones."""
    docker, requests = sdk()
    try:
        yield
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise engine_error(error, host) from error


def engine_error(error: Exception, host: str = "") -> EngineUnreachable:
    """The typed error for one of the SDK's."""
    docker, requests = sdk()
    engine = "The Docker engine%s" % (" " + host if host else "")
    if isinstance(error, docker.errors.APIError):
        return EngineUnreachable(
            "%s refused: %s" % (engine, error.explanation or error), "See the engine's log, then run it again."
        )
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error):
        limit = re.search(r"timeout=(\d+)", str(error))
        return EngineUnreachable(
            "%s did not answer within %s." % (engine, limit.group(1) + " s" if limit else "the time limit"),
            "See whether `docker info` answers, or raise timeout in docker, then run it again.",
        )
    return EngineUnreachable(
        "%s cannot be reached: %s" % (engine, _root_cause(error)),
        "Start it, set docker_host in docker (or DOCKER_HOST), or run as a user that may use its socket (become).",
    )


def _root_cause(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    return str(error)


def find_by_name(name: str) -> Find:
    def find(client: Any) -> Inspect:
        import docker

        try:
            with_state: Inspect = client.inspect_container(name)
            return with_state
        except docker.errors.NotFound:
            pass
        running = sorted(entry["Names"][0].lstrip("/") for entry in client.containers())
        raise ContainerMissing(
            "This Docker engine has no container named %s." % name,
            "Set container to the backend's name, or deployment to auto or compose. Running here: %s."
            % (", ".join(running) or "nothing"),
        )

    return find


def find_by_project(project: Optional[str], folder: Optional[str], service: str) -> Find:
    """The first container of a Compose service that is well, else the first that runs, else the first."""

    def find(client: Any) -> Inspect:
        if not project and not folder:
            raise BadOption("deployment=compose needs project_src or project_name.", "Set one of them.")
        labels = [SERVICE_LABEL + "=" + service]
        labels.append(PROJECT_LABEL + "=" + project if project else "%s=%s" % (FOLDER_LABEL, folder))
        listed = client.containers(all=True, filters={"label": labels})
        found = [client.inspect_container(one["Id"]) for one in listed if one["Labels"].get(ONE_OFF_LABEL) != "True"]
        if found:
            best: Inspect = best_first(found)[0]
            return best
        projects = sorted({entry["Labels"].get(PROJECT_LABEL) for entry in client.containers(all=True)} - {None})
        raise ContainerMissing(
            "Compose has no container of service %s in %s." % (service, project or folder),
            "Check project_src, project_name and service. Projects here: %s." % (", ".join(projects) or "none"),
        )

    return find
