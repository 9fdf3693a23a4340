# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""phase_realip_ranges against real servers on this host that answer well, badly, slowly, or that nothing has changed.

And role realip with them: rendered, checked, written, and refreshed when the list changes. No PostgreSQL is needed.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._realip.ranges import (
    PUBLISHERS,
    CacheUnreadable,
    RangesRefused,
    RangesUnreachable,
)
from ansible_collections.phase.console.plugins.modules import phase_realip_ranges

FOUR = [one for one in PUBLISHERS["cloudflare"].bundled if ":" not in one]
SIX = [one for one in PUBLISHERS["cloudflare"].bundled if ":" in one]


def api(four, six, **more):
    """As Cloudflare's API answers."""
    return json.dumps({"result": {"ipv4_cidrs": four, "ipv6_cidrs": six, "etag": "e"}, "success": True, **more})


def aws(ranges, others=()):
    """As AWS publishes its ranges."""
    four = [{"ip_prefix": one, "service": "CLOUDFRONT_ORIGIN_FACING", "region": "GLOBAL"} for one in ranges]
    four += [{"ip_prefix": one, "service": "EC2", "region": "eu-central-1"} for one in others]
    return json.dumps({"syncToken": "1", "prefixes": four, "ipv6_prefixes": []})


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = self.server.answers[self.path]
        self.server.asked.append((self.path, self.headers.get("If-None-Match")))
        status, body, headers, pause = answer
        if headers.get("ETag") and headers["ETag"] == self.headers.get("If-None-Match"):
            status, body = 304, b""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304 and "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            for start in range(0, len(body), 64 if pause else len(body) or 1):
                self.wfile.write(body[start : start + (64 if pause else len(body))])
                time.sleep(pause)

    def log_message(self, *arguments):
        pass


class Publisher:
    """A server whose answers a test sets, by path."""

    def __init__(self, server, url):
        self._server, self.url = server, url
        self.asked = server.asked

    def says(self, body, path="/list", status=200, pause=0, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._server.answers[path] = (status, body.encode() if isinstance(body, str) else body, named, pause)
        return self.url + path


@contextlib.contextmanager
def serving(wrap=None):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.answers, server.asked = {}, []
        if wrap:
            server.socket = wrap.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield Publisher(server, f"http{'s' if wrap else ''}://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()


@pytest.fixture
def publisher():
    with serving() as found:
        yield found


@pytest.fixture
def fetch(tmp_path):
    """``fetch(url, ...)`` does what the module does, in this process; its cache stays through a test."""

    def run(*urls, source="cloudflare", check=False, **more):
        params = {name: option.get("default") for name, option in phase_realip_ranges.SPEC.options.items()}
        params.update(source=source, cache=str(tmp_path / "cache" / "ranges.json"), urls=list(urls), timeout=2)
        warnings = []
        call = Call({**params, **more}, check, True, None, None, warnings.append)
        return {**phase_realip_ranges.run(call), "warnings": warnings}

    return run


def test_order_and_format_are_no_change_and_an_unchanged_list_is_not_read(publisher, fetch, tmp_path):
    url = publisher.says(api(FOUR, SIX), ETag='"one"')
    seen = fetch(url, check=True)
    assert seen["changed"]
    assert not (tmp_path / "cache").exists()
    first = fetch(url)
    assert (first["changed"], first["origin"], len(first["ranges"])) == (True, "live", 22)
    assert first["diff"]["after"].splitlines() == first["ranges"]

    again = fetch(url)
    assert (again["changed"], again["origin"]) == (False, "not_modified")
    assert publisher.asked[-1] == ("/list", '"one"')

    halves = [half for one in FOUR[:1] for half in ("103.21.244.0/23", "103.21.246.0/23") if one == "103.21.244.0/22"]
    publisher.says("\r\n".join([*reversed(SIX), "", *halves, *reversed(FOUR[1:]), FOUR[1].upper()]), ETag='"two"')
    other = fetch(url)
    assert (other["changed"], other["origin"], other["ranges"]) == (False, "live", first["ranges"])
    publisher.says(api([*FOUR, "8.8.8.0/24"], SIX), ETag='"three"')
    grown = fetch(url)
    assert (grown["changed"], grown["added"], grown["removed"]) == (True, ["8.8.8.0/24"], [])
    assert not fetch(url)["changed"]
    mode = (tmp_path / "cache" / "ranges.json").stat().st_mode & 0o777
    assert mode == 0o600


REFUSED = {
    "empty": ("", "it is empty"),
    "nothing in it": (api([], []), "no ranges"),
    "short": (api(FOUR[:5], SIX), "it is short: 5 ranges of IPv4"),
    "a web page": ("<!doctype html><html>", "web page"),
    "everything": (api([*FOUR, "0.0.0.0/0"], SIX), "0.0.0.0/0 is too wide"),
    "everything in IPv6": (api(FOUR, [*SIX, "::/0"]), "::/0 is too wide"),
    "private": (api([*FOUR, "10.1.0.0/16"], SIX), "10.1.0.0/16 is not public"),
    "wider than any": (api([*FOUR, "8.0.0.0/11"], SIX), "8.0.0.0/11 is too wide"),
    "one that is large": (api([*FOUR, "8.0.0.0/12"], SIX), "41 % of its IPv4 addresses are new, more than 25 %"),
    "one in the place of a small one": (api([*FOUR[1:], "8.0.0.0/13"], SIX), "26 % of its IPv4 addresses are new"),
    "the largest gone": (api([one for one in FOUR if one != "104.16.0.0/13"], SIX), "34 % of its IPv4 addresses are"),
    "large in IPv6": (api(FOUR, [*SIX, "2a00::/28"]), "53 % of its IPv6 addresses are new"),
    "around a private one": (api([*FOUR, "172.16.0.0/12"], SIX), "not public"),
    "shared": (api([*FOUR, "100.64.0.0/12"], SIX), "not public"),
    "local in IPv6": (api(FOUR, [*SIX, "fd00::/32"]), "not public"),
    "another family": (api([*FOUR, SIX[0]], SIX), "stands among ranges of IPv4"),
    "overlapping": (api([*FOUR, "104.16.5.0/24"], SIX), "104.16.0.0/13 and 104.16.5.0/24 overlap"),
    "bits behind the prefix": (api([*FOUR, "8.8.8.8/24"], SIX), "bits behind its prefix"),
    "injected": (api([*FOUR, "8.8.8.0/24; deny all"], SIX), "is no range"),
    "no text": (b"\xff\xfe\x00", "not text"),
    "half": (api(FOUR, SIX)[:100], "not whole JSON"),
    "other JSON": ('{"detail": "rate limited"}', "JSON of another kind"),
    "no success": (api(FOUR, SIX, success=False), "no success"),
    "half of it gone": (api(FOUR[:8], SIX[:4]), "10 of 22 ranges are gone, more than 25 %"),
    "too much new": (api([*FOUR, *(f"8.8.{n}.0/24" for n in range(0, 20, 2))], SIX), "are new, more than 25 %"),
}


@pytest.fixture
def accepted(publisher, fetch):
    return fetch(publisher.says(api(FOUR, SIX)))["ranges"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_looks_wrong_is_refused_with_the_reason(name, accepted, publisher, fetch, tmp_path):
    body, reason = REFUSED[name]
    before = (tmp_path / "cache" / "ranges.json").read_text(encoding="utf-8")
    url = publisher.says(body)
    with pytest.raises(RangesRefused) as refused:
        fetch(url)
    assert reason in refused.value.message
    assert (tmp_path / "cache" / "ranges.json").read_text(encoding="utf-8") == before


def test_a_large_change_can_be_accepted(accepted, publisher, fetch):
    url = publisher.says(REFUSED["half of it gone"][0])
    changed = fetch(url, accept_change=True)
    assert (changed["changed"], len(changed["removed"]), len(changed["ranges"])) == (True, 10, 12)
    assert len(fetch(publisher.says(REFUSED["half of it gone"][0], "/again"), max_change=0)["ranges"]) == 12


def test_a_cache_that_somebody_changed_is_not_believed(accepted, publisher, fetch, tmp_path):
    cache = tmp_path / "cache" / "ranges.json"
    cache.write_text(cache.read_text(encoding="utf-8").replace(FOUR[0], "0.0.0.0/0"), encoding="utf-8")
    with pytest.raises(CacheUnreadable):
        fetch(publisher.says(api(FOUR, SIX)))


@pytest.mark.parametrize("name", ["accepted", "urls", "etags", "ranges", "format"])
def test_a_cache_that_lacks_something_is_not_believed(name, accepted, publisher, fetch, tmp_path):
    cache = tmp_path / "cache" / "ranges.json"
    known = json.loads(cache.read_text(encoding="utf-8"))
    del known[name]
    cache.write_text(json.dumps(known), encoding="utf-8")
    with pytest.raises(CacheUnreadable):
        fetch(publisher.says("", status=503))


def test_when_nobody_answers_the_last_accepted_ranges_stay(publisher, fetch):
    url = publisher.says(api(FOUR[1:], SIX))
    accepted = fetch(url)
    publisher.says("later", status=503)
    down = fetch(url)
    assert (down["changed"], down["origin"], down["ranges"]) == (False, "cache", accepted["ranges"])
    assert "HTTP 503" in down["warnings"][0]
    slow = publisher.says(api(FOUR, SIX), "/slow", pause=0.4)
    begun = time.monotonic()
    late = fetch(slow, timeout=1)
    assert (late["origin"], "took too long" in late["warnings"][0]) == ("cache", True)
    assert time.monotonic() - begun < 10
    short = publisher.says(api(FOUR, SIX), "/cut", Content_Length="5000")
    assert "ended early" in fetch(short)["warnings"][0]
    away = publisher.says("", "/away", status=302, Location="http://ranges.example.com/list")
    assert fetch(away)["origin"] == "cache"


def test_a_list_comes_by_tls_that_is_verified(fetch, tmp_path):
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with serving(context) as publisher:
        urls = [publisher.says("\n".join(FOUR), "/ips-v4"), publisher.says("\n".join(SIX), "/ips-v6")]
        doubtful = fetch(*urls)
        assert doubtful["origin"] == "bundled"
        assert "CERTIFICATE_VERIFY_FAILED" in doubtful["warnings"][0] or "validate" in doubtful["warnings"][0]
        trusted = fetch(*urls, ca_bundle=str(tmp_path / "cert.pem"))
        assert (trusted["origin"], len(trusted["ranges"])) == ("live", 22)
        publisher.says("\n".join([*SIX, FOUR[0]]), "/ips-v6")
        with pytest.raises(RangesRefused, match="stands among ranges of IPv6"):
            fetch(*urls, ca_bundle=str(tmp_path / "cert.pem"))


def test_of_aws_only_what_connects_to_origins_counts(publisher, fetch):
    ranges = [f"13.32.{number}.0/24" for number in range(0, 60, 2)]
    url = publisher.says(aws([*ranges, "13.32.0.0/25"], others=["3.5.140.0/22", "10.0.0.0/8"]))
    found = fetch(url, source="cloudfront")
    assert found["ranges"] == sorted(ranges, key=lambda one: int(one.split(".")[2]))
    with pytest.raises(RangesUnreachable):
        fetch("http://127.0.0.1:1/", source="cloudfront", cache="")


def test_the_role_writes_the_file_and_follows_the_list(publisher, ansible, tmp_path):
    """Check mode by the playbook; then in one run: converge, another order, a new range, a hostile value."""
    lists = {
        "first": api(FOUR, SIX),
        "reordered": api(list(reversed(FOUR)), SIX),
        "grown": api([*FOUR, "8.8.8.0/24"], SIX),
    }
    urls = {name: publisher.says(body, f"/{name}") for name, body in lists.items()}
    variables = {
        "phase_hosts": "localhost",
        "phase_realip_dest": str(tmp_path / "default.conf"),
        "phase_realip_sources": [{"name": "cloudflare"}, {"name": "aws_alb", "ranges": ["10.0.16.0/20"]}],
        "phase_realip_ranges_cache": str(tmp_path / "cache"),
        "phase_realip_timer": True,
        "phase_realip_timer_folder": str(tmp_path),
        "phase_realip_timer_start": False,
    }
    from_first = {"phase_realip_ranges_urls": {"cloudflare": [urls["first"]]}}
    foreseen = ansible.playbook("realip", {**variables, **from_first}, check=True, diff=True)
    assert foreseen.changed > 0
    assert "+set_real_ip_from 10.0.16.0/20;" in foreseen.stdout
    assert not (tmp_path / "default.conf").exists()

    steps = [{"phase_realip_ranges_urls": {"cloudflare": [url]}} for url in urls.values()]
    steps.append({**from_first, "phase_realip_backend_host": "backend; deny all"})
    tasks = [{"ansible.builtin.include_role": {"name": "phase.console.realip"}, "vars": step} for step in steps]
    plays = [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    done = ansible.playbook(plays, variables, diff=True, expect_failure=True)
    written = [task.status for task in done.tasks if task.name.endswith("Write the file")]
    assert written == ["changed", "ok", "changed"]
    ranges = [task.status for task in done.tasks if task.action.endswith("phase_realip_ranges")]
    assert ranges[:3] == ["changed", "ok", "changed"]
    assert "+    8.8.8.0/24 1;" in done.stdout
    assert "phase_realip_backend_host is not a host" in done.message
    text = (tmp_path / "default.conf").read_text(encoding="utf-8")
    assert "    104.16.0.0/13 1;\n" in text
    assert "proxy_set_header X-Real-IP $phase_client_ip;\n" in text
    assert (tmp_path / "phase-realip.timer").exists()
    unit = (tmp_path / "phase-realip.service").read_text(encoding="utf-8")
    again = refreshed(ansible, unit, {**variables, **from_first}, tmp_path / "realip.yml")
    assert "-    8.8.8.0/24 1;" in again
    assert "changed=1 " in again.partition("PLAY RECAP")[2]


def refreshed(ansible, unit, variables, place):
    """What the unit's own command says in check mode, with this Ansible's program and the variables in a file."""
    (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    command = line.partition("=")[2].split()
    assert (command[0], command[-1]) == ("/usr/bin/ansible-playbook", "@/etc/phase.console/realip.yml")
    known = {name: value for name, value in variables.items() if name not in ("phase_hosts", "phase_realip_timer")}
    known["ansible_python_interpreter"] = sys.executable  # what it would discover need not run on this machine
    place.write_text(json.dumps(known), encoding="utf-8")
    command = [str(ansible.programs / "ansible-playbook"), *command[1:-1], f"@{place}", "--check", "--diff"]
    env = ansible.environment()
    del env["ANSIBLE_INVENTORY"]  # a host that was just set up has none
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ansible.folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
