# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""From AnsibleModule to a piece of logic and back: the one place that knows exit_json and fail_json."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping, Optional, Set, TypeVar, cast

from .._errors import PhaseError, PythonTooOld, named
from .._operations.core.api import Context, Request
from .._operations.core.secrets import secret_values
from .._target.base import Report, Target
from .argspec import ArgumentSpec, size
from .caller import Caller

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


@dataclass(frozen=True)
class Call:
    """One call of a module: its options, its modes, its target, its progress lines and warnings, and the time.

    ``clock`` gives monotonic seconds, ``now`` Unix seconds, ``sleep`` takes seconds.
    """

    params: Mapping[str, Any]
    check: bool
    diff: bool
    target: Target
    report: Report
    warn: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time

    def run(self, operation: Callable[[Context, Asked], Answered], request: Asked, **how: Any) -> Answered:
        """An operation beside the database, with this call's progress lines; ``how`` as ``Target.run`` takes it."""
        return cast(Answered, self.target.run(operation, cast(Request, request), self.report, **how))

    def free_disk(self) -> Optional[int]:
        """Bytes free for PostgreSQL by the option ``free_space``, or as the target sees them; None where it cannot."""
        given = self.params["free_space"]
        return self.target.free_disk() if given is None else size("free_space", given)


Run = Callable[[Call], Dict[str, Any]]


def sentences(*parts: str) -> str:
    """The parts as sentences, each with a full stop; what PostgreSQL or an engine said often has none."""
    return " ".join(part if part.endswith((".", "!", "?")) else part + "." for part in parts if part)


def plain_values(params: Mapping[str, Any], hidden: Set[str]) -> Set[str]:
    """Values of ``environment`` that need no hiding: its names tell. A database named ``phase`` would blank every path.

    The option as a whole is no_log, since Ansible logs the arguments before this code runs.
    """
    environment = {name: str(value) for name, value in (params.get("environment") or {}).items()}
    kept = set(secret_values(environment, read=lambda path: ""))
    kept.update(str(params[name]) for name in ("database_url", "login_password") if params.get(name))
    return {value for value in environment.values() if value in hidden} - kept


Build = Callable[[Mapping[str, Any], Callable[[], bool]], Target]
Explain = Callable[[Exception], Optional[PhaseError]]


def unforeseen(error: Exception, explain: Explain = lambda error: None) -> PhaseError:
    """The typed error for an exception that no code below has turned into one: a sentence, never a traceback."""
    return explain(error) or named(error)


OLDEST = (3, 9)  # Python on a managed host


def check_python() -> None:
    """Raise PythonTooOld. The modules can be imported, and no more, by the oldest Python that Ansible still starts."""
    if sys.version_info[:2] < OLDEST:
        raise PythonTooOld(
            "%s is Python %d.%d, and this collection needs %d.%d or newer on the managed host."
            % (sys.executable, *sys.version_info[:2], *OLDEST),
            "Install a newer one there, and set ansible_python_interpreter to it.",
        )


READ_SECRETS = ("DATABASE_URL", "K8S_AUTH_API_KEY", "K8S_AUTH_PASSWORD")  # variables that a target may read


def run_module(
    spec: ArgumentSpec, run: Run, build: Optional[Build] = None, explain: Explain = lambda error: None
) -> None:
    """Call ``run`` for this process's arguments. It returns the result; ``diff`` is shown only where asked for.

    A PhaseError becomes a failure with its sentence, its next step, its kind and the partial result; any other
    exception becomes one of these first, by ``explain`` where that knows it. What deployment=auto found is ``target``
    of the result. A module that works on files alone has nothing that builds a target; and Ansible packs what is
    imported here with each module, so the targets are not.
    """
    from ansible.module_utils.basic import AnsibleModule
    from ansible.module_utils.common.parameters import remove_values

    module = AnsibleModule(**spec.arguments())
    module.no_log_values -= plain_values(module.params, module.no_log_values)
    module.no_log_values.update(filter(None, [os.environ.get(name) for name in READ_SECRETS]))
    caller = Caller.from_environment(os.environ)

    def report(message: str, **counters: Any) -> None:
        caller.tell(**remove_values(dict(counters, message=message), module.no_log_values))

    failure: Optional[PhaseError] = None
    result: Dict[str, Any] = {}
    target = Target()
    try:
        check_python()
        spec.check_state(module.params)
        if build is not None:
            if module.params["deployment"] != "auto":
                spec.check_deployment(module.params["deployment"])
            target = build(module.params, caller.lost)
            spec.check_deployment(target.deployment)
        call = Call(
            params=dict(module.params, deployment=target.deployment),
            check=module.check_mode,
            diff=module._diff,
            target=target,
            report=report,
            warn=module.warn,
        )
        try:
            result = run(call)
        finally:
            call.target.close()
    except PhaseError as error:
        failure = error
    except Exception as error:
        failure = unforeseen(error, explain)
    caller.close()
    found: Dict[str, Any] = {} if target.found is None else {"target": target.found}
    if target.ran_in:
        found["ran_in"] = target.ran_in
    if failure is not None:  # outside the handler: inside it, Ansible would add a traceback that helps nobody
        module.fail_json(
            msg=sentences(failure.message, failure.next_step),
            error={"kind": failure.kind, "next_step": failure.next_step},
            **dict(found, **failure.partial),
        )
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(**dict(found, **result))
