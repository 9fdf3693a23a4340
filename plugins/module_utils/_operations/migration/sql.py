# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the statements of a migration do to PostgreSQL: which locks, and how much work under them.

Reads the DDL that Django's schema editor writes, and hand-written SQL of the same kinds. It is no full parser: what it
does not know gets the kind ``unknown``, which callers treat as the worst case. ``migration/statement`` has the kinds.

Sources (PostgreSQL documentation, 12 to 18): 13.3.1 "Table-Level Locks"; ALTER TABLE, "Description" for the lock of
each form; CREATE INDEX, "Building Indexes Concurrently"; DROP INDEX; REINDEX; COMMENT; CREATE TRIGGER.
"""

from __future__ import annotations

from typing import Callable, List, Sequence, Tuple

from ..core.tokens import NotUnderstood, Reader, Token, commas, split, tokens
from .columns import ColumnDefinition, index_columns, join, read_constraint, type_change
from .schema import Column, Index, Schema
from .statement import EXCLUSIVE, LOCKS, SHARE_ROW, SHARE_UPDATE, Break, Statement


class _Analysis:
    """One statement, read with the schema as it will be then; the schema is moved on."""

    def __init__(self, text: str, parts: Sequence[Token], schema: Schema, server: int) -> None:
        self.read = Reader(parts)
        self.schema = schema
        self.server = server
        self.statement = Statement(text)

    def run(self) -> Statement:
        try:
            self._dispatch()
        except NotUnderstood:
            self._unknown()
        return self.statement

    def _unknown(self) -> None:
        """Worst case: every table of the schema that it names is locked whole."""
        named = {token.name for token in self.read.parts if token.kind in ("word", "quoted")}
        for token in self.read.parts:
            if token.kind == "string":  # DO blocks and dynamic SQL name tables inside of strings
                named.update(part.name for part in tokens(token.text.strip("'$")) if part.kind in ("word", "quoted"))
        self.statement.does("unknown", "not understood: taken as the worst case")
        for table in sorted(named & (set(self.schema.columns) | self.schema.created)):
            self.statement.lock(table, EXCLUSIVE)
            self.statement.does("unknown", work=table)

    def _dispatch(self) -> None:
        read = self.read
        for phrase, handler in _HANDLERS:
            if read.accept(phrase):
                handler(self)
                return
        raise NotUnderstood

    # Tables

    def nothing(self) -> None:
        self.read.rest()

    def create_table(self) -> None:
        read, schema = self.read, self.schema
        read.accept("if not exists")
        table = read.name()
        if not read.next_is("("):
            raise NotUnderstood  # CREATE TABLE AS reads other tables
        schema.created.add(table)
        schema.columns[table] = {}
        self.statement.lock(table, EXCLUSIVE)
        for item in commas(read.group()):
            part = Reader(item)
            if any(part.next_is(phrase) for phrase in _TABLE_CONSTRAINTS):
                self._add_constraint(table, part, new_table=True)
            elif not part.next_is("like"):
                self._define_column(table, part, new_table=True)

    def drop_table(self) -> None:
        self.read.accept("if exists")
        for table in self.read.names():
            self.statement.does("catalog_only")
            self.statement.lock(table, EXCLUSIVE)
            for key in self.schema.foreign_keys(table) + self.schema.referencing(table):
                for other in (key.table, key.references):
                    if other and other != table:
                        self.statement.lock(other, EXCLUSIVE)
            if table not in self.schema.created:
                self.statement.breaks.append(Break(table, None, "table_dropped"))
            self.schema.drop_table(table)

    def alter_table(self) -> None:
        read = self.read
        read.accept("if exists")
        read.accept("only")
        table = read.name()
        read.accept("*")
        if read.accept("rename to"):
            new = read.name()
            self.statement.does("catalog_only")
            self.statement.lock(table, EXCLUSIVE)
            if table not in self.schema.created:
                self.statement.breaks.append(Break(table, None, "table_renamed"))
            self.schema.rename_table(table, new)
            return
        for action in commas(read.rest()):
            self._alter(table, Reader(action))

    def _alter(self, table: str, action: Reader) -> None:
        """One action of ALTER TABLE."""
        for phrase, handler in _ACTIONS:
            if action.accept(phrase):
                handler(self, table, action)
                return
        for mode, phrases in _BRIEF_ACTIONS.items():
            if any(action.accept(phrase) for phrase in phrases):
                self.statement.lock(table, mode)
                self.statement.does("catalog_only")
                return
        self.statement.lock(table, EXCLUSIVE)
        self.statement.does("unknown", "not understood: taken as the worst case", table)

    def _add(self, table: str, action: Reader) -> None:
        if any(action.next_is(phrase) for phrase in _TABLE_CONSTRAINTS):
            self._add_constraint(table, action)
            return
        action.accept("column")
        action.accept("if not exists")
        self.statement.lock(table, EXCLUSIVE)
        self._define_column(table, action)

    def _validate(self, table: str, action: Reader) -> None:
        constraint = self.schema.constraints.get(action.name())
        self.statement.lock(table, SHARE_UPDATE)
        self.statement.does("validate", "checks the rows while reads and writes go on", table)
        if constraint is not None and constraint.references:
            self.statement.lock(constraint.references, "ROW SHARE")

    def _alter_constraint(self, table: str, action: Reader) -> None:
        self.statement.lock(table, SHARE_ROW)
        self.statement.does("catalog_only")

    def _move(self, table: str, action: Reader) -> None:
        self.statement.lock(table, EXCLUSIVE)
        self.statement.does("rewrite", "moves the whole table", table)

    def _define_column(self, table: str, part: Reader, new_table: bool = False) -> None:
        statement = self.statement
        definition = ColumnDefinition(table, part, self.server)
        self.schema.columns.setdefault(table, {})[definition.name] = definition.column
        for constraint in definition.constraints:
            self.schema.add_constraint(constraint)
        if definition.references and definition.references != table:
            statement.lock(definition.references, SHARE_ROW)
        if new_table:
            return
        statement.does("catalog_only")
        if definition.rewrite:
            statement.does("rewrite", "the default of the new column is computed for each row", table)
        if definition.indexed:
            statement.does("index_build", "builds a unique index while everything waits", table)
        if definition.checked:
            statement.does("scan", "checks each row while everything waits", table)
        if definition.column.not_null and not definition.column.default:
            statement.does("scan", "fails unless the table is empty", table)

    def _add_constraint(self, table: str, part: Reader, new_table: bool = False) -> None:
        found = read_constraint(table, part, self.schema)
        self.schema.add_constraint(found.constraint)
        other = found.constraint.references
        if not new_table:
            self.statement.lock(table, found.lock)
            self.statement.does(found.kind, found.why, table)
        if other and other != table:
            self.statement.lock(other, SHARE_ROW)

    def _drop_constraint(self, table: str, action: Reader) -> None:
        action.accept("if exists")
        name = action.name()
        constraint = self.schema.constraints.get(name)
        self.statement.does("catalog_only")
        self.statement.lock(table, EXCLUSIVE)
        if constraint is not None and constraint.references and constraint.references != table:
            self.statement.lock(constraint.references, EXCLUSIVE)
        self.schema.drop(name)

    def _rename_constraint(self, table: str, action: Reader) -> None:
        old = action.name()
        if not action.accept("to"):
            raise NotUnderstood
        new = action.name()
        self.statement.lock(table, EXCLUSIVE)
        self.statement.does("catalog_only")
        constraint = self.schema.constraints.get(old)
        self.schema.drop(old)
        if constraint is not None:
            constraint.name = new
            self.schema.add_constraint(constraint)

    def _drop_column(self, table: str, action: Reader) -> None:
        action.accept("if exists")
        column = action.name()
        self.statement.does("catalog_only")
        self.statement.lock(table, EXCLUSIVE)
        for key in self.schema.foreign_keys(table, column):
            if key.references and key.references != table:
                self.statement.lock(key.references, EXCLUSIVE)
        if table not in self.schema.created:
            self.statement.breaks.append(Break(table, column, "dropped"))
        self.schema.drop_column(table, column)

    def _rename_column(self, table: str, action: Reader) -> None:
        old = action.name()
        if not action.accept("to"):
            raise NotUnderstood
        self.statement.does("catalog_only")
        self.statement.lock(table, EXCLUSIVE)
        if table not in self.schema.created:
            self.statement.breaks.append(Break(table, old, "renamed"))
        self.schema.rename_column(table, old, action.name())

    def _alter_column(self, table: str, action: Reader) -> None:
        statement, name = self.statement, action.name()
        column = self.schema.column(table, name) or Column("")
        if action.accept("set statistics") or action.accept("set ("):
            statement.lock(table, SHARE_UPDATE)
            statement.does("catalog_only")
            return
        statement.lock(table, EXCLUSIVE)
        statement.does("catalog_only")
        if action.accept("set not null"):
            if not column.not_null:
                statement.does("scan", "checks each row for nulls while everything waits", table)
            column.not_null = True
        elif action.accept("drop not null"):
            column.not_null = False
        elif action.accept("set default"):
            column.default = True
        elif action.accept("drop default"):
            column.default = False
        elif action.accept("drop identity") or action.accept("drop expression"):
            action.accept("if exists")
        elif action.accept("add generated"):
            column.default = True
        elif action.accept("set storage") or action.accept("set compression"):
            pass
        elif action.accept("type") or action.accept("set data type"):
            new = join(action.until({"using", "collate"}))
            self._change_type(table, name, column, new, action)
        else:
            raise NotUnderstood

    def _change_type(self, table: str, name: str, column: Column, new: str, action: Reader) -> None:
        statement = self.statement
        rewrites, fits = type_change(column.type, new) if column.type else (True, False)
        collated = action.accept("collate") and bool(action.name())
        using = action.rest()
        plain = not using or [token.name for token in using[:3]] == ["using", name, "::"]
        if rewrites or not plain:
            known = " from %s" % column.type if column.type else ""
            statement.does("rewrite", "changes the type%s to %s" % (known, new), table)
        elif collated:
            statement.does("index_build", "rebuilds the indexes of the column while everything waits", table)
        if not fits and table not in self.schema.created:
            statement.breaks.append(Break(table, name, "type_changed"))
        column.type = new
        self.schema.columns.setdefault(table, {})[name] = column

    # Indexes

    def create_index(self, unique: bool = False) -> None:
        read, statement = self.read, self.statement
        concurrently = read.accept("concurrently")
        read.accept("if not exists")
        name = "" if read.next_is("on") else read.name()
        if not read.accept("on"):
            raise NotUnderstood
        read.accept("only")
        table = read.name()
        if read.accept("using"):
            read.name()
        columns = index_columns(read.group())
        statement.index = name
        self.schema.add_index(Index(name, table, unique, columns))
        if concurrently:
            statement.lock(table, SHARE_UPDATE)
            statement.does("concurrent_index_build", "reads and writes go on; waits for older transactions", table)
        else:
            statement.lock(table, "SHARE")
            statement.does("index_build", "writes wait while the index is built", table)

    def create_unique_index(self) -> None:
        self.create_index(unique=True)

    def drop_index(self) -> None:
        read = self.read
        concurrently = read.accept("concurrently")
        read.accept("if exists")
        for name in read.names():
            index = self.schema.indexes.get(name)
            self.statement.does("catalog_only")
            if index is not None:
                self.statement.lock(index.table, SHARE_UPDATE if concurrently else EXCLUSIVE)
            self.schema.drop(name)

    def alter_index(self) -> None:
        """Locks the index alone: since version 12 so that queries go on, before as if the table were locked."""
        read = self.read
        read.accept("if exists")
        name = read.name()
        index = self.schema.indexes.get(name)
        self.statement.does("catalog_only")
        if index is not None and self.server < 120000:
            self.statement.lock(index.table, EXCLUSIVE)
        if read.accept("rename to"):
            new = read.name()
            constraint = self.schema.constraints.get(name)
            self.schema.drop(name)
            if index is not None:
                index.name = new
                self.schema.add_index(index)
            if constraint is not None:
                constraint.name = new
                self.schema.add_constraint(constraint)

    def reindex(self) -> None:
        read = self.read
        if read.next_is("("):
            read.group()
        if not read.accept("table"):
            raise NotUnderstood
        concurrently = read.accept("concurrently")
        table = read.name()
        if concurrently:
            self.statement.lock(table, SHARE_UPDATE)
            self.statement.does("concurrent_index_build", "reads and writes go on", table)
        else:
            self.statement.lock(table, "SHARE")
            self.statement.does("index_build", "writes, and most reads, wait while the indexes are built", table)

    # Rows

    def write_rows(self) -> None:
        self.read.accept("only")
        self._rows(self.read.name(), "ROW EXCLUSIVE")

    def truncate(self) -> None:
        self.read.accept("table")
        self.read.accept("only")
        for table in self.read.names():
            self._rows(table, EXCLUSIVE)

    def _rows(self, table: str, mode: str) -> None:
        self.statement.lock(table, mode)
        self.statement.does("data", "changes rows", table)

    # Others

    def comment(self) -> None:
        if self.read.accept("table"):
            table = self.read.name()
        elif self.read.accept("column"):
            parts = [token.name for token in self.read.until({"is"}) if token.kind in ("word", "quoted")]
            if len(parts) < 2:
                raise NotUnderstood
            table = parts[-2]
        else:
            return
        self.statement.lock(table, SHARE_UPDATE)
        self.statement.does("catalog_only")

    def create_trigger(self) -> None:
        self.read.until({"on"})
        if not self.read.accept("on"):
            raise NotUnderstood
        self.statement.lock(self.read.name(), SHARE_ROW)
        self.statement.does("catalog_only")

    def lock_table(self) -> None:
        read = self.read
        read.accept("table")
        read.accept("only")
        names = read.names()
        mode = EXCLUSIVE
        if read.accept("in"):
            mode = " ".join(token.text.upper() for token in read.until({"mode"}))
        if mode not in LOCKS:
            raise NotUnderstood
        for table in names:
            self.statement.lock(table, mode)
        self.statement.does("catalog_only")


_TABLE_CONSTRAINTS = ("constraint", "unique", "primary key", "foreign key", "check", "exclude")

_Action = Callable[[_Analysis, str, Reader], None]

_ACTIONS: Tuple[Tuple[str, _Action], ...] = (
    ("add", _Analysis._add),
    ("validate constraint", _Analysis._validate),
    ("drop constraint", _Analysis._drop_constraint),
    ("drop column", _Analysis._drop_column),
    ("drop", _Analysis._drop_column),
    ("rename constraint", _Analysis._rename_constraint),
    ("rename column", _Analysis._rename_column),
    ("rename", _Analysis._rename_column),
    ("alter column", _Analysis._alter_column),
    ("alter constraint", _Analysis._alter_constraint),
    ("alter", _Analysis._alter_column),
    ("set logged", _Analysis._move),
    ("set unlogged", _Analysis._move),
    ("set tablespace", _Analysis._move),
    ("set access method", _Analysis._move),
)

# Actions that only change the catalog, by the lock they take.
_BRIEF_ACTIONS = {
    EXCLUSIVE: (
        "set schema",
        "owner to",
        "replica identity",
        "enable row level",
        "disable row level",
        "force row level",
        "no force row level",
    ),
    SHARE_ROW: ("enable", "disable"),
    SHARE_UPDATE: ("set (", "reset (", "cluster on"),
}

_HANDLERS = (
    ("create table", _Analysis.create_table),
    ("drop table", _Analysis.drop_table),
    ("alter table", _Analysis.alter_table),
    ("create unique index", _Analysis.create_unique_index),
    ("create index", _Analysis.create_index),
    ("drop index", _Analysis.drop_index),
    ("alter index", _Analysis.alter_index),
    ("reindex", _Analysis.reindex),
    ("insert into", _Analysis.write_rows),
    ("update", _Analysis.write_rows),
    ("delete from", _Analysis.write_rows),
    ("truncate", _Analysis.truncate),
    ("comment on", _Analysis.comment),
    ("create trigger", _Analysis.create_trigger),
    ("create constraint trigger", _Analysis.create_trigger),
    ("lock", _Analysis.lock_table),
    ("set", _Analysis.nothing),
    ("reset", _Analysis.nothing),
    ("begin", _Analysis.nothing),
    ("commit", _Analysis.nothing),
    ("savepoint", _Analysis.nothing),
    ("release", _Analysis.nothing),
    ("create sequence", _Analysis.nothing),
    ("alter sequence", _Analysis.nothing),
    ("drop sequence", _Analysis.nothing),
    ("create extension", _Analysis.nothing),
    ("create collation", _Analysis.nothing),
    ("drop collation", _Analysis.nothing),
    ("create type", _Analysis.nothing),
    ("create function", _Analysis.nothing),
    ("create or replace function", _Analysis.nothing),
)


def analyse(sql: str, schema: Schema, server: int) -> List[Statement]:
    """The statements of a script, each with its locks and its work; ``schema`` is moved on by them.

    ``server`` is PostgreSQL's server_version_num, such as 150004.
    """
    return [_Analysis(text, parts, schema, server).run() for text, parts in split(sql)]
