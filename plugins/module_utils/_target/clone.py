# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers made after the pattern of the backend's: pure functions over ``docker inspect`` data (API 1.41).

A variable that a container only inherited from its image is not carried over to a container of another image: the
old PATH or PYTHON_VERSION would hide the new image's own.
"""

from __future__ import annotations

import copy
import posixpath
import re
from typing import Any, Dict, Iterable, List, Mapping, Optional, TypeVar

from .base import program_environment

Inspect = Mapping[str, Any]
Container = TypeVar("Container", bound=Mapping[str, Any])
Body = Dict[str, Any]  # of POST /containers/create

# What decides where a process may reach, what it may not do and how much it may take. Privileges and added capabilities
# are not among it: neither Phase's migrations nor PostgreSQL's programs have a use for them.
_SHARED_HOST_CONFIG = (
    "Binds",
    "Mounts",
    "VolumesFrom",
    "Tmpfs",
    "NetworkMode",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "Links",
    "GroupAdd",
    "CapDrop",
    "SecurityOpt",
    "ReadonlyRootfs",
    "UsernsMode",
    "Runtime",
    "Sysctls",
    "ShmSize",
    "Ulimits",
    "Memory",
    "MemorySwap",
    "MemoryReservation",
    "NanoCpus",
    "CpuShares",
    "CpuPeriod",
    "CpuQuota",
    "CpusetCpus",
    "CpusetMems",
    "PidsLimit",
    "CgroupParent",
)


def own_environment(container: Inspect, image: Inspect) -> List[str]:
    """``NAME=value`` pairs that were given to the container and do not merely come from its image."""
    inherited = set(image["Config"].get("Env") or [])
    return [pair for pair in container["Config"].get("Env") or [] if pair not in inherited]


def networks(container: Inspect) -> List[str]:
    """Names of the networks the container is attached to, the one of its network mode first."""
    names = list(container["NetworkSettings"].get("Networks") or {})
    return sorted(names, key=lambda name: name != container["HostConfig"].get("NetworkMode"))


def _endpoints(names: List[str], aliases: Mapping[str, List[str]]) -> Body:
    """The first network's endpoint; the engine takes one at creation, the rest are connected before the start."""
    return {"EndpointsConfig": {name: {"Aliases": aliases.get(name) or None} for name in names[:1]}}


def _user_networks(container: Inspect) -> List[str]:
    mode = str(container["HostConfig"].get("NetworkMode") or "")
    if mode.startswith("container:") or mode in ("host", "none", "default", "bridge"):
        return []
    return networks(container)


def one_off(
    container: Inspect,
    old_image: Inspect,
    image: str,
    entrypoint: List[str],
    labels: Mapping[str, str],
    *,
    keep: bool,
    log: bool,
) -> Body:
    """A container that runs ``entrypoint`` from ``image`` as the backend would run it, and serves nobody.

    It gets the environment, volumes, networks, user, security settings and limits; no name, alias, port, restart
    policy, healthcheck or Compose label, so that nothing takes it for the backend. Without ``keep`` the engine removes
    it at its end; without ``log`` the engine writes none of its output to disk.
    """
    config, host = container["Config"], container["HostConfig"]
    shared = {key: copy.deepcopy(host[key]) for key in _SHARED_HOST_CONFIG if host.get(key) not in (None, "", [])}
    body: Body = {
        "Image": image,
        "Entrypoint": entrypoint,
        "Cmd": [],
        "Env": own_environment(container, old_image),
        "Labels": dict(labels),
        "Healthcheck": {"Test": ["NONE"]},
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "Tty": False,
        "HostConfig": dict(
            shared,
            AutoRemove=not keep,
            LogConfig={"Type": "json-file" if log else "none", "Config": {}},
            RestartPolicy={"Name": "no"},
        ),
        "NetworkingConfig": _endpoints(_user_networks(container), {}),
    }
    if config.get("User") and config["User"] != old_image["Config"].get("User"):
        body["User"] = config["User"]
    if config.get("WorkingDir") and config["WorkingDir"] != old_image["Config"].get("WorkingDir"):
        body["WorkingDir"] = config["WorkingDir"]
    return body


def program(
    container: Inspect, old_image: Inspect, image: str, entrypoint: List[str], labels: Mapping[str, str]
) -> Body:
    """A one-off container for a PostgreSQL program: it gets the settings of the database and the files that they name,
    read-only, and nothing else of the backend's environment and volumes.
    """
    body = one_off(container, old_image, image, entrypoint, labels, keep=True, log=False)
    settings = program_environment(environment(container))
    body["Env"] = ["%s=%s" % pair for pair in settings.items()]
    body.pop("WorkingDir", None)
    for key in ("Binds", "Mounts", "VolumesFrom", "Tmpfs"):
        body["HostConfig"].pop(key, None)
    body["HostConfig"]["Mounts"] = file_mounts(container, [value for value in settings.values() if value[:1] == "/"])
    return body


def file_mounts(container: Inspect, paths: List[str]) -> List[Body]:
    """Read-only mounts that bring these files of the container into another one. Of a folder that is bound from the
    host only the file comes along; a volume can be mounted as a whole only.
    """
    found: Dict[str, Body] = {}
    for path in paths:
        over = [mount for mount in container.get("Mounts") or [] if (path + "/").startswith(mount["Destination"] + "/")]
        mount = max(over, key=lambda one: len(one["Destination"]), default=None)
        if mount is None or mount["Type"] not in ("bind", "volume"):
            continue
        target, source = mount["Destination"], mount.get("Name") or mount["Source"]
        if mount["Type"] == "bind":
            target, source = path, posixpath.normpath(posixpath.join(mount["Source"], posixpath.relpath(path, target)))
        found[target] = {"Type": mount["Type"], "Source": source, "Target": target, "ReadOnly": True}
    return list(found.values())


def successor(container: Inspect, old_image: Inspect, image: str) -> Body:
    """A container of another image that takes the place of this one: everything that was given to it is kept.

    What it only inherited from the old image (environment, command, entrypoint, user, folder, healthcheck, labels,
    ports, volumes) comes from the new one.
    """
    config, inherited = container["Config"], old_image["Config"]
    body: Body = {"Image": image, "HostConfig": copy.deepcopy(dict(container["HostConfig"]))}
    for key in ("Cmd", "Entrypoint", "User", "WorkingDir", "Healthcheck", "StopSignal", "StopTimeout"):
        if config.get(key) is not None and config.get(key) != inherited.get(key):
            body[key] = copy.deepcopy(config[key])
    for key in ("Labels", "ExposedPorts", "Volumes"):
        known = inherited.get(key) or {}
        body[key] = {k: v for k, v in (config.get(key) or {}).items() if k not in known or known[k] != v}
    body["Env"] = own_environment(container, old_image)
    for key in ("OpenStdin", "StdinOnce", "Tty"):
        body[key] = config.get(key, False)
    if config.get("Hostname") and not str(container["Id"]).startswith(config["Hostname"]):
        body["Hostname"] = config["Hostname"]
    body["NetworkingConfig"] = _endpoints(_user_networks(container), aliases(container))
    return body


def aliases(container: Inspect) -> Dict[str, List[str]]:
    """Network aliases by network, without the container's own short id."""
    short = str(container["Id"])[:12]
    return {
        name: [alias for alias in endpoint.get("Aliases") or [] if alias != short]
        for name, endpoint in (container["NetworkSettings"].get("Networks") or {}).items()
    }


def environment(container: Inspect) -> Dict[str, str]:
    """The container's environment as a mapping."""
    return dict(pair.partition("=")[::2] for pair in container["Config"].get("Env") or [])


def well(container: Inspect) -> bool:
    """Whether it runs and is not known to be unhealthy."""
    state = container["State"]
    return bool(state["Running"]) and not state.get("Paused") and healthy(container) in (None, "healthy")


def best_first(containers: Iterable[Container]) -> List[Container]:
    """Those that are well, then those that run, then the rest; each group by name."""
    return sorted(containers, key=lambda one: (not well(one), not one["State"]["Running"], natural(one["Name"])))


def natural(name: str) -> List[Any]:
    """For sorting: ``phase-backend-10`` comes after ``phase-backend-2``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def repository(container: Inspect) -> str:
    """Of the container's image, without tag and digest."""
    folder, slash, last = str(container["Config"]["Image"]).partition("@")[0].rpartition("/")
    return folder + slash + last.partition(":")[0]


def database(container: Inspect) -> List[Optional[str]]:
    """The settings that say which database it is."""
    settings = environment(container)
    return [settings.get(name) for name in ("DATABASE_HOST", "DATABASE_PORT", "DATABASE_NAME")]


def task(container: Inspect) -> str:
    """What a container of Phase's backend image does: ``worker``, ``migrations`` or ``backend``, by its command (Phase
    v2.73.2: ``python manage.py rqworker default``, ``python manage.py migrate``)."""
    words = " ".join([*(container["Config"].get("Entrypoint") or []), *(container["Config"].get("Cmd") or [])]).split()
    return "worker" if "rqworker" in words else "migrations" if "migrate" in words else "backend"


def same_part(one: Inspect, other: Inspect) -> bool:
    """Whether two plain containers are replicas of one part: the same image but for its version, the same database, if
    that is known, the same work."""
    known = database(one)[0] is not None
    return known and (repository(one), database(one), task(one)) == (repository(other), database(other), task(other))


def healthy(container: Inspect) -> Optional[str]:
    """``starting``, ``healthy`` or ``unhealthy``; None without a healthcheck."""
    health = container["State"].get("Health") or {}
    status = health.get("Status")
    return None if status in (None, "none") else str(status)
