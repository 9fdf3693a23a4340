# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replacing one container by one of another image, in steps that each leave something to go on from.

Three names are in play: NAME, ``NAME-next`` (made, not started) and ``NAME-previous`` (stopped, kept until its
successor is healthy). ``next_step`` decides from what stands there and from nothing else, so a run that was cut off at
any point is finished by the next one, and check mode walks the same decisions on paper.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, cast

from .._call.argspec import ArgumentSpec
from .._call.module import Call
from .._errors import (
    BadOption,
    ContainerMissing,
    ImageMissing,
    ManagedElsewhere,
    NotSupported,
    PhaseError,
    RolloutFailed,
)
from .._operations.core.secrets import masker, secret_values
from .._target import clone as _clone
from .._target.docker import DockerTarget
from .._target.engine import engine_errors, manager
from .._target.kubernetes import KubernetesTarget
from . import rollout_kubernetes

Inspect = Dict[str, Any]
Facts = Dict[str, Any]
Sleep = Callable[[float], None]

REPLACES = "phase.console.replaces"  # label: id of the container whose place this one takes
POLL = 0.5  # seconds between two looks at a container
RESTARTS = 3  # of a container that cannot stay up
LOG_LINES = 15

WORDS = {
    "create_successor": "create {name}-next from {image}",
    "stop": "stop {name}",
    "name_previous": "rename {name} to {name}-previous",
    "name_successor": "rename {name}-next to {name}",
    "start": "start {name} and wait until it is healthy",
    "retire_previous": "remove {name}-previous",
    "remove_leftover": "remove {name}-next, left over from another rollout",
    "remove_failed": "remove {name}, whose start failed earlier",
    "restore_name": "rename {name}-previous back to {name}",
}


SPEC = ArgumentSpec(
    {
        "name": {"type": "str", "required": True},
        "state": {"default": "replaced"},
        "image": {"type": "str"},
        "wait_timeout": {"type": "float", "default": 120},
        "settle": {"type": "float", "default": 5},
        "stop_timeout": {"type": "int", "default": 30},
        "rollback": {"type": "bool", "default": False},
    },
    states=["replaced", "stopped"],
    deployments=("docker", "kubernetes"),
    instead="With Compose, let community.docker.docker_compose_v2 recreate it.",
)


class NameTaken(PhaseError):
    """A container that no rollout made has a name that the rollout needs."""

    kind = "name_taken"


@dataclass(frozen=True)
class Slot:
    """What matters of one container."""

    id: str
    image_id: str
    running: bool
    replaces: Optional[str] = None


@dataclass(frozen=True)
class Seen:
    """The containers at the three names."""

    name: str
    current: Optional[Slot] = None
    next: Optional[Slot] = None
    previous: Optional[Slot] = None


def slot(container: Optional[Inspect]) -> Optional[Slot]:
    if container is None:
        return None
    labels = container["Config"].get("Labels") or {}
    return Slot(container["Id"], container["Image"], bool(container["State"]["Running"]), labels.get(REPLACES))


def check_names(seen: Seen) -> None:
    """Raise NameTaken when a container at one of the two helper names is none of ours."""
    strangers = []
    if seen.next and not seen.next.replaces:
        strangers.append(seen.name + "-next")
    heirs = [other.replaces for other in (seen.current, seen.next) if other]
    if seen.previous and heirs and seen.previous.id not in heirs:
        strangers.append(seen.name + "-previous")
    if strangers:
        raise NameTaken(
            "A container named %s is in the way, and no rollout made it." % " and ".join(strangers),
            "Rename or remove it.",
        )


def next_step(seen: Seen, image_id: str) -> Optional[str]:
    """The step that brings NAME closer to running ``image_id``; None when it is there."""
    current, successor = seen.current, seen.next
    if current is None:
        if successor is not None and successor.image_id == image_id:
            return "name_successor"
        if seen.previous is not None:
            return "restore_name"
        raise ContainerMissing(
            "There is no container named %s." % seen.name, "Name the one to replace; `docker ps -a` lists them."
        )
    if current.image_id == image_id:
        if successor is not None:
            return "remove_leftover"
        if not current.running:
            return "start"
        return "retire_previous" if seen.previous is not None else None
    if successor is not None and successor.image_id != image_id:
        return "remove_leftover"
    if successor is None:
        return "create_successor"
    if seen.previous is not None:
        return "remove_failed"
    return "stop" if current.running else "name_previous"


def after_step(seen: Seen, step: str, image_id: str) -> Seen:
    """What stands there once a step is done: the paper model of ``Rollout.take``."""
    current, previous = seen.current, seen.previous
    if step == "create_successor":
        origin = previous or current
        return replace(seen, next=Slot("", image_id, False, origin.id if origin else None))
    if step in ("stop", "start"):
        return replace(seen, current=current and replace(current, running=step == "start"))
    if step == "name_previous":
        return replace(seen, current=None, previous=current)
    if step == "name_successor":
        return replace(seen, current=seen.next, next=None)
    if step == "retire_previous":
        return replace(seen, previous=None)
    if step == "remove_leftover":
        return replace(seen, next=None)
    if step == "restore_name":
        return replace(seen, current=previous, previous=None)
    return replace(seen, current=None)  # remove_failed


def foresee(seen: Seen, image_id: str) -> List[str]:
    """All steps from here to the end."""
    steps: List[str] = []
    step = next_step(seen, image_id)
    while step is not None:
        steps.append(step)
        seen = after_step(seen, step, image_id)
        step = next_step(seen, image_id)
    return steps


def in_words(steps: Sequence[str], name: str, image: str) -> List[str]:
    return [WORDS[step].format(name=name, image=image) for step in steps]


@dataclass
class Watch:
    """Whether a started container stays up, judged from successive looks at it.

    Without a healthcheck it counts as up after ``settle`` seconds in which it was not restarted.
    """

    settle: float
    up_since: Optional[float] = None
    started_at: str = ""

    def verdict(self, container: Inspect, now: float) -> Optional[bool]:
        """True: up. False: it will not come up. None: wait."""
        state = container["State"]
        if container.get("RestartCount", 0) >= RESTARTS or state["Status"] in ("exited", "dead"):
            return False
        health = _clone.healthy(container)
        if health is not None:
            return {"healthy": True, "unhealthy": False}.get(health)
        if not state["Running"] or state.get("Restarting"):
            self.up_since = None
            return None
        if self.up_since is None or self.started_at != state["StartedAt"]:
            self.up_since, self.started_at = now, state["StartedAt"]
        return True if now - self.up_since >= self.settle else None


class Rollout:
    """The steps, done on a real engine."""

    def __init__(
        self,
        target: DockerTarget,
        params: Mapping[str, Any],
        report: Callable[..., None],
        clock: Callable[[], float],
        sleep: Sleep,
    ) -> None:
        self.target, self._client, self._params = target, target.client, params
        self._report, self._clock, self._sleep = report, clock, sleep
        self.name: str = params["name"]
        self.image: str = params["image"]
        self.may_roll_back: bool = params["rollback"]
        self._seen_up = False

    def find(self, suffix: str = "") -> Optional[Inspect]:
        import docker

        with engine_errors():
            try:
                found: Inspect = self._client.inspect_container(self.name + suffix)
                return found
            except docker.errors.NotFound:
                return None

    def see(self) -> Seen:
        seen = Seen(self.name, *(slot(self.find(suffix)) for suffix in ("", "-next", "-previous")))
        check_names(seen)
        return seen

    def image_id(self) -> str:
        import docker

        with engine_errors():
            try:
                return str(self._client.inspect_image(self.image)["Id"])
            except docker.errors.ImageNotFound as error:
                raise ImageMissing(
                    "Image %s is not on this Docker engine." % self.image, "Pull it (or load it from an archive) first."
                ) from error

    def take(self, step: str, seen: Seen) -> None:
        """Do one step."""
        name, client = self.name, self._client
        self._report(in_words([step], name, self.image)[0])
        if step == "create_successor":
            self._create(seen)
            return
        if step == "start":
            with engine_errors():
                client.start(name)
            self.wait()
            return
        with engine_errors():
            if step == "stop":
                client.stop(name, timeout=self._params["stop_timeout"])
            elif step == "name_previous":
                client.rename(name, name + "-previous")
            elif step == "name_successor":
                client.rename(name + "-next", name)
            elif step == "restore_name":
                client.rename(name + "-previous", name)
        if step == "retire_previous" and not self._seen_up:
            self.wait()
        removed = {"retire_previous": "-previous", "remove_leftover": "-next", "remove_failed": ""}
        if step in removed:
            with engine_errors():
                client.remove_container(name + removed[step], force=True)

    def _create(self, seen: Seen) -> None:
        old = self.find()
        if old is None or seen.current is None:
            raise RolloutFailed("Container %s vanished." % self.name, "Run again.")
        body = _clone.successor(old, self.target.image_of(old), self.image)
        body["Labels"] = dict(body.get("Labels") or {}, **{REPLACES: (seen.previous or seen.current).id})
        aliases = _clone.aliases(old)
        with engine_errors():
            made = self._client.create_container_from_config(body, self.name + "-next")["Id"]
            for network in _clone.networks(old)[1:]:
                self._client.connect_container_to_network(made, network, aliases=aliases.get(network) or None)

    def wait(self) -> None:
        """Wait until NAME is up. Raises RolloutFailed with the end of its log, the secrets in it masked."""
        watch = Watch(self._params["settle"])
        deadline = self._clock() + self._params["wait_timeout"]
        while True:
            container = self.find()
            verdict = watch.verdict(container, self._clock()) if container else False
            if verdict:
                self._seen_up = True
                return
            late = self._clock() > deadline
            if verdict is False or late:
                raise self._failure(container, late)
            self._sleep(POLL)

    def _failure(self, container: Optional[Inspect], late: bool) -> RolloutFailed:
        if container is None:
            return RolloutFailed("Container %s vanished while it started." % self.name, "Run again.")
        state = container["State"]
        how = "is %s" % (_clone.healthy(container) or state["Status"])
        if state["Status"] != "running":
            how += " (exit code %s)" % state.get("ExitCode")
        if late:
            how = "did not become healthy within %g s; it %s" % (self._params["wait_timeout"], how)
        mask = masker(secret_values(_clone.environment(container), read=lambda path: ""))
        with engine_errors():
            log = self._client.logs(container["Id"], tail=LOG_LINES).decode("utf-8", "replace")
        return RolloutFailed(
            "Container %s of image %s %s." % (self.name, self.image, how),
            "Its log is in log_tail. The old container is kept, stopped, as %s-previous; after migrations it may not "
            "work with the database any more. Mend the cause and run again." % self.name,
            partial={"log_tail": mask(log).splitlines()},
        )

    def roll_back(self, failure: RolloutFailed) -> RolloutFailed:
        """Put the old container back in its place; the failure, told with that."""
        with engine_errors():
            self._client.remove_container(self.name, force=True)
            self._client.rename(self.name + "-previous", self.name)
            self._client.start(self.name)
        return RolloutFailed(
            failure.message + " The old container was put back and started.",
            "If migrations were applied, the old version may fail on the new tables: watch it. The log of the new one "
            "is in log_tail.",
            partial=dict(failure.partial, rolled_back=True, changed=True),
        )


@dataclass(frozen=True)
class Plan:
    """What a run will do: ``steps`` by their names in WORDS, ``before`` the container as ``component`` describes it."""

    name: str
    image: str
    image_id: str
    steps: Tuple[str, ...]
    before: Optional[Facts]


def plan(work: Rollout) -> Plan:
    """Reads only. Raises what keeps the container from being replaced."""
    image_id, seen = work.image_id(), work.see()
    steps = foresee(seen, image_id)
    old = work.find() or work.find("-previous")
    if old and old["HostConfig"].get("AutoRemove") and "create_successor" in steps:
        raise NotSupported(
            "Container %s was started with --rm: it would be gone once it is stopped." % work.name,
            "Start it without --rm first, so that there is something to go back to.",
        )
    managed = manager(old) if old and steps else None
    if managed is not None:
        raise ManagedElsewhere(
            "Container %s belongs to %s, which makes it anew from its own description: the next time it does, the old "
            "version would run on the new database." % (work.name, managed[0]),
            managed[1],
        )
    return Plan(work.name, work.image, image_id, tuple(steps), work.target.component(old) if old else None)


def predicted(plan: Plan) -> Facts:
    """What check mode returns."""
    before = plan.before or {}
    new = {"image": plan.image, "image_id": plan.image_id}
    return result(plan, dict(before, **new) if plan.steps else plan.before)


def result(plan: Plan, after: Optional[Facts]) -> Facts:
    """What a run returns that ended with the container ``after``."""
    lines = [
        "%s: %s (%s)\n" % (plan.name, one and one["image"], one and one["image_id"]) for one in (plan.before, after)
    ]
    return {
        "changed": bool(plan.steps),
        "before": plan.before,
        "after": after,
        "steps": in_words(plan.steps, plan.name, plan.image),
        "summary": summary(plan),
        "diff": {"before": lines[0], "after": lines[1]},
    }


def summary(plan: Plan) -> List[str]:
    if not plan.steps:
        return ["Nothing to do: %s runs image %s already." % (plan.name, plan.image)]
    return ["Replace %s by a container of image %s, in %d steps." % (plan.name, plan.image, len(plan.steps))]


def apply(work: Rollout, plan: Plan) -> Optional[Facts]:
    """Take steps until none is left; the container that runs then. Raises RolloutFailed."""
    seen = work.see()
    step = next_step(seen, plan.image_id)
    while step is not None:
        try:
            work.take(step, seen)
        except RolloutFailed as failure:
            if work.may_roll_back and work.find("-previous") is not None:
                raise work.roll_back(failure) from None
            failure.partial.update(changed=True, before=plan.before)
            raise
        seen = work.see()
        step = next_step(seen, plan.image_id)
    current = work.find()
    return work.target.component(current) if current else None


def run(call: Call) -> Facts:
    """The module's result."""
    if call.params["state"] == "replaced" and not call.params["image"]:
        raise BadOption("No image is named.", "Set image to what %s should run." % call.params["name"])
    if isinstance(call.target, KubernetesTarget):
        return rollout_kubernetes.run(call, call.target)
    if call.params["state"] != "replaced":
        raise BadOption("state=stopped is for deployment=kubernetes.", "`docker stop` stops a container.")
    work = Rollout(cast(DockerTarget, call.target), call.params, call.report, call.clock, call.sleep)
    planned = plan(work)
    return predicted(planned) if call.check else result(planned, apply(work, planned))
