# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs made after the pattern of the backend's pods: pure functions over API objects (``batch/v1``).

What a Job's pod is told comes over its standard input, so nothing of it is in argv, environment, annotations or etcd.
"""

from __future__ import annotations

import copy
import posixpath
import re
from typing import Any, Dict, List, Mapping

from .._operations.core.package import STARTER
from .base import program_environment

Document = Dict[str, Any]

OPERATION_LABEL = "phase.console/operation"
BACKEND_LABEL = "phase.console/backend"
ATTACH_SECONDS = 45  # that a pod waits for whoever made it to attach
KEPT_SECONDS = 3600  # that the cluster keeps a Job that ended, where nobody came to remove it

# What decides where a pod runs, what it may do and whom it reaches.
_SHARED_POD = (
    "volumes",
    "serviceAccountName",
    "automountServiceAccountToken",
    "securityContext",
    "nodeSelector",
    "tolerations",
    "imagePullSecrets",
    "hostAliases",
    "dnsPolicy",
    "dnsConfig",
    "runtimeClassName",
    "priorityClassName",
    "schedulerName",
    "enableServiceLinks",
    "hostNetwork",
)
_SHARED_CONTAINER = (
    "env",
    "envFrom",
    "volumeMounts",
    "volumeDevices",
    "securityContext",
    "resources",
    "workingDir",
    "imagePullPolicy",
)

# The settings of the database by the names of Phase's own (v2.73.2) and libpq's. What an ``envFrom`` has of them cannot
# be seen without its values.
_SETTINGS = re.findall(
    r"\S+",
    """
    DATABASE_HOST DATABASE_PORT DATABASE_NAME DATABASE_USER DATABASE_PASSWORD DATABASE_PASSWORD_FILE DATABASE_SSL
    DATABASE_SSL_CA_PATH PGHOSTADDR PGOPTIONS PGPASSFILE PGSERVICE PGSERVICEFILE PGTARGETSESSIONATTRS PGREQUIREAUTH
    PGSSLMODE PGSSLROOTCERT PGSSLCERT PGSSLKEY PGSSLCRL PGSSLCRLDIR PGSSLSNI PGSSLNEGOTIATION PGCHANNELBINDING
    PGGSSENCMODE PGKRBSRVNAME KRB5_CONFIG KRB5CCNAME KRB5_CLIENT_KTNAME
    """,
)

# Nobody attaches when the caller died in between; reading would then wait for ever.
RUNNER = [
    "python3",
    "-c",
    "import select, sys\n"
    "if not select.select([0], [], [], %d)[0]: sys.exit('Nobody attached to this pod.')\n" % ATTACH_SECONDS + STARTER,
]
# A pod for programs that are started in it by exec, alive for as long as its maker is attached. Process 1 ignores a
# signal that it does not trap, and a shell runs a trap when the signal interrupts its reading.
HOLDER = [
    "/bin/sh",
    "-c",
    "trap 'exit 1' TERM; (sleep %d; kill -TERM $$) & read -r _ || exit 0; kill $!; exec cat >/dev/null"
    % ATTACH_SECONDS,
]


def label(text: str) -> str:
    """A text as a label's value (Kubernetes documentation, "Labels and Selectors", syntax)."""
    return re.sub(r"[^A-Za-z0-9._-]+", ".", text)[-63:].strip("._-")


def job_name(backend: str, purpose: str, run: str) -> str:
    """A name that is valid for the Job and as a label of its pod."""
    stem = re.sub(r"[^a-z0-9-]+", "-", "%s-%s" % (backend, purpose.rpartition(":")[2].lower()))
    return "%s-%s" % (stem[: 62 - len(run)].strip("-"), run)


def one_off(
    backend: Mapping[str, Any], container: Document, image: str, command: List[str], name: str, purpose: str
) -> Document:
    """A Job whose pod runs ``command`` from ``image`` as the backend would run it, once, and serves nobody.

    It gets environment, volumes, service account, security context, node selection, tolerations, pull secrets and
    resources. It gets no probe, port, label or annotation of the backend's, by which a Service, an autoscaler or a
    budget could take it for one, and none of its other containers.
    """
    template = backend["spec"]["template"]["spec"]
    pod = {key: copy.deepcopy(template[key]) for key in _SHARED_POD if template.get(key) not in (None, "", [], {})}
    only_node = {"nodeAffinity": (template.get("affinity") or {}).get("nodeAffinity")}
    if only_node["nodeAffinity"]:
        pod["affinity"] = copy.deepcopy(only_node)
    own = {key: copy.deepcopy(container[key]) for key in _SHARED_CONTAINER if container.get(key) not in (None, "", [])}
    own.update(name="operation", image=image, command=command, stdin=True, stdinOnce=True)
    pod.update(containers=[own], restartPolicy="Never")
    labels = {
        OPERATION_LABEL: label(purpose),
        BACKEND_LABEL: label(backend["metadata"]["name"]),
        "app.kubernetes.io/managed-by": "phase.console",
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": backend["metadata"]["namespace"], "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {
                "metadata": {
                    "labels": labels,
                    # An autoscaler that empties a node shall not take a migration with it.
                    "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
                },
                "spec": pod,
            },
        },
    }


def program(job: Document, known: Mapping[str, str]) -> Document:
    """The same Job for a PostgreSQL program: it gets the settings of the database and the files that they name,
    read-only, and nothing else of the backend's environment, volumes, privileges and service account.

    ``known`` is what of the environment is no secret. Of an ``envFrom`` come single keys, by reference: no secret's
    value is read here. A file whose path is in a Secret cannot be known, and does not come along.
    """
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given: List[Document] = container.pop("env", [])
    wanted = {*_SETTINGS, *program_environment({**known, **{entry["name"]: "" for entry in given}})}
    for entry in reversed(given):  # a value may have $(NAME) of a variable before it
        if entry["name"] in wanted:
            wanted.update(re.findall(r"\$\(([^()]+)\)", entry.get("value") or ""))
    env: List[Document] = []
    for source in container.pop("envFrom", []):
        prefix = source.get("prefix") or ""
        for kind in ("configMap", "secret"):
            if source.get(kind + "Ref"):
                of = {"name": source[kind + "Ref"]["name"], "optional": True}
                keys = [name[len(prefix) :] for name in sorted(wanted) if name.startswith(prefix)]
                env += [
                    {"name": prefix + key, "valueFrom": {kind + "KeyRef": {**of, "key": key}}} for key in keys if key
                ]
    container["env"] = env + [entry for entry in given if entry["name"] in wanted]
    paths = [posixpath.normpath(value) for value in program_environment(known).values() if value[:1] == "/"]
    container["volumeMounts"] = file_mounts(container.get("volumeMounts") or [], paths)
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    pod["volumes"] = [volume for volume in pod.get("volumes") or [] if volume["name"] in mounted]
    pod["automountServiceAccountToken"] = False
    for key in ("volumeDevices", "workingDir"):
        container.pop(key, None)
    rights = container.get("securityContext") or {}
    rights.pop("privileged", None)
    (rights.get("capabilities") or {}).pop("add", None)
    return job


def file_mounts(mounts: List[Document], paths: List[str]) -> List[Document]:
    """Read-only mounts of these files alone, out of the volumes that a container has mounted over them."""
    found: Dict[str, Document] = {}
    for path in paths:
        over = [mount for mount in mounts if (path + "/").startswith(mount["mountPath"].rstrip("/") + "/")]
        if not over:
            continue
        mount = max(over, key=lambda one: len(one["mountPath"].rstrip("/")))
        key = "subPathExpr" if mount.get("subPathExpr") else "subPath"
        inside = posixpath.normpath(posixpath.join(mount.get(key) or "", posixpath.relpath(path, mount["mountPath"])))
        found[path] = {"name": mount["name"], "mountPath": path, "readOnly": True}
        if inside != ".":
            found[path][key] = inside
    return list(found.values())


def selector(backend: str, purpose: str = "") -> str:
    """The Jobs of a backend, of one purpose or of any."""
    found = "%s=%s" % (BACKEND_LABEL, label(backend))
    return found + (",%s=%s" % (OPERATION_LABEL, label(purpose)) if purpose else "")
