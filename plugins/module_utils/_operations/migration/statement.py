# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one statement does: kinds of work, modes of locks, and why the running version fails after it.

Kinds, from harmless to worst:
  none                    no table is touched (SET, SET CONSTRAINTS, sequences, types, a table that is made here)
  catalog_only            a lock, but no work that grows with the table
  validate                reads the table under a lock that lets reads and writes go on
  concurrent_index_build  CREATE INDEX CONCURRENTLY
  data                    changes or reads rows
  index_build             builds an index while writes (or everything) wait
  scan                    reads the whole table while writes (or everything) wait
  rewrite                 writes the whole table anew while everything waits
  unknown                 not understood

The modes are those of PostgreSQL's documentation, 13.3.1 "Table-Level Locks", from weak to strong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Iterable, List, Optional, Tuple

KINDS = (
    "none",
    "catalog_only",
    "validate",
    "concurrent_index_build",
    "data",
    "index_build",
    "scan",
    "rewrite",
    "unknown",
)

LOCKS = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
EXCLUSIVE = "ACCESS EXCLUSIVE"
SHARE_ROW = "SHARE ROW EXCLUSIVE"
SHARE_UPDATE = "SHARE UPDATE EXCLUSIVE"


def worst_kind(kinds: Iterable[str]) -> str:
    return max(kinds, key=KINDS.index, default="none")


def strongest(modes: Iterable[str]) -> str:
    return max(modes, key=LOCKS.index)


@dataclass
class Break:
    """Why the version that still runs fails once this is committed.

    ``value_required`` (NOT NULL without a default) is no matter of one statement, since Django gives a default and
    takes it away again: see ``required_values`` in ``migration/plan``.
    """

    table: str
    column: Optional[str]
    change: str  # value_required, dropped, renamed, type_changed, table_dropped, table_renamed


@dataclass
class Statement:
    sql: str
    kind: str = "none"
    locks: List[Tuple[str, str]] = field(default_factory=list)  # (table, mode), in the order they are taken
    why: List[str] = field(default_factory=list)
    breaks: List[Break] = field(default_factory=list)
    index: Optional[str] = None  # the index that CREATE INDEX makes
    work: List[str] = field(default_factory=list)  # tables whose size decides how long it takes

    def does(self, kind: str, why: str = "", work: Optional[str] = None) -> None:
        if KINDS.index(kind) > KINDS.index(self.kind):
            self.kind, self.work = kind, []
        if work is not None and kind == self.kind and work not in self.work:
            self.work.append(work)
        if why and why not in self.why:
            self.why.append(why)

    def lock(self, table: str, mode: str) -> None:
        known = dict(self.locks)
        known[table] = strongest([mode, known.get(table, mode)])
        self.locks = list(known.items())
