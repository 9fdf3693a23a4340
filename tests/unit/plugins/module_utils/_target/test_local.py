# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._target import local


@pytest.mark.parametrize(
    ("python", "expected"),
    [
        ("python3", "python3"),
        ("/usr/bin/python3.12", "/usr/bin/python3.12"),
        (".venv/bin/python", "{new}/.venv/bin/python"),
        ("{current}/.venv/bin/python", "{new}/.venv/bin/python"),
        ("{old}/.venv/bin/python", "{new}/.venv/bin/python"),
        ("{old}-more/bin/python", "{old}-more/bin/python"),
    ],
)
def test_the_python_of_a_release(tmp_path, python, expected):
    names = {name: str(tmp_path / name) for name in ("old", "new", "current")}
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    (tmp_path / "current").symlink_to(tmp_path / "old")
    found = local.interpreter(python.format(**names), names["current"], names["new"])
    assert found == expected.format(**names)
