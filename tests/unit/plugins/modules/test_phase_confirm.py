# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._access.confirm import NothingWaits
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.modules import phase_confirm


def confirm(path, check=False, **more):
    params = {name: option.get("default") for name, option in phase_confirm.SPEC.options.items()}
    return phase_confirm.run(Call({**params, "path": str(path), **more}, check, False, None, None, None))


def test_a_question_and_its_answer(tmp_path):
    path = tmp_path / "snapshot"
    assert confirm(path, answer="ask", within="5m", look=0.0)["answer"] is None
    assert (tmp_path / "snapshot.waiting").stat().st_mode & 0o777 == 0o600
    assert confirm(str(path) + "/") == {"changed": True, "answer": "kept", "left": 0.0, "path": str(path)}
    assert confirm(path, answer="ask")["answer"] == "kept"


def test_check_mode_asks_nobody(tmp_path):
    path = tmp_path / "snapshot"
    assert confirm(path, check=True, answer="ask", within="90") == {
        "changed": False,
        "answer": None,
        "left": 90.0,
        "path": str(path),
    }
    assert list(tmp_path.iterdir()) == []


def test_an_answer_needs_a_question(tmp_path):
    with pytest.raises(NothingWaits):
        confirm(tmp_path / "snapshot")
