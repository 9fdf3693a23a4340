# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Columns and constraints in DDL: types, defaults, and what adding them costs.

Sources: PostgreSQL documentation, ALTER TABLE, "Description" (locks) and "Notes" (rewrites and scans). From the
server's source: the foreign key of an added column is not checked when the column has no default (parse_utilcmd.c,
transformAlterTableStmt), and a type change rewrites unless the conversion is a relabelling or a longer length
(tablecmds.c, ATColumnChangeRequiresRewrite).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Sequence, Tuple

from ..core.tokens import NotUnderstood, Reader, Token, commas
from .schema import Column, Constraint, Schema
from .statement import EXCLUSIVE, SHARE_ROW

_ALIASES = {
    "varchar": "character varying",
    "int": "integer",
    "int4": "integer",
    "int8": "bigint",
    "int2": "smallint",
    "bool": "boolean",
    "decimal": "numeric",
    "timestamptz": "timestamp with time zone",
    "timestamp": "timestamp without time zone",
    "timestamp without time zone": "timestamp without time zone",
    "varbit": "bit varying",
    "float8": "double precision",
    "float4": "real",
    "bpchar": "character",
    "char": "character",
}
_SERIAL = {"serial": "integer", "bigserial": "bigint", "smallserial": "smallint"}


def parse_type(text: str) -> Tuple[str, Tuple[int, ...]]:
    """``varchar(10)`` as ("character varying", (10,)), in the words of format_type()."""
    match = re.match(
        r"\s*(.*?)\s*(?:\(\s*([\d\s,]*)\))?\s*(with(?:out)? time zone)?\s*((?:\[\d*\])*)\s*$", text.lower()
    )
    if match is None:
        return text.lower().strip(), ()
    base = " ".join(part for part in (match.group(1), match.group(3)) if part)
    base = _ALIASES.get(base, base) + match.group(4)
    return base, tuple(int(part) for part in (match.group(2) or "").split(",") if part.strip())


def type_change(old: str, new: str) -> Tuple[bool, bool]:
    """Whether changing a column's type rewrites the table, and whether the running version still fits.

    Relabelling and longer lengths do neither (ALTER TABLE, Notes; release notes of 9.2 for length changes).
    """
    (old_base, old_size), (new_base, new_size) = parse_type(old), parse_type(new)
    strings = ("character varying", "text")
    if (old_base, old_size) == (new_base, new_size):
        return False, True
    if (old_base in strings and new_base in strings) or old_base == new_base == "bit varying":
        grows = not new_size or (bool(old_size) and new_size[0] >= old_size[0])
        return not grows, grows
    if old_base == new_base == "numeric":
        grows = not new_size or (
            len(old_size) == len(new_size) and old_size[1:] == new_size[1:] and new_size >= old_size
        )
        return not grows, grows
    if (old_base, new_base) == ("cidr", "inet"):
        return False, True
    whole = ("smallint", "integer", "bigint")
    fits = old_base in whole and new_base in whole and whole.index(new_base) > whole.index(old_base)
    return True, fits


_COLUMN_WORDS = {
    "default",
    "not",
    "null",
    "constraint",
    "unique",
    "primary",
    "references",
    "check",
    "generated",
    "collate",
    "storage",
    "compression",
    "deferrable",
    "initially",
}
STABLE = {"now", "statement_timestamp", "transaction_timestamp", "interval", "numeric", "varchar", "char", "timestamp"}


def constant(expression: Sequence[Token]) -> bool:
    """Whether a default is evaluated once: constants, casts and stable functions of the time."""
    for token, after in zip(expression, list(expression[1:]) + [Token("symbol", ";")]):
        if token.kind in ("word", "quoted") and after.text == "(" and token.name not in STABLE:
            return False
        if token.kind == "word" and token.name in ("select", "nextval"):
            return False
    return True


def join(parts: Sequence[Token]) -> str:
    text = ""
    for token in parts:
        tight = not text or text[-1] in "(" or token.text in "(),[]"
        text += token.text if tight else " " + token.text
    return text


def index_columns(items: Sequence[Token]) -> Tuple[str, ...]:
    found = []
    for item in commas(items):
        if item and item[0].kind in ("word", "quoted") and (len(item) == 1 or item[1].text != "("):
            found.append(item[0].name)
    return tuple(found)


class ColumnDefinition:
    """``name type [constraints]``, in a new table or added to one that exists.

    ``rewrite``: its default is computed for each row. ``checked``: its CHECK, or its foreign key with a default, reads
    each row. ``indexed``: it makes a unique index.
    """

    def __init__(self, table: str, part: Reader, server: int) -> None:
        self.table = table
        self.name = part.name()
        text = join(part.until(_COLUMN_WORDS))
        serial = text.lower() in _SERIAL
        self.column = Column(_SERIAL.get(text.lower(), text), default=serial)
        self.constraints: List[Constraint] = []
        self.rewrite = serial
        self.indexed = False
        self._server = server
        self._constraint_name = ""
        while not part.done():
            for phrase, handler in _COLUMN_HANDLERS:
                if part.accept(phrase):
                    handler(self, part)
                    break
            else:
                raise NotUnderstood

    @property
    def references(self) -> Optional[str]:
        return next((c.references for c in self.constraints if c.references), None)

    @property
    def checked(self) -> bool:
        has_check = any(c.type == "c" for c in self.constraints)
        return has_check or bool(self.references and self.column.default)

    def _add(self, kind: str, suffix: str, *reference: Any) -> None:
        name = self._constraint_name or "%s_%s" % (self.table, suffix)
        self.constraints.append(Constraint(name, self.table, kind, (self.name,), *reference))
        self._constraint_name = ""

    def default(self, part: Reader) -> None:
        """Constant and stable defaults are no rewrite since version 11 (ALTER TABLE, Notes)."""
        expression = part.until(_COLUMN_WORDS)
        self.column.default = [token.name for token in expression] != ["null"]
        self.rewrite = self.rewrite or not constant(expression) or (self.column.default and self._server < 110000)

    def not_null(self, part: Reader) -> None:
        self.column.not_null = True

    def nothing(self, part: Reader) -> None:
        pass

    def one_name(self, part: Reader) -> None:
        part.name()

    def constraint(self, part: Reader) -> None:
        self._constraint_name = part.name()

    def primary_key(self, part: Reader) -> None:
        self.indexed = self.column.not_null = True
        self.constraints.append(
            Constraint(self._constraint_name or self.table + "_pkey", self.table, "p", (self.name,))
        )
        self._constraint_name = ""

    def unique(self, part: Reader) -> None:
        self.indexed = True
        self._add("u", self.name + "_key")

    def check(self, part: Reader) -> None:
        part.group()
        self._add("c", self.name + "_check")

    def reference(self, part: Reader) -> None:
        other = part.name()
        columns = index_columns(part.group()) if part.next_is("(") else ("id",)
        part.until({"deferrable", "initially", "not", "null", "default", "constraint", "check", "unique"}, empty=True)
        self._add("f", self.name + "_fkey", other, columns)

    def generated(self, part: Reader) -> None:
        """Identity and stored columns are computed for each row; virtual ones (version 18) are not."""
        words = {token.name for token in part.rest() if token.kind == "word"}
        virtual = self._server >= 180000 and not words & {"stored", "identity"}
        self.column.default = True
        self.rewrite = self.rewrite or not virtual


_COLUMN_HANDLERS: Tuple[Tuple[str, Callable[[ColumnDefinition, Reader], None]], ...] = (
    ("default", ColumnDefinition.default),
    ("not null", ColumnDefinition.not_null),
    ("not deferrable", ColumnDefinition.nothing),
    ("null", ColumnDefinition.nothing),
    ("deferrable", ColumnDefinition.nothing),
    ("initially", ColumnDefinition.one_name),
    ("constraint", ColumnDefinition.constraint),
    ("primary key", ColumnDefinition.primary_key),
    ("unique", ColumnDefinition.unique),
    ("check", ColumnDefinition.check),
    ("references", ColumnDefinition.reference),
    ("generated", ColumnDefinition.generated),
    ("collate", ColumnDefinition.one_name),
    ("storage", ColumnDefinition.one_name),
    ("compression", ColumnDefinition.one_name),
)


@dataclass
class TableConstraint:
    """``ADD [CONSTRAINT name] ...``: the lock it takes on its table and the work of it."""

    constraint: Constraint
    lock: str
    kind: str
    why: str


def read_constraint(table: str, part: Reader, schema: Schema) -> TableConstraint:
    """One constraint of a table. A NOT VALID one is not checked for the rows that exist."""
    name = part.name() if part.accept("constraint") else ""
    not_valid = [token.name for token in part.parts[-2:]] == ["not", "valid"]
    for phrase, handler in _CONSTRAINT_HANDLERS:
        if part.accept(phrase):
            found = handler(table, name, part, schema)
            break
    else:
        raise NotUnderstood
    if not_valid and found.kind == "scan":
        found.kind, found.why = "catalog_only", "not checked for the rows that exist"
    return found


def _foreign_key(table: str, name: str, part: Reader, schema: Schema) -> TableConstraint:
    columns = index_columns(part.group())
    if not part.accept("references"):
        raise NotUnderstood
    other = part.name()
    referenced = index_columns(part.group()) if part.next_is("(") else ("id",)
    name = name or "%s_%s_fkey" % (table, "_".join(columns))
    why = "checks each row against %s while writes wait" % other
    return TableConstraint(Constraint(name, table, "f", columns, other, referenced), SHARE_ROW, "scan", why)


def _check(table: str, name: str, part: Reader, schema: Schema) -> TableConstraint:
    part.group()
    constraint = Constraint(name or table + "_check", table, "c")
    return TableConstraint(constraint, EXCLUSIVE, "scan", "checks each row while everything waits")


def _primary_key(table: str, name: str, part: Reader, schema: Schema) -> TableConstraint:
    found = _unique(table, name or table + "_pkey", part, schema)
    found.constraint.type = "p"
    columns = [schema.column(table, column) for column in found.constraint.columns]
    if found.kind == "catalog_only" and not (columns and all(c is not None and c.not_null for c in columns)):
        found.kind, found.why = "scan", "checks each row for nulls while everything waits"
    return found


def _unique(table: str, name: str, part: Reader, schema: Schema) -> TableConstraint:
    if not part.accept("nulls not distinct"):
        part.accept("nulls distinct")
    if part.accept("using index"):
        index = schema.indexes.get(part.name())
        columns = index.columns if index else ()
        return TableConstraint(
            Constraint(name or (index.name if index else ""), table, "u", columns), EXCLUSIVE, "catalog_only", ""
        )
    columns = index_columns(part.group())
    name = name or "%s_%s_key" % (table, "_".join(columns))
    why = "builds a unique index while everything waits"
    return TableConstraint(Constraint(name, table, "u", columns), EXCLUSIVE, "index_build", why)


def _exclude(table: str, name: str, part: Reader, schema: Schema) -> TableConstraint:
    why = "builds an exclusion index while everything waits"
    return TableConstraint(Constraint(name or table + "_excl", table, "x"), EXCLUSIVE, "index_build", why)


def _not_null(table: str, name: str, part: Reader, schema: Schema) -> TableConstraint:
    column = part.name()
    known = schema.column(table, column)
    if known is not None:
        known.not_null = True
    constraint = Constraint(name or "%s_%s_not_null" % (table, column), table, "n", (column,))
    return TableConstraint(constraint, EXCLUSIVE, "scan", "checks each row for nulls while everything waits")


_CONSTRAINT_HANDLERS: Tuple[Tuple[str, Callable[[str, str, Reader, Schema], TableConstraint]], ...] = (
    ("foreign key", _foreign_key),
    ("check", _check),
    ("primary key", _primary_key),
    ("unique", _unique),
    ("exclude", _exclude),
    ("not null", _not_null),
)
