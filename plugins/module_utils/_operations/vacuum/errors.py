# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can stand in the way of vacuuming, as types."""

from __future__ import annotations

from ..._errors import PhaseError


class UnknownTable(PhaseError):
    """The database has no table of that name."""

    kind = "unknown_table"


class NotConfirmed(PhaseError):
    """FULL keeps everybody out of the table, so it wants to be confirmed."""

    kind = "not_confirmed"


class Unsuitable(PhaseError):
    """The mode cannot work on this table or this server."""

    kind = "unsuitable"


class Skipped(PhaseError):
    """PostgreSQL said that it left a table out."""

    kind = "skipped"
