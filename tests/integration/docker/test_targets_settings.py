# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which a backend can be told its database's password and TLS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from integration import targets
from integration.harness import Ansible, target
from sandbox.docker_instance import Variant

Factory = Callable[..., Any]
VERSION = "v2.73.2"


def test_a_password_in_a_file(ansible: Ansible, compose_instance: Factory) -> None:
    instance = compose_instance(VERSION, variant=Variant(auth="scram-sha-256", password_file=True))
    assert targets.info(ansible, target(instance), "migrations")["migrations"]["applied"] == 190


def test_tls_demanded_by_the_server(ansible: Ansible, compose_instance: Factory) -> None:
    tls = Variant(auth="scram-sha-256", tls="required", database_ssl="verify-full")
    instance = compose_instance(VERSION, variant=tls)
    assert targets.info(ansible, target(instance), "instance")["instance"]["database"]["tls"] is True
