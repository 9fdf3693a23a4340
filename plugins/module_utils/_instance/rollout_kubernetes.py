# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another image for a Deployment, or none of its pods for a while, in changes of which each can be the last.

What has to be remembered in between, the number of replicas of a Deployment that was scaled to 0, is in an annotation
of the Deployment, so that any later run puts it back. An autoscaler leaves a Deployment of 0 replicas alone, until it
has some again (Kubernetes documentation, "Horizontal Pod Autoscaling", implicit maintenance-mode deactivation).
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from .._call.module import Call
from .._errors import ApiUnreachable, ContainerMissing, ManagedElsewhere, NotSupported, PhaseError, RolloutFailed
from .._target import kubernetes_state as state
from .._target.kubernetes import KubernetesTarget
from .._target.kubernetes_api import ROLLING
from .._target.kubernetes_streams import AWAY

Document = Dict[str, Any]

POLL = 0.5  # seconds between two looks
PLACING = 30.0  # seconds for a scheduler, or an autoscaler of nodes, to find a pod its node
RESTARTS = 2  # of a container that cannot stay up
LOG_LINES = "15"
KEDA = "keda-operator"

# Pure: from API objects to what has to be done, and to how it fares


class Step(NamedTuple):
    """What has to be done, in words, and the patch that does it (None: only wait)."""

    words: List[str]
    patch: Optional[Document]


def wanted(deployment: Document) -> int:
    return int(deployment["spec"].get("replicas", 1))


def replacing(deployment: Document, image: str) -> Step:
    """Set the image, and put back the replicas that were noted. Every container of the old image gets the new one."""
    name, noted = deployment["metadata"]["name"], state.kept(deployment)
    old = state.main_container(deployment)["image"]
    words: List[str] = []
    spec: Document = {}
    if state.qualified(old) != state.qualified(image):
        words.append("set the image of Deployment %s to %s" % (name, image))
        pod = deployment["spec"]["template"]["spec"]
        lists = {
            kind: [{"name": one["name"], "image": image} for one in pod.get(kind) or [] if one["image"] == old]
            for kind in ("containers", "initContainers")
        }
        spec["template"] = {"spec": {kind: changed for kind, changed in lists.items() if changed}}
    if noted is not None and wanted(deployment) == 0:
        words.append("scale Deployment %s to %d" % (name, noted))
        spec["replicas"] = noted
    metadata = {} if noted is None else {"metadata": {"annotations": {state.KEPT: None}}}
    patch = dict(metadata, **({"spec": spec} if spec else {})) or None
    if words or not settled(deployment):
        words.append("wait until its pods are ready")
    return Step(words, patch)


def stopping(deployment: Document) -> Step:
    """Scale it to 0 and note what it had."""
    name, count = deployment["metadata"]["name"], wanted(deployment)
    if count == 0:
        return Step([], None)
    words = ["scale Deployment %s from %d to 0" % (name, count), "wait until its pods have ended"]
    return Step(words, {"metadata": {"annotations": {state.KEPT: str(count)}}, "spec": {"replicas": 0}})


def settled(deployment: Document) -> bool:
    """Whether all its pods are of its template and available (Kubernetes documentation, "Complete Deployment")."""
    status, count = deployment.get("status") or {}, wanted(deployment)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) >= count
        and status.get("replicas", 0) <= status.get("updatedReplicas", 0)
        and status.get("availableReplicas", 0) >= count
    )


def standing(deployment: Document) -> str:
    """How far a rollout is, in words."""
    status = deployment.get("status") or {}
    return "%d of %d pods are new, %d available, %d in all" % (
        status.get("updatedReplicas", 0),
        wanted(deployment),
        status.get("availableReplicas", 0),
        status.get("replicas", 0),
    )


def obstacle(deployment: Document, pods: Sequence[Document], waited: float) -> Optional[state.Trouble]:
    """Why the rollout will not end; None while it may. ``waited``: seconds since anything moved."""
    main = state.main_container(deployment)
    for pod in pods:
        own = next((one for one in pod["spec"]["containers"] if one["name"] == main["name"]), None)
        if own is None or own["image"] != main["image"] or "deletionTimestamp" in pod["metadata"]:
            continue
        found = state.trouble(pod)
        if found is None or (not found.lasting and waited < PLACING) or found.reason == "Initialising":
            continue
        statuses = (pod.get("status") or {}).get("containerStatuses") or []
        crashing = found.reason not in state.PULLS + state.CONFIGURED and found.lasting
        if not crashing or any(one.get("restartCount", 0) >= RESTARTS for one in statuses):
            return found
    for one in (deployment.get("status") or {}).get("conditions") or []:
        told = str(one.get("message", "")).rstrip(".")
        if one["type"] == "ReplicaFailure" and one["status"] == "True" and waited > 2:
            return state.Trouble(
                "ReplicaFailure", "The cluster refuses its pods: %s." % told, "Mend what it says.", True
            )
        if one["type"] == "Progressing" and one.get("reason") == "ProgressDeadlineExceeded":
            return state.Trouble("ProgressDeadlineExceeded", told + ".", "Look at its pods.", True)
    return None


def refusal(deployment: Document, step: Step, scalers: Sequence[Document]) -> Optional[PhaseError]:
    """Why this must not be changed from here."""
    name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
    for one in state.managers(deployment) if step.patch else []:
        if one["manager"] == "argocd" or one["manager"] == "flux":
            keeper = {"argocd": "Argo CD", "flux": "Flux"}[one["manager"]]
            return ManagedElsewhere(
                "Deployment %s belongs to %s (%s), which would put back what it had: the old version would run on the "
                "new database." % (name, keeper, one["name"]),
                "Change the image where %s reads it (global.version in the values of Phase's chart) and let it sync. "
                "phase_migrate with image does the migrations before." % keeper,
            )
    for one in scalers if step.patch and (step.patch.get("spec") or {}).get("replicas") == 0 else []:
        labels, least = one["metadata"].get("labels") or {}, one["spec"].get("minReplicas", 1)
        called = one["metadata"]["name"]
        if labels.get("app.kubernetes.io/managed-by") == KEDA:
            return NotSupported(
                "Deployment %s belongs to KEDA (HorizontalPodAutoscaler %s), which would scale it up again."
                % (name, called),
                "Pause it: `kubectl --namespace %s annotate scaledobject NAME autoscaling.keda.sh/paused-replicas=0`, "
                "then scale it down by hand; remove the annotation after the upgrade." % namespace,
            )
        if least == 0:
            return NotSupported(
                "HorizontalPodAutoscaler %s may scale Deployment %s up from 0." % (called, name),
                "Set its minReplicas to 1 for the upgrade.",
            )
    return None


def scaling(scalers: Sequence[Document], name: str) -> List[Document]:
    """The autoscalers of a Deployment."""
    return [
        one
        for one in scalers
        if one["spec"]["scaleTargetRef"].get("kind") == "Deployment" and one["spec"]["scaleTargetRef"]["name"] == name
    ]


# Done on a cluster


class Rollout:
    """The change of one Deployment."""

    def __init__(self, call: Call, target: KubernetesTarget) -> None:
        self._call, self._target, self._api = call, target, target.api
        self.name: str = call.params["name"]
        self._heard = call.clock()

    def find(self) -> Document:
        found = self._api.found("apps/v1", "deployments", self.name)
        if found is None:
            raise ContainerMissing(
                "Namespace %s has no Deployment %s." % (self._api.namespace, self.name),
                "Name one of: `kubectl --namespace %s get deployments`." % self._api.namespace,
            )
        return found

    def component(self, deployment: Document) -> Document:
        return state.component(deployment, self._target.pods(deployment))

    def scalers(self) -> List[Document]:
        return scaling(self._api.listed("autoscaling/v2", "horizontalpodautoscalers"), self.name)

    def apply(self, step: Step) -> None:
        if step.patch is not None:
            self._call.report(", ".join(step.words[:-1]) or "forget the noted replicas of %s" % self.name)
            self._api.patch("apps/v1", "deployments", self.name, step.patch)

    def look(self) -> Optional[Document]:
        """The Deployment, or None while the API server is away. Raises ApiUnreachable when it stays so."""
        try:
            found = self.find()
        except ApiUnreachable:
            if self._call.clock() - self._heard > AWAY:
                raise
            return None
        self._heard = self._call.clock()
        return found

    def wait(self, gone: bool) -> None:
        """Wait until it is rolled out, or its pods are gone. The time limit counts from when anything last moved."""
        self._heard = moved = self._call.clock()
        told = ""
        while True:
            deployment = self.look()
            if deployment is not None and self._done(deployment, gone):
                return
            waited = self._call.clock() - moved
            if deployment is not None:
                words = standing(deployment)
                if words != told:
                    self._call.report("Deployment %s: %s" % (self.name, words))
                    told, moved, waited = words, self._call.clock(), 0.0
                self._fail_early(deployment, gone, waited)
            if waited > self._call.params["wait_timeout"]:
                raise self._failure(deployment, "For %g s nothing has moved: %s." % (waited, told), "Look at its pods.")
            self._call.sleep(POLL)

    def _done(self, deployment: Document, gone: bool) -> bool:
        if gone:
            return settled(deployment) and not self._target.pods(deployment)
        return settled(deployment)

    def _fail_early(self, deployment: Document, gone: bool, waited: float) -> None:
        if gone:
            return
        try:
            pods = self._target.pods(deployment)
        except ApiUnreachable:
            return
        found = obstacle(deployment, pods, waited)
        if found is not None:
            raise self._failure(deployment, found.sentence, found.next_step, pods)

    def _failure(
        self, deployment: Optional[Document], why: str, step: str, pods: Sequence[Document] = ()
    ) -> RolloutFailed:
        image = state.main_container(deployment)["image"] if deployment else "?"
        return RolloutFailed(
            "Deployment %s does not come up with %s. %s" % (self.name, image, why),
            "%s Pods of the old image that still run were left alone; `kubectl --namespace %s rollout undo deployment "
            "%s` goes back. Mend the cause and run again." % (step, self._api.namespace, self.name),
            partial={"log_tail": self._log(deployment, pods) if deployment else []},
        )

    def _log(self, deployment: Document, pods: Sequence[Document]) -> List[str]:
        """The end of the log of a new container that has ended, the secrets in it masked."""
        main = state.main_container(deployment)
        for pod in pods:
            status = state.container_status(pod, main["name"])
            if not status.get("restartCount") or pod["spec"]["containers"][0]["image"] != main["image"]:
                continue
            previous = "true" if "running" not in status["state"] and "terminated" not in status["state"] else "false"
            query = [("tailLines", LOG_LINES), ("previous", previous)]
            try:
                log = b"".join(self._api.log(pod["metadata"]["name"], main["name"], query))
                return self._target.masked(log.decode("utf-8", "replace")).splitlines()
            except PhaseError:
                return []
        return []

    def roll_back(self, failure: RolloutFailed, before: Document) -> RolloutFailed:
        """The old image again; the failure, told with that."""
        old = state.main_container(before)["image"]
        self._api.patch("apps/v1", "deployments", self.name, replacing(self.find(), old).patch or {})
        self.wait(False)
        return RolloutFailed(
            failure.message + " Its old image %s was put back, and runs." % old,
            "Mend the cause, then run again.",
            partial=dict(failure.partial, rolled_back=True, changed=True),
        )


def run(call: Call, target: KubernetesTarget) -> Dict[str, Any]:
    """The module's result."""
    work, gone, image = Rollout(call, target), call.params["state"] == "stopped", str(call.params["image"])
    before = work.find()
    step = stopping(before) if gone else replacing(before, image)
    component = work.component(before)
    if step.patch is not None:
        target.api.require(ROLLING)
        refused = refusal(before, step, work.scalers())
        if refused is not None:
            raise refused
        for one in state.managers(before) if (step.patch.get("spec") or {}).get("template") else []:
            if one["manager"] == "helm":
                call.warn(state.helm_warning(one["name"], image))
    result: Dict[str, Any] = {"changed": step.patch is not None, "before": component, "steps": step.words}
    result["diff"] = difference(before, step.patch or {}, image)
    if call.check:
        return dict(result, after=foreseen(component, step.patch or {}, image))
    work.apply(step)
    try:
        work.wait(gone)
    except RolloutFailed as failure:
        had_pods = bool((component.get("replicas") or {}).get("ready"))
        if call.params["rollback"] and step.patch and (had_pods or state.kept(before)):
            raise work.roll_back(failure, before) from None
        failure.partial.update(changed=step.patch is not None, before=component)
        raise
    return dict(result, after=work.component(work.find()))


def foreseen(component: Mapping[str, Any], patch: Document, image: str) -> Dict[str, Any]:
    """The component as it will be, as far as that is known: an image's id is known once it runs."""
    spec = patch.get("spec") or {}
    found = dict(component)
    if "template" in spec:
        found.update(image=image, image_id=None, digest=None)
    if "replicas" in spec:
        found["replicas"] = {"wanted": spec["replicas"], "ready": spec["replicas"]}
    return found


def difference(deployment: Document, patch: Document, image: str) -> Dict[str, str]:
    name, spec = deployment["metadata"]["name"], patch.get("spec") or {}
    old, count = state.main_container(deployment)["image"], wanted(deployment)
    line = "%s: %s, %d replicas\n"
    new = image if "template" in spec else old
    return {"before": line % (name, old, count), "after": line % (name, new, spec.get("replicas", count))}
