# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""What role realip renders, in real nginx (the oldest that is supported and a current one), HAProxy and Caddy.

Hops are loopback addresses: whoever connects from 127.0.2.x is the load balancer, and so on. No PostgreSQL is needed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.realip.forgeries import HEADERS, forgeries
from integration.proxies import phase, render, running, unpacked
from sandbox.ports import free_ports

CDN, ALB, FAR = "127.0.1.5", "127.0.2.5", "127.0.3.5"
STRANGER = "127.0.9.9"
CLIENT, CLIENT6, LIE = "198.51.100.77", "2001:db8:77::7", "10.0.0.1"

CLOUDFLARE = {"name": "cloudflare", "ranges": ["127.0.1.0/24", "2001:db8:c::/48"]}
LOAD_BALANCER = {"name": "aws_alb", "ranges": ["127.0.2.0/24"]}
CLOUDFRONT = {"name": "cloudfront", "ranges": ["127.0.3.0/24"]}
OWN = {"name": "custom", "ranges": ["127.0.2.0/24"], "header": "True-Client-IP"}
PROXY = {"name": "proxy_protocol", "ranges": ["127.0.2.0/24"]}

ONE_HOP = {"cloudflare": [CLOUDFLARE], "aws_alb": [LOAD_BALANCER], "custom": [OWN], "nobody": []}
CHAINS = {"two": [CLOUDFLARE, LOAD_BALANCER], "three": [CLOUDFRONT, CLOUDFLARE, LOAD_BALANCER]}

NGINX = {"nginx-1.22": ("nginx", "bookworm", "1.22.1"), "nginx": ("nginx", "trixie", "1.26.3")}
ALL = {**NGINX, "haproxy": ("haproxy", "trixie", "1.26.3"), "caddy": ("caddy", "trixie", "1.26.3")}
VERIFIES_CHAINS = [name for name in ALL if name != "caddy"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A folder with a certificate, its key, and both in one file, as HAProxy wants it."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=phase.test"
    subprocess.run(
        [*command.split(), "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True
    )
    both = (folder / "cert.pem").read_text(encoding="utf-8") + (folder / "key.pem").read_text(encoding="utf-8")
    (folder / "both.pem").write_text(both, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def parts():
    with phase() as ports:
        yield ports


@pytest.fixture(scope="module")
def proxies(tmp_path_factory, certificate, parts):
    """``proxies(program, sources, **options)``: a proxy that runs until the end of this file."""
    with contextlib.ExitStack() as stack:
        known = {}

        def start(name, sources, **more):
            key = (name, repr(sources), repr(more))
            if key not in known:
                proxy, suite, version = ALL[name]
                ports = dict(zip(("http_port", "https_port"), free_ports(2)))
                pem = "both.pem" if proxy == "haproxy" else "cert.pem"
                tls = {"tls_certificate": str(certificate / pem), "tls_key": str(certificate / "key.pem")}
                hosts = {"backend_host": "127.0.0.1", "frontend_host": "127.0.0.1", "nginx_version": version}
                text = render(**{"proxy": proxy, "sources": sources, **ports, **tls, **hosts, **parts, **more})
                folder = tmp_path_factory.mktemp("proxy")
                known[key] = stack.enter_context(running(unpacked(suite), folder, text, proxy, ports))
            return known[key]

        yield start


def trusting():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.mark.parametrize("program", ALL)
def test_the_parts_of_phase_are_reached_as_with_its_own_configuration(proxies, program):
    proxy = proxies(program, [])
    api = proxy.ask([("Host", "phase.test:8443")], path="/service/secrets/?a=%2Fb")
    assert (api.part, api.path, api.all("Host")) == ("backend", "/secrets/?a=%2Fb", ["phase.test:8443"])
    assert "Path=/; HttpOnly; SameSite=strict" in api.cookie
    wanted = [
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "cGhhc2UucGhhc2UucGhhcw=="),
        ("Sec-WebSocket-Version", "13"),
    ]
    console = proxy.ask([("Connection", "upgrade, close"), *wanted], path="/login")
    assert (console.part, console.path) == ("frontend", "/login")
    assert console.all("Upgrade") == ["websocket"]
    assert [value.lower() for value in console.all("Connection")] == ["upgrade"]
    assert "SameSite" not in console.cookie


@pytest.mark.parametrize("program", ALL)
def test_tls_and_http2_are_offered(proxies, program):
    proxy = proxies(program, [])
    context = trusting()
    seen = proxy.ask([], tls=context)
    assert (seen.all("X-Forwarded-Proto"), seen.believed) == (["https"], "127.0.0.1")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", proxy.https), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="phase.test") as stream,
    ):
        assert stream.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize("program", NGINX)
def test_nginx_does_not_tell_its_version(proxies, program):
    answer = proxies(program, []).raw([], "127.0.0.1", path="/service/")
    assert b"\r\nServer: nginx\r\n" in answer


def cloudflare(client):
    return [("CF-Connecting-IP", client), ("X-Forwarded-For", f"{LIE}, {client}"), ("X-Real-IP", LIE)]


def balancer(client):
    return [("X-Forwarded-For", f"{LIE}, {client}"), ("X-Real-IP", LIE), ("CF-Connecting-IP", LIE)]


NO_ADDRESSES = ("face", "....", "1.2.3", "x::", ":", "1:2")
BELIEVED = [
    ("cloudflare", CDN, cloudflare(CLIENT), CLIENT),
    ("cloudflare", CDN, cloudflare(CLIENT6), CLIENT6),
    ("cloudflare", CDN, [("X-Forwarded-For", LIE)], CDN),
    ("cloudflare", CDN, [("CF-Connecting-IP", "evil; deny all")], CDN),
    # No addresses, though of the letters and digits of addresses.
    *(("cloudflare", CDN, [("CF-Connecting-IP", bad)], CDN) for bad in NO_ADDRESSES),
    *(("aws_alb", ALB, [("X-Forwarded-For", f"{LIE}, {bad}")], ALB) for bad in NO_ADDRESSES),
    # A port is left out, as an ALB adds where it is told to.
    ("cloudflare", CDN, [("CF-Connecting-IP", f"{CLIENT}:50123")], CLIENT),
    ("aws_alb", ALB, [("X-Forwarded-For", f"{LIE}, {CLIENT}:50123")], CLIENT),
    ("cloudflare", STRANGER, cloudflare(LIE), STRANGER),
    ("aws_alb", ALB, balancer(CLIENT), CLIENT),
    ("aws_alb", ALB, balancer(CLIENT6), CLIENT6),
    ("aws_alb", ALB, [("X-Forwarded-For", LIE), ("x-forwarded-for", CLIENT)], CLIENT),
    ("aws_alb", ALB, [], ALB),
    # A client whose own address is a trusted one is not stepped over.
    ("aws_alb", ALB, [("X-Forwarded-For", f"{LIE}, 127.0.2.77")], "127.0.2.77"),
    ("aws_alb", STRANGER, balancer(LIE), STRANGER),
    ("custom", ALB, [("True-Client-IP", CLIENT), ("X-Forwarded-For", LIE)], CLIENT),
    ("custom", STRANGER, [("True-Client-IP", LIE)], STRANGER),
    ("nobody", CDN, cloudflare(LIE), CDN),
]


@pytest.mark.parametrize("program", ALL)
def test_one_hop_is_believed_and_nobody_else(proxies, program):
    wrong = []
    for source, peer, lines, truth in BELIEVED:
        seen = proxies(program, ONE_HOP[source]).ask(lines, peer)
        if (seen.believed, seen.all("X-Forwarded-For"), seen.all("X-Real-IP")) != (truth, [truth], [truth]):
            wrong.append((source, peer, lines, truth, seen.headers))
    assert wrong == []


def chain(*entries, connecting=CLIENT):
    return [("CF-Connecting-IP", connecting), ("X-Real-IP", LIE), ("X-Forwarded-For", ", ".join((LIE, *entries)))]


WORKER = "2001:db8:c::103"  # an address of Cloudflare's own, as the clients of Workers have
CHAINED = [
    ("two", ALB, chain(CLIENT, CDN), CLIENT),
    ("two", ALB, chain(CLIENT6, CDN, connecting=CLIENT6), CLIENT6),
    ("two", ALB, chain(CLIENT6, "2001:db8:c::5", connecting=CLIENT6), CLIENT6),
    ("three", ALB, chain(CLIENT6, FAR, "2001:db8:c:0:1::5", connecting=FAR), CLIENT6),
    # From inside Cloudflare: searched recursively, the forged address would be the client's.
    ("two", ALB, chain(WORKER, CDN, connecting=WORKER), WORKER),
    # Past Cloudflare, straight to the balancer, with a forged CF-Connecting-IP.
    ("two", ALB, [("CF-Connecting-IP", LIE), ("X-Forwarded-For", f"{LIE}, {STRANGER}")], STRANGER),
    ("two", ALB, [("CF-Connecting-IP", LIE), ("X-Forwarded-For", f"{CDN}, {STRANGER}")], STRANGER),
    # Past the balancer, straight to the proxy.
    ("two", CDN, chain(LIE, CDN, connecting=LIE), CDN),
    ("two", STRANGER, chain(LIE, CDN, connecting=LIE), STRANGER),
    ("two", ALB, [("CF-Connecting-IP", "x"), ("X-Forwarded-For", f"{CLIENT}, {CDN}")], CDN),
    *(("two", ALB, chain(CLIENT, CDN, connecting=bad), CDN) for bad in NO_ADDRESSES),
    *(("three", ALB, chain(bad, FAR, CDN, connecting=FAR), FAR) for bad in NO_ADDRESSES),
    ("two", ALB, chain(CLIENT, CDN, connecting=f"{CLIENT}:50123"), CLIENT),
    ("three", ALB, chain(f"{CLIENT}:50123", FAR, CDN, connecting=FAR), CLIENT),
    ("three", ALB, chain(CLIENT, FAR, CDN, connecting=FAR), CLIENT),
    ("three", ALB, chain(CLIENT, CDN, connecting=CLIENT), CLIENT),
    ("three", ALB, [("CF-Connecting-IP", FAR), ("X-Forwarded-For", f"{LIE}, x, {FAR}, {CDN}")], FAR),
    ("three", ALB, chain(LIE, FAR, STRANGER, connecting=FAR), STRANGER),
    ("three", ALB, chain(LIE, FAR, connecting=LIE), FAR),
]


@pytest.mark.parametrize("program", VERIFIES_CHAINS)
def test_a_chain_is_verified_hop_by_hop(proxies, program):
    wrong = []
    for name, peer, lines, truth in CHAINED:
        seen = proxies(program, CHAINS[name]).ask(lines, peer)
        if (seen.believed, seen.all("X-Forwarded-For")) != (truth, [truth]):
            wrong.append((name, peer, lines, truth, seen.headers))
    assert wrong == []


@pytest.mark.parametrize("program", NGINX)
def test_the_part_serves_a_server_of_ones_own(program, parts, tmp_path):
    """Which sends $remote_addr for one source, as the stock configuration does, and $phase_client_ip for a chain."""
    for sources, variable, lines, peer in (
        (ONE_HOP["cloudflare"], "$remote_addr", cloudflare(CLIENT), CDN),
        (CHAINS["two"], "$phase_client_ip", chain(CLIENT, CDN), ALB),
    ):
        ports = dict(zip(("http_port", "https_port"), free_ports(2)))
        text = render(sources=sources, scope="part", nginx_version=NGINX[program][2])
        text += f"server {{ listen {ports['http_port']}; location / {{ proxy_set_header X-Real-IP {variable}; "
        text += f"proxy_pass http://127.0.0.1:{parts['backend_port']}; }} }}\n"
        with running(unpacked(NGINX[program][1]), tmp_path / variable[1:], text, "nginx", ports) as proxy:
            assert proxy.ask(lines, peer).believed == CLIENT
            assert proxy.ask(lines, STRANGER).believed == STRANGER


@pytest.mark.parametrize("program", NGINX)
def test_a_recursive_search_believes_those_inside_its_ranges(proxies, program):
    """Why it is not the default: the documentation says so, and this is what it says."""
    proxy = proxies(program, CHAINS["two"], recursive=True)
    assert proxy.ask(chain(CLIENT, CDN), ALB).believed == CLIENT
    assert proxy.ask(chain(CLIENT), STRANGER).believed == STRANGER
    assert proxy.ask(chain(WORKER, CDN), ALB).believed == LIE


@pytest.mark.parametrize("program", VERIFIES_CHAINS)
def test_the_proxy_protocol_is_believed_from_the_balancer(proxies, program):
    proxy = proxies(program, [CLOUDFLARE, PROXY])
    header = b"PROXY TCP4 127.0.1.5 127.0.0.1 1111 80\r\n"
    direct = b"PROXY TCP4 198.51.100.8 127.0.0.1 1111 80\r\n"
    lines = [("CF-Connecting-IP", CLIENT), ("X-Real-IP", LIE), ("X-Forwarded-For", LIE)]
    assert proxy.ask(lines, ALB, before=header).believed == CLIENT
    assert proxy.ask(lines, ALB, before=direct).believed == "198.51.100.8"
    spoofed = proxy.ask(lines, STRANGER, before=header)
    assert spoofed is None or spoofed.believed == STRANGER
    by_tls = proxy.ask(lines, ALB, before=header, tls=trusting())
    assert (by_tls.believed, by_tls.all("X-Forwarded-Proto")) == (CLIENT, ["https"])
    # What speaks the PROXY protocol passes on whatever clients say of the scheme.
    for said, peer in (("https", header), ("https", direct)):
        assert proxy.ask([("X-Forwarded-Proto", said)], ALB, before=peer).all("X-Forwarded-Proto") == ["http"]
    said = [("X-Forwarded-Proto", "http")]
    assert proxy.ask(said, ALB, before=direct, tls=trusting()).all("X-Forwarded-Proto") == ["https"]


def lies_believed(proxy, peer, truth, rewrite):
    """Of a thousand lies those that Phase would believe, and how many requests were answered at all."""
    believed, answered = [], 0
    for number, attempt in enumerate(forgeries(1000, [CDN, ALB])):
        seen = proxy.ask(rewrite(attempt.lines), peer, path=("/service/x", "/x")[number % 2])
        answered += seen is not None
        if seen and (seen.believed, seen.all("X-Real-IP"), seen.all("X-Forwarded-For")) != (truth, [truth], [truth]):
            believed.append((attempt, seen.headers))
    return believed, answered


@pytest.mark.parametrize("program", ALL)
def test_of_a_thousand_lies_of_a_stranger_none_is_believed(proxies, program):
    proxy = proxies(program, ONE_HOP["cloudflare"] if program == "caddy" else CHAINS["two"])
    believed, answered = lies_believed(proxy, STRANGER, STRANGER, list)
    assert believed == []
    assert answered > 700


@pytest.mark.parametrize("program", ALL)
def test_of_a_thousand_lies_that_pass_the_hops_none_is_believed(proxies, program):
    """The hops do as documented: Cloudflare replaces its header, each appends to X-Forwarded-For, the rest goes on."""
    hops = [] if program == "caddy" else [CDN]

    def passed(lines):
        own = ("cf-connecting-ip", "x-forwarded-for")
        listed = [value for name, value in lines if name.strip().lower() == "x-forwarded-for"]
        rest = [(name, value) for name, value in lines if name.strip().lower() not in own]
        return [*rest, ("CF-Connecting-IP", CLIENT), ("X-Forwarded-For", ", ".join([*listed, CLIENT, *hops]))]

    source, peer = (ONE_HOP["cloudflare"], CDN) if program == "caddy" else (CHAINS["two"], ALB)
    believed, answered = lies_believed(proxies(program, source), peer, CLIENT, passed)
    assert believed == []
    assert answered > 700


@pytest.mark.parametrize("program", ALL)
def test_nothing_said_about_addresses_is_passed_on(proxies, program):
    proxy = proxies(program, ONE_HOP["cloudflare"])
    said = [(name, LIE) for name in HEADERS if name != "CF-Connecting-IP"]
    said += [("X-Forwarded-Host", "evil.test"), ("X_Real_IP", LIE), ("x-real_ip", LIE), ("X_Forwarded-For", LIE)]
    for peer in (CDN, STRANGER):
        seen = proxy.ask([*said, ("CF-Connecting-IP", CLIENT)], peer)
        assert seen.believed == (CLIENT if peer == CDN else STRANGER)
        assert [pair for pair in seen.headers if LIE in pair[1] or "evil" in pair[1]] == []
        assert seen.all("CF-Connecting-IP") == []


@pytest.mark.parametrize("program", ALL)
def test_the_scheme_is_believed_from_a_hop_alone(proxies, program):
    proxy = proxies(program, ONE_HOP["cloudflare"])
    said = [("X-Forwarded-Proto", "https")]
    assert proxy.ask(said, CDN).all("X-Forwarded-Proto") == ["https"]
    assert proxy.ask(said, STRANGER).all("X-Forwarded-Proto") == ["http"]
    assert proxy.ask([("X-Forwarded-Proto", "gopher")], CDN).all("X-Forwarded-Proto") == ["http"]


@pytest.mark.parametrize("program", ALL)
def test_http_can_lead_to_https_and_clients_can_be_asked_for_certificates(proxies, program, certificate):
    proxy = proxies(program, [], http="redirect", tls_client_ca=str(certificate / "cert.pem"))
    answer = proxy.raw([], "127.0.0.1", path="/login?a=1")
    assert answer.startswith(b"HTTP/1.1 301")
    assert f"location: https://phase.test:{proxy.https}/login?a=1\r\n".encode() in answer.replace(
        b"Location", b"location"
    )
    with contextlib.suppress(ssl.SSLError):
        refused = proxy.raw([], "127.0.0.1", path="/service/", tls=trusting())
        assert not refused.startswith(b"HTTP/1.1 200")
    mine = trusting()
    mine.load_cert_chain(certificate / "both.pem")
    assert proxy.ask([], tls=mine).believed == "127.0.0.1"


@pytest.mark.parametrize("program", NGINX)
def test_nginx_listens_on_ipv6(proxies, program):
    with contextlib.closing(socket.socket(socket.AF_INET6)) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 on its loopback")
    proxy = proxies(program, [{"name": "custom", "ranges": ["::1"]}], ipv6=True)
    assert proxy.ask(balancer(CLIENT6), "::1").believed == CLIENT6
    assert proxy.ask(balancer(LIE), STRANGER).believed == STRANGER
