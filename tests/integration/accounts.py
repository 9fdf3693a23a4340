# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Service accounts of a cluster that have a Role of the documentation, and nothing else."""

from __future__ import annotations

import base64
from typing import Any

import yaml
from integration.harness import target
from tools.pages import blocks, guide


def role(name: str) -> dict[str, Any]:
    """A Role of the documentation."""
    documents = [yaml.safe_load(block) for block in blocks(guide("kubernetes"), "yaml")]
    roles = [one for one in documents if isinstance(one, dict) and one.get("kind") == "Role"]
    (found,) = [one for one in roles if one["metadata"]["name"] == f"phase-console-{name}"]
    return dict(found)


def server(instance: Any) -> dict[str, str]:
    """Address and authority of the cluster."""
    kubeconfig = yaml.safe_load(instance.kubeconfig.read_text(encoding="utf-8"))
    return dict(kubeconfig["clusters"][0]["cluster"])


def acting(instance: Any, name: str) -> dict[str, Any]:
    """The options of a service account of the instance's namespace that has this Role."""
    ca = instance.directory / "ca.pem"
    ca.write_bytes(base64.b64decode(server(instance)["certificate-authority-data"]))
    rules = role(name)
    rules["metadata"]["namespace"] = instance.namespace
    account = {"name": name, "namespace": instance.namespace}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": account,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": rules["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", **account}],
    }
    instance.apply([{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}, rules, binding])
    token = instance.kubectl("create", "token", name)
    named = {"host": server(instance)["server"], "ca_cert": str(ca), "api_key": token}
    return {**target(instance), "kubernetes": named}
