# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of the schema while a plan is walked: at first the live catalog, then as the statements change it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Set, Tuple


@dataclass
class Column:
    type: str
    not_null: bool = False
    default: bool = False


@dataclass
class Constraint:
    name: str
    table: str
    type: str  # as pg_constraint.contype: p, u, f, c, x, n
    columns: Tuple[str, ...] = ()
    references: Optional[str] = None
    referenced_columns: Tuple[str, ...] = ()


@dataclass
class Index:
    name: str
    table: str
    unique: bool = False
    columns: Tuple[str, ...] = ()


@dataclass
class Schema:
    """Tables, columns, constraints and indexes, at first those of the live catalog, then as the plan changes them.

    ``created`` are tables that the plan makes: nobody uses them yet, so locks on them do not matter.
    ``added`` and ``dropped`` are names of constraints and indexes, for the overlay over Django's introspection.
    """

    columns: Dict[str, Dict[str, Column]] = field(default_factory=dict)
    constraints: Dict[str, Constraint] = field(default_factory=dict)
    indexes: Dict[str, Index] = field(default_factory=dict)
    created: Set[str] = field(default_factory=set)
    added: Set[str] = field(default_factory=set)
    dropped: Set[str] = field(default_factory=set)
    renamed_tables: Dict[str, str] = field(default_factory=dict)  # new name -> name in the live catalog
    renamed_columns: Dict[str, Dict[str, str]] = field(default_factory=dict)  # table -> live name -> new name

    def column(self, table: str, name: str) -> Optional[Column]:
        return self.columns.get(table, {}).get(name)

    def add_constraint(self, constraint: Constraint) -> None:
        self.constraints[constraint.name] = constraint
        self.added.add(constraint.name)

    def add_index(self, index: Index) -> None:
        self.indexes[index.name] = index
        self.added.add(index.name)

    def drop(self, name: str) -> None:
        self.constraints.pop(name, None)
        self.indexes.pop(name, None)
        self.added.discard(name)
        self.dropped.add(name)

    def foreign_keys(self, table: str, column: Optional[str] = None) -> List[Constraint]:
        """Foreign keys from the table, or from one of its columns."""
        return [
            c
            for c in self.constraints.values()
            if c.type == "f" and c.table == table and (column is None or column in c.columns)
        ]

    def referencing(self, table: str) -> List[Constraint]:
        return [c for c in self.constraints.values() if c.type == "f" and c.references == table]

    def rename_table(self, old: str, new: str) -> None:
        self.columns[new] = self.columns.pop(old, {})
        for holder in list(self.constraints.values()) + list(self.indexes.values()):
            if holder.table == old:
                holder.table = new
            if isinstance(holder, Constraint) and holder.references == old:
                holder.references = new
        if old in self.created:
            self.created.remove(old)
            self.created.add(new)
        else:
            self.renamed_tables[new] = self.renamed_tables.pop(old, old)
        self.renamed_columns[new] = self.renamed_columns.pop(old, {})

    def rename_column(self, table: str, old: str, new: str) -> None:
        columns = self.columns.get(table, {})
        if old in columns:
            columns[new] = columns.pop(old)
        names = self.renamed_columns.setdefault(table, {})
        names[next((live for live, now in names.items() if now == old), old)] = new
        for holder in list(self.constraints.values()) + list(self.indexes.values()):
            if holder.table == table:
                holder.columns = tuple(new if name == old else name for name in holder.columns)

    def drop_table(self, table: str) -> None:
        self.columns.pop(table, None)
        for name in [c.name for c in self.constraints.values() if table in (c.table, c.references)]:
            self.drop(name)
        for name in [i.name for i in self.indexes.values() if i.table == table]:
            self.drop(name)
        self.created.discard(table)

    def drop_column(self, table: str, column: str) -> None:
        self.columns.get(table, {}).pop(column, None)
        held: List[Any] = list(self.constraints.values()) + list(self.indexes.values())
        for holder in held:
            if holder.table == table and column in holder.columns:
                self.drop(holder.name)


def overlay(schema: Schema, table: str, live: Dict[str, Dict[str, Any]]) -> Dict[str, Dict[str, Any]]:
    """Django's answer to ``introspection.get_constraints`` as it will be at this point of the plan.

    ``live`` is the answer for the table's name in the live catalog. What earlier pending statements dropped, added or
    renamed is put on top, in the same shape, so that an operation that looks for a constraint finds what it will find.
    """
    renamed = schema.renamed_columns.get(table, {})
    result: Dict[str, Dict[str, Any]] = {}
    for name, facts in live.items():
        if name not in schema.dropped:
            result[name] = dict(facts, columns=[renamed.get(column, column) for column in facts["columns"] or []])
    for name in sorted(schema.added):
        constraint, index = schema.constraints.get(name), schema.indexes.get(name)
        if constraint is not None and constraint.table == table:
            result[name] = _introspected(
                list(constraint.columns),
                primary_key=constraint.type == "p",
                unique=constraint.type in "pu",
                check=constraint.type == "c",
                foreign_key=(constraint.references, constraint.referenced_columns[0])
                if constraint.type == "f" and constraint.referenced_columns
                else None,
            )
        elif index is not None and index.table == table:
            result[name] = _introspected(
                list(index.columns), unique=index.unique, index=True, type="idx", orders=["ASC"] * len(index.columns)
            )
    return result


def _introspected(columns: List[str], **facts: Any) -> Dict[str, Any]:
    shape: Dict[str, Any] = {
        "columns": columns,
        "primary_key": False,
        "unique": False,
        "foreign_key": None,
        "check": False,
        "index": False,
        "definition": None,
        "options": None,
    }
    return dict(shape, **facts)
