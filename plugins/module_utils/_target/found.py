# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``deployment: auto``: which instance of Phase this host's Docker engine has, read from its containers alone.

No environment variable but those of the engine is looked at: an ambient KUBECONFIG, DATABASE_URL or PGHOST must never
choose an instance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional

from .._errors import ContainerMissing, PhaseError
from .clone import environment, same_part
from .docker import ROLLING
from .engine import FOLDER_LABEL, ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, Inspect, engine_errors

IMAGE = "phasehq/backend"
STEM = "backend"
# Options that name an instance of another deployment: they are no use to ``auto``, and ignoring them could be fatal.
OF_OTHERS = {
    "kubernetes": ("namespace", "release", "label_selector", "kubernetes"),
    "database": ("database_url", "login_host", "login_port", "login_user", "login_password", "login_db"),
    "local": ("manage_dir", "env_file", "environment"),
}


class SeveralInstances(PhaseError):
    """More than one instance was found, and no option says which one is meant."""

    kind = "several_instances"


@dataclass(frozen=True)
class Found:
    """One instance: a Compose project, or containers that were made one by one."""

    deployment: str
    container: str
    project_name: Optional[str] = None
    project_src: Optional[str] = None

    def sentence(self) -> str:
        if self.deployment == "compose":
            where = " in %s" % self.project_src if self.project_src else ""
            return "Compose project %s%s, container %s" % (self.project_name, where, self.container)
        return "container %s" % self.container

    def setting(self) -> str:
        """The options that name this instance."""
        if self.deployment == "compose":
            return "deployment=compose project_name=%s" % self.project_name
        return "deployment=docker container=%s" % self.container


def is_phase(container: Inspect) -> bool:
    """Whether a container runs Phase's backend image, or has the settings that only Phase's containers have.

    SERVER_SECRET (or SERVER_SECRET_FILE) and DATABASE_NAME (Phase v2.37.2 to v2.73.2, settings.py).
    """
    image = str(container["Config"].get("Image") or "").partition("@")[0]
    folder, _slash, last = image.rpartition("/")
    names = set(environment(container))
    settings = {"SERVER_SECRET", "SERVER_SECRET_FILE"} & names and "DATABASE_NAME" in names
    return bool(settings) or (folder + "/" + last.partition(":")[0]).endswith(IMAGE)


def plain_name(container: Inspect) -> str:
    """The container's name, without what a rollout that was interrupted has added to it."""
    name = str(container["Name"]).lstrip("/")
    for suffix in ROLLING:
        if name.endswith(STEM + suffix):
            name = name[: -len(suffix)]
    return name


def found_in(container: Inspect) -> Found:
    """The instance that a container belongs to, by its labels."""
    labels = container["Config"].get("Labels") or {}
    if PROJECT_LABEL in labels:
        name = str(container["Name"]).lstrip("/")
        return Found("compose", name, labels[PROJECT_LABEL], labels.get(FOLDER_LABEL))
    return Found("docker", plain_name(container))


def instances(containers: List[Inspect], service: str, container: Optional[str] = None) -> List[Found]:
    """The instances among an engine's containers, each once: of a Compose project its first running backend.

    ``container`` narrows it to the one of that name.
    """
    found: Dict[Any, Found] = {}
    plain: List[Inspect] = []  # of containers that were made one by one; a replica of one of them is no other instance
    for inspect in sorted(containers, key=lambda one: (not one["State"]["Running"], one["Name"])):
        labels = inspect["Config"].get("Labels") or {}
        if container is not None:
            wanted = container in (str(inspect["Name"]).lstrip("/"), plain_name(inspect))
        elif labels.get(ONE_OFF_LABEL) == "True" or not is_phase(inspect):
            wanted = False
        else:
            wanted = labels[SERVICE_LABEL] == service if SERVICE_LABEL in labels else plain_name(inspect).endswith(STEM)
        if wanted:
            one = found_in(inspect)
            if one.deployment == "docker" and any(same_part(inspect, other) for other in plain):
                continue
            plain += [inspect] if one.deployment == "docker" else []
            found.setdefault((one.deployment, one.project_name or one.container), one)
    return list(found.values())


def choose(found: List[Found], engine: str) -> Found:
    """The only instance there is. Raises ContainerMissing or SeveralInstances with what to set."""
    if not found:
        raise ContainerMissing(
            "deployment=auto found no instance of Phase on the Docker engine %s." % engine,
            "Set deployment to docker (with container), compose (with project_src or project_name), "
            "kubernetes (with namespace and kubernetes), local (with manage_dir) or database (with database_url), or "
            "docker_host in docker to the engine that it runs on.",
        )
    if len(found) > 1:
        raise SeveralInstances(
            "deployment=auto found several instances of Phase: %s." % "; ".join(one.sentence() for one in found),
            "Name one: %s." % ", or ".join(one.setting() for one in found),
            partial={"instances": [one.__dict__ for one in found]},
        )
    return found[0]


def of_others(params: Mapping[str, Any]) -> Optional[str]:
    """``option (deployment)`` of the first option that names an instance of another deployment."""
    for deployment, names in OF_OTHERS.items():
        for name in names:
            if params.get(name) is not None:
                return "%s belongs to deployment=%s" % (name, deployment)
    return None


def look(client: Any, params: Mapping[str, Any]) -> Found:
    """The instance on the engine of ``client``. Raises as ``choose`` does."""
    import docker

    seen = []
    with engine_errors(params["docker"]["docker_host"]):
        for entry in client.containers(all=True):
            try:
                seen.append(client.inspect_container(entry["Id"]))
            except docker.errors.NotFound:
                pass  # it has ended meanwhile
    return choose(instances(seen, params["service"], params["container"]), params["docker"]["docker_host"])
