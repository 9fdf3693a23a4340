# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proxies and a client in front of an instance's nginx, in containers with IPv4 and IPv6 addresses of their own.

`cloudflare` names its client in CF-Connecting-IP and appends it to X-Forwarded-For, `alb` only appends, and both let
everything else through, lies included. They listen on a port for each way on:

    8001 nginx by IPv4    8002 nginx by IPv6    8003 the ALB by IPv4    8004 the ALB by IPv6 (cloudflare alone)
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import images
from ._containers import ContainerInstance

NETWORK = "phase-edge"
# RFC 2544's range for tests and RFC 4193's, so that neither is anybody's network here.
V4, V6 = "198.18.{0}.{1}", "fd12:5018:{0}::{1}"
HOSTS = {"nginx": 10, "cloudflare": 20, "alb": 30, "client": 40}

_SERVER = """
server {{
    listen {port};
    listen [::]:{port};
    location / {{
        proxy_pass http://{next};
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        {own}
    }}
}}
"""

# Reads {"to": [host, port], "requests": [[line, ...], ...]}: POSTs Phase's question of who asks, with these header
# lines, and prints {"own": address, "answers": [[status, address that Phase saw], ...]}.
_CLIENT = r"""
import json, re, socket, sys
task = json.load(sys.stdin)
body = b'{"query": "query { clientIp }"}'
answers = []
for lines in task["requests"]:
    connection = socket.create_connection(task["to"], timeout=20)
    own = connection.getsockname()[0]
    head = ["POST /service/graphql/ HTTP/1.1", "Host: backend", "Connection: close", "Content-Type: application/json",
            "Content-Length: %d" % len(body), *lines]
    answer = b""
    try:
        connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode() + body)
    except OSError:
        pass
    try:
        while True:
            data = connection.recv(65536)
            if not data:
                break
            answer += data
    except OSError:
        pass
    connection.close()
    words = answer.split(None, 2)
    seen = re.search(rb'"clientIp": *"([^"]*)"', answer)
    answers.append([int(words[1]) if len(words) > 1 else 0, seen and seen.group(1).decode()])
print(json.dumps({"own": own, "answers": answers}))
"""


@dataclass(frozen=True)
class Hops:
    """The running hops; `subnet` is the third number of their IPv4 addresses."""

    instance: ContainerInstance
    subnet: int

    def addresses(self, name: str) -> list[str]:
        """The IPv4 and the IPv6 address of a hop, the client or nginx."""
        return [V4.format(self.subnet, HOSTS[name]), V6.format(self.subnet, HOSTS[name])]

    def ask(self, host: str, port: int, requests: Sequence[Sequence[str]]) -> dict[str, Any]:
        """Send the requests from the client; its own address, and for each the status and whom Phase saw."""
        done = subprocess.run(
            ["docker", "exec", "-i", "phase-hop-client", "python3", "-c", _CLIENT],
            env=self.instance.engine.environment(),
            input=json.dumps({"to": [host, port], "requests": [list(lines) for lines in requests]}),
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def _configuration(hops: Hops, name: str) -> str:
    own = "proxy_set_header CF-Connecting-IP $remote_addr;" if name == "cloudflare" else ""
    ways = {8001: (hops.addresses("nginx")[0], 80), 8002: (hops.addresses("nginx")[1], 80)}
    if name == "cloudflare":
        ways.update({8003: (hops.addresses("alb")[0], 8001), 8004: (hops.addresses("alb")[1], 8002)})
    servers = []
    for port, (address, on) in ways.items():
        place = f"[{address}]:{on}" if ":" in address else f"{address}:{on}"
        servers.append(_SERVER.format(port=port, next=place, own=own))
    return "".join(servers)


@contextlib.contextmanager
def running(instance: ContainerInstance, subnet: int = 77) -> Iterator[Hops]:
    """The hops in front of a running instance. Their network is the sandbox's, and goes with what hangs on it."""
    hops = Hops(instance, subnet)
    docker = instance.docker
    label = f"--label={images.LABEL}=instance"
    v4, v6 = f"198.18.{subnet}.0/24", f"fd12:5018:{subnet}::/64"
    docker("network", "create", label, "--ipv6", f"--subnet={v4}", f"--subnet={v6}", NETWORK)
    try:
        addresses = {name: hops.addresses(name) for name in HOSTS}
        docker(
            "network", "connect", "--ip", addresses["nginx"][0], "--ip6", addresses["nginx"][1], NETWORK, "phase-nginx"
        )
        for name in ("client", "alb", "cloudflare"):
            place = ["--network", NETWORK, "--ip", addresses[name][0], "--ip6", addresses[name][1]]
            command = ["sleep", "infinity"] if name == "client" else []
            docker("create", "--name", f"phase-hop-{name}", *place, images.NGINX, *command)
            if name != "client":
                with tempfile.TemporaryDirectory() as scratch:
                    file = Path(scratch) / "default.conf"
                    file.write_text(_configuration(hops, name), encoding="utf-8")
                    docker("cp", str(file), f"phase-hop-{name}:/etc/nginx/conf.d/default.conf")
            docker("start", f"phase-hop-{name}")
        yield hops
    finally:
        docker("rm", "--force", *(f"phase-hop-{name}" for name in ("client", "alb", "cloudflare")), check=False)
        docker("network", "disconnect", "--force", NETWORK, "phase-nginx", check=False)
        docker("network", "rm", NETWORK, check=False)
