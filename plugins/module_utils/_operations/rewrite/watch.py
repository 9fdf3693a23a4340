# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is in the way of the swap.

A rewritten table has none of the versions that an older snapshot could see: whoever reads it first after the swap, with
a snapshot from before the copy, would find no row and no error (as after the table-rewriting forms of ALTER TABLE:
documentation, 13.6 Caveats). So whoever has a snapshot is waited for, and whoever has a lock.
"""

from __future__ import annotations

from typing import Any, ContextManager, Iterable, List, Sequence

from ..core.pooler import held
from ..core.sessions import Blocker, in_the_way, snapshots, strong_waiters, wanted_mode


class Watch:
    """``tables``: the table and those that refer to it; ``parents``: those it refers to; ``own``: our processes."""

    def __init__(self, connection: Any, tables: Sequence[int], parents: Sequence[int], own: Iterable[int]) -> None:
        self._connection = connection
        self._tables, self._parents, self._own = list(tables), list(parents), list(own)

    def held(self) -> ContextManager[None]:
        """For looking while a lock is held that others wait for."""
        return held(self._connection)

    def snapshots(self, waiting_for_us: bool) -> List[Blocker]:
        """Whoever has a snapshot; without those who wait for our lock if that is so: they take a new one after it.

        That is READ COMMITTED, which the application uses.
        """
        waited = self._tables + self._parents if waiting_for_us else []
        return snapshots(self._connection, self._own, waited)

    def in_the_way(self) -> List[Blocker]:
        return self.snapshots(False) + in_the_way(self._connection, self._tables, self._parents, self._own)

    def strong_waiter(self) -> str:
        """In words; empty when there is none."""
        found = strong_waiters(self._connection, self._tables, self._own)
        return "%s waits for %s on the table" % (found[0], wanted_mode(found[0].what)) if found else ""
