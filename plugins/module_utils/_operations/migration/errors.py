# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can stand in the way of migrations, as types."""

from __future__ import annotations

from typing import Any, Dict, List

from ..._errors import PhaseError

RESTORE = (
    "Use an image at least as new as the database. Phase's migrations are one-way: restoring a backup from before the "
    "upgrade is the only way back."
)


class DatabaseAhead(PhaseError):
    """The ledger has migrations that the image does not know. ``migrate`` itself would not notice."""

    kind = "database_ahead"

    def __init__(self, unknown: List[str], image: str, partial: Dict[str, Any]) -> None:
        names = ", ".join(unknown[:5]) + (" and %d more" % (len(unknown) - 5) if len(unknown) > 5 else "")
        super().__init__(
            "The database is ahead of %s: it has %s, which the image does not know." % (image, names),
            RESTORE,
            partial=partial,
        )


class InconsistentHistory(PhaseError):
    """The ledger of migrations has gaps; nothing was changed."""

    kind = "inconsistent_history"


class ConflictingMigrations(PhaseError):
    """The image's own graph has more than one leaf in an app."""

    kind = "conflicting_migrations"


class StoppedByFinding(PhaseError):
    """The plan has a finding that stop_on names; nothing was changed."""

    kind = "stopped_by_finding"


class PackagesDiffer(PhaseError):
    """The packages of the Python differ from those that the checkout asks for."""

    kind = "packages_differ"


class LeftoverIndex(PhaseError):
    """An interrupted migration left an index that makes its next run fail."""

    kind = "leftover_index"


class IndexBusy(PhaseError):
    """A session is still building an index that a pending migration makes."""

    kind = "index_busy"


class LedgerMoved(PhaseError):
    """Something else migrates beside this."""

    kind = "ledger_moved"


class MigrationFailed(PhaseError):
    """A migration failed; ``applied`` lists the migrations before it."""

    kind = "migration_failed"
