# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno

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


def test_what_a_program_cannot_be_fed_is_an_error_of_its_own(tmp_path):
    def blocks():
        yield b"a block"
        raise OSError(errno.EIO, "Input/output error", "/backups/x.dump")

    taken = bytearray()
    target = local.LocalTarget(str(tmp_path), "python3", local.Limits())
    with pytest.raises(OSError, match=r"x\.dump"):
        target.pipe(["cat"], taken.extend, stdin=blocks())
    assert taken == b"a block"
    assert target.pipe(["true"], taken.extend, stdin=iter([b"x" * 1_000_000] * 3)) == (0, "")
