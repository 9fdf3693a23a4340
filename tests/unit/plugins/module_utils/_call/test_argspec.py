# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.phase.console.plugins.module_utils._call.argspec import (
    ArgumentSpec,
    database_settings,
    docker_spec,
    duration,
    size,
    target_spec,
    timeouts,
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
    with pytest.raises(BadOption, match="wait_timeout"):
        duration("wait_timeout", text)


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


NO_DATABASE = dict.fromkeys(
    ["database_url", "login_host", "login_port", "login_user", "login_password", "login_db", "ssl_mode", "ca_cert"]
)


def test_database_settings_leave_to_libpq_what_is_not_given():
    assert database_settings(NO_DATABASE, {"PGHOST": "db"}) == {}
    given = dict(NO_DATABASE, login_db="phase", login_port=6432)
    assert database_settings(given, {}) == {"dbname": "phase", "port": 6432}


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ({}, {"dsn": "postgresql://ambient/phase"}),
        ({"login_password": "x"}, {"dsn": "postgresql://ambient/phase", "password": "x"}),
        ({"login_host": "db"}, {"host": "db"}),
        ({"login_user": "phase", "login_db": "phase"}, {"user": "phase", "dbname": "phase"}),
        ({"database_url": "postgresql://named/phase"}, {"dsn": "postgresql://named/phase"}),
    ],
)
def test_an_option_that_names_a_database_wins_over_the_environment(given, settings):
    ambient = {"DATABASE_URL": "postgresql://ambient/phase", "PGHOST": "other", "PGPORT": "1"}
    assert database_settings(dict(NO_DATABASE, **given), ambient) == settings


def test_a_database_is_named():
    with pytest.raises(BadOption, match="nothing names a database") as refused:
        database_settings(dict(NO_DATABASE, login_user="phase"), {"PGPORT": "5433"})
    assert "database_url" in refused.value.next_step


def test_timeouts_fill_in_what_is_not_given_and_name_the_option():
    assert timeouts({"timeouts": {"lock": "2m"}}) == {"connect": 10, "statement": 0, "lock": 120, "idle": 60}
    assert timeouts({}) == timeouts({"timeouts": None})
    with pytest.raises(BadOption, match=r"timeouts\.idle"):
        timeouts({"timeouts": {"idle": "soon"}})


def test_the_engine_is_found_as_by_the_docker_command(monkeypatch):
    for name in ("DOCKER_HOST", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION", "DOCKER_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_HOST", "tcp://engine:2376")
    monkeypatch.setenv("DOCKER_CERT_PATH", "/certs")
    validated = ArgumentSpecValidator(target_spec().options).validate({"docker": {"client_key": "/mine"}})
    assert not validated.error_messages
    docker = validated.validated_parameters["docker"]
    assert (docker["docker_host"], docker["timeout"], docker["api_version"]) == ("tcp://engine:2376", 60, "auto")
    assert (docker["ca_path"], docker["client_cert"], docker["client_key"]) == (
        "/certs/ca.pem",
        "/certs/cert.pem",
        "/mine",
    )
    assert ArgumentSpecValidator(target_spec().options).validate({}).validated_parameters["docker"]["client_key"] == (
        "/certs/key.pem"
    )
    lone = ArgumentSpecValidator({"docker": docker_spec()})
    monkeypatch.delenv("DOCKER_CERT_PATH")
    assert "client_key" in lone.validate({"docker": {"client_cert": "/c"}}).error_messages[0]


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("0", 0), ("5000000", 5_000_000), ("50MB", 50_000_000), ("2 GiB", 2**31), ("40mb/s", 40_000_000)],
)
def test_sizes(text, bytes_):
    assert size("free_space", text) == bytes_


@pytest.mark.parametrize("text", ["", "much", "-5", "5 PB"])
def test_what_is_no_size(text):
    with pytest.raises(BadOption):
        size("free_space", text)
