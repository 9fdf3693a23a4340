# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible import constants
from ansible.errors import AnsibleError
from ansible_collections.phase.console.plugins.lookup.hosts import LookupModule

BARE = {"all": [], "ungrouped": []}
OTHERS = {"all": ["s1", "p1"], "staging": ["s1"], "production": ["p1"]}
WITH = dict(OTHERS, phase=["p1"])


def hosts(groups, **variables):
    return LookupModule().run([], dict(variables, groups=groups))


@pytest.mark.parametrize(
    ("groups", "variables", "pattern"),
    [
        (BARE, {}, "localhost"),
        (OTHERS, {}, "localhost"),  # never all
        (WITH, {}, "phase"),
        (WITH, {"ansible_limit": "p1"}, "phase"),
        (WITH, {"phase_hosts": "staging"}, "staging"),
        (WITH, {"phase_hosts": ["s1", "p1"]}, "s1,p1"),
        (WITH, {"phase_hosts": "localhost"}, "localhost"),
        (WITH, {"phase_hosts": ""}, "phase"),
    ],
)
def test_whom_a_playbook_works_on(groups, variables, pattern):
    assert hosts(groups, **variables) == [pattern]


@pytest.mark.parametrize(
    ("groups", "variables"),
    [
        (dict(OTHERS, phase=[]), {}),
        (WITH, {"phase_hosts": "elsewhere"}),
        (WITH, {"ansible_limit": "s1"}),
        (OTHERS, {"ansible_limit": "s1"}),
        (WITH, {"phase_hosts": "staging:!s1"}),
    ],
)
@pytest.mark.parametrize("mismatch", ["warning", "error", "ignore"])
def test_where_no_host_matches_it_says_what_to_do(groups, variables, mismatch, monkeypatch):
    monkeypatch.setattr(constants, "HOST_PATTERN_MISMATCH", mismatch)
    with pytest.raises(AnsibleError, match="Put the instance's host into the group phase"):
        hosts(groups, **variables)
