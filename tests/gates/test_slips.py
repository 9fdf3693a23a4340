# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The list of slips keeps up with the code."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.slips import SLIPS, UTILS, Slip

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.guard)
def test_a_slip_has_its_place_and_its_test(slip: Slip) -> None:
    assert (ROOT / UTILS / slip.file).read_text(encoding="utf-8").count(slip.text) == 1
    file, _colons, name = slip.test.partition("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8")
