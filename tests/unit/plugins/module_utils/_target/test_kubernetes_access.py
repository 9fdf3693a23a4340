# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import sys

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption, CredentialsMissing
from ansible_collections.phase.console.plugins.module_utils._target.kubernetes_access import access


def kubeconfig(folder, name="config", contexts=("prod",), user=None, cluster=None):
    path = folder / name
    document = {
        "clusters": [{"name": "c", "cluster": dict({"server": "https://192.0.2.1:6443"}, **(cluster or {}))}],
        "users": [{"name": "u", "user": user or {"token": "planted"}}],
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in contexts],
        "current-context": contexts[0],
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


def refused(options, environ=None):
    with pytest.raises(BadOption) as caught:
        access(options, environ or {})
    return caught.value


def test_no_cluster_is_found_by_a_variable_alone(tmp_path):
    path = kubeconfig(tmp_path)
    ambient = {"KUBECONFIG": path, "K8S_AUTH_KUBECONFIG": path, "K8S_AUTH_HOST": "https://192.0.2.1"}
    error = refused({"in_cluster": False}, dict(ambient, KUBERNETES_SERVICE_HOST="192.0.2.1"))
    assert "No cluster is named" in error.message and "kubernetes.context" in error.next_step


def test_a_named_context_is_looked_for_where_kubectl_looks(tmp_path):
    found = access({"context": "prod"}, {"KUBECONFIG": "/nonexistent:" + kubeconfig(tmp_path)})
    assert (found.server, found.token(), found.named) == ("https://192.0.2.1:6443", "planted", "context prod")


def test_a_kubeconfig_names_a_cluster_only_when_it_has_one_context(tmp_path):
    assert access({"kubeconfig": kubeconfig(tmp_path)}, {}).named == "context prod"
    several = kubeconfig(tmp_path, "several", contexts=("prod", "test"))
    error = refused({"kubeconfig": several})
    assert "2 contexts" in error.message and "prod, test" in error.next_step
    assert access({"kubeconfig": several, "context": "test"}, {}).named == "context test"


def test_a_wrong_context_is_told_with_those_there_are(tmp_path):
    error = refused({"kubeconfig": kubeconfig(tmp_path), "context": "pord"})
    assert "no context pord" in error.message and error.next_step.endswith("prod.")


def test_the_first_file_wins_and_paths_are_relative_to_theirs(tmp_path):
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "token").write_text("token %d" % number, encoding="utf-8")
        kubeconfig(folder, user={"tokenFile": "token"})
    paths = ["%s/%d/config" % (tmp_path, number) for number in (1, 2)]
    assert access({"context": "prod"}, {"KUBECONFIG": ":".join(paths)}).token() == "token 1"


def test_options_win_over_the_kubeconfig(tmp_path):
    (tmp_path / "ca").write_text("own", encoding="utf-8")
    path = kubeconfig(
        tmp_path,
        user={"token": "theirs", "as": "jane"},
        cluster={"certificate-authority-data": base64.b64encode(b"theirs").decode(), "proxy-url": "http://a"},
    )
    options = {
        "kubeconfig": path,
        "api_key": "ours",
        "ca_cert": str(tmp_path / "ca"),
        "impersonate_user": "joe",
        "impersonate_groups": ["a", "b"],
        "proxy": "http://b",
    }
    found = access(options, {})
    assert (found.token(), found.ca, found.proxy) == ("ours", "own", "http://b")
    acting = [pair for pair in found.headers if pair[0].startswith("Impersonate")]
    assert acting == [("Impersonate-User", "joe"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b")]


def test_credentials_in_variables_are_for_a_host_alone(tmp_path):
    ambient = {"K8S_AUTH_API_KEY": "elsewhere", "K8S_AUTH_USERNAME": "jane"}
    assert access({"kubeconfig": kubeconfig(tmp_path), "api_key": None}, ambient).token() == "planted"
    assert access({"host": "https://192.0.2.1", "api_key": None}, ambient).token() == "elsewhere"
    assert access({"host": "https://192.0.2.1", "api_key": "own"}, ambient).token() == "own"


def test_a_certificate_without_its_key(tmp_path):
    assert "one alone" in refused({"kubeconfig": kubeconfig(tmp_path), "client_cert": "/nonexistent"}).message


def test_certificates_are_checked_unless_the_option_says_otherwise(tmp_path):
    path = kubeconfig(tmp_path, cluster={"insecure-skip-tls-verify": True})
    assert access({"kubeconfig": path}, {}).verify is True
    assert access({"kubeconfig": path, "validate_certs": False}, {}).verify is False


def test_certificates_that_are_none(tmp_path):
    (tmp_path / "ca").write_text("no certificate", encoding="utf-8")
    found = access({"host": "192.0.2.1", "ca_cert": str(tmp_path / "ca")}, {})
    assert found.server == "https://192.0.2.1"
    with pytest.raises(BadOption, match="cannot be used"):
        found.context()


def test_a_pod_s_own_cluster_only_in_a_pod():
    assert "no pod" in refused({"in_cluster": True}).message


PLUGIN = """
import json, os
cluster = json.loads(os.environ["KUBERNETES_EXEC_INFO"])["spec"]["cluster"]["server"]
print(json.dumps({"kind": "ExecCredential", "status": {"token": os.environ["WHO"] + "@" + cluster}}))
"""


def test_credentials_of_a_plugin(tmp_path):
    plugin = {
        "command": sys.executable,
        "args": ["-c", PLUGIN],
        "env": [{"name": "WHO", "value": "jane"}],
        "provideClusterInfo": True,
    }
    found = access({"kubeconfig": kubeconfig(tmp_path, user={"exec": plugin})}, {})
    assert found.token() == "jane@https://192.0.2.1:6443"


@pytest.mark.parametrize(
    ("plugin", "said", "step"),
    [
        ({"command": "nosuch-plugin", "installHint": "Get it."}, "cannot be run", "Get it."),
        ({"command": sys.executable, "args": ["-c", "import sys; sys.exit('signed out')"]}, "signed out", "Sign in"),
    ],
    ids=["not there", "fails"],
)
def test_a_plugin_that_gives_none(tmp_path, plugin, said, step):
    with pytest.raises(CredentialsMissing) as caught:
        access({"kubeconfig": kubeconfig(tmp_path, user={"exec": plugin})}, {})
    assert said in caught.value.message and step in caught.value.next_step
