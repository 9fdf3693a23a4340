# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Each test of this tier is asked for what it leaves."""

from __future__ import annotations

from integration.leftovers import nothing_is_left

__all__ = ["nothing_is_left"]
