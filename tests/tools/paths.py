# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Where things are, and what is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".build"
LOGS = BUILD / "logs"
REQUIREMENTS = ROOT / "tests" / "requirements"
CACHE = Path(os.environ.get("PHASE_CONSOLE_CACHE") or "~/.cache/phase.console").expanduser()
"""Outside the checkout, so that a fresh clone is fast as well; everything in it is keyed by what it was made from."""
