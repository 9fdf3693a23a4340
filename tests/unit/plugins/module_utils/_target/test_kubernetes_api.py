# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an API server refuses, in words; the answers are those of Kubernetes 1.34."""

from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import (
    ApiRefused,
    ApiUnreachable,
    BadOption,
    CredentialsMissing,
    Forbidden,
)
from ansible_collections.phase.console.plugins.module_utils._target.kubernetes_access import Access
from ansible_collections.phase.console.plugins.module_utils._target.kubernetes_api import (
    _proxy,
    kept_from,
    path_to,
    refusal,
)


def token(expires):
    claims = base64.urlsafe_b64encode(json.dumps({"exp": expires}).encode()).decode().rstrip("=")
    return "head.%s.signature" % claims


def error(status, message, bearer="opaque"):
    access = Access("https://192.0.2.1", "context prod", headers=[("Authorization", "Bearer " + bearer)])
    return refusal(access, status, json.dumps({"message": message}).encode(), "create", "jobs", now=1000.0)


def test_an_expired_token_says_since_when():
    found = error(401, "Unauthorized", token(940))
    assert isinstance(found, CredentialsMissing)
    assert "expired on 1970-01-01 at 00:15:40 UTC" in found.message and "context prod" in found.message


@pytest.mark.parametrize("bearer", [token(2000), "opaque", "a.b.c"])
def test_a_token_that_is_not_known(bearer):
    assert "expired" not in error(401, "Unauthorized", bearer).message


def test_a_missing_right_names_verb_and_resource():
    found = error(
        403,
        'jobs.batch is forbidden: User "system:serviceaccount:ops:looker" cannot create resource "jobs" in API group '
        '"batch" in the namespace "phase"',
    )
    assert isinstance(found, Forbidden)
    assert found.message == "system:serviceaccount:ops:looker may not create jobs.batch in namespace phase."
    asked = kept_from([("create", "", "pods/exec"), ("create", "batch", "jobs")], "phase")
    assert "create pods/exec, create jobs.batch in namespace phase" in asked.message


@pytest.mark.parametrize(
    ("message", "step"),
    [
        ('jobs "a" is forbidden: exceeded quota: small, requested: count/jobs.batch=1', "ResourceQuota"),
        ('pods "a" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true', "Pod Security"),
        ("admission webhook denied the request", "Mend what it says"),
    ],
)
def test_a_refused_object_is_no_missing_right(message, step):
    found = error(403, message)
    assert isinstance(found, ApiRefused) and step in found.next_step and message in found.message


def test_a_server_in_trouble():
    assert isinstance(error(503, "apiserver is shutting down"), ApiUnreachable)


def test_paths():
    assert path_to("v1", "phase", "pods", "a", "log") == "/api/v1/namespaces/phase/pods/a/log"
    assert path_to("batch/v1", "phase", "jobs") == "/apis/batch/v1/namespaces/phase/jobs"


def test_a_proxy():
    assert _proxy("proxy:8080") == ("proxy", 8080, {})
    credentials = base64.b64encode(b"a:b@c").decode()
    assert _proxy("http://a:b%40c@proxy") == ("proxy", 3128, {"Proxy-Authorization": "Basic " + credentials})
    with pytest.raises(BadOption) as caught:
        _proxy("socks5://user:planted@proxy")
    assert "planted" not in caught.value.message
