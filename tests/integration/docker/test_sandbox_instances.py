# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The stand-in in containers is what Phase's own Compose file makes, with and without Compose."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox import facts
from sandbox._containers import ContainerInstance
from sandbox.compose import COMPONENTS, ComposeInstance
from sandbox.docker_instance import DockerInstance

EVENTS = 1000


@pytest.fixture(scope="module", params=[ComposeInstance, DockerInstance], ids=["compose", "docker"])
def instance(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerInstance]:
    with request.param.start(tmp_path_factory.mktemp("phase"), "v2.54.0", EVENTS) as started:
        yield started


def get(url: str, **headers: str) -> Any:
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - our own nginx
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return answer.read().decode()


def of_phase(migrations: Iterable[str]) -> set[str]:
    """Those of the app `api`; the libraries' differ by their versions."""
    return {name for name in migrations if name.startswith("api.")}


def applied(instance: ContainerInstance) -> set[str]:
    return of_phase(f"{app}.{name}" for app, name in instance.sql("SELECT app, name FROM django_migrations"))


def test_every_component_runs_and_the_migrations_are_done(instance: ContainerInstance) -> None:
    expected = dict.fromkeys(COMPONENTS, "running") | {"migrations": "exited (0)"}
    assert instance.status() == expected


def test_nginx_leads_to_the_api_and_to_the_console(instance: ContainerInstance) -> None:
    assert json.loads(get(f"{instance.url}/health/")) == {"status": "alive", "version": "v2.54.0"}
    assert "v2.54.0" in get(f"http://127.0.0.1:{instance.http_port}/")


def test_only_nginx_is_published_and_on_loopback_alone(instance: ContainerInstance) -> None:
    published = {name: instance.inspect(f"phase-{name}")["HostConfig"]["PortBindings"] or {} for name in COMPONENTS}
    assert [name for name, ports in published.items() if ports] == ["nginx"]
    assert {port["HostIp"] for ports in published["nginx"].values() for port in ports} == {"127.0.0.1"}


def test_reading_a_secret_leaves_an_event_with_the_clients_address(instance: ContainerInstance) -> None:
    (token, app, environment), *_others = instance.sql(
        "SELECT t.token, e.app_id, e.name FROM api_servicetoken t JOIN api_environment e ON e.app_id = t.app_id"
    )
    count = "SELECT count(*) FROM api_secretevent"
    [(before,)] = instance.sql(count)
    url = f"{instance.url}/secrets/?app={app}&env={environment}"
    secrets = json.loads(get(url, Authorization=f"Bearer Service {token}"))
    [(after,)] = instance.sql(count)
    assert before == EVENTS and len(secrets) > 0 and after - before == len(secrets)
    [(address, kind)] = instance.sql(
        "SELECT host(ip_address), event_type FROM api_secretevent ORDER BY timestamp DESC LIMIT 1"
    )
    gateway = instance.inspect(instance.network)["IPAM"]["Config"][0]["Gateway"]
    assert (address, kind) == (gateway, "R")  # what nginx sees of a client on this host


def test_the_backend_is_told_what_phase_is_told(instance: ContainerInstance) -> None:
    environment = dict(line.split("=", 1) for line in instance.inspect("phase-backend")["Config"]["Env"])
    assert environment["EXTERNAL_MIGRATION"] == "true"
    assert environment["ALLOWED_HOSTS"] == "127.0.0.1,backend"
    assert {name: environment[name] for name in instance.secrets} == instance.secrets
    worker = dict(line.split("=", 1) for line in instance.inspect("phase-worker")["Config"]["Env"])
    assert worker["EXTERNAL_MIGRATION"] == "false"  # the image's default: the Compose file says nothing


def test_names_tags_volumes_and_network_are_phases(instance: ContainerInstance) -> None:
    described = {name: instance.inspect(f"phase-{name}") for name in COMPONENTS}
    for name in ("migrations", "backend", "worker"):
        assert described[name]["Config"]["Image"] == "phasehq/backend:latest"
    assert described["frontend"]["Config"]["Image"] == "phasehq/frontend:latest"
    [configuration] = described["nginx"]["Mounts"]
    assert configuration["Destination"] == "/etc/nginx/conf.d/default.conf" and not configuration["RW"]
    assert Path(configuration["Source"]).is_file()
    [data] = described["postgres"]["Mounts"]
    assert data["Name"].endswith("phase-postgres-data") and data["Destination"] == "/var/lib/postgresql/data"
    assert not described["redis"]["Mounts"]
    assert all(list(one["NetworkSettings"]["Networks"]) == [instance.network] for one in described.values())
    assert instance.network.endswith("phase-net")
    assert all(
        name in one["NetworkSettings"]["Networks"][instance.network]["Aliases"] for name, one in described.items()
    )


def test_compose_knows_its_project_and_plain_containers_have_none(instance: ContainerInstance) -> None:
    labels = instance.inspect("phase-backend")["Config"]["Labels"]
    assert labels.get("com.docker.compose.project", "") == instance.project_name
    if isinstance(instance, ComposeInstance):
        services = json.loads(instance.compose("config", "--format", "json"))["services"]
        waits = {name: service["condition"] for name, service in services["worker"]["depends_on"].items()}
        assert waits == {
            "migrations": "service_completed_successfully",
            "postgres": "service_healthy",
            "redis": "service_started",
        }
        assert services["backend"]["depends_on"] == services["worker"]["depends_on"]


def test_the_database_is_where_its_release_leaves_it(instance: ContainerInstance) -> None:
    assert applied(instance) == of_phase(facts.level("v2.54.0")["migrations"])
    assert instance.manage("migrate", "--check", check=False).returncode == 0


def test_without_redis_a_migration_is_applied_and_still_fails(instance: ContainerInstance) -> None:
    """The last test that sees v2.54.0: it goes on to v2.66.0 as an upgrade by hand would."""
    instance.redis_stop()
    done = instance.manage("migrate", version="v2.66.0", check=False)
    instance.redis_start()
    assert done.returncode == 1
    assert applied(instance) == of_phase(facts.level("v2.66.0")["migrations"])
    instance.use("v2.66.0")
    assert json.loads(get(f"{instance.url}/health/"))["version"] == "v2.66.0"
    assert "v2.66.0" in get(f"http://127.0.0.1:{instance.http_port}/")
