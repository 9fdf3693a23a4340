# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the options of a call to its target. A new deployment is a module beside this one and an entry in BUILDERS."""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, Mapping, Optional

from .._errors import BadOption, PhaseError
from .._target.base import Limits, Lost, Target
from .argspec import ArgumentSpec, database_settings, duration, target_spec, timeouts
from .module import Run
from .module import run_module as run_any

Params = Mapping[str, Any]
CONTAINER = "phase-backend"  # the name in Phase's own instructions


def limits_from(params: Params) -> Limits:
    """The call's time limits; ``timeout`` and ``pause_file`` are the module's own, where it has them."""
    return Limits(
        **timeouts(params),
        total=duration("timeout", params.get("timeout") or 0),
        pause_file=params.get("pause_file") or "",
    )


def _client(params: Params) -> Callable[[], Any]:
    from .._target.engine import make_client

    return lambda: make_client(params["docker"])


def _auto(params: Params, limits: Limits, lost: Lost) -> Target:
    from .._target.docker import DockerTarget
    from .._target.engine import find_by_name, find_by_project
    from .._target.found import look, of_others

    other = of_others(params)
    if other:
        raise BadOption("%s, and deployment=auto looks at the Docker engine alone." % other, "Set deployment.")
    if params["project_name"] or params["project_src"]:
        return _compose(params, limits, lost)
    client = _client(params)()
    found = look(client, params)
    by_project = found.deployment == "compose" and not params["container"]
    find = find_by_project(found.project_name, None, params["service"]) if by_project else find_by_name(found.container)
    target = DockerTarget(found.deployment, lambda: client, find, limits, lost)
    target.found = dict(found.__dict__, found=found.sentence())
    target.named = found.__dict__
    return target


def _docker(params: Params, limits: Limits, lost: Lost) -> Target:
    from .._target.docker import DockerTarget
    from .._target.engine import find_by_name

    name = params["container"] or CONTAINER
    target = DockerTarget("docker", _client(params), find_by_name(name), limits, lost)
    target.named = {"container": name}
    return target


def _compose(params: Params, limits: Limits, lost: Lost) -> Target:
    from .._target.docker import DockerTarget
    from .._target.engine import find_by_project

    folder = os.path.realpath(params["project_src"]) if params["project_src"] else None
    find = find_by_project(params["project_name"], folder, params["service"])
    target = DockerTarget("compose", _client(params), find, limits, lost)
    target.named = {"project_name": params["project_name"], "project_src": folder}
    return target


def _kubernetes(params: Params, limits: Limits, lost: Lost) -> Target:
    from .._target.kubernetes import KubernetesTarget
    from .._target.kubernetes_access import access
    from .._target.kubernetes_api import Api

    namespace = params["namespace"]
    found = access(params["kubernetes"], os.environ)
    release, selector = params["release"], params["label_selector"]
    return KubernetesTarget(lambda: Api(found, namespace, limits.connect), namespace, release, selector, limits, lost)


def _database(params: Params, limits: Limits, lost: Lost) -> Target:
    from .._target.direct import DirectTarget

    return DirectTarget(database_settings(params, os.environ), limits, lost)


def _local(params: Params, limits: Limits, lost: Lost) -> Target:
    from .._target.local import LocalTarget

    return LocalTarget(params["manage_dir"], params["python"], limits, params["env_file"], params["environment"], lost)


BUILDERS: Dict[str, Callable[[Params, Limits, Lost], Target]] = {
    "auto": _auto,
    "docker": _docker,
    "compose": _compose,
    "kubernetes": _kubernetes,
    "database": _database,
    "local": _local,
}


def build_target(params: Params, lost: Lost) -> Target:
    return BUILDERS[params["deployment"]](params, limits_from(params), lost)


ENGINE = ("docker", "requests", "urllib3")  # packages whose errors are the engine's


def explain(error: Exception) -> Optional[PhaseError]:
    """The typed error for one of the engine's own, or None."""
    if type(error).__module__.partition(".")[0] not in ENGINE:
        return None
    from .._target.engine import engine_error

    return engine_error(error)


def run_module(spec: ArgumentSpec, run: Run) -> None:
    """``module.run_module`` with the options of the doc fragment ``target``, on the target that they name.

    A call pays only for the import of the target that it uses.
    """
    run_any(target_spec().merge(spec), run, build_target, explain)
