# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.argspec import (
    ArgumentSpec,
    database_settings,
    duration,
    target_spec,
)
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("2m", 120), ("500ms", 0.5), ("1h", 3600), ("1d", 86400), ("1.5", 1.5), (7, 7), (" 3 s ", 3), ("0", 0)],
)
def test_duration(text, seconds):
    assert duration("timeout", text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "5 weeks", "s", "1s2", "nan", None, "1e3"])
def test_duration_refuses_and_names_the_option(text):
    with pytest.raises(BadOption, match="idle_timeout"):
        duration("idle_timeout", text)


def test_merge_keeps_both_sides_and_changes_neither():
    ours = ArgumentSpec({"a": {}}, required_if=[("a", "1", ["b"])])
    theirs = ArgumentSpec({"b": {}}, mutually_exclusive=[("a", "b")])
    merged = ours.merge(theirs)
    assert set(merged.options) == {"a", "b"}
    assert merged.required_if and merged.mutually_exclusive
    assert set(ours.options) == {"a"} and not ours.mutually_exclusive


def test_a_state_that_there_is_not():
    spec = ArgumentSpec({"a": {}}).merge(ArgumentSpec({"state": {}}, states=["info", "gone"]))
    spec.check_state({"state": "info"})
    with pytest.raises(BadOption) as refused:
        spec.check_state({"state": "Info"})
    assert refused.value.next_step == "It can be info, gone."
    target_spec().check_state({})


def test_every_secret_of_the_target_is_no_log():
    options = target_spec().options
    assert [name for name, option in sorted(options.items()) if option.get("no_log")] == [
        "database_url",
        "environment",
        "login_password",
    ]


def test_database_settings_leave_to_libpq_what_is_not_given():
    params = dict.fromkeys(
        ["database_url", "login_host", "login_port", "login_user", "login_password", "login_db", "ssl_mode", "ca_cert"]
    )
    assert database_settings(params) == {}
    assert database_settings(dict(params, login_db="phase", login_port=6432)) == {"dbname": "phase", "port": 6432}
