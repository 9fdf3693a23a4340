# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module on every deployment without each third-party package in turn: a sentence that names it, a next step."""

from __future__ import annotations

import ast
import json
import sys

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import ApplicationFailed
from ansible_collections.phase.console.plugins.module_utils._operations.core.django import with_django

from .arguments import patch_module_args
from .test_deployments import GIVEN, MODULES, NAMED, ROOT, WITH_TARGET

SDK = ("docker", "requests", "urllib3")
PACKAGES = {
    "auto": SDK,
    "docker": (*SDK, "paramiko"),
    "compose": SDK,
    "kubernetes": ("yaml",),
    "database": ("psycopg2",),
    "local": ("psycopg2",),
}
# No SDK is needed to miss a part of it.
STANDINS = {
    "docker": "import requests\nclass errors:\n    DockerException = NotFound = type('E', (Exception,), {})\n",
    "requests": "import urllib3\nclass exceptions:\n    RequestException = type('E', (Exception,), {})\n",
    "urllib3": "",
}
FAR = "local"  # where the packages are those of another process
WITHOUT_DRIVER = {"phase_health", "phase_nginx"}  # which ask no database
KINDS = {"library_missing", "psycopg2_missing"}
# What a module wants to know before it goes anywhere.
ASKED = {
    "phase_purge_logs": {"organisation": "SpaceX"},
    "phase_network_policy": {"organisation": "SpaceX"},
    "phase_sso": {"organisation": "SpaceX"},
    "phase_vacuum": {"table": "api_secretevent"},
    "phase_nginx": {"content": "events {}"},
    "phase_rollout": {"image": "phasehq/backend:v1"},
    "phase_health": {"wait_timeout": 0},
}
CALLED = {"yaml": "PyYAML", "requests": "docker", "urllib3": "docker"}  # what is to be installed


def imported():
    """Top-level names of the packages that the plugins import."""
    found = set()
    for path in (ROOT / "plugins/module_utils").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found


@pytest.mark.skipif(not hasattr(sys, "stdlib_module_names"), reason="this Python cannot tell")
def test_every_package_that_is_imported_is_taken_away_below():
    foreign = imported() - set(sys.stdlib_module_names) - {"ansible"}
    assert foreign == {name for names in PACKAGES.values() for name in names} - {"urllib3", "paramiko"} | {"django"}


def test_without_django(without):
    without("django")
    with pytest.raises(ApplicationFailed, match="has no Django") as refused:
        with_django(lambda: None)
    assert refused.value.next_step


@pytest.fixture
def without(tmp_path, monkeypatch):
    """``without(package)``: it cannot be imported, here and, with the path that is returned, in another process."""
    before = dict(sys.modules)

    def take(package):
        for name in [*sys.modules]:
            if name.partition(".")[0] in (*SDK, package):
                del sys.modules[name]
        for name, text in STANDINS.items():
            (tmp_path / "sdk").mkdir(exist_ok=True)
            (tmp_path / "sdk" / (name + ".py")).write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path / "sdk"))
        sys.modules[package] = None
        (tmp_path / "site").mkdir()
        text = "raise ModuleNotFoundError(\"No module named '%s'\", name='%s')\n" % (package, package)
        (tmp_path / "site" / (package + ".py")).write_text(text, encoding="utf-8")
        return str(tmp_path / "site")

    yield take
    for name in [*sys.modules]:
        if name not in before:
            del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.parametrize(
    ("name", "deployment", "package"),
    [
        (name, deployment, package)
        for name, spec in WITH_TARGET.items()
        for deployment in (*spec.deployments, *(["auto"] if "docker" in spec.deployments else []))
        for package in PACKAGES[deployment]
    ],
)
def test_without_a_package(capsys, tmp_path, without, name, deployment, package):
    spec = WITH_TARGET[name]
    given = {option: value for option, value in GIVEN.items() if spec.options.get(option, {}).get("required")}
    given.update(NAMED.get(deployment, {}), deployment=deployment)
    given.update({option: value for option, value in ASKED.get(name, {}).items() if option in spec.options})
    site = without(package)
    if package == "paramiko":
        given["docker"] = {"docker_host": "ssh://nobody@192.0.2.1"}
    if deployment == "kubernetes":
        (tmp_path / "config").write_text("contexts: []\n", encoding="utf-8")
        given["kubernetes"] = {"kubeconfig": str(tmp_path / "config")}
    if deployment == FAR:
        for file in ("manage.py", "x.dump"):
            (tmp_path / file).write_text("", encoding="utf-8")
        given.update({"src": str(tmp_path)} if name == "phase_restore" else {})
        settings = {"DATABASE_%s" % one: "127.0.0.1" for one in ("HOST", "NAME", "USER")}
        settings.update(PYTHONPATH=site, DATABASE_PORT="1")
        given.update(manage_dir=str(tmp_path), python=sys.executable, environment=settings)
    with patch_module_args(given), pytest.raises(SystemExit):
        MODULES[name].main()
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert "Traceback" not in out + err and result["error"]["next_step"]
    assert result["error"]["kind"] not in ("unforeseen", "stream_lost"), result["msg"]
    if deployment != FAR or name not in WITHOUT_DRIVER:
        assert result["error"]["kind"] in KINDS, result["msg"]
        assert CALLED.get(package, package) in result["msg"]
