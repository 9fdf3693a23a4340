# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's certificates, configuration files and command lines, all below one folder."""

from __future__ import annotations

import base64
import ipaddress
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import engine

PAUSE = "docker.io/phase-console-sandbox/pause:1"
SHORT = Path("/run/node")
"""The node's folder once more, inside: the kubelet's sockets are below it, and their paths may have 108 characters."""
DAYS = "30"  # that a kept cluster lasts

# Candidates for the 10.x.0.0/16 of which host, node, pods and Services get parts.
SECOND_OCTETS = (197, 199, 203, 207, 209)


@dataclass(frozen=True)
class Network:
    """Its addresses: a /30 between this host and the node, a /24 each for pods and Services."""

    second: int

    @property
    def host(self) -> str:
        return f"10.{self.second}.0.1"

    @property
    def node(self) -> str:
        return f"10.{self.second}.0.2"

    @property
    def pods(self) -> str:
        return f"10.{self.second}.1.0/24"

    @property
    def services(self) -> str:
        return f"10.{self.second}.2.0/24"

    @property
    def api_service(self) -> str:
        return f"10.{self.second}.2.1"

    @property
    def server(self) -> str:
        return f"https://{self.node}:6443"


def choose_network() -> Network | None:
    """The first candidate that overlaps with nothing that this machine routes."""
    routed = engine.routes()
    for second in SECOND_OCTETS:
        whole = ipaddress.IPv4Network(f"10.{second}.0.0/16")
        if not any(route.overlaps(whole) for route in routed):
            return Network(second)
    return None


def images_folder(run: Path) -> Path:
    """containerd's root, which outlives the node, so that images are loaded once."""
    return run.parent / "images"


# --- certificates ---------------------------------------------------------------------------------------------------


def write_certificates(folder: Path, network: Network) -> None:
    """An authority, one certificate for the servers (API and kubelet), one for all clients, and the tokens' key."""
    folder.mkdir(mode=0o700)
    (folder / "openssl.cnf").write_text("[req]\ndistinguished_name = name\n[name]\n", encoding="ascii")

    def certificate(name: str, subject: str, *extensions: str, signed: bool = True) -> None:
        command = ["openssl", "req", "-x509", "-config", "openssl.cnf", "-nodes", "-days", DAYS, "-subj", subject]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
        command += [part for extension in extensions for part in ("-addext", extension)]
        command += ["-CA", "ca.crt", "-CAkey", "ca.key"] if signed else []
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    authority = ("basicConstraints=critical,CA:true", "keyUsage=critical,keyCertSign,cRLSign")
    certificate("ca", "/CN=sandbox", *authority, signed=False)
    service = [f"DNS:kubernetes{suffix}" for suffix in ("", ".default", ".default.svc", ".default.svc.cluster.local")]
    names = [*service, "DNS:localhost", *(f"IP:{ip}" for ip in ("127.0.0.1", network.node, network.api_service))]
    certificate("server", "/CN=node", "extendedKeyUsage=serverAuth", f"subjectAltName={','.join(names)}")
    certificate("admin", "/O=system:masters/CN=admin", "extendedKeyUsage=clientAuth")
    key = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", "tokens.key"]
    public = ["openssl", "pkey", "-in", "tokens.key", "-pubout", "-out", "tokens.pub"]
    for command in (key, public):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


def kubeconfig(pki: Path, network: Network) -> dict[str, Any]:
    def data(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode()

    cluster = {"server": network.server, "certificate-authority-data": data("ca.crt")}
    user = {"client-certificate-data": data("admin.crt"), "client-key-data": data("admin.key")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "sandbox",
        "clusters": [{"name": "sandbox", "cluster": cluster}],
        "users": [{"name": "admin", "user": user}],
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "admin"}}],
    }


# --- configuration --------------------------------------------------------------------------------------------------


def kubelet_configuration(run: Path, network: Network, cgroup: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.node,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": f"{run}/pki/ca.crt"},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "tlsCertFile": f"{run}/pki/server.crt",
        "tlsPrivateKeyFile": f"{run}/pki/server.key",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "clusterDNS": [network.node],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{run}/etc/resolv.conf",
        "volumePluginDir": f"{run}/volume-plugins",
        "makeIPTablesUtilChains": False,
        "serializeImagePulls": False,
        # The images that were loaded stay, however full the disk of a test machine is.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi"},
        "nodeStatusUpdateFrequency": "4s",
        "syncFrequency": "10s",
    }


def proxy_configuration(run: Path, network: Network) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": "node",
        "clusterCIDR": network.pods,
        "clientConnection": {"kubeconfig": f"{run}/kubeconfig"},
        # These are settings of the whole machine, which a network namespace cannot change.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "100ms"},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    }


def network_configuration(run: Path, network: Network) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": "/run/addresses",
        "ranges": [[{"subnet": network.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "pods", "isGateway": True, "hairpinMode": True, "ipam": addresses}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "sandbox", "plugins": [bridge, portmap]}


def containerd_configuration(run: Path, images: Path, plugins: Path) -> str:
    """AppArmor cannot be set up in here. restrict_oom_score_adj: without CAP_SYS_RESOURCE runc could not lower it."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    unused = [f"io.containerd.snapshotter.v1.{name}" for name in ("aufs", "btrfs", "devmapper", "zfs")]
    return f"""\
version = 2
root = "{images}"
state = "/run/containerd"
disabled_plugins = {json.dumps(["io.containerd.internal.v1.opt", *unused])}
[grpc]
  address = "/run/containerd/containerd.sock"
[{cri}]
  sandbox_image = "{PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
  SystemdCgroup = false
[{cri}.cni]
  bin_dir = "{plugins}"
  conf_dir = "{run}/etc/network"
"""


def write_configuration(run: Path, network: Network, cgroup: str, images: Path, plugins: Path) -> None:
    for folder in ("etc/network", "log", "held", "pids", "kubelet", "volume-plugins", "tmp"):
        (run / folder).mkdir(parents=True)
    etc = run / "etc"
    # A resolver that refuses: pulling an image that was not loaded must fail at once instead of after ten seconds.
    (etc / "resolv.conf").write_text("nameserver 127.0.0.1\n", encoding="ascii")
    (etc / "containerd.toml").write_text(containerd_configuration(run, images, plugins), encoding="utf-8")
    for name, document in (
        ("kubelet.json", kubelet_configuration(run, network, cgroup)),
        ("proxy.json", proxy_configuration(run, network)),
        ("network/10-pods.conflist", network_configuration(run, network)),
    ):
        (etc / name).write_text(json.dumps(document), encoding="utf-8")
    (run / "kubeconfig").touch(mode=0o600)
    (run / "kubeconfig").write_text(json.dumps(kubeconfig(run / "pki", network)), encoding="utf-8")


# --- command lines --------------------------------------------------------------------------------------------------


def commands(run: Path, network: Network) -> dict[str, list[str]]:
    """The components in the order of their start. etcd, containerd and the API server come first; see STARTED_FIRST."""
    pki = run / "pki"
    as_admin = f"--kubeconfig={run}/kubeconfig"
    only_one = ["--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false"]
    own = {
        "etcd": [
            "--name=node",
            "--data-dir=/run/etcd",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ],
        "kube-apiserver": [
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={network.node}",
            "--secure-port=6443",
            f"--service-cluster-ip-range={network.services}",
            f"--cert-dir={run}/tmp",
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/server.crt",
            f"--tls-private-key-file={pki}/server.key",
            f"--kubelet-client-certificate={pki}/admin.crt",
            f"--kubelet-client-key={pki}/admin.key",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-key-file={pki}/tokens.pub",
            f"--service-account-signing-key-file={pki}/tokens.key",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--authorization-mode=RBAC",
            "--profiling=false",
        ],
        "kube-controller-manager": [
            as_admin,
            f"--service-account-private-key-file={pki}/tokens.key",
            f"--root-ca-file={pki}/ca.crt",
            "--use-service-account-credentials",
            "--node-monitor-period=2s",
            "--horizontal-pod-autoscaler-sync-period=2s",
            *only_one,
        ],
        "kube-scheduler": [as_admin, *only_one],
        "kubelet": [
            as_admin,
            f"--config={run}/etc/kubelet.json",
            f"--root-dir={SHORT}/kubelet",
            f"--cert-dir={run}/tmp",
            "--hostname-override=node",
            f"--node-ip={network.node}",
        ],
        "kube-proxy": [f"--config={run}/etc/proxy.json"],
        "dns": [f"-kubeconfig={run}/kubeconfig", f"-listen={network.node}:53"],
    }
    all_commands = {name: [str(run / "node"), name, *arguments] for name, arguments in own.items()}
    containerd = [str(engine.which("containerd")), f"--config={run}/etc/containerd.toml"]
    return {"containerd": containerd, **all_commands}


STARTED_FIRST = ("containerd", "etcd", "kube-apiserver")
"""The others end, or wait long, when the API does not answer at their start."""
