# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Nothing that is given to role realip becomes more than a value: hostile settings, judged by nginx and by structure.

And what no program here can read is held against small schemas of our own, of the fields that are used, after the
documentation of Traefik v3, ingress-nginx 1.x and NGINX Gateway Fabric 2.x. No PostgreSQL is needed.
"""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess

import pytest
import yaml
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._nginx.host import PlainNginx
from ansible_collections.phase.console.plugins.module_utils._realip.settings import settings
from ansible_collections.phase.console.plugins.module_utils._realip.timer import settings as timer_settings
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from integration.proxies import environment, nginx_test, options, render, unpacked

NASTY = "aB1.:/-_*[]@%,+=!~^|;{}#$\"'`\\()<>?& \t\n\r\x00\x85\u2028é"
INJECTIONS = (
    *(
        "; deny all;",
        "} server { listen 1;",
        "\n    return 200;",
        "$host",
        "${host}",
        "#",
        "' \"",
        " b",
        "\r\nX: y",
        "{}",
    ),
    *("\\", "%[src]", "{http.request.host}", "*/", "\x00", "../..", "\n", ";", "`id`", "://x", "@x", ":1", "/1"),
)

texts = st.one_of(st.text(NASTY, max_size=30), st.sampled_from(INJECTIONS), st.text(max_size=12))


def around(*good):
    """A good value, one with something hostile in, before or behind it, or anything."""
    fine = st.sampled_from(good)
    spoilt = st.tuples(fine, st.integers(0, 40), texts).map(lambda t: t[0][: t[1]] + t[2] + t[0][t[1] :])
    return st.one_of(fine, fine, spoilt, texts)


numbers = st.one_of(st.integers(-1, 70000), st.sampled_from(["80", "80;", "8 0", " 80", "٨٠", True, None]), texts)
ranges = st.lists(around("10.0.0.0/8", "203.0.113.7", "2001:db8::/32", "::1", "172.16.0.0/12"), max_size=3)
sources = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"name": st.just("custom"), "ranges": ranges, "header": around("X-Forwarded-For", "A-B")}
        ),
        st.fixed_dictionaries({"name": st.sampled_from(["cloudflare", "aws_alb", "proxy_protocol"]), "ranges": ranges}),
        st.fixed_dictionaries({"name": around("tailscale")}),
    ),
    max_size=3,
)
FIELDS = {
    "server_names": st.lists(around("phase.example.com", "*.example.com", "_"), max_size=3),
    "tls_certificate": around("/etc/ssl/a.pem", "/a/b+c@d-e_f.pem"),
    "tls_key": around("/etc/ssl/a.key"),
    "tls_client_ca": around("/etc/ssl/ca.pem", ""),
    "tls_ciphers": around("EECDH+AESGCM:!aNULL", ""),
    "tls_protocols": st.lists(around("TLSv1.2", "TLSv1.3"), max_size=2),
    "backend_host": around("127.0.0.1", "[::1]", "::1"),
    "frontend_host": around("127.0.0.1"),
    "backend_port": numbers,
    "http_port": numbers,
    "http": st.one_of(st.sampled_from(["serve", "redirect", "none"]), texts),
    "https": st.one_of(st.booleans(), texts),
    "ipv6": st.one_of(st.booleans(), texts),
    "recursive": st.booleans(),
    "nginx_version": around("1.22.1", "1.26.0"),
    "kubernetes_name": around("phase-realip"),
    "sources": sources,
}
LOCAL = {"backend_host": "127.0.0.1", "frontend_host": "127.0.0.1", "http_port": 8080, "https_port": 8443}
HOSTS = ("backend_host", "frontend_host")


CLOUDFLARE = {"name": "cloudflare", "ranges": ["173.245.48.0/20", "2400:cb00::/32"]}
CLOUDFRONT = {"name": "cloudfront", "ranges": ["13.32.0.0/15"]}
ALB = {"name": "aws_alb", "ranges": ["10.0.0.0/16"]}
CHAINS = [[], [ALB], [CLOUDFLARE, ALB], [CLOUDFRONT, CLOUDFLARE, ALB]]


@st.composite
def hostile(draw, chains):
    """Good settings, but for one or two of them."""
    names = draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=2, unique=True))
    chain = draw(st.sampled_from(chains))
    return {**LOCAL, "sources": chain, **{name: draw(FIELDS[name]) for name in names}}


def harmless(wanted, found):
    """Settings with the same shape as accepted ones, and nothing in them that anybody chose."""
    count = itertools.count()
    hops = reversed(found["trust"]["hops"])
    plain = {
        "sources": [
            {
                "name": hop["source"],
                "ranges": [f"10.{next(count)}.2.0/24" for _range in hop["ranges"]],
                **({"header": hop["header"]} if hop["source"] == "custom" else {}),
            }
            for hop in hops
        ],
        "server_names": [
            name if name == "_" else f"n{number}.example.com" for number, name in enumerate(found["server_names"])
        ],
        "tls_certificate": "/a",
        "tls_key": "/b",
        "tls_ciphers": "HIGH" if found["tls_ciphers"] else "",
        "tls_client_ca": "/c" if found["tls_client_ca"] else "",
        "backend_host": "127.0.0.1",
        "http_port": 80,
        "https_port": 443,
        "backend_port": 1,
        "kubernetes_name": "n",
        "nginx_version": "1.26.0" if found["http2_directive"] else "1.22.1",
    }
    return {**wanted, **plain}


TOKEN = re.compile(r"""\s+|\#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|[^\s{};]+""")


def nginx_structure(text):
    """The directives as (depth, name, number of arguments); what geo and map list are values, and bear no names."""
    found, words, inside = [], [], []
    position = 0
    while position < len(text):
        token = TOKEN.match(text, position)
        assert token, text[position : position + 40]
        position = token.end()
        word = token.group()
        if word[0] == "#" or word.isspace():
            continue
        if word in ("{", ";"):
            name = "entry" if inside and inside[-1] in ("geo", "map") else words[0]
            found.append((len(inside), name, len(words)))
            inside += [name] if word == "{" else []
            words = []
        elif word == "}":
            inside.pop()
        else:
            words.append(word)
    assert (inside, words) == ([], [])
    return found


def line_structure(text):
    """Of HAProxy and Caddy, where a line is a directive: its depth, its first word and how many there are."""
    lines = [line for line in text.split("\n") if not line.lstrip().startswith("#")]
    assert not re.search(r"[\r\x00\x0b\x0c\x1c-\x1f\x85\u2028\u2029]", text)
    found = []
    for line in lines:
        words = line.split() or [""]
        site = words[0].startswith(("http://", "https://"))
        found.append((len(line) - len(line.lstrip()), "site" if site else words[0], len(words)))
    return found


def yaml_structure(text):
    def names(found):
        if isinstance(found, dict):
            return {key: names(value) for key, value in found.items()}
        return [names(one) for one in found] if isinstance(found, list) else type(found).__name__

    return names(yaml.safe_load(text))


STRUCTURES = {
    "nginx": nginx_structure,
    "haproxy": line_structure,
    "caddy": line_structure,
    "traefik": yaml_structure,
    "ingress_nginx": yaml_structure,
    "gateway_api": yaml_structure,
}
QUICK = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@pytest.mark.parametrize("proxy", STRUCTURES)
def test_hostile_settings_are_refused_or_stay_values(proxy):
    accepted = []

    @seed(5)
    @hypothesis_settings(max_examples=400, **QUICK)
    @given(hostile(CHAINS if proxy in ("nginx", "haproxy", "traefik") else [[ALB], [CLOUDFLARE]]))
    def holds(wanted):
        try:
            found = settings(options(proxy=proxy, **wanted))
        except PhaseError:
            return
        accepted.append(wanted)
        structure = STRUCTURES[proxy]
        assert structure(render(proxy=proxy, **wanted)) == structure(render(proxy=proxy, **harmless(wanted, found)))

    holds()
    assert len(accepted) > 20, "the settings are too hostile to prove anything"


TIMER = {
    "name": around("phase-realip"),
    "description": around("Keep Phase's log"),
    "calendar": around("daily", "Mon *-*-* 03:00:00"),
    "random_delay": around("15min", "1h 30min", "infinity"),
    "catch_up": st.one_of(st.booleans(), texts),
    "command": st.lists(around("/usr/bin/true", "-e", "@/a/b.yml"), max_size=3),
    "timeout": around("15min"),
    "user": around("root"),
    "environment_file": around("", "/etc/a.env"),
}


@pytest.mark.parametrize("field", sorted(TIMER))
def test_hostile_units_are_refused_or_stay_values(field):
    good = {"name": "a", "description": "b", "calendar": "daily", "random_delay": "5min", "catch_up": True}
    good |= {"command": ["/bin/true"], "timeout": "5min", "user": "root", "environment_file": "/c"}
    units = [environment("timer").get_template(kind) for kind in ("service.j2", "timer.j2")]
    plain = [unit.render(_phase_timer=good).count("\n") for unit in units]
    accepted = []

    @seed(7)
    @hypothesis_settings(max_examples=150, **QUICK)
    @given(TIMER[field])
    def holds(value):
        try:
            found = timer_settings({**good, field: value})
        except PhaseError:
            return
        accepted.append(value)
        assert found == {**good, field: value}
        missing = int(field == "environment_file" and not value)
        assert [unit.render(_phase_timer=found).count("\n") for unit in units] == [plain[0] - missing, plain[1]]
        assert not set('%$"\\;\n\r') & set(" ".join(value) if isinstance(value, list) else str(value))

    holds()
    assert len(accepted) > 1, "the values are too hostile to prove anything"


# What nginx says of what is merely not there, or not allowed here: it has read the whole file by then.
ABSENT = re.compile(
    r"\[emerg\] .*(cannot load certificate|no cipher match|SSL_CTX_set_cipher_list|SSL_CTX_load_verify"
    r"|bind\(\) to .* failed \(13:|socket\(\) \[::\]:\d+ failed \(97:)"
)


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A certificate with its key in one file, as settings."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x -keyout key -out crt"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "crt").read_text(encoding="utf-8") + (folder / "key").read_text(encoding="utf-8"))
    return {"tls_certificate": str(both), "tls_key": str(both)}


VERSIONS = {"bookworm": "1.22.1", "trixie": "1.26.3"}


@pytest.mark.parametrize("suite", VERSIONS)
def test_nginx_accepts_whatever_is_rendered(suite, tls, tmp_path):
    accepted = []

    @seed(22)
    @hypothesis_settings(max_examples=150, **QUICK)
    @given(hostile(CHAINS))
    def holds(wanted):
        if not all(re.fullmatch(r"[0-9.]+|.*::.*", wanted[name]) for name in HOSTS):
            return  # nginx would ask the DNS for a name
        try:
            text = render(**{**tls, **wanted, "nginx_version": VERSIONS[suite]})
        except PhaseError:
            return
        done = nginx_test(unpacked(suite), tmp_path, text)
        accepted.append(done.returncode)
        assert done.returncode == 0 or ABSENT.search(done.stderr), f"{done.stderr}\n{text}"
        assert "[warn]" not in done.stderr, done.stderr

    holds()
    assert accepted.count(0) > 30


def test_nginx_accepts_each_kind_of_file(tls, tmp_path):
    chains = [*CHAINS, [CLOUDFLARE], [{"name": "tailscale"}]]
    chains += [[CLOUDFLARE, {"name": "proxy_protocol", "ranges": ["10.0.0.0/16"]}]]
    kinds = [{"sources": chain} for chain in chains] + [{"sources": CHAINS[2], "recursive": True}, {"ipv6": True}]
    kinds += [{"sources": CHAINS[2], "scope": "part"}, {"http": "redirect", "tls_client_ca": tls["tls_certificate"]}]
    kinds += [{"https": False}, {"http2": False}, {"http": "none"}]
    for suite, version in VERSIONS.items():
        program = tmp_path / suite
        program.write_text(f'#!/bin/sh\nexec {shlex.join(unpacked(suite).command("nginx"))} "$@"\n', encoding="utf-8")
        program.chmod(0o700)
        assert PlainNginx("/etc/nginx/conf.d/default.conf", str(program)).version() == version
        # Where nobody can be asked, both take it; the newer one warns.
        done = nginx_test(unpacked(suite), tmp_path, render(**{**LOCAL, **tls, "nginx_version": ""}))
        assert (done.returncode, "[warn]" in done.stderr) == (0, version >= "1.25.1"), done.stderr
    for (suite, version), kind in itertools.product(VERSIONS.items(), kinds):
        done = nginx_test(unpacked(suite), tmp_path, render(**{**LOCAL, **tls, **kind, "nginx_version": version}))
        fine = done.returncode == 0 or ("ipv6" in kind and ABSENT.search(done.stderr))
        assert (bool(fine), "[warn]" in done.stderr) == (True, False), (kind, done.stderr)


@pytest.mark.parametrize("proxy", ["haproxy", "caddy"])
def test_the_others_accept_each_kind_of_file(proxy, tls, tmp_path):
    kinds = [{}, {"ipv6": True}, {"server_names": ["phase.example.com", "*.example.com"]}, {"http": "redirect"}]
    kinds += [{"tls_client_ca": tls["tls_certificate"], "http": "none"}, {"http2": False}, {"https": False}]
    chains = CHAINS if proxy == "haproxy" else CHAINS[:2]
    check = {"haproxy": ["-c", "-f"], "caddy": ["validate", "--adapter", "caddyfile", "--config"]}[proxy]
    command = [*unpacked("trixie").command(proxy), *check, str(tmp_path / "config")]
    for kind, chain in [*((kind, chains[1]) for kind in kinds), *(({}, chain) for chain in chains)]:
        (tmp_path / "config").write_text(render(**{**LOCAL, **tls, **kind, "proxy": proxy, "sources": chain}))
        done = subprocess.run(command, capture_output=True, text=True, env={"HOME": str(tmp_path)}, check=False)
        assert (done.returncode, "WARNING" in done.stderr) == (0, False), (kind, done.stderr)


CIDRS = r"([0-9a-f.:]+/\d+)(,[0-9a-f.:]+/\d+)*"
SCHEMAS = {
    "traefik": {
        "entryPoints": {
            "web": {"address": r":\d+", "forwardedHeaders": {"insecure": "False", "trustedIPs": [CIDRS]}},
            "websecure": {"address": r":\d+", "forwardedHeaders": {"insecure": "False", "trustedIPs": [CIDRS]}},
        }
    },
    "ingress_nginx": {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "phase-realip", "namespace": "phase"},
        "data": {
            "enable-real-ip": "true",
            "use-proxy-protocol": "false",
            "use-forwarded-headers": "false",
            "compute-full-forwarded-for": "false",
            "proxy-real-ip-cidr": CIDRS,
            "forwarded-for-header": "X-Forwarded-For|CF-Connecting-IP",
            "server-tokens": "false",
            "use-http2": "true",
            "ssl-protocols": r"TLSv1\.2 TLSv1\.3",
        },
    },
    "gateway_api": {
        "apiVersion": "gateway.nginx.org/v1alpha2",
        "kind": "NginxProxy",
        "metadata": {"name": "phase-realip", "namespace": "phase"},
        "spec": {
            "disableHTTP2": "False",
            "rewriteClientIP": {
                "mode": "XForwardedFor",
                "setIPRecursively": "False",
                "trustedAddresses": [{"type": "CIDR", "value": CIDRS}],
            },
        },
    },
}


def fits(found, schema):
    if isinstance(schema, dict):
        assert isinstance(found, dict)
        assert set(found) == set(schema)
        for key, value in found.items():
            fits(value, schema[key])
    elif isinstance(schema, list):
        assert isinstance(found, list)
        for one in found:
            fits(one, schema[0])
    else:
        assert re.fullmatch(schema, str(found)), (found, schema)


@pytest.mark.parametrize("source", [CLOUDFLARE, ALB])
@pytest.mark.parametrize("proxy", SCHEMAS)
def test_what_others_read_fits_their_schema(proxy, source):
    found = yaml.safe_load(render(proxy=proxy, sources=[source]))
    fits(found, SCHEMAS[proxy])
    if proxy == "ingress_nginx":  # all data of a ConfigMap is text
        assert {type(value) for value in found["data"].values()} == {str}
        assert found["data"]["proxy-real-ip-cidr"].split(",") == source["ranges"]
        assert found["data"]["forwarded-for-header"] == {"cloudflare": "CF-Connecting-IP"}.get(
            source["name"], "X-Forwarded-For"
        )
    elif proxy == "traefik":
        assert found["entryPoints"]["web"]["forwardedHeaders"]["trustedIPs"] == source["ranges"]
    else:
        assert [one["value"] for one in found["spec"]["rewriteClientIP"]["trustedAddresses"]] == source["ranges"]


def test_the_proxy_protocol_reaches_the_others():
    chain = [{"name": "proxy_protocol", "ranges": ["10.0.0.0/16"]}]
    found = {proxy: yaml.safe_load(render(proxy=proxy, sources=chain)) for proxy in SCHEMAS}
    assert found["traefik"]["entryPoints"]["web"]["proxyProtocol"] == {"insecure": False, "trustedIPs": ["10.0.0.0/16"]}
    assert found["traefik"]["entryPoints"]["web"]["forwardedHeaders"]["trustedIPs"] == []
    assert found["ingress_nginx"]["data"]["use-proxy-protocol"] == "true"
    assert "forwarded-for-header" not in found["ingress_nginx"]["data"]
    assert found["gateway_api"]["spec"]["rewriteClientIP"]["mode"] == "ProxyProtocol"
