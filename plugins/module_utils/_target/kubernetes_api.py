# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The few calls of the Kubernetes API that a target needs, and what it refuses, in words.

Plain HTTP instead of the package ``kubernetes``: importing that costs more processor time than everything else a look
does, and its exec stream takes time that grows with the square of what is read (docs/architecture.md has the figures).
"""

from __future__ import annotations

import base64
import functools
import http.client
import json
import os
import re
import socket
import ssl
import time
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import quote, unquote, urlencode, urlsplit

from .._errors import ApiRefused, ApiUnreachable, BadOption, CredentialsMissing, Forbidden
from .kubernetes_access import Access

Document = Dict[str, Any]
Query = Sequence[Tuple[str, str]]
Right = Tuple[str, str, str]  # verb, API group, resource with its subresource: ("create", "", "pods/exec")

METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
# What RBAC says, which is the same in all versions since 1.8.
DENIED = re.compile(
    r'User "([^"]*)" cannot (\w+) resource "([^"]*)" in API group "([^"]*)"(?: in the namespace "([^"]*)")?'
)
# A stream over a WebSocket is opened by GET; since Kubernetes 1.35 the API server asks for `create` as well.
EXECUTING: List[Right] = [("get", "", "pods/exec"), ("create", "", "pods/exec")]
ROLLING: List[Right] = [
    ("get", "apps", "deployments"),
    ("patch", "apps", "deployments"),
    ("list", "autoscaling", "horizontalpodautoscalers"),
    ("get", "", "pods/log"),
]
JOBS: List[Right] = [
    ("list", "batch", "jobs"),
    ("create", "batch", "jobs"),
    ("delete", "batch", "jobs"),
    ("list", "", "events"),
    ("get", "", "pods/log"),
    ("get", "", "pods/attach"),
    ("create", "", "pods/attach"),
]


def kept_from(rights: Sequence[Right], namespace: str, who: str = "These credentials") -> Forbidden:
    """The error for rights that are missing."""
    texts = ["%s %s%s" % (verb, resource, "." + group if group else "") for verb, group, resource in rights]
    return Forbidden(
        "%s may not %s in namespace %s." % (who, ", ".join(texts), namespace),
        "Bind them to a Role that allows it; docs/docsite/rst/guide_kubernetes.rst has three. Nothing was begun.",
    )


def path_to(group: str, namespace: str, resource: str, name: str = "", subresource: str = "") -> str:
    """``group`` is ``v1`` or, say, ``apps/v1``."""
    parts = ["apis" if "/" in group else "api", group, "namespaces", namespace, resource, name, subresource]
    return "/" + "/".join(quote(part, safe="/") for part in parts if part)


def expiry(token: str) -> Optional[float]:
    """When a token that is a JSON Web Token expires, in Unix seconds."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def refusal(access: Access, status: int, body: bytes, verb: str, what: str, now: float) -> Exception:
    """The error for an answer that is no success; ``what`` is what was asked for, in words."""
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = body.decode("utf-8", "replace").strip()[:500]
    if status == 401:
        expired = expiry(access.token())
        when = ""
        if expired is not None and expired < now:
            when = ": its token expired on %s" % time.strftime("%Y-%m-%d at %H:%M:%S UTC", time.gmtime(expired))
        return CredentialsMissing(
            "The API server (%s) does not know whoever asks%s." % (access.named, when),
            "Sign in anew, or set kubernetes.api_key (or client_cert and client_key) to what is valid there.",
        )
    denied = DENIED.search(message) if status == 403 else None
    if denied:
        who, verb, resource, group, where = denied.groups()
        kind = resource + ("." + group if group else "")
        return Forbidden(
            "%s may not %s %s%s." % (who, verb, kind, " in namespace " + where if where else ""),
            "Bind this user to a Role that allows it; docs/docsite/rst/guide_kubernetes.rst has three.",
        )
    if status in (429, 500, 502, 503, 504):
        return ApiUnreachable(
            "The API server (%s) could not %s %s: %s" % (access.named, verb, what, message or "HTTP %d" % status),
            "Run it again once the cluster is well: `kubectl get --raw /readyz` answers ok then.",
        )
    if status == 404 and "the server could not find the requested resource" in message:
        message = "it does not know that kind; is %s the address of a Kubernetes API?" % access.server
    error = ApiRefused(
        "The API server (%s) refused to %s %s: %s" % (access.named, verb, what, message or "HTTP %d" % status),
        _advice(message),
    )
    error.code = status
    return error


def _advice(message: str) -> str:
    if "exceeded quota" in message:
        return "Raise the ResourceQuota of the namespace, or free some of it, then run again."
    if "violates PodSecurity" in message:
        return "The pod is like the backend's own: have that one pass the namespace's Pod Security level as well."
    return "Mend what it says, then run again."


class Api:
    """One namespace of a cluster. A connection is opened at the first call and kept; streams have their own."""

    def __init__(self, access: Access, namespace: str, timeout: float) -> None:
        self.access = access
        self.namespace = namespace
        self._timeout = timeout or None
        self._kept: Optional[http.client.HTTPConnection] = None

    @functools.cached_property
    def _context(self) -> ssl.SSLContext:
        return self.access.context()

    def connection(self) -> http.client.HTTPConnection:
        """A new connection. Raises ApiUnreachable, with what is in the way."""
        address = urlsplit(self.access.server)
        host = address.hostname or ""
        secure = address.scheme == "https"
        through = _proxy(self.access.proxy)
        made: http.client.HTTPConnection
        where = (through[0], through[1]) if through else (host, address.port or (443 if secure else 80))
        if secure:
            made = _Named(where[0], where[1], self._timeout, self._context, self.access.server_name)
        else:
            made = http.client.HTTPConnection(where[0], where[1], timeout=self._timeout)
        if through:
            made.set_tunnel(host, address.port or (443 if secure else 80), headers=through[2])
        try:
            made.connect()
        except OSError as error:
            raise self._unreachable(error) from error
        if made.sock is not None:
            made.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _unreachable(self, error: Exception) -> ApiUnreachable:
        if isinstance(error, ssl.SSLCertVerificationError):
            return ApiUnreachable(
                "The certificate of the API server %s cannot be trusted: %s."
                % (self.access.server, error.verify_message),
                "Set kubernetes.ca_cert to the cluster's authority; a kubeconfig usually has it.",
            )
        if isinstance(error, ssl.SSLError):
            reason = error.reason or str(error)
        else:
            reason = "no answer in time" if isinstance(error, socket.timeout) else str(error)
        return ApiUnreachable(
            "The API server %s (%s) cannot be reached: %s." % (self.access.server, self.access.named, reason),
            "Check that `kubectl cluster-info` works from this host, or name another cluster.",
        )

    def headers(self, accept: str = "application/json") -> List[Tuple[str, str]]:
        return [("Accept", accept), ("User-Agent", "phase.console"), *self.access.headers]

    def send(
        self, connection: http.client.HTTPConnection, method: str, path: str, headers: Query, body: bytes = b""
    ) -> http.client.HTTPResponse:
        """One request. Headers may come twice, which http.client's own way does not allow.

        A PATCH names what it changes; lists of containers are merged by name (Kubernetes API, "Strategic merge patch").
        """
        prefix = urlsplit(self.access.server).path.rstrip("/")
        connection.putrequest(method, prefix + path, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body:
            kind = "strategic-merge-patch+json" if method == "PATCH" else "json"
            connection.putheader("Content-Type", "application/" + kind)
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        return connection.getresponse()

    def request(
        self,
        method: str,
        path: str,
        what: str,
        query: Query = (),
        body: Optional[Document] = None,
        accept: str = "application/json",
    ) -> Tuple[int, bytes]:
        """Status and answer. A read whose kept connection had been closed meanwhile is asked once more."""
        data = json.dumps(body).encode() if body is not None else b""
        target = path + ("?" + urlencode(query) if query else "")
        for attempt in (1, 2):
            fresh = self._kept is None
            if self._kept is None:
                self._kept = self.connection()
            try:
                answer = self.send(self._kept, method, target, self.headers(accept), data)
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if fresh or attempt == 2 or method not in ("GET", "DELETE"):
                    raise self._unreachable(error) from error
        raise AssertionError("not reached")

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def call(
        self,
        method: str,
        path: str,
        what: str,
        query: Query = (),
        body: Optional[Document] = None,
        accept: str = "application/json",
    ) -> Document:
        """The answer. Raises CredentialsMissing, Forbidden, ApiUnreachable, ApiRefused."""
        status, answer = self.request(method, path, what, query, body, accept)
        if status not in (200, 201, 202):
            verb = {"GET": "read", "POST": "create", "DELETE": "delete", "PATCH": "change"}[method]
            raise refusal(self.access, status, answer, verb, what, time.time())
        try:
            found: Document = json.loads(answer)
        except ValueError:
            found = {}
        if not isinstance(found, dict) or "kind" not in found:
            raise BadOption(
                "%s answers, and not as a Kubernetes API." % self.access.server, "Name the address of the API server."
            )
        return found

    # What there is

    def listed(self, group: str, resource: str, selector: str = "", accept: str = "application/json") -> List[Document]:
        """The objects of a kind. Lists of this size come whole: the API pages only where a limit is set."""
        query = [("labelSelector", selector)] if selector else []
        found = self.call("GET", path_to(group, self.namespace, resource), resource, query, accept=accept)
        return list(found.get("items") or [])

    def found(self, group: str, resource: str, name: str) -> Optional[Document]:
        """An object, or None where there is none."""
        try:
            return self.call("GET", path_to(group, self.namespace, resource, name), "%s %s" % (resource, name))
        except ApiRefused as error:
            if error.code == 404:
                return None
            raise

    def namespace_there(self) -> Optional[bool]:
        """None where that may not be asked."""
        status, _answer = self.request("GET", "/api/v1/namespaces/" + quote(self.namespace), "namespaces")
        return {200: True, 404: False}.get(status)

    def create(self, group: str, resource: str, body: Document) -> Document:
        return self.call("POST", path_to(group, self.namespace, resource), resource, body=body)

    def patch(self, group: str, resource: str, name: str, change: Document) -> Document:
        """The object as it is with these fields set; a field that is None is removed."""
        what, query = "%s %s" % (resource, name), [("fieldManager", "phase.console")]
        return self.call("PATCH", path_to(group, self.namespace, resource, name), what, query, change)

    def delete(self, group: str, resource: str, name: str) -> None:
        """Delete it with what belongs to it; that it is gone already is no error."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        try:
            self.call("DELETE", path_to(group, self.namespace, resource, name), "%s %s" % (resource, name), body=body)
        except ApiRefused as error:
            if error.code != 404:
                raise

    def missing(self, rights: Sequence[Right]) -> List[Right]:
        """Which of these rights the asking one lacks, in the API server's own judgement (SelfSubjectAccessReview)."""
        lacking = []
        for verb, group, resource in rights:
            name, _slash, subresource = resource.partition("/")
            attributes = {"namespace": self.namespace, "verb": verb, "group": group, "resource": name}
            attributes.update({"subresource": subresource} if subresource else {})
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            }
            path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
            answer = self.call("POST", path, "a review of rights", body=review)
            if not answer["status"].get("allowed"):
                lacking.append((verb, group, resource))
        return lacking

    def require(self, rights: Sequence[Right]) -> None:
        """Raise Forbidden, which names them, when rights are missing."""
        lacking = self.missing(rights)
        if lacking:
            raise kept_from(lacking, self.namespace)

    # Streams

    def log(self, pod: str, container: str, query: Query = ()) -> Iterator[bytes]:
        """What a container has written, and with ``follow`` what it goes on to write, as it comes."""
        connection = self.connection()
        try:
            path = (
                path_to("v1", self.namespace, "pods", pod, "log") + "?" + urlencode([("container", container), *query])
            )
            try:
                answer = self.send(connection, "GET", path, self.headers("*/*"))
                if answer.status != 200:
                    raise refusal(
                        self.access, answer.status, answer.read(), "read", "the log of pod " + pod, time.time()
                    )
                if connection.sock is not None:
                    connection.sock.settimeout(None)
                while True:
                    data = answer.read1(1 << 16)
                    if not data:
                        return
                    yield data
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from error
        finally:
            connection.close()

    def upgrade(self, path: str, query: Query, protocols: Sequence[str], what: str) -> Tuple[Any, bytes, str]:
        """Open a WebSocket (RFC 6455, section 4): its socket, bytes that came with the answer, the chosen protocol."""
        connection = self.connection()
        headers = [
            *self.headers("*/*"),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", base64.b64encode(os.urandom(16)).decode()),
            ("Sec-WebSocket-Protocol", ", ".join(protocols)),
        ]
        try:
            taken = connection.sock
            answer = self.send(connection, "GET", path + "?" + urlencode(query), headers)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error
        if answer.status != 101:
            body = answer.read()
            connection.close()
            raise refusal(self.access, answer.status, body, "open", what, time.time())
        rest = b""
        if taken is not None and answer.fp is not None:
            taken.settimeout(0)  # only what was read already
            try:
                rest = answer.fp.peek()
            except OSError:
                pass
        return taken, rest, answer.headers.get("Sec-WebSocket-Protocol", "")


class _Named(http.client.HTTPSConnection):
    """Checks the certificate for another name than the address's, where a kubeconfig says so (tls-server-name)."""

    def __init__(
        self, host: str, port: int, timeout: Optional[float], context: ssl.SSLContext, name: Optional[str]
    ) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._settings, self._name = context, name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        server = self._name or getattr(self, "_tunnel_host", None) or self.host
        self.sock = self._settings.wrap_socket(self.sock, server_hostname=server)


def _proxy(url: Optional[str]) -> Optional[Tuple[str, int, Mapping[str, str]]]:
    """Host, port and headers of an HTTP proxy."""
    if not url:
        return None
    address = urlsplit(url if "://" in url else "http://" + url)
    if address.scheme != "http" or not address.hostname:
        raise BadOption(
            "kubernetes.proxy has to be an HTTP proxy: %s" % re.sub(r"//[^@/]*@", "//", url),
            "Write it as http://host:port.",
        )
    headers = {}
    if address.username:
        pair = "%s:%s" % (unquote(address.username), unquote(address.password or ""))
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return address.hostname, address.port or 3128, headers
