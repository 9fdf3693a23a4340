# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role realip and phase_nginx on the nginx of a Compose project, behind a "Cloudflare" and an "ALB" in containers.

Whom Phase sees is asked of Phase itself, by a client that has addresses of its own.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.phase.console.plugins.module_utils._nginx import file as _nginx_file
from ansible_collections.phase.console.plugins.module_utils._nginx import nginx as _nginx
from ansible_collections.phase.console.plugins.module_utils._operations.realip.forgeries import forgeries
from integration.harness import Ansible, PlayResult, target
from integration.targets import kill, until
from sandbox import hops as sandbox_hops
from sandbox.hops import Hops
from sandbox.phase.api.names import PASSWORD, identifier

ROOT = Path(__file__).parents[3]
INSIDE = "/etc/nginx/conf.d/default.conf"
SPACEX = identifier(1, "organisation", "SpaceX")
PLAIN = """server {
    listen 80;
    proxy_set_header Host $http_host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $remote_addr;
    location /service/ { rewrite ^/service/(.*) /$1 break; proxy_pass http://backend:8000; }
    location / { proxy_pass http://frontend:3000; }
}
"""
# The documented way to stand behind Cloudflare.
BELIEVES_ANYBODY = (
    'map $http_cf_connecting_ip $client { default $remote_addr; "~." $http_cf_connecting_ip; }\n'
    + PLAIN.replace("X-Real-IP $remote_addr", "X-Real-IP $client")
)
# Only where the trial does not look: on the port that serves.
BELIEVES_AT_80 = "map $server_port $client { 80 $http_x_real_ip; default $remote_addr; }\n" + PLAIN.replace(
    "X-Real-IP $remote_addr", "X-Real-IP $client"
)

# Gives the nginx beside it the file that comes in, as a module does on a plain host, with the echo in the same process.
ON_A_HOST = """
import json, sys
from types import SimpleNamespace
sys.path.insert(0, "/opt")
from module_utils._nginx import host, nginx
from module_utils._target.base import Target

class Here(Target):
    def run(self, operation, request, report, **more):
        return operation(SimpleNamespace(report=report, check_cancelled=lambda: None), request)

def tell(message, **counters):
    pass

here = host.PlainNginx("/etc/nginx/conf.d/default.conf", "nginx")
wanted = nginx.Wanted(sys.stdin.buffer.read(), probe="trial", attempts=100)
try:
    result = nginx.Configurator(here, Here(), wanted, tell).run(False)
except nginx.PhaseError as error:
    result = error.as_dict()
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def instance(module_compose_instance: Callable[..., Any]) -> Any:
    return module_compose_instance("v2.73.2", events=200)


@pytest.fixture(scope="module")
def hops(instance: Any) -> Iterator[Hops]:
    with sandbox_hops.running(instance) as running:
        yield running


@pytest.fixture(scope="module")
def cookie(instance: Any) -> str:
    body = json.dumps({"email": "alice.spacex.1@example.com", "authHash": PASSWORD}).encode()
    request = urllib.request.Request(f"{instance.url}/auth/password/login/", data=body)  # noqa: S310 - our own nginx
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return f"Cookie: {answer.headers['Set-Cookie'].partition(';')[0]}"


def file_of(instance: Any) -> Path:
    return Path(instance.directory) / "nginx" / "default.conf"


def inside(instance: Any) -> str:
    """The file as nginx has it, to the byte."""
    return str(instance.docker("exec", "phase-nginx", "cat", INSIDE)) + "\n"


def workers(instance: Any) -> list[str]:
    lines = instance.docker("top", "phase-nginx", "-eo", "pid,args").splitlines()
    return [line.split()[0] for line in lines if line.endswith("worker process")]


def nothing_left(instance: Any) -> None:
    assert [path.name for path in file_of(instance).parent.iterdir()] == ["default.conf"]
    assert instance.docker("exec", "phase-nginx", "sh", "-c", "ls -A /dev/shm /tmp | grep phase || :") == ""
    assert ".trial" not in instance.docker("top", "phase-nginx", "-eo", "pid,args")


def nginx(ansible: Ansible, instance: Any, content: str, **more: Any) -> dict[str, Any]:
    keywords = {key: more.pop(key) for key in ("check", "diff", "expect_failure") if key in more}
    given = {**target(instance), "content": content, "attempts": 40, "probe": "trial", **more}
    return ansible.module("phase_nginx", given, **keywords)


def realip(ansible: Ansible, instance: Any, sources: list[dict[str, Any]], **more: Any) -> PlayResult:
    keywords = {key: more.pop(key) for key in ("check", "diff", "expect_failure") if key in more}
    variables = {"phase_hosts": "localhost", "phase_target": target(instance), "phase_realip_sources": sources}
    more = {"ipv6": True, "probe_attempts": 40, **more}
    variables.update({f"phase_realip_{name}": value for name, value in more.items()})
    return ansible.playbook("realip", variables, **keywords)


def seen(hops: Hops, place: tuple[str, int], cookie: str, *lines: str) -> tuple[str, str]:
    """The client's own address, and the one that Phase saw."""
    answer = hops.ask(*place, [[cookie, *lines]])
    ((status, address),) = answer["answers"]
    assert status == 200, answer
    return answer["own"], address


def replace(path: Path, content: str) -> None:
    """As an editor does: the container keeps the file that had the name before."""
    other = path.with_name("other")
    other.write_text(content, encoding="utf-8")
    other.replace(path)


def serves(instance: Any, content: str) -> None:
    """This is the file, this is what nginx has, and it answers."""
    assert file_of(instance).read_text(encoding="utf-8") == content == inside(instance)
    assert instance.healthy()
    nothing_left(instance)


def test_check_mode_tells_the_exact_change_and_makes_none(ansible: Ansible, instance: Any) -> None:
    before, running = inside(instance), workers(instance)
    result = nginx(ansible, instance, PLAIN, check=True, diff=True)
    assert result["changed"] and result["nginx_test"]["ok"] and result["probe"] is None
    assert (result["diff"]["before"], result["diff"]["after"]) == (before, PLAIN)
    assert workers(instance) == running
    serves(instance, before)


def test_a_whole_chain_by_ipv4_and_ipv6(ansible: Ansible, instance: Any, hops: Hops, cookie: str) -> None:
    """Converge, idempotence, verify; 1,000 lies before it is written, and 1,000 more from the client after."""
    inode = file_of(instance).stat().st_ino
    sources = [
        {"name": "cloudflare", "ranges": hops.addresses("cloudflare")},
        {"name": "aws_alb", "ranges": hops.addresses("alb")},
    ]
    first = realip(ansible, instance, sources, probe_attempts=1000, diff=True)
    assert first.changed == 1
    probe = first.results("phase_nginx")[-1]["probe"]
    assert probe["stranger"]["attempts"] >= 1000
    assert [probe[source][count] for source in ("stranger", "insider", "live") for count in ("wrong", "passed_on")] == [
        0
    ] * 6
    assert probe["insider"]["reached"] > 20 and probe["live"]["reached"] > 20 and probe["live"]["skipped"] is None
    content = file_of(instance).read_text(encoding="utf-8")
    assert first.results("phase_nginx")[-1]["diff"]["after"] == content
    version = tuple(map(int, first.results("phase_nginx")[0]["nginx_version"].split(".")))
    assert ("http2 on;" in content) is (version >= (1, 25, 1))
    assert file_of(instance).stat().st_ino == inode
    serves(instance, content)

    running = workers(instance)
    second = realip(ansible, instance, sources)
    assert second.changed == 0 and workers(instance) == running

    v4, v6 = hops.addresses("cloudflare")
    for place in ((v4, 8003), (v6, 8004)):
        own, address = seen(hops, place, cookie, "CF-Connecting-IP: 192.0.2.6", "X-Forwarded-For: 192.0.2.6, 192.0.2.7")
        assert own == address and own in hops.addresses("client")
    v4, v6 = hops.addresses("alb")
    for place in ((v4, 8001), (v6, 8002)):  # the ALB's address is known to some: Cloudflare's header counts for nothing
        own, address = seen(hops, place, cookie, "CF-Connecting-IP: 192.0.2.6", f"X-Forwarded-For: {v4}")
        assert own == address

    ways = [(hops.addresses("nginx")[0], 80), (hops.addresses("nginx")[1], 80), (hops.addresses("alb")[0], 8001)]
    ways += [(hops.addresses("cloudflare")[0], 8003), (hops.addresses("cloudflare")[1], 8004)]
    edges = [*hops.addresses("cloudflare"), *hops.addresses("alb")]
    lies = [[cookie, *(f"{name}: {value}" for name, value in lie.lines)] for lie in forgeries(1000, edges)]
    believed, refused = 0, 0
    for number, place in enumerate(ways):
        answer = hops.ask(*place, lies[number :: len(ways)])
        refused += sum(address is None for _status, address in answer["answers"])
        believed += sum(address not in (None, answer["own"]) for _status, address in answer["answers"])
    assert believed == 0 and refused < 300


def test_a_single_source(ansible: Ansible, instance: Any, hops: Hops, cookie: str) -> None:
    sources = [{"name": "cloudflare", "ranges": hops.addresses("cloudflare")}]
    assert realip(ansible, instance, sources, probe="trial").changed == 1
    for place in zip(hops.addresses("cloudflare"), (8001, 8002)):
        own, address = seen(hops, place, cookie, "CF-Connecting-IP: 192.0.2.6", "X-Forwarded-For: 192.0.2.6")
        assert own == address
    own, address = seen(hops, (hops.addresses("nginx")[0], 80), cookie, "CF-Connecting-IP: 192.0.2.6")
    assert own == address


def test_a_proxy_in_the_backends_own_network(ansible: Ansible, instance: Any) -> None:
    """The backend is trusted itself then, as it is of a proxy on the host: nothing it says to nginx is a lie."""
    networks = instance.inspect("phase-backend")["NetworkSettings"]["Networks"].values()
    ranges = [str(ip_network(f"{one['IPAddress']}/{one['IPPrefixLen']}", strict=False)) for one in networks]
    result = realip(ansible, instance, [{"name": "custom", "ranges": ranges}], probe="full")
    assert result.changed == 1
    probe = result.results("phase_nginx")[-1]["probe"]
    assert probe["stranger"]["wrong"] == probe["insider"]["wrong"] == 0 < probe["insider"]["reached"]
    assert "among the trusted ranges" in probe["live"]["skipped"]
    assert "Phase itself was not asked whom it sees" in result.stdout
    serves(instance, file_of(instance).read_text(encoding="utf-8"))


def test_the_proxy_protocol_is_tried_too(ansible: Ansible, instance: Any, hops: Hops) -> None:
    before = inside(instance)
    result = realip(ansible, instance, [{"name": "proxy_protocol", "ranges": hops.addresses("alb")}], http="redirect")
    probe = result.results("phase_nginx")[-1]["probe"]
    assert probe["insider"]["reached"] > 20 and probe["stranger"]["wrong"] == probe["insider"]["wrong"] == 0
    assert probe["live"]["reached"] > 20
    # Somebody changes the file and does not reload: nginx still runs the other one. Ages are told in whole seconds.
    time.sleep(_nginx.SLACK + 1)
    _nginx_file.write_in_place(str(file_of(instance)), before.encode())
    again = nginx(ansible, instance, before, probe="none")
    assert again["changed"] and again["reload"]
    serves(instance, before)
    assert not nginx(ansible, instance, before)["changed"]


@pytest.mark.parametrize(
    ("content", "kind", "word"),
    [
        (PLAIN[:90], "nginx_refused", "unexpected end of file"),
        (PLAIN.replace("listen 80;", "listne 80;"), "nginx_refused", 'unknown directive "listne"'),
        (PLAIN.replace("backend:8000", "nobody:8000"), "nginx_refused", "host not found in upstream"),
        (BELIEVES_ANYBODY, "spoofable", "as a stranger"),
        ("set_real_ip_from 0.0.0.0/0;\n" + PLAIN, "spoofable", "as a stranger"),
        ("set_real_ip_from 192.0.2.0/24;\nreal_ip_header X-Real-IP;\n" + PLAIN, "", ""),
        (
            "set_real_ip_from 192.0.2.0/24;\nreal_ip_header X-Forwarded-For;\n"
            + PLAIN.replace("X-Real-IP $remote_addr", "X-Real-IP $realip_remote_addr"),
            "spoofable",
            "as a trusted proxy",
        ),
    ],
    ids=["template", "syntax", "upstream", "believes_anybody", "trusts_all", "good", "never_believes"],
)
def test_what_is_wrong_is_found_before_it_is_written(
    ansible: Ansible, instance: Any, content: str, kind: str, word: str
) -> None:
    before, running = inside(instance), workers(instance)
    if not kind:
        assert nginx(ansible, instance, content)["probe"]["insider"]["wrong"] == 0
        nginx(ansible, instance, before, probe="none")
        return
    result = nginx(ansible, instance, content, expect_failure=True)
    assert result["error"]["kind"] == kind and word in result["msg"], result["msg"]
    if kind == "spoofable":
        assert result["probe"]["findings"][0]["believed"] != result["probe"]["findings"][0]["truth"]
    assert workers(instance) == running
    serves(instance, before)


def test_what_phase_itself_sees_decides(ansible: Ansible, instance: Any) -> None:
    """The trial is passed, the nginx that serves believes a lie: the old file goes back."""
    before = inside(instance)
    result = nginx(ansible, instance, BELIEVES_AT_80, attempts=200, probe="full", expect_failure=True)
    assert result["error"]["kind"] == "spoofable" and result["rolled_back"], result["msg"]
    assert "at port 80" in result["msg"] and "The old configuration serves again" in result["msg"]
    assert result["probe"]["stranger"]["wrong"] == 0 and result["probe"]["live"]["wrong"] > 0
    serves(instance, before)


def test_a_reload_that_nginx_refuses(ansible: Ansible, instance: Any) -> None:
    """Its test does not bind: another program has the port that the new configuration wants."""
    before, running = inside(instance), workers(instance)
    listener = "import socket, time; s = socket.create_server(('', 8765)); time.sleep(20)"
    instance.docker("exec", "--detach", "phase-nginx", "python3", "-c", listener)
    content = PLAIN.replace("listen 80;", "listen 80; listen 8765;")
    result = nginx(ansible, instance, content, probe="none", reload_timeout=4, expect_failure=True)
    assert result["error"]["kind"] == "not_reloaded" and result["rolled_back"], result["msg"]
    serves(instance, before)
    assert not set(workers(instance)) & set(running)  # it was reloaded with the old one


def test_a_run_that_is_killed_while_it_tries(ansible: Ansible, instance: Any) -> None:
    before = inside(instance)
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [{"phase.console.phase_nginx": {**target(instance), "content": PLAIN, "attempts": 5000}}],
    }
    run = ansible.popen_playbook([play])
    run.wait_until(lambda: ".trial" in instance.docker("top", "phase-nginx", "-eo", "pid,args"))
    kill(run)
    until(lambda: ".trial" not in instance.docker("top", "phase-nginx", "-eo", "pid,args"), 10)
    serves(instance, before)


def test_a_run_that_is_killed_once_it_has_written(ansible: Ansible, instance: Any) -> None:
    before = inside(instance)
    journal = Path(_nginx_file.journal_of(str(file_of(instance))))
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [{"phase.console.phase_nginx": {**target(instance), "content": PLAIN, "attempts": 1}}],
    }
    run = ansible.popen_playbook([play])
    run.wait_until(journal.exists, poll=0.005)
    kill(run)
    assert journal.exists()
    foreseen = nginx(ansible, instance, before, check=True)
    assert foreseen["changed"] and foreseen["recovered"] and journal.exists()
    result = nginx(ansible, instance, before)
    assert result["changed"] and result["recovered"]
    serves(instance, before)


def test_half_a_file_and_a_container_that_cannot_start(ansible: Ansible, instance: Any) -> None:
    before, path = inside(instance), str(file_of(instance))
    _nginx_file.write_journal(path, before.encode())
    _nginx_file.write_in_place(path, PLAIN[:60].encode())
    instance.docker("restart", "phase-nginx")
    until(lambda: instance.inspect("phase-nginx")["RestartCount"] > 0, 20)
    foreseen = nginx(ansible, instance, before, check=True)
    assert foreseen["changed"] and foreseen["recovered"]
    result = nginx(ansible, instance, before)
    assert result["changed"] and result["recovered"] and not result["reload"]
    serves(instance, before)
    assert not nginx(ansible, instance, before)["changed"]


def test_a_file_that_was_replaced_under_the_mount(ansible: Ansible, instance: Any) -> None:
    before, path = inside(instance), file_of(instance)
    replace(path, PLAIN)
    result = nginx(ansible, instance, before, expect_failure=True)
    assert result["error"]["kind"] == "stale_mount" and "restart" in result["error"]["next_step"]
    assert inside(instance) == before
    assert nginx(ansible, instance, PLAIN, restart=True, probe="none")["changed"]
    serves(instance, PLAIN)
    # The same content in another file: only what is written next shows that it is another.
    replace(path, PLAIN)
    result = nginx(ansible, instance, before, probe="none", expect_failure=True)
    assert result["error"]["kind"] == "stale_mount" and result["rolled_back"], result["msg"]
    serves(instance, PLAIN)
    assert nginx(ansible, instance, before, restart=True, probe="none")["changed"]
    serves(instance, before)


def test_a_restart_that_nginx_does_not_survive(ansible: Ansible, instance: Any) -> None:
    """The test of nginx does not bind, where one listen takes the other's place."""
    before = inside(instance)
    content = PLAIN.replace("listen 80;", "listen 80; listen 8765; listen [::]:8765 ipv6only=off;")
    replace(file_of(instance), PLAIN)
    result = nginx(ansible, instance, content, restart=True, probe="none", reload_timeout=4, expect_failure=True)
    assert result["error"]["kind"] == "not_reloaded" and result["rolled_back"], result["msg"]
    serves(instance, before)


def test_a_plain_nginx(instance: Any, hops: Hops) -> None:
    """nginx as a daemon, without a container of its own: in the client's, where nothing else runs."""
    name = "phase-hop-client"
    instance.docker("cp", str(ROOT / "plugins" / "module_utils"), f"{name}:/opt/module_utils")
    instance.docker("exec", name, "sh", "-c", "echo '# empty' > /etc/nginx/conf.d/default.conf && nginx")

    def give(content: str) -> Any:
        script = ["docker", "exec", "-i", name, "python3", "-c", ON_A_HOST]
        environment = instance.engine.environment()
        done = subprocess.run(script, env=environment, input=content.encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    content = PLAIN.replace("backend:8000", "127.0.0.1:8000").replace("frontend:3000", "127.0.0.1:3000")
    first = give(content)
    assert first["changed"] and first["probe"]["stranger"]["wrong"] == 0 < first["probe"]["stranger"]["reached"]
    assert give(content)["changed"] is False
    assert give(content.replace("X-Real-IP $remote_addr", "X-Real-IP $http_x_client_ip"))["kind"] == "spoofable"
    assert instance.docker("exec", name, "cat", INSIDE) + "\n" == content


def test_the_policies_are_asked_first(ansible: Ansible, instance: Any, hops: Hops) -> None:
    """Somebody comes from an address that no policy lets in; the play stops before nginx is touched."""
    before, running, path = inside(instance), workers(instance), str(file_of(instance))
    instance.sql(
        "insert into api_networkaccesspolicy (id, name, allowed_ips, is_global, created_at, updated_at,"
        " organisation_id) values ('realip', 'office', '192.0.2.0/24', true, now(), now(), %s)",
        SPACEX,
    )
    try:
        sources = [{"name": "custom", "ranges": hops.addresses("alb")}]
        stopped = realip(ansible, instance, sources, operator_addresses=["198.51.100.7"], expect_failure=True)
        assert "No policy lets your own address in: 198.51.100.7 (SpaceX)" in stopped.message
        assert "No policy lets these accounts in from where they came" in stopped.message
        assert (inside(instance), workers(instance)) == (before, running)
        # A run that was cut off is undone all the same.
        _nginx_file.write_journal(path, before.encode())
        _nginx_file.write_in_place(path, PLAIN[:60].encode())
        assert realip(ansible, instance, sources, expect_failure=True).changed == 1
        serves(instance, before)
        went_on = realip(ansible, instance, sources, lockout="warn", probe="none")
        assert went_on.changed == 1 and "No policy lets these accounts in from where they came" in went_on.stdout
        # Whoever is let in today would come from the proxy's address once it is believed no more.
        dropped = realip(ansible, instance, [], check=True, expect_failure=True)
        assert f"in the place of their clients: {hops.addresses('alb')[0]}" in dropped.message
    finally:
        instance.sql("delete from api_networkaccesspolicy where id = 'realip'")
