# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Fixtures of the tests that run for real: Ansible, and a stand-in Phase on this host or in containers.

What ``local_instance`` made is gone after the test, what ``module_local_instance`` made after the file. A failed test
leaves its runs' outputs and its instances' logs in .build/artefacts/<test>.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.harness import Ansible
from sandbox import cluster as clusters
from sandbox import engine as engines
from sandbox.cluster import Cluster
from sandbox.cluster.instance import ClusterInstance
from sandbox.compose import ComposeInstance
from sandbox.docker_instance import DockerInstance
from sandbox.local import LocalInstance

HERE = Path(__file__).resolve().parent
ARTEFACTS = HERE.parents[1] / ".build" / "artefacts"
TIERS = {"postgresql": 600, "docker": 900, "kubernetes": 600}
"""The folders, each a marker as well, with the seconds a test may take unless it says otherwise itself."""

ALONE = {"test_progress.py", "test_other_cores.py"}
"""Files that ./test.sh runs when no others of their tier run: those that measure how soon something comes, and those
that start an ansible-core from 2.19 on with cold caches, which gives its own start five seconds."""

LONG = ["test_upgrade.py", "test_recover.py", "test_versions.py", "test_secrets.py", "test_migrate_interrupted.py"]
"""Files that take minutes begin first, so that no worker is left alone with one at the end."""

Factory = Callable[..., Any]


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # whose fixtures stop what they have started
    config.addinivalue_line("markers", "alone: measures times; set for the files in ALONE")
    config.addinivalue_line("markers", "trial: not seen to pass yet; ./test.sh leaves it out unless it is named")
    for tier in TIERS:
        config.addinivalue_line("markers", f"{tier}: needs what the {tier} tier brings; set by the test's folder")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
    for item in items:
        tier = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if tier in TIERS:
            item.add_marker(tier)
            if item.path.name in ALONE:
                item.add_marker("alone")
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(TIERS[tier]))


@pytest.fixture(scope="session")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ansible]:
    """Ansible with a home of its own."""
    runner = Ansible(tmp_path_factory.mktemp("ansible"))
    yield runner
    runner.close()


@contextlib.contextmanager
def _local_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with contextlib.ExitStack() as instances:

        def start(version: str = "v2.66.0", events: int = 0, **options: Any) -> LocalInstance:
            instance = LocalInstance.start(tmp_path_factory.mktemp("local"), version, events, **options)
            instances.callback(instance.remove)
            return instance

        yield start


@contextlib.contextmanager
def _container_factory(
    kind: type[ComposeInstance] | type[DockerInstance], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Factory]:
    with contextlib.ExitStack() as instances:

        def start(version: str = "v2.66.0", events: int = 0, **options: Any) -> ComposeInstance | DockerInstance:
            instance = kind.start(tmp_path_factory.mktemp("phase"), version, events, **options)
            return instances.enter_context(instance)

        yield start


@pytest.fixture
def local_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """``local_instance(version, events, superuser=True)``: a stand-in of processes on this host."""
    with _local_factory(tmp_path_factory) as factory:
        yield factory


@pytest.fixture(scope="module")
def module_local_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with _local_factory(tmp_path_factory) as factory:
        yield factory


@pytest.fixture
def compose_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """``compose_instance(version, events, variant=...)``: a Compose project; one instance at a time on an engine."""
    with _container_factory(ComposeInstance, tmp_path_factory) as factory:
        yield factory


@pytest.fixture(scope="module")
def module_compose_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with _container_factory(ComposeInstance, tmp_path_factory) as factory:
        yield factory


@pytest.fixture
def docker_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """``docker_instance(version, events, variant=...)``: the same in plain containers."""
    with _container_factory(DockerInstance, tmp_path_factory) as factory:
        yield factory


@pytest.fixture(scope="module")
def module_docker_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with _container_factory(DockerInstance, tmp_path_factory) as factory:
        yield factory


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The Kubernetes of this run; a node of its own when the tests were not started by ./test.sh."""
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(clusters.running())
        except clusters.ClusterMissing as missing:
            if engines.wanted():
                raise
            pytest.skip(str(missing))
        yield found


@contextlib.contextmanager
def _cluster_factory(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with contextlib.ExitStack() as instances:

        def start(version: str = "v2.66.0", events: int = 0, **options: Any) -> ClusterInstance:
            folder = tmp_path_factory.mktemp("phase")
            instance = ClusterInstance.start(folder, version, events, cluster=cluster, **options)
            return instances.enter_context(instance)

        yield start


@pytest.fixture
def cluster_instance(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """``cluster_instance(version, events, replicas=2, release="phase", variant=...)``: in a namespace of its own."""
    with _cluster_factory(cluster, tmp_path_factory) as factory:
        yield factory


@pytest.fixture(scope="module")
def module_cluster_instance(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    with _cluster_factory(cluster, tmp_path_factory) as factory:
        yield factory


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Keep what a failed test left, before its fixtures tidy up."""
    report = yield
    if report.failed:
        folder = ARTEFACTS / re.sub(r"[^\w.-]+", "_", item.nodeid)
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Ansible):
                value.keep(folder / name)
            elif isinstance(value, LocalInstance):
                shutil.copytree(value.directory / "log", folder / name, dirs_exist_ok=True)
            elif isinstance(value, (ComposeInstance, DockerInstance, ClusterInstance)):
                (folder / name).mkdir(parents=True, exist_ok=True)
                (folder / name / "containers").write_text(value.trouble(), encoding="utf-8")
        if folder.exists():
            report.sections.append(("artefacts", str(folder)))
    return report
