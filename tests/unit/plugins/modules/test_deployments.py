# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module by every deployment: what is supported, and what a refusal says. The page has the same table."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.argspec import EVERYWHERE
from ansible_collections.phase.console.plugins.module_utils._call.targets import BUILDERS, run_module

from .arguments import patch_module_args

ROOT = Path(__file__).resolve().parents[4]
PLACE = "ansible_collections.phase.console.plugins.modules."
MODULES = {
    path.stem: importlib.import_module(PLACE + path.stem)
    for path in sorted((ROOT / "plugins/modules").glob("phase_*.py"))
}
WITH_TARGET = {name: module.SPEC for name, module in MODULES.items() if module.run_module is run_module}
NAMED = {
    "local": {"manage_dir": "/nonexistent"},
    "compose": {"project_name": "phase"},
    "database": {"login_host": "192.0.2.1"},
    "docker": {},
    "kubernetes": {"namespace": "phase", "kubernetes": {"context": "nowhere"}},
}
GIVEN = {"dest": "/nonexistent/", "name": "phase-worker", "image": "phasehq/backend:v1"}


def table():
    """The rows of the guide "deployments"."""
    rows = [["module", *EVERYWHERE]]
    for name, spec in WITH_TARGET.items():
        rows.append(
            ["``%s``" % name, *("yes" if deployment in spec.deployments else "no" for deployment in EVERYWHERE)]
        )
    return "".join("   * - %s\n" % "\n     - ".join(row) for row in rows)


def test_the_page_has_this_table():
    page = (ROOT / "docs/docsite/rst/guide_deployments.rst").read_text(encoding="utf-8")
    section = page.partition("What works where\n")[2]
    assert "\n\n%s\n" % table() in section


def test_every_deployment_has_a_target():
    assert set(BUILDERS) == {"auto", *EVERYWHERE}


@pytest.mark.parametrize(
    ("name", "deployment"),
    [
        (name, deployment)
        for name, spec in WITH_TARGET.items()
        for deployment in EVERYWHERE
        if deployment not in spec.deployments
    ],
)
def test_what_is_not_supported_is_refused_at_once(capsys, name, deployment):
    spec = WITH_TARGET[name]
    given = {option: value for option, value in GIVEN.items() if spec.options.get(option, {}).get("required")}
    with patch_module_args({"deployment": deployment, **NAMED[deployment], **given}), pytest.raises(SystemExit):
        MODULES[name].main()
    result = json.loads(capsys.readouterr().out)
    assert result["error"]["kind"] == "not_supported", result["msg"]
    assert "deployment=%s" % deployment in result["msg"] and result["error"]["next_step"]
