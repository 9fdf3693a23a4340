# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the API says of an instance, read by pure functions: which one is the backend, how pods fare, who manages it.

The labels and names are those of Phase's Helm chart 1.0.1: ``app.kubernetes.io/name=phase``,
``app.kubernetes.io/instance=<release>`` and ``app=<component>`` on pods, and objects called ``<fullname>-<component>``.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from .._errors import BadOption, PodNotReady, ReleaseMissing

Document = Dict[str, Any]

NAME, INSTANCE, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/instance", "app"
CHART = "phase"
KEPT = "phase.console/replicas"  # annotation: the replicas that a Deployment had before phase_rollout scaled it to 0
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def full_name(release: str) -> str:
    """What the chart's objects of a release are called, before the component."""
    name = release if CHART in release else "%s-%s" % (release, CHART)
    return name[:63].rstrip("-")


def labels(workload: Document) -> Dict[str, str]:
    """Labels of its pods, which the chart sets; those of the object itself may be anybody's."""
    return dict(workload["spec"]["template"]["metadata"].get("labels") or {})


def selector_of(workload: Document) -> str:
    """The selector of its pods, as the API takes it in a list."""
    return selector_text(workload["spec"].get("selector") or {})


def selector_text(selector: Mapping[str, Any]) -> str:
    terms = ["%s=%s" % pair for pair in sorted((selector.get("matchLabels") or {}).items())]
    for one in selector.get("matchExpressions") or []:
        values = ",".join(one.get("values") or [])
        terms.append(
            {
                "In": "%s in (%s)" % (one["key"], values),
                "NotIn": "%s notin (%s)" % (one["key"], values),
                "Exists": one["key"],
                "DoesNotExist": "!" + one["key"],
            }[one["operator"]]
        )
    return ",".join(terms)


def selects(workload: Document, pod: Document) -> bool:
    """Whether a workload's ``matchLabels`` fit a pod."""
    wanted = (workload["spec"].get("selector") or {}).get("matchLabels") or {}
    given = pod["metadata"].get("labels") or {}
    return bool(wanted) and all(given.get(key) == value for key, value in wanted.items())


def release_of(workload: Document) -> Optional[str]:
    given = labels(workload)
    return given.get(INSTANCE) if given.get(NAME) == CHART else None


# Which one is the backend


def names(workloads: Sequence[Document]) -> str:
    return ", ".join(sorted(str(one["metadata"]["name"]) for one in workloads)) or "none"


def choose_backend(deployments: Sequence[Document], namespace: str, release: Optional[str]) -> Document:
    """The chart's backend among a namespace's Deployments. Raises ReleaseMissing with what there is."""
    backends = [one for one in deployments if release_of(one) and labels(one).get(COMPONENT) == "backend"]
    releases = sorted({str(release_of(one)) for one in backends})
    if release:
        named = [one for one in deployments if one["metadata"]["name"] == full_name(release) + "-backend"]
        found = [one for one in backends if release_of(one) == release] or named
        if not found:
            raise ReleaseMissing(
                "Namespace %s has no release %s of Phase's chart." % (namespace, release),
                "Set release to one of: %s." % ", ".join(releases)
                if releases
                else "Set label_selector for an instance without the chart. Deployments there: %s."
                % names(deployments),
            )
    else:
        if len(releases) > 1:
            raise ReleaseMissing(
                "Namespace %s has %d releases of Phase's chart." % (namespace, len(releases)),
                "Set release to one of: %s." % ", ".join(releases),
            )
        found = backends
    if not found:
        raise ReleaseMissing(
            "Namespace %s has no release of Phase's chart (%s=%s, %s=backend)." % (namespace, NAME, CHART, COMPONENT),
            "Set namespace to where Phase is, or label_selector to your Deployment's labels. Deployments there: %s."
            % names(deployments),
        )
    return one_of(found, "release %s" % release_of(found[0]))


def one_of(found: Sequence[Document], what: str) -> Document:
    """The only one, or the one that has the chart's name. Raises ReleaseMissing."""
    named = [
        one for one in found if one["metadata"]["name"] == full_name(str(labels(one).get(INSTANCE, ""))) + "-backend"
    ]
    if len(found) > 1 and len(named) != 1:
        raise ReleaseMissing(
            "%d Deployments fit %s: %s." % (len(found), what, names(found)),
            "Set label_selector so that it fits the backend's alone.",
        )
    return found[0] if len(found) == 1 else named[0]


def container_of(workload: Document) -> Document:
    """The backend's container: named like it, the only one, or the one that kubectl would choose."""
    template = workload["spec"]["template"]
    containers: List[Document] = template["spec"]["containers"]
    wanted = (template["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER, "backend")
    for one in containers:
        if one["name"] in (wanted, "backend") or len(containers) == 1:
            return one
    raise BadOption(
        "Deployment %s has the containers %s, and none is called backend."
        % (workload["metadata"]["name"], ", ".join(one["name"] for one in containers)),
        "Name the backend's in its pod template's annotation %s." % DEFAULT_CONTAINER,
    )


def main_container(workload: Document) -> Document:
    """A component's own container: the chart gives it the component's name."""
    containers: List[Document] = workload["spec"]["template"]["spec"]["containers"]
    return next((one for one in containers if one["name"] == labels(workload).get(COMPONENT)), containers[0])


def kept(deployment: Document) -> Optional[int]:
    """The replicas that were noted when it was scaled to 0."""
    noted = str((deployment["metadata"].get("annotations") or {}).get(KEPT, ""))
    return int(noted) if noted.isdigit() else None


# How pods fare


class Trouble(NamedTuple):
    """Why a pod does not run: a reason in the cluster's words, a sentence, the next step."""

    reason: str
    sentence: str
    next_step: str
    lasting: bool  # whether waiting will not help


PULLS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
CONFIGURED = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError")


def _statuses(pod: Document) -> List[Document]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def condition(pod: Document, kind: str) -> Document:
    for one in (pod.get("status") or {}).get("conditions") or []:
        if one["type"] == kind:
            return dict(one)
    return {}


def container_status(pod: Document, container: str) -> Document:
    for one in (pod.get("status") or {}).get("containerStatuses") or []:
        if one["name"] == container:
            return dict(one)
    return {}


def trouble(pod: Document) -> Optional[Trouble]:
    """Why a pod is not running, if that can be told."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        return Trouble(
            "Unschedulable",
            "Pod %s has no node to run on: %s." % (name, str(scheduled.get("message", "")).rstrip(".")),
            "Make room, or mend what it says, then run again.",
            False,
        )
    for one in _statuses(pod):
        waiting, ended = one["state"].get("waiting") or {}, one["state"].get("terminated") or {}
        last = (one.get("lastState") or {}).get("terminated") or {}
        reason = str(waiting.get("reason", ""))
        where = "`kubectl --namespace %s logs %s --container %s --previous`"
        logs = where % (pod["metadata"].get("namespace", ""), name, one["name"])
        if reason in PULLS:
            return Trouble(
                reason,
                "Image %s of pod %s cannot be pulled (%s): %s."
                % (one["image"], name, reason, str(waiting.get("message", "")).rstrip(".")),
                "Correct the image's name, or bring it to the node or the registry, then run again.",
                True,
            )
        if reason in CONFIGURED:
            return Trouble(
                reason,
                "Container %s of pod %s cannot be started (%s): %s."
                % (one["name"], name, reason, str(waiting.get("message", "")).rstrip(".")),
                "Mend what it says, such as a missing Secret or ConfigMap, then run again.",
                True,
            )
        if reason == "CrashLoopBackOff" or (ended and ended.get("exitCode")):
            how = ended or last
            restarts = one.get("restartCount", 0)
            what = "%s, exit code %s" % (how.get("reason", "Error"), how.get("exitCode"))
            what = "keeps ending (%s, %d restarts)" % (what, restarts) if restarts else "has ended (%s)" % what
            said = ": " + str(how["message"]).strip().rstrip(".") if how.get("message") else ""
            return Trouble(
                str(how.get("reason") or reason or "Error"),
                "Container %s of pod %s %s%s." % (one["name"], name, what, said),
                "See %s." % logs,
                True,
            )
    if status.get("phase") == "Failed":
        return Trouble(
            str(status.get("reason") or "Failed"),
            "Pod %s has failed (%s): %s."
            % (name, status.get("reason", "Failed"), str(status.get("message", "")).strip(".")),
            "Look at its node, then run again.",
            True,
        )
    for one in (status.get("initContainerStatuses") or []) if status.get("phase") == "Pending" else []:
        if "running" in one["state"]:
            return Trouble(
                "Initialising",
                "Pod %s waits in its init container %s." % (name, one["name"]),
                "See `kubectl --namespace %s logs %s --container %s`."
                % (pod["metadata"].get("namespace", ""), name, one["name"]),
                False,
            )
    return None


def ready(pod: Document) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and condition(pod, "Ready").get("status") == "True"


def choose_pod(backend: Document, pods: Sequence[Document]) -> Document:
    """The youngest ready pod: in a rollout, it is the one that will stay. Raises PodNotReady with the reason."""
    usable = sorted((pod for pod in pods if ready(pod)), key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    if usable:
        return usable[-1]
    name = backend["metadata"]["name"]
    for pod in pods:
        found = trouble(pod)
        if found is not None:
            raise PodNotReady("No pod of Deployment %s is ready. %s" % (name, found.sentence), found.next_step)
    if not pods:
        stuck = [
            one
            for one in (backend.get("status") or {}).get("conditions") or []
            if one["type"] == "ReplicaFailure" and one["status"] == "True"
        ]
        raise PodNotReady(
            "Deployment %s has no pods%s." % (name, ": " + str(stuck[0]["message"]).rstrip(".") if stuck else ""),
            "See `kubectl --namespace %s describe deployment %s`." % (backend["metadata"]["namespace"], name),
        )
    raise PodNotReady(
        "No pod of Deployment %s is ready (%s)."
        % (name, ", ".join("%s: %s" % (pod["metadata"]["name"], pod_state(pod)) for pod in pods)),
        "Wait for it, or see `kubectl --namespace %s describe pods`." % backend["metadata"]["namespace"],
    )


def pod_state(pod: Document) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "terminating"
    why = condition(pod, "ContainersReady") or condition(pod, "Ready")
    return str(why.get("message") or (pod.get("status") or {}).get("phase", "unknown"))


# What phase_info tells


def component(workload: Document, pods: Sequence[Document]) -> Dict[str, Any]:
    """One component: see ``base.Target.describe``; with ``restarts`` of its pods, and ``replicas``: wanted, ready, and
    kept while phase_rollout has it scaled to 0."""
    main, noted = main_container(workload), kept(workload)
    wanted = workload["spec"].get("replicas", 1)
    status = workload.get("status") or {}
    own = [pod for pod in pods if selects(workload, pod) and "deletionTimestamp" not in pod["metadata"]]
    statuses = [container_status(pod, main["name"]) for pod in own]
    image_ids = [str(one["imageID"]) for one in statuses if one.get("imageID") and same_image(one, main["image"])]
    image_id = image_ids[0] if image_ids else None
    has = status.get("readyReplicas", 0)
    troubles = [found for found in map(trouble, own) if found is not None]
    up_to_date = status.get("updatedReplicas", 0) >= wanted and status.get("replicas", 0) <= wanted
    if wanted == 0:
        state = "stopped"
    elif troubles and not (has >= wanted and up_to_date):
        state = troubles[0].reason
    else:
        state = "running" if up_to_date else "rolling out"
    return {
        "container": workload["metadata"]["name"],
        "image": main["image"],
        "image_id": image_id,
        "digest": image_id.partition("@")[2] or None if image_id else None,
        "status": state,
        "health": None if wanted == 0 else "healthy" if has >= wanted else "unhealthy",
        "replicas": dict({"wanted": wanted, "ready": has}, **({} if noted is None else {"kept": noted})),
        "restarts": sum(one.get("restartCount", 0) for one in statuses),
    }


def same_image(status: Document, image: str) -> bool:
    """Whether a container runs what its template names; in a rollout the old ones do not."""
    return bool(status.get("image")) and qualified(str(status["image"])) == qualified(image)


def qualified(image: str) -> str:
    """A name with its registry and tag, as containerd tells it."""
    first, slash, _rest = image.partition("/")
    if not slash:
        image = "docker.io/library/" + image
    elif not ("." in first or ":" in first or first == "localhost"):
        image = "docker.io/" + image
    return image if ":" in image.rpartition("/")[2] or "@" in image else image + ":latest"


def managers(workload: Document) -> List[Dict[str, Any]]:
    """Who would undo a change of this object: Helm, Argo CD and Flux leave their marks on it."""
    given = workload["metadata"].get("labels") or {}
    notes = workload["metadata"].get("annotations") or {}
    found: List[Dict[str, Any]] = []
    if given.get("app.kubernetes.io/managed-by") == "Helm":
        release = notes.get("meta.helm.sh/release-name") or given.get(INSTANCE)
        found.append({"manager": "helm", "name": release, "chart": given.get("helm.sh/chart"), "revision": None})
    tracked = str(notes.get("argocd.argoproj.io/tracking-id", "")).partition(":")[0]
    application = tracked or given.get("argocd.argoproj.io/instance")
    if application:
        found.append({"manager": "argocd", "name": application})
    for kind in ("helm", "kustomize"):
        name = given.get("%s.toolkit.fluxcd.io/name" % kind)
        if name:
            space = given.get("%s.toolkit.fluxcd.io/namespace" % kind)
            found.append({"manager": "flux", "name": "%s/%s" % (space, name), "kind": kind})
    return found


def helm_warning(release: str, image: str) -> str:
    """What the next `helm upgrade` would do to an image that was set in Deployments of a release."""
    version = "VERSION" if "@" in image else image.rpartition(":")[2]
    return (
        "Helm release %s goes on naming the old image, and the next `helm upgrade` with the old values would bring it "
        "back, on the new database. Keep the version in the values: `helm upgrade %s CHART --reset-then-reuse-values "
        "--set global.version=%s`, with Phase's chart." % (release, release, version)
    )


def revision(secrets: Sequence[Document]) -> Optional[int]:
    """The newest revision of a Helm release, by the labels of the Secrets that Helm 3 and 4 keep them in."""
    numbers = [(one["metadata"].get("labels") or {}).get("version", "") for one in secrets]
    return max((int(number) for number in numbers if number.isdigit()), default=None)


def environment(container: Document, maps: Mapping[str, Mapping[str, str]]) -> Dict[str, str]:
    """What of a container's environment is written down without secrets: literals and ConfigMaps, by name in ``maps``.

    A literal wins over ``envFrom`` (Kubernetes API, Container v1 core).
    """
    found: Dict[str, str] = {}
    for source in container.get("envFrom") or []:
        reference = source.get("configMapRef") or {}
        for key, value in (maps.get(reference.get("name", "")) or {}).items():
            found[(source.get("prefix") or "") + key] = value
    for entry in container.get("env") or []:
        reference = (entry.get("valueFrom") or {}).get("configMapKeyRef") or {}
        if "value" in entry:
            found[entry["name"]] = entry["value"]
        elif reference.get("key") in (maps.get(reference.get("name", "")) or {}):
            found[entry["name"]] = maps[reference["name"]][reference["key"]]
    return found


def config_maps(container: Document) -> List[str]:
    """The ConfigMaps that a container's environment comes from."""
    sources = [source.get("configMapRef") for source in container.get("envFrom") or []]
    sources += [(entry.get("valueFrom") or {}).get("configMapKeyRef") for entry in container.get("env") or []]
    return sorted({str(source["name"]) for source in sources if source and source.get("name")})
