# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.realip.forgeries import HEADERS
from ansible_collections.phase.console.plugins.module_utils._realip import values
from ansible_collections.phase.console.plugins.module_utils._realip.layout import FORGEABLE, BadChain, trust
from ansible_collections.phase.console.plugins.module_utils._realip.settings import settings, sources_to_fetch
from ansible_collections.phase.console.plugins.module_utils._realip.values import BadValue

CLOUDFLARE = {"name": "cloudflare", "ranges": ["173.245.48.0/20"]}
ALB = {"name": "aws_alb", "ranges": ["10.0.0.0/16"]}
CLOUDFRONT = {"name": "cloudfront", "ranges": ["13.32.0.0/15"]}
PROXY = {"name": "proxy_protocol", "ranges": ["10.0.0.0/16"]}
GOOD = {
    "proxy": "nginx",
    "scope": "complete",
    "sources": [],
    "published": {},
    "recursive": False,
    "server_names": [],
    "ipv6": False,
    "http": "serve",
    "http_port": 80,
    "https": True,
    "https_port": 443,
    "http2": True,
    "tls_certificate": "/etc/nginx/ssl/nginx.crt",
    "tls_key": "/etc/nginx/ssl/nginx.key",
    "tls_protocols": ["TLSv1.2"],
    "tls_ciphers": "",
    "tls_client_ca": "",
    "backend_host": "backend",
    "backend_port": 8000,
    "frontend_host": "frontend",
    "frontend_port": 3000,
    "nginx_version": "1.26.0",
    "kubernetes_name": "a",
    "kubernetes_namespace": "b",
    "timer_calendar": "daily",
    "timer_command": ["/bin/true"],
}


def entries(*sources):
    """Of each hop, nearest first, its header and the entry of X-Forwarded-For that it made."""
    return [(hop.header, hop.entry) for hop in trust(list(sources), {}).hops]


def custom(header=None, ranges=("192.168.1.0/24",)):
    return {"name": "custom", "ranges": list(ranges), **({"header": header} if header else {})}


def test_each_hop_says_its_peer_at_its_own_place():
    assert entries(CLOUDFLARE) == [("CF-Connecting-IP", 0)]
    assert entries(ALB) == [("X-Forwarded-For", 1)]
    assert entries(CLOUDFLARE, ALB) == [("X-Forwarded-For", 1), ("CF-Connecting-IP", 0)]
    assert entries(CLOUDFRONT, CLOUDFLARE, ALB) == [
        ("X-Forwarded-For", 1),
        ("CF-Connecting-IP", 0),
        ("X-Forwarded-For", 3),
    ]
    # The PROXY protocol adds no entry.
    assert entries(CLOUDFRONT, PROXY) == [("proxy_protocol", 0), ("X-Forwarded-For", 1)]
    assert entries({"name": "tailscale"}) == [("X-Forwarded-For", 1)]


def test_only_the_nearest_hop_is_trusted_by_the_directives():
    found = trust([CLOUDFLARE, ALB], {}).as_dict()
    assert (found["ranges"], found["header"], found["recursive"]) == (["10.0.0.0/16"], "X-Forwarded-For", False)
    assert found["client"] == "$phase_client_ip"
    assert [hop["source"] for hop in found["further"]] == ["cloudflare"]


def test_a_recursive_search_trusts_all_of_them():
    found = trust([CLOUDFLARE, ALB], {}, recursive=True).as_dict()
    assert (found["ranges"], found["header"]) == (["10.0.0.0/16", "173.245.48.0/20"], "X-Forwarded-For")
    assert (found["recursive"], found["client"], found["further"]) == (True, "$remote_addr", [])
    # One header of its own has nothing to search in.
    assert not trust([CLOUDFLARE], {}, recursive=True).recursive


def test_without_hops_the_peer_is_the_client():
    found = trust([], {}).as_dict()
    assert (found["ranges"], found["header"], found["client"]) == ([], None, "$remote_addr")


@pytest.mark.parametrize(
    "sources, why",
    [
        ([PROXY, ALB], "not the last"),
        ([ALB, {"name": "tailscale"}], "before tailscale"),
        ([ALB, custom("X-Real-IP")], "not known that it appends"),
        ([{"name": "aws_alb"}], "has no ranges"),
        ([{"name": "cloudflare"}], "has no ranges"),
        ([dict(ALB, header="X-Real-IP")], "is fixed"),
    ],
)
def test_chains_that_cannot_be(sources, why):
    with pytest.raises(BadChain, match=why):
        trust(sources, {})


def test_a_proxy_with_a_header_of_its_own_may_stand_before_one_that_is_replaced():
    assert entries(CLOUDFLARE, custom("X-Real-IP")) == [("X-Real-IP", 0), ("CF-Connecting-IP", 0)]
    with pytest.raises(BadChain, match="recursive"):
        trust([custom("True-Client-IP"), ALB], {}, recursive=True)


def test_published_ranges_serve_where_none_are_given():
    found = trust([{"name": "cloudflare"}], {"cloudflare": ["2400:cb00::/32", "173.245.48.0/20"]})
    assert found.ranges == ["173.245.48.0/20", "2400:cb00::/32"]
    assert sources_to_fetch([{"name": "cloudflare"}, {"name": "cloudfront"}, CLOUDFLARE]) == (
        "cloudflare",
        "cloudfront",
    )
    assert sources_to_fetch([CLOUDFLARE, ALB]) == ()


def test_whatever_a_lie_can_be_told_in_is_kept_from_phase():
    assert set(HEADERS) <= {*FORGEABLE, "X-Real-IP", "X-Forwarded-For"}


def test_order_and_format_of_networks_make_no_difference():
    one = values.networks("x", ["10.0.1.0/24", "2001:DB8::/33", "10.0.0.0/24", "192.0.2.1", "2001:db8:8000::/33"])
    assert one == ["10.0.0.0/23", "192.0.2.1/32", "2001:db8::/32"]
    assert one == values.networks("x", list(reversed(one)) + ["10.0.0.128/25"])


@pytest.mark.parametrize(
    "text", ["0.0.0.0/0", "10.0.0.1/8", "8.0.0.0/7", "::/0", "::ffff:1.2.3.4", "224.0.0.0/8", "fe80::1%a"]
)
def test_networks_that_are_refused(text):
    with pytest.raises(BadValue):
        values.network("x", text)


@pytest.mark.parametrize(
    "check", [values.host, values.path, values.header, values.server_name, values.ciphers, values.port]
)
@pytest.mark.parametrize(
    "text", ["", "a;b", "a b", "a\n", "/a\n", "a{", "a}", "$a", "a#", 'a"', "a'", "a\\", "a\x00", "/a;", "é", None, []]
)
def test_nothing_ends_a_directive(check, text):
    with pytest.raises(BadValue):
        check("x", text)


def test_values_in_their_own_form():
    assert values.host("x", "2001:DB8::1") == values.host("x", "[2001:db8::1]") == "[2001:db8::1]"
    assert values.host("x", "phase_backend.internal") == "phase_backend.internal"
    assert values.server_name("x", "*.Example.com") == "*.example.com"
    assert values.port("x", "8443") == 8443
    for bad in ("1.2.3", "1.2.3.4.5", "a..b", "-a", "[1.2.3.4]", "fe80::1%eth0", "a:80", "unix", "UNIX"):
        with pytest.raises(BadValue):
            values.host("x", bad)
    for bad in ("/../etc", "etc", "/a//b", "/a/./b"):
        with pytest.raises(BadValue):
            values.path("x", bad)
    for bad in ("Forwarded", "Host", "X_Real_IP", "X-"):
        with pytest.raises(BadValue):
            values.header("x", bad)


def test_settings_that_are_good():
    found = settings(GOOD)
    assert (found["http2_directive"], found["trust"]["hops"], found["notes"]) == (True, [], [])
    assert not settings(dict(GOOD, nginx_version="1.22.1"))["http2_directive"]
    assert not settings(dict(GOOD, nginx_version="1.25.0"))["http2_directive"]
    assert not settings(dict(GOOD, nginx_version=""))["http2_directive"]  # not known: what all versions take


@pytest.mark.parametrize(
    "change, why",
    [
        ({"http": "none", "https": False}, "Neither"),
        ({"http": "redirect", "https": False}, "not served"),
        ({"http_port": 443}, "the same"),
        ({"tls_protocols": []}, "empty"),
        ({"tls_protocols": ["TLSv1"]}, "TLSv1"),
        ({"tls_client_ca": "/ca.pem"}, "way around"),
        ({"htpp": "none"}, "has no htpp"),
        ({"timer_command": ["true"]}, "absolute"),
        ({"timer_command": ["/bin/sh", "-c", "a; b"]}, "otherwise"),
        ({"proxy": "caddy", "sources": [CLOUDFLARE, ALB]}, "Caddy"),
        ({"proxy": "haproxy", "sources": [CLOUDFLARE, ALB], "recursive": True}, "HAProxy"),
        ({"proxy": "haproxy", "scope": "part"}, "Only nginx"),
        ({"proxy": "ingress_nginx", "sources": [CLOUDFLARE, ALB]}, "hop by hop"),
        ({"proxy": "gateway_api"}, "nothing to rewrite"),
        ({"proxy": "gateway_api", "sources": [custom("True-Client-IP")]}, "PROXY protocol only"),
        (
            {"proxy": "gateway_api", "sources": [custom(ranges=["10.0.%d.0/24" % n for n in range(0, 200, 2)])]},
            "takes 64",
        ),
    ],
)
def test_settings_that_do_not_fit(change, why):
    with pytest.raises(PhaseError, match=why):
        settings(dict(GOOD, **change))


def test_what_an_operator_is_told():
    said = " ".join(settings(dict(GOOD, sources=[CLOUDFLARE, ALB], scope="part"))["notes"])
    assert "not your account" in said and "mode preserve" in said and "$phase_client_ip" in said
    safe = settings(dict(GOOD, sources=[CLOUDFLARE], tls_client_ca="/ca.pem", http="none"))
    assert safe["notes"] == []
    assert "X-Real-IP" in settings(dict(GOOD, proxy="traefik", sources=[ALB]))["notes"][0]
    assert "in front of it" in settings(dict(GOOD, sources=[ALB], recursive=True))["notes"][0]
