# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can stand in the way of rewriting a table online, as types."""

from __future__ import annotations

from ..._errors import PhaseError


class RewriteRefused(PhaseError):
    """The table has something that a copy would lose, or the role may not make one. Nothing was changed."""

    kind = "rewrite_refused"


class RewriteBlocked(PhaseError):
    """Others held locks or old snapshots for longer than the rewrite waits. The table is as it was."""

    kind = "rewrite_blocked"


class RewriteStopped(PhaseError):
    """The caller's limit was reached before the swap. The table is as it was; ``reason`` says which."""

    kind = "rewrite_stopped"

    def __init__(self, reason: str) -> None:
        super().__init__("The rewrite was stopped before the swap (%s)." % reason, "Run it again with more time.")
        self.reason = reason
