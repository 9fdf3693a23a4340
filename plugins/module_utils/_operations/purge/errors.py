# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The errors of a purge."""

from __future__ import annotations

from ..._errors import PhaseError


class UnknownApp(PhaseError):
    """No app has that id."""

    kind = "unknown_app"


class UnknownLayout(PhaseError):
    """The tables are not those that the rules were written for."""

    kind = "unknown_layout"


class RetainTooShort(PhaseError):
    """retain_days, or the days of another log, is below minimum_retain_days."""

    kind = "retain_too_short"


class PurgeBlocked(PhaseError):
    """Another session held a lock for longer than the purge waits."""

    kind = "purge_blocked"
