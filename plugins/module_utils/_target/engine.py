# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Docker engine: a client for it, its errors in words, and the way to the backend's container."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

from .._errors import BadOption, ContainerMissing, EngineUnreachable, LibraryMissing

Inspect = Dict[str, Any]
Find = Callable[[Any], Inspect]  # the backend's container, given an API client

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
FOLDER_LABEL = "com.docker.compose.project.working_dir"


def make_client(options: Mapping[str, Any]) -> Any:
    """An API client of the Docker SDK from the option ``docker``."""
    try:
        import docker
    except ImportError as error:
        raise LibraryMissing(
            "The Docker SDK for Python is not installed for this Python (%s)." % error,
            "Install the package docker for the interpreter that runs the module.",
        ) from error
    tls: Any = False
    if options.get("tls") or options.get("validate_certs"):
        certificate = (options["client_cert"], options["client_key"]) if options.get("client_cert") else None
        tls = docker.tls.TLSConfig(
            client_cert=certificate, ca_cert=options.get("ca_path"), verify=bool(options.get("validate_certs"))
        )
    with engine_errors(options["docker_host"]):
        return docker.APIClient(
            base_url=options["docker_host"],
            version=options.get("api_version") or "auto",
            timeout=options.get("timeout") or None,
            tls=tls,
            use_ssh_client=bool(options.get("use_ssh_client")),
        )


@contextlib.contextmanager
def engine_errors(host: str = "") -> Iterator[None]:
    """Turn the SDK's errors of an unreachable or unwilling engine into typed ones."""
    import docker
    import requests

    try:
        yield
    except docker.errors.APIError as error:
        raise EngineUnreachable(
            "The Docker engine refused: %s" % (error.explanation or error), "See the engine's log, then run it again."
        ) from error
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise EngineUnreachable(
            "The Docker engine %s cannot be reached: %s" % (host, _root_cause(error)),
            "Start it, set docker_host in docker (or DOCKER_HOST), or run as a user that may use its socket (become: "
            "true).",
        ) from error


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
            "Set container to the backend's name, or deployment to compose. Running here: %s."
            % (", ".join(running) or "nothing"),
        )

    return find


def find_by_project(project: Optional[str], folder: Optional[str], service: str) -> Find:
    """The first running container of a Compose service, else the first of any state."""

    def find(client: Any) -> Inspect:
        if not project and not folder:
            raise BadOption("deployment=compose needs project_src or project_name.", "Set one of them.")
        labels = [SERVICE_LABEL + "=" + service]
        labels.append(PROJECT_LABEL + "=" + project if project else "%s=%s" % (FOLDER_LABEL, folder))
        found = client.containers(all=True, filters={"label": labels})
        found.sort(key=lambda entry: (entry["State"] != "running", entry["Names"]))
        if found:
            inspect: Inspect = client.inspect_container(found[0]["Id"])
            return inspect
        projects = sorted({entry["Labels"].get(PROJECT_LABEL) for entry in client.containers(all=True)} - {None})
        raise ContainerMissing(
            "Compose has no container of service %s in %s." % (service, project or folder),
            "Check project_src, project_name and service. Projects here: %s." % (", ".join(projects) or "none"),
        )

    return find
