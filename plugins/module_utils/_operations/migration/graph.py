# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image's graph of migrations against the ledger (django_migrations). Pure.

Names do not sort by age (Phase has prefixes twice, and later releases with lower numbers), so only the graph tells what
is newest.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Sequence, Set, Tuple

from .types import Duplicate

Key = Tuple[str, str]  # app, name
Row = Tuple[int, str, str]  # id, app, name


@dataclass
class Graph:
    """``parents`` by node; ``disk``: all migrations of the image; ``replaced``: by squash; ``conflicts``: by app."""

    parents: Dict[Key, List[Key]]
    disk: List[Key] = field(default_factory=list)
    replaced: Dict[Key, List[Key]] = field(default_factory=dict)
    conflicts: Dict[str, List[str]] = field(default_factory=dict)


def dotted(keys: Iterable[Key]) -> List[str]:
    return ["%s.%s" % (app, name) for app, name in keys]


def duplicates(rows: Sequence[Row]) -> List[Duplicate]:
    """Migrations with more than one row, which two migrates at once leave behind: harmless, and worth telling."""
    counts = Counter((app, name) for number, app, name in rows)
    return [
        {"name": "%s.%s" % key, "ids": [number for number, app, name in rows if (app, name) == key]}
        for key, count in sorted(counts.items())
        if count > 1
    ]


def known(graph: Graph) -> List[Key]:
    """All migrations that the image has or had, those that a squashed one replaced included."""
    replaced = {key for keys in graph.replaced.values() for key in keys}
    return sorted(set(graph.disk) | set(graph.parents) | replaced)


def unknown(graph: Graph, applied: Iterable[Key]) -> List[Key]:
    """Applied migrations that the image does not have: the database is ahead of it.

    Rows of an app that the image does not have at all count as well. No release of Phase from v2.37.2 to v2.73.2 has
    dropped an app or a migration.
    """
    return sorted(set(applied) - set(known(graph)))


def inconsistent(graph: Graph, applied: Iterable[Key]) -> List[Tuple[Key, Key]]:
    """(migration, dependency) pairs where the migration is applied and what it depends on is not.

    A squashed dependency counts as applied when all that it replaces is (as in Django's check_consistent_history).
    """
    done = set(applied)

    def satisfied(key: Key) -> bool:
        parts = graph.replaced.get(key)
        return key in done or bool(parts and all(part in done for part in parts))

    return sorted(
        (key, parent)
        for key, parents in graph.parents.items()
        if key in done
        for parent in parents
        if not satisfied(parent)
    )


def leaves(graph: Graph, within: Iterable[Key]) -> List[Key]:
    """The members of ``within`` that no other member of the same app depends on."""
    members = set(within)
    inner: Set[Key] = set()
    for key in members:
        inner.update(parent for parent in graph.parents.get(key, []) if parent[0] == key[0])
    return sorted(members - inner)
