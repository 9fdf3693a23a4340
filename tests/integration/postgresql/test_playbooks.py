# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each playbook, pasted on a host without an inventory: it works on that host, or fails with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from integration.harness import Ansible

PLAYBOOKS = sorted(path.stem for path in (Path(__file__).parents[3] / "playbooks").glob("*.yml"))
NOWHERE = {"DOCKER_HOST": "unix:///nowhere/docker.sock", "ANSIBLE_INVENTORY": "/dev/null"}


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_without_an_inventory_it_works_on_this_host(ansible: Ansible, playbook: str) -> None:
    done = ansible.playbook(playbook, check=True, expect_failure=None, environ=NOWHERE)
    assert "no hosts matched" not in done.stdout and set(done.stats) == {"localhost"}, done.stdout
    assert done.tasks and (done.rc == 0 or done.message), done.stdout


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_where_no_host_matches_it_fails_with_what_to_do(ansible: Ansible, playbook: str) -> None:
    done = ansible.playbook(playbook, {"phase_hosts": "elsewhere"}, expect_failure=True, environ=NOWHERE)
    assert not done.tasks and "No host matches elsewhere" in done.stdout and "group phase" in done.stdout


def test_the_group_phase_is_taken_and_never_all(ansible: Ansible, tmp_path: Path) -> None:
    local = "ansible_connection=local ansible_python_interpreter='{{ ansible_playbook_python }}'"
    others = f"[staging]\ns1 {local}\n[production]\np1 {local}\n"
    (tmp_path / "others").write_text(others, encoding="utf-8")
    (tmp_path / "with_group").write_text(others + "[phase:children]\nproduction\n", encoding="utf-8")
    for inventory, worked_on in (("others", {"localhost"}), ("with_group", {"p1"})):
        environ = {**NOWHERE, "ANSIBLE_INVENTORY": str(tmp_path / inventory)}
        done = ansible.playbook("recover", check=True, expect_failure=None, environ=environ)
        assert set(done.stats) == worked_on, done.stdout
