# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the option ``kubernetes`` to the address of an API server and the credentials for it.

A cluster is always named in the options: by ``context``, ``host``, a ``kubeconfig`` with one context, or
``in_cluster``. The environment completes what was named, and never chooses.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import ssl
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from .._errors import BadOption, CredentialsMissing, LibraryMissing, said

Options = Mapping[str, Any]
Document = Dict[str, Any]

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
PLUGIN_SECONDS = 60  # that a credential plugin may take; some ask another service


@dataclass(frozen=True)
class Access:
    """Where an API server is and who asks. ``ca``, ``certificate`` and ``key`` are PEM texts.

    ``named`` is what messages call the cluster. ``server_name`` is what its certificate must be for, where that is not
    the address's host.
    """

    server: str
    named: str
    verify: bool = True
    ca: Optional[str] = None
    server_name: Optional[str] = None
    certificate: Optional[str] = None
    key: Optional[str] = None
    headers: List[Tuple[str, str]] = field(default_factory=list)
    proxy: Optional[str] = None

    def token(self) -> str:
        """The bearer token, or nothing."""
        found = [value for name, value in self.headers if name == "Authorization" and value.startswith("Bearer ")]
        return found[0][len("Bearer ") :] if found else ""

    def context(self) -> ssl.SSLContext:
        """The TLS settings. Raises BadOption for certificates that cannot be read."""
        try:
            made = ssl.create_default_context(cadata=self.ca)
            if not self.verify:
                made.check_hostname = False
                made.verify_mode = ssl.CERT_NONE
            if self.certificate:
                with _as_file(self.certificate + "\n" + (self.key or "")) as path:
                    made.load_cert_chain(path)
        except (ssl.SSLError, ValueError) as error:
            raise BadOption(
                "The certificates for the cluster (%s) cannot be used: %s" % (self.named, error),
                "They have to be PEM, and the client's key has to fit its certificate and be without a passphrase.",
            ) from error
        return made


@contextlib.contextmanager
def _as_file(text: str) -> Iterator[str]:
    """A path to read the text from, which the ssl module wants: in memory where the system has that."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("phase-console")
        path = "/proc/self/fd/%d" % handle
    else:
        handle, path = tempfile.mkstemp(prefix="phase-console-")
    try:
        os.write(handle, text.encode())
        yield path
    finally:
        os.close(handle)
        if not path.startswith("/proc/"):
            os.unlink(path)


def access(options: Options, environ: Mapping[str, str]) -> Access:
    """Raises BadOption when no cluster is named, or what names it is not there."""
    if options.get("in_cluster"):
        found = _in_cluster(environ)
    elif options.get("host"):
        found = Access(server=_url(options["host"]), named=options["host"])
        options = _with_variables(options, environ)
    elif options.get("context") or options.get("kubeconfig"):
        found = _from_kubeconfig(options, environ)
    else:
        raise BadOption(
            "No cluster is named: deployment=kubernetes takes none from the environment or from a current context.",
            "Set kubernetes.context (a context of your kubeconfig), or host with api_key, or in_cluster.",
        )
    return _completed(found, options)


# For an API server named by ``host``; sent elsewhere, a token that was meant for one cluster would get to another.
_VARIABLES = {
    "api_key": "K8S_AUTH_API_KEY",
    "username": "K8S_AUTH_USERNAME",
    "password": "K8S_AUTH_PASSWORD",
    "ca_cert": "K8S_AUTH_SSL_CA_CERT",
    "client_cert": "K8S_AUTH_CERT_FILE",
    "client_key": "K8S_AUTH_KEY_FILE",
}


def _with_variables(options: Options, environ: Mapping[str, str]) -> Options:
    given = {name: value for name, value in options.items() if value is not None}
    return dict({name: environ.get(variable) for name, variable in _VARIABLES.items()}, **given)


def _url(host: str) -> str:
    return (host if "://" in host else "https://" + host).rstrip("/")


def _completed(found: Access, options: Options) -> Access:
    """What the options say themselves wins over the kubeconfig's."""
    headers = list(found.headers)
    if options.get("api_key") or options.get("username"):
        headers = [pair for pair in headers if pair[0] != "Authorization"]
        headers.append(_authorization(options.get("api_key"), options.get("username"), options.get("password")))
    if options.get("impersonate_user"):
        headers = [pair for pair in headers if not pair[0].startswith("Impersonate-")]
        headers.append(("Impersonate-User", options["impersonate_user"]))
        headers.extend(("Impersonate-Group", group) for group in options.get("impersonate_groups") or [])
    certificate, key = found.certificate, found.key
    if bool(options.get("client_cert")) != bool(options.get("client_key")):
        raise BadOption("Of client_cert and client_key one alone is given.", "Give both, or none.")
    if options.get("client_cert"):
        certificate, key = _read("client_cert", options["client_cert"]), _read("client_key", options["client_key"])
    return Access(
        server=found.server,
        named=found.named,
        verify=options.get("validate_certs", True) is not False,
        ca=_read("ca_cert", options["ca_cert"]) if options.get("ca_cert") else found.ca,
        server_name=found.server_name,
        certificate=certificate,
        key=key,
        headers=headers,
        proxy=options.get("proxy") or found.proxy,
    )


def _authorization(token: Optional[str], user: Optional[str], password: Optional[str]) -> Tuple[str, str]:
    if token:
        return "Authorization", "Bearer " + token.strip()
    return "Authorization", "Basic " + base64.b64encode(("%s:%s" % (user, password or "")).encode()).decode()


def _read(name: str, path: str) -> str:
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise BadOption(
            "%s %s cannot be read: %s" % (name, path, said(error)), "Name a file that this user may read."
        ) from error


def _in_cluster(environ: Mapping[str, str]) -> Access:
    """The pod's own cluster and service account (Kubernetes documentation, "Accessing the API from a Pod")."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not os.path.exists(SERVICE_ACCOUNT + "/token"):
        raise BadOption(
            "kubernetes.in_cluster is set, and this is no pod with a service account's token.",
            "Set kubernetes.context or host, or run it in a pod with automountServiceAccountToken.",
        )
    return Access(
        server="https://%s:%s" % ("[%s]" % host if ":" in host else host, port),
        named="the cluster of this pod",
        ca=_read("the service account's ca.crt", SERVICE_ACCOUNT + "/ca.crt"),
        headers=[_authorization(_read("the service account's token", SERVICE_ACCOUNT + "/token"), None, None)],
    )


# kubeconfig


def kubeconfig_paths(options: Options, environ: Mapping[str, str]) -> List[str]:
    """The files that are read, as kubectl and kubernetes.core find them; a named one is the only one."""
    named = options.get("kubeconfig") or environ.get("K8S_AUTH_KUBECONFIG")
    if named:
        return [os.path.expanduser(named)]
    listed = [path for path in environ.get("KUBECONFIG", "").split(os.pathsep) if path]
    return [os.path.expanduser(path) for path in listed or ["~/.kube/config"]]


def parse(text: str, path: str) -> Document:
    """A kubeconfig's text, JSON or YAML."""
    try:
        found = json.loads(text)
    except ValueError:
        try:
            import yaml
        except ImportError as error:
            raise LibraryMissing(
                "PyYAML is not installed for this Python, and %s is no JSON." % path,
                "Install the package PyYAML for the interpreter that runs the module.",
            ) from error
        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise BadOption("%s is no YAML: %s" % (path, error), "Mend it, or name another kubeconfig.") from error
    if not isinstance(found, dict):
        raise BadOption("%s is no kubeconfig." % path, "Name a kubeconfig.")
    return found


def merged(documents: List[Tuple[str, Document]]) -> Dict[str, Dict[str, Document]]:
    """``clusters``, ``users`` and ``contexts`` by name; the first file that has a name wins, as with kubectl.

    Paths become absolute: a kubeconfig's are relative to its own folder.
    """
    found: Dict[str, Dict[str, Document]] = {"clusters": {}, "users": {}, "contexts": {}}
    for path, document in documents:
        folder = os.path.dirname(os.path.abspath(path))
        for kind, entries in found.items():
            for entry in document.get(kind) or []:
                inner = dict(entry.get(kind[:-1]) or {})
                for key in ("certificate-authority", "client-certificate", "client-key", "tokenFile"):
                    if inner.get(key):
                        inner[key] = os.path.join(folder, inner[key])
                if "exec" in inner:
                    inner["exec"] = dict(inner["exec"], folder=folder)
                entries.setdefault(str(entry.get("name")), inner)
    return found


def _from_kubeconfig(options: Options, environ: Mapping[str, str]) -> Access:
    paths = kubeconfig_paths(options, environ)
    present = [path for path in paths if os.path.exists(path)]
    if not present:
        raise BadOption("There is no kubeconfig at %s." % ", ".join(paths), "Set kubernetes.kubeconfig to yours.")
    known = merged([(path, parse(_read("kubeconfig", path), path)) for path in present])
    names = sorted(known["contexts"])
    name = options.get("context") or (names[0] if len(names) == 1 else None)
    if name is None or name not in known["contexts"]:
        several = "%s has %d contexts" % (", ".join(present), len(names))
        raise BadOption(
            "There is no context %s in %s." % (name, ", ".join(present)) if name else several + ", and none is named.",
            "Set kubernetes.context to one of: %s." % (", ".join(names) or "none, it is empty"),
        )
    context = known["contexts"][name]
    cluster = known["clusters"].get(str(context.get("cluster")))
    user = known["users"].get(str(context.get("user")))
    if cluster is None or user is None or not cluster.get("server"):
        raise BadOption(
            "Context %s names a cluster or a user that %s does not have." % (name, ", ".join(present)),
            "Mend the kubeconfig: `kubectl --context %s get pods` fails as well." % name,
        )
    if user.get("exec"):
        user = dict(user, **run_plugin(user["exec"], cluster, environ))
    elif user.get("auth-provider"):
        raise BadOption(
            "Context %s uses an auth-provider, which Kubernetes dropped in 1.26." % name,
            "Have the kubeconfig written anew by your provider's tool, or set kubernetes.host and api_key.",
        )
    return Access(
        server=_url(cluster["server"]),
        named="context %s" % name,
        ca=_text(cluster, "certificate-authority"),
        server_name=cluster.get("tls-server-name"),
        certificate=_text(user, "client-certificate"),
        key=_text(user, "client-key"),
        headers=_headers(user),
        proxy=cluster.get("proxy-url"),
    )


def _text(entry: Document, name: str) -> Optional[str]:
    if entry.get(name + "-data"):
        return base64.b64decode(entry[name + "-data"]).decode()
    return _read(name, entry[name]) if entry.get(name) else None


def _headers(user: Document) -> List[Tuple[str, str]]:
    headers = []
    token = _read("tokenFile", user["tokenFile"]) if user.get("tokenFile") else user.get("token")
    if token or user.get("username"):
        headers.append(_authorization(token, user.get("username"), user.get("password")))
    if user.get("as"):
        headers.append(("Impersonate-User", user["as"]))
        headers.extend(("Impersonate-Group", group) for group in user.get("as-groups") or [])
    return headers


def run_plugin(plugin: Document, cluster: Document, environ: Mapping[str, str]) -> Document:
    """The credentials that a plugin prints, as a kubeconfig's user has them.

    Kubernetes documentation, "Authenticating", client-go credential plugins, ``client.authentication.k8s.io/v1``.
    """
    command = str(plugin.get("command"))
    if os.sep in command:
        command = os.path.join(plugin["folder"], command)
    spec: Document = {"interactive": False}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = {key: value for key, value in cluster.items() if key in ("server", "tls-server-name")}
        spec["cluster"]["certificate-authority-data"] = cluster.get("certificate-authority-data")
    info = {"kind": "ExecCredential", "apiVersion": plugin.get("apiVersion"), "spec": spec}
    env = dict(environ, KUBERNETES_EXEC_INFO=json.dumps(info))
    env.update({entry["name"]: entry["value"] for entry in plugin.get("env") or []})
    try:
        done = subprocess.run(
            [command, *(plugin.get("args") or [])],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PLUGIN_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CredentialsMissing(
            "The kubeconfig's credential plugin %s cannot be run: %s" % (command, said(error)),
            str(plugin.get("installHint") or "Install it, or put it on the module's PATH."),
        ) from error
    try:
        status = json.loads(done.stdout)["status"]
    except (ValueError, KeyError, TypeError):
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise CredentialsMissing(
            "The kubeconfig's credential plugin %s gave no credentials (exit code %d): %s"
            % (command, done.returncode, last[0]),
            "Sign in anew with it, then run again.",
        ) from None
    found: Document = {"token": status.get("token")}
    for name, key in (("client-certificate", "clientCertificateData"), ("client-key", "clientKeyData")):
        if status.get(key):
            found[name + "-data"] = base64.b64encode(status[key].encode()).decode()
    return found
