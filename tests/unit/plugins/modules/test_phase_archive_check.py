# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption
from ansible_collections.phase.console.plugins.module_utils._purge.archive_check import ArchiveDamaged
from ansible_collections.phase.console.plugins.modules import phase_archive_check


def verify(path, check=False):
    told = []
    call = Call({"path": str(path)}, check, False, None, lambda message, **counters: told.append(message), told.append)
    return phase_archive_check.run(call)


def test_a_directory_without_archives(tmp_path):
    for check in (True, False):
        with pytest.raises(BadOption, match="no archive in"):
            verify(tmp_path, check)


def test_an_archive_without_a_manifest_tells_what_to_do(tmp_path):
    (tmp_path / "phase-purge-x.ndjson.gz").touch(0o600)
    with pytest.raises(ArchiveDamaged) as caught:
        verify(tmp_path)
    assert caught.value.next_step.endswith(".") and caught.value.partial["archives"][0]["state"] == "without a manifest"
