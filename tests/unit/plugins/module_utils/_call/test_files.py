# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.files import check_folder
from ansible_collections.phase.console.plugins.module_utils._errors import SystemRefused, refusal


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_each_error_of_the_system_is_a_sentence(number):
    for path in ("", "/backups/x"):
        error = refusal(OSError(number, os.strerror(number), path or None))
        assert "[Errno" not in error.message and error.message.endswith(".") and error.next_step.endswith(".")
        assert path in error.message


def test_an_error_without_a_number():
    assert refusal(OSError("odd")).message == "The operating system refused: odd."


def test_a_folder_that_can_be_made(tmp_path):
    check_folder(str(tmp_path / "a" / "b"))
    check_folder(str(tmp_path))


def test_a_folder_below_a_file(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for folder in ("file", "file/below/it"):
        with pytest.raises(SystemRefused, match="is below a file"):
            check_folder(str(tmp_path / folder))


def test_a_folder_on_a_read_only_file_system(tmp_path, monkeypatch):
    volume = os.statvfs(tmp_path)
    fields = [*volume[:8], volume.f_flag | os.ST_RDONLY, volume.f_namemax]
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(fields))
    with pytest.raises(SystemRefused, match="read-only file system"):
        check_folder(str(tmp_path / "backups"))
