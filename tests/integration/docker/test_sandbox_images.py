# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The images: built from Debian packages, never twice, and never over somebody else's tags."""

from __future__ import annotations

import time

import pytest
from sandbox import engine as engines
from sandbox import facts, images
from sandbox.engine import Engine


@pytest.fixture(scope="module")
def engine() -> Engine:
    found = engines.ensure()
    images.ensure(found)
    return found


@pytest.fixture
def foreign(engine: Engine):
    """An image of somebody else's: without our label."""
    name = "phase-console-sandbox-test/foreign:latest"
    engine.docker("import", "--change", 'CMD ["none"]', "-", name, stdin=bytes(10240))  # an empty tar archive
    yield name
    engine.docker("image", "rm", name)


def python(engine: Engine, image: str, program: str) -> str:
    return engine.docker("run", "--rm", image, "python", "-c", program)


def test_images_that_are_up_to_date_cost_little(engine: Engine) -> None:
    images.content.cache_clear()
    started = time.monotonic()
    assert images.ensure(engine) == []
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("version", images.VERSIONS)
def test_a_backend_image_is_its_release(engine: Engine, version: str) -> None:
    program = (
        "import django, os; print(django.VERSION[:2], open('version.txt').read(), os.environ['EXTERNAL_MIGRATION'])"
    )
    assert python(engine, images.backend(version), program) == f"(4, 2) {version}\n false"


@pytest.mark.parametrize("version", images.VERSIONS)
def test_a_backend_image_brings_its_releases_migrations(engine: Engine, version: str) -> None:
    program = (
        "import os, django; os.environ.update(DJANGO_SETTINGS_MODULE='backend.settings', ALLOWED_HOSTS='x', "
        "ALLOWED_ORIGINS='x'); django.setup(); from django.db.migrations.loader import MigrationLoader; "
        "graph = MigrationLoader(None).graph; print(*graph.leaf_nodes('api')[0]); "
        "print(*(name for app, name in graph.nodes if app == 'api'))"
    )
    leaf, names = python(engine, images.backend(version), program).splitlines()
    known = facts.level(version)
    assert leaf == f"api {known['api_leaf']}"
    assert {f"api.{name}" for name in names.split()} == {m for m in known["migrations"] if m.startswith("api.")}


def test_a_backend_image_is_laid_out_as_phases(engine: Engine) -> None:
    form = "{{.Config.WorkingDir}} {{.Config.User}} {{json .Config.Entrypoint}}"
    assert engine.docker("image", "inspect", "--format", form, images.backend("v2.66.0")) == "/app app null"


def test_five_releases_share_all_but_their_last_layer(engine: Engine) -> None:
    layers = [
        engine.docker("image", "inspect", "--format", '{{join .RootFS.Layers " "}}', images.backend(version)).split()
        for version in images.VERSIONS
    ]
    assert len({tuple(one[:-1]) for one in layers}) == 1
    assert len({one[-1] for one in layers}) == len(layers)


def test_an_image_without_the_driver_has_a_python_without_it(engine: Engine) -> None:
    images.ensure(engine, [images.without_psycopg2("v2.66.0")])
    program = "import importlib.util as u; print(u.find_spec('psycopg2'), u.find_spec('django') is not None)"
    assert python(engine, images.without_psycopg2("v2.66.0"), program) == "None True"


def test_a_real_phases_tag_is_left_alone(engine: Engine, foreign: str) -> None:
    ours = images.frontend("v2.66.0")
    identity = engine.docker("image", "inspect", "--format", "{{.Id}}", ours)
    try:
        engine.docker("tag", foreign, ours)
        engine.docker("tag", foreign, images.backend("latest"))
        with pytest.raises(images.ImagesError, match="somebody's real Phase"):
            images.ensure(engine, [ours])
        with pytest.raises(images.ImagesError, match="latest"):
            images.point_latest(engine, "v2.66.0")
        images.forget_latest(engine)
        assert images.labels(engine, [images.backend("latest")]) == {images.backend("latest"): None}
    finally:
        engine.docker("image", "rm", images.backend("latest"))
        engine.docker("tag", identity, ours)
