# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.lookup import rerun

PLAY = ["ansible-playbook", "phase.console.recover"]


def again(*arguments, folder="/srv"):
    return rerun.command([*PLAY, *arguments], folder, ["x=1"])


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ([], ""),
        (["-i", "hosts", "--limit", "a:b"], " -i hosts --limit a:b"),
        (["--check", "-C", "-CD", "-Cvv", "--diff", "-D"], " -vv"),
        (["--start-at-task", "Go on", "--step", "-K"], " -K"),
        (["-e", "@vault.yml", "-e@more.yml"], " -e @vault.yml -e @more.yml"),
        (["--extra-vars", "a=1 b='2 3'"], """ --extra-vars 'a=1 b='"'"'2 3'"'"''"""),
        (["--extra-vars=a=1"], " --extra-vars=a=1"),
    ],
)
def test_the_command_is_the_same_but_for_what_is_for_once(arguments, kept):
    assert again(*arguments) == f"cd /srv && {' '.join(PLAY)}{kept} -e x=1"


@pytest.mark.parametrize(
    "variables",
    [
        "ansible_password=hunter22",
        '{"phase_target": {"login_password": "hunter22", "deployment": "database"}}',
        "phase_target=\"{'database_url': 'postgresql://phase:hunter22@db/phase'}\"",
        "{broken: hunter22",
        '{"tokens": ["hunter22"], "my_token": ["hunter22"]}',
    ],
)
def test_secrets_are_starred(variables):
    for arguments in (["-e", variables], [f"-e{variables}"], [f"--extra-vars={variables}"]):
        assert "hunter22" not in again(*arguments) and "****" in again(*arguments)


@pytest.mark.parametrize(
    ("variables", "kept"),
    [
        (
            '{"phase_target": {"deployment": "local", "ports": [1, 2]}}',
            "'{phase_target: {deployment: local, ports: [1, 2]}}'",
        ),
        ('a="b c"', "'{a: b c}'"),
    ],
)
def test_what_is_shown_can_be_copied(variables, kept):
    assert again("-e", variables) == f"cd /srv && {' '.join(PLAY)} -e {kept} -e x=1"


def test_a_folder_with_a_space_is_quoted():
    assert again(folder="/srv/my plays").startswith("cd '/srv/my plays' && ")
