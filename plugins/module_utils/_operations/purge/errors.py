# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can stand in the way of a purge, as types."""

from __future__ import annotations

from ..._errors import PhaseError


class UnknownApp(PhaseError):
    kind = "unknown_app"


class UnknownLayout(PhaseError):
    """The tables are not those that the rule of what may go was written for."""

    kind = "unknown_layout"


class RetainTooShort(PhaseError):
    kind = "retain_too_short"


class NotAllowed(PhaseError):
    """The role lacks a privilege that the strategy needs."""

    kind = "not_allowed"


class PurgeRunning(PhaseError):
    kind = "lock_held"


class PurgeBlocked(PhaseError):
    """Somebody held a lock for longer than the purge waits."""

    kind = "purge_blocked"


class NotDelivered(PhaseError):
    """The stock command would delete events that a log stream has not delivered."""

    kind = "not_delivered"


class StockUnsafe(PhaseError):
    """The application's own command deletes more than read events in this release."""

    kind = "stock_unsafe"


class StockFailed(PhaseError):
    kind = "stock_failed"
