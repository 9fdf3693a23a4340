# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locking owners of the sandbox's SpaceX out, and asking over HTTP, past the collection, whether they get in."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from integration.harness import Ansible, Run, end_all
from sandbox.phase.api.names import PASSWORD, identifier

SPACEX = identifier(1, "organisation", "SpaceX")
ALICE = "alice.spacex.1@example.com"
MEMBER = identifier(1, "member", "alice.spacex.1")
HOME = "203.0.113.7"
QUERY = "query ($o: ID) { organisationGlobalAccessUsers(organisationId: $o) { id } }"


def post(url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[int, Any, str]:
    """Status, JSON and the cookie of an answer; whoever listens may have a certificate of its own."""
    request = urllib.request.Request(  # noqa: S310 - the sandbox's own address
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json", **headers}
    )
    anyone = ssl._create_unverified_context()  # noqa: S323
    try:
        with urllib.request.urlopen(request, timeout=10, context=anyone) as answer:  # noqa: S310
            return answer.status, json.load(answer), answer.headers.get("Set-Cookie", "").partition(";")[0]
    except urllib.error.HTTPError as error:
        return error.code, None, ""


def enter(url: str, address: str = HOME) -> str:
    """Sign alice in with her password and look at SpaceX: ``in``, or the code of what keeps her out."""
    headers = {"X-Real-IP": address}
    status, _body, cookie = post(f"{url}/auth/password/login/", {"email": ALICE, "authHash": PASSWORD}, headers)
    if status != 200:
        return f"login: {status}"
    status, body, _cookie = post(
        f"{url}/graphql/", {"query": QUERY, "variables": {"o": SPACEX}}, {**headers, "Cookie": cookie}
    )
    assert status == 200, status
    return str(body["errors"][0]["extensions"]["code"]) if "errors" in body else "in"


def by_policy(instance: Any, name: str = "Office", allowed: str = "198.51.100.0/24") -> None:
    instance.sql(
        "insert into api_networkaccesspolicy"
        " (id, name, allowed_ips, is_global, created_at, updated_at, organisation_id)"
        " values (gen_random_uuid()::text, %s, %s, true, now(), now(), %s)",
        name,
        allowed,
        SPACEX,
    )


def by_sso(instance: Any) -> None:
    instance.sql("update api_organisation set require_sso = true where id = %s", SPACEX)


def policies(instance: Any) -> list[tuple[Any, ...]]:
    """To the byte."""
    rows = instance.sql("select p::text from api_networkaccesspolicy p order by id")
    return list(rows)


def requires_sso(instance: Any) -> bool:
    return bool(instance.sql("select require_sso from api_organisation where id = %s", SPACEX)[0][0])


# Runs as an operator types them

COMMAND = re.compile(r"^cd \S+ && .*-e phase_recover_(restore|confirm)=\S+$", re.MULTILINE)


def printed(output: str, what: str) -> str:
    """The command that the output says, as it is to be typed."""
    return next(found.group() for found in COMMAND.finditer(output) if found.group(1) == what)


def type_it(
    ansible: Ansible, command: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], env=ansible.environment(environ), capture_output=True, text=True, check=False
    )


class ByHand:
    """Starts playbooks whose command can be typed again: the variables are in the inventory, in ``folder``.

    The output goes to a file, where Ansible holds it back.
    """

    def __init__(
        self, ansible: Ansible, variables: Mapping[str, Any], folder: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self.folder, self.program = folder, str(ansible.programs / "ansible-playbook")
        self.environment = ansible.environment({"PYTHONUNBUFFERED": "", **(environ or {})})
        self.runs: list[Run] = []
        python = "{{ ansible_playbook_python }}"
        host = {"ansible_connection": "local", "ansible_python_interpreter": python, **variables}
        self.inventory = folder / "inventory.json"
        self.inventory.write_text(json.dumps({"all": {"hosts": {"localhost": host}}}), encoding="utf-8")

    def __call__(self, playbook: str, *more: str) -> Run:
        folder = self.folder / f"run{len(self.runs)}"
        folder.mkdir()
        mark = folder / "mark"
        command = [self.program, f"phase.console.{playbook}", "-i", str(self.inventory)]
        command += [argument for variable in (f"mark={mark}", *more) for argument in ("-e", variable)]
        self.runs.append(Run(folder, command, self.folder, self.environment, [mark]))
        return self.runs[-1]

    def stop(self) -> None:
        end_all(self.runs)
