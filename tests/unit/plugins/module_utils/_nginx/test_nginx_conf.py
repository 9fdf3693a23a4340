# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._nginx import conf

MAIN = "/etc/nginx/nginx.conf"
SERVER = r"""
set_real_ip_from 173.245.48.0/20;
set_real_ip_from 172.16.0.0/12;  # with a comment; and { braces }
real_ip_header CF-Connecting-IP;
geo $realip_remote_addr $hop { default 0; 173.245.48.0/20 1; 172.16.0.0/12 1; }
map "$hop:$http_x" $client { default ${remote_addr}; "~^1:(?<a>[0-9]{1,3})$" $a; }
server {
    listen 80 default_server;
    listen [::]:80 proxy_protocol;
    listen 127.0.0.1:8443 ssl;
    listen 443 quic reuseport;
    listen unix:/run/a.sock;
    server_name ~^x *.example.com;
    limit_req zone=a;
    location /service/ { rewrite ^/service/(.*) /$1 break; proxy_pass http://backend:8000; }
    location ~ \.php$ { proxy_pass http://$host:1/x; }
    location = /exact { if ($a) { return 403; } proxy_pass https://frontend:3000/y; }
    location /static { root /srv; }
}
"""
DUMP = (
    """# configuration file /etc/nginx/nginx.conf:
user a; pid /run/x.pid;
events { }
http {
  include conf.d/*.conf;
}
stream { server { listen 1; } }

# configuration file /etc/nginx/conf.d/default.conf:
"""
    + SERVER
)
PORTS = {80: 20080, 8443: 20443}


def tree():
    return conf.whole(conf.files_of(DUMP), MAIN)


def trial(mode, own=("172.18.0.5",)):
    return conf.trial(tree(), mode, own, PORTS, "172.18.0.5:25000")


def directives(text, name):
    return [directive.words() for directive in conf.walk(conf.parse(text)) if directive.name == name]


def test_what_is_printed_reads_the_same():
    block = conf.parse(SERVER)
    assert conf.parse(conf.text_of(block)) == block
    assert '"~^1:(?<a>[0-9]{1,3})$" $a;' in conf.text_of(block) and "default ${remote_addr};" in conf.text_of(block)


@pytest.mark.parametrize("text", ["a", "a {", "}", "a; }", ";", "{ }", "a 'b"])
def test_what_is_no_configuration_is_refused(text):
    with pytest.raises(conf.NotReadable):
        conf.parse(text)


def test_includes_come_to_their_places():
    http = next(directive for directive in tree() if directive.name == "http")
    assert [directive.name for directive in http.block or []][:2] == ["set_real_ip_from", "set_real_ip_from"]
    assert conf.trusted(tree()) == ["173.245.48.0/20", "172.16.0.0/12"]
    assert conf.live_ports(tree()) == {80, 8443}


def test_a_trial_shares_nothing_with_the_nginx_that_serves():
    text = trial("stranger").text
    assert directives(text, "pid") == [["@DIR@/stranger.pid"]]
    assert directives(text, "access_log") == [["off"]]
    assert not directives(text, "stream") and not directives(text, "limit_req")
    listens = [words[0] for words in directives(text, "listen")]
    assert listens == ["20080", "[::]:20080", "127.0.0.1:20443"]


def test_a_trial_has_nothing_of_other_sites():
    """Their passwords are left out of it."""
    others = "auth_basic x; auth_basic_user_file /f; root /srv; location /a { alias /b; dav_methods PUT; }" + "".join(
        " location /%s { %s_pass 127.0.0.1:1; }" % (name, name)
        for name in ("fastcgi", "uwsgi", "scgi", "grpc", "memcached")
    )
    cached = "proxy_cache_path /c keys_zone=z:1m; server { proxy_cache z; %s }" % others
    block = conf.parse("http { %s %s }" % (cached, SERVER))
    text = conf.trial(block, "stranger", ["172.18.0.5"], PORTS, "172.18.0.5:1").text
    left = {directive.name for directive in conf.walk(conf.parse(text))}
    assert not left & {"auth_basic", "root", "alias", "dav_methods", "proxy_cache", "proxy_cache_path"}
    assert {name for name in left if name.endswith("_pass")} == {"proxy_pass"}


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        (["127.0.0.1", "::1"], [["127.0.0.1:1"], ["127.0.0.1:1"], ["[::1]:1", "ssl"], ["10.0.0.1:1"]]),
        (["10.0.0.2"], [["1"], ["1"], ["0.0.0.0:1"], ["127.0.0.1:1"], ["[::]:1", "ssl"], ["10.0.0.1:1"]]),
    ],
)
def test_a_trial_beside_the_backend_is_open_to_this_host_only(own, wanted):
    servers = "server { } server { listen *:80; %s }" % "".join(
        "listen %s; " % place
        for place in ("0.0.0.0", "127.0.0.1:80", "[::]:80 ssl", "10.0.0.1:80")  # noqa: S104
    )
    text = conf.trial(conf.parse("http { %s }" % servers), "stranger", own, {80: 1}, "a:1").text
    assert directives(text, "listen") == wanted


def test_everything_for_phase_goes_to_the_listener():
    passed = [words[0] for words in directives(trial("stranger").text, "proxy_pass")]
    assert passed == ["http://172.18.0.5:25000", "http://172.18.0.5:25000/x", "http://172.18.0.5:25000/y"]


def test_a_stranger_is_no_longer_trusted_by_its_private_network_and_an_insider_is_trusted():
    stranger, insider = trial("stranger").text, trial("insider").text
    assert directives(stranger, "set_real_ip_from") == [["173.245.48.0/20"], ["192.0.2.255"]]
    assert directives(insider, "set_real_ip_from") == [["173.245.48.0/20"], ["172.16.0.0/12"], ["172.18.0.5"]]
    hop = next(d.block for d in conf.walk(conf.parse(stranger)) if d.name == "geo")
    assert [directive.name for directive in hop or []] == ["default", "173.245.48.0/20"]
    hop = next(d.block for d in conf.walk(conf.parse(insider)) if d.name == "geo")
    assert [*(hop or [])[-1].raw] == ["172.18.0.5", "1"]


@pytest.mark.parametrize("range_", ["0.0.0.0/0", "128.0.0.0/1", "172.0.0.0/8", "100.0.0.0/8", "::/0"])
def test_trust_in_the_whole_world_stays_to_be_found(range_):
    everyone = conf.parse("http { set_real_ip_from %s; server { } }" % range_)
    own = ["172.18.0.5", "100.64.0.5", "fd00::5"]
    text = conf.trial(everyone, "stranger", own, {80: 1}, "a:1").text
    assert directives(text, "set_real_ip_from") == [[range_]] and directives(text, "listen") == [["1"]]


@pytest.mark.parametrize("range_", ["127.0.0.1", "100.64.0.0/10", "172.18.0.0/16", "fd00::/8", "::1"])
def test_a_private_range_is_left_out_of_the_trial_only(range_):
    """The prober could not be a stranger otherwise; of the nginx that serves, it is told that it is none."""
    block = conf.parse(
        "http { set_real_ip_from 192.0.2.1; server { set_real_ip_from %s; location / { proxy_pass http://x; } }"
        " server { location / { proxy_pass http://x; } } }" % range_
    )
    own = ["127.0.0.1", "100.64.0.5", "172.18.0.5", "fd00::5", "::1"]
    found = conf.trial(block, "stranger", own, {80: 1}, "a:1")
    assert directives(found.text, "set_real_ip_from") == [["192.0.2.1"], ["192.0.2.255"]]
    assert [endpoint["ranges"] for endpoint in found.endpoints] == [[range_], ["192.0.2.1"]]


def test_the_endpoints_say_where_and_how_to_ask():
    found = trial("stranger")
    assert {(e["port"], e["live_port"], e["tls"], e["proxy_protocol"], e["path"]) for e in found.endpoints} == {
        (port, live, tls, proxy, path)
        for port, live, tls, proxy in ((20080, 80, False, False), (20080, 80, False, True), (20443, 8443, True, False))
        for path in ("/service/", "/exact")
    }
    assert {(e["host"], e["header"], e["recursive"]) for e in found.endpoints} == {
        ("probe.example.com", "CF-Connecting-IP", False)
    }
    assert found.unprobed == ["listen 443 quic reuseport", "listen unix:/run/a.sock", "location ~ \\.php$"]


def test_a_servers_own_trust_goes_before_that_of_all():
    server = "server { real_ip_header B; location / { proxy_pass http://x; } }"
    text = "http { real_ip_header A; real_ip_recursive on; %s }" % server
    (endpoint,) = conf.trial(conf.parse(text), "stranger", [], {80: 1}, "a:1").endpoints
    assert (endpoint["header"], endpoint["recursive"], endpoint["path"]) == ("B", True, "/")


@pytest.mark.parametrize(
    ("words", "port", "address"),
    [("80", 80, ""), ("*:81", 81, ""), ("[::1]:82", 82, "[::1]"), ("[::]", 80, "[::]"), ("192.0.2.1", 80, "192.0.2.1")],
)
def test_listens(words, port, address):
    listen = conf.listen_of([words])
    assert listen is not None and (listen.port, listen.address) == (port, address)
