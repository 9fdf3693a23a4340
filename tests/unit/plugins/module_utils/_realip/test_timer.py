# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._realip.timer import settings

GOOD = {
    "name": "phase-log-retention",
    "description": "Keep Phase's log of reads at a number of days",
    "calendar": "Mon..Fri *-*-* 02:00:00",
    "random_delay": "1h 30min",
    "catch_up": False,
    "command": ["/usr/bin/ansible-playbook", "phase.console.purge_logs", "-e", "@/etc/phase.console/a.yml"],
    "timeout": "infinity",
    "user": "root",
    "environment_file": "",
}


def test_good_settings_stay_what_they_are():
    assert settings(GOOD) == GOOD
    assert settings(dict(GOOD, environment_file="/etc/a.env"))["environment_file"] == "/etc/a.env"


@pytest.mark.parametrize(
    "change, why",
    [
        ({"name": ""}, "phase_timer_name is not a name for units"),
        ({"name": "../x"}, "not a name for units"),
        ({"name": "Upper"}, "not a name for units"),
        ({"description": "100%n"}, "plain words"),
        ({"calendar": "daily\nUnit=x"}, "no calendar event"),
        ({"random_delay": "-5min"}, "not a time span"),
        ({"random_delay": "5 min later"}, "not a time span"),
        ({"random_delay": 5}, "not a time span"),
        ({"timeout": "\u0665min"}, "not a time span"),
        ({"catch_up": "no"}, "neither true nor false"),
        ({"command": []}, "absolute"),
        ({"command": ["ansible-playbook"]}, "absolute"),
        ({"command": ["/bin/sh", "-c", "a $b"]}, "otherwise"),
        ({"command": "/bin/true"}, "not a list"),
        ({"user": "0"}, "not the name of a user"),
        ({"environment_file": "a.env"}, "absolute path"),
        ({"environment_file": "/etc/%n.env"}, "absolute path"),
        ({"restart": "always"}, "has no restart"),
    ],
)
def test_what_systemd_would_read_otherwise_is_refused(change, why):
    with pytest.raises(PhaseError, match=why):
        settings(dict(GOOD, **change))
