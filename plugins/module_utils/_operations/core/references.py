# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows that are put back must not refer to what was deleted since: the foreign keys of Phase would refuse them all."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from .rows import Image, RowsChanged, row_of

# Foreign keys of one column, which are all that Django makes.
_KEYS = """
    select a.attname::text, f.relname::text, r.attname::text, not a.attnotnull
      from pg_constraint c
      join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
      join pg_class f on f.oid = c.confrelid
      join pg_attribute r on r.attrelid = c.confrelid and r.attnum = c.confkey[1]
     where c.contype = 'f' and cardinality(c.conkey) = 1 and c.conrelid = to_regclass(quote_ident(%s))
     order by a.attnum
"""


class Key(NamedTuple):
    column: str
    table: str  # referred to, by its column ``target``
    target: str
    nullable: bool


def fitting(connection: Any, images: Sequence[Image], *, force: bool) -> Tuple[List[Image], List[str]]:
    """The images that can be written as far as foreign keys go, and in words what is otherwise than they had it.

    A reference to a row that is gone, and that none of the images brings back, raises RowsChanged. With ``force`` it is
    emptied where the column allows that; else the row is left out, and with it those that refer to it.
    """
    found, told = list(images), []
    keys = {table: _keys(connection, table) for table in {one["table"] for one in images}}
    while True:
        left = []
        for one in found:
            lost = [key for key in keys[one["table"]] if _lost(connection, one, key, found)]
            if not lost:
                left.append(one)
                continue
            if not force:
                raise RowsChanged(
                    _said(one, lost[0]) + ".",
                    "force=true puts back what can be put back, and leaves that out.",
                    partial={"changed_since": [_difference(one, key) for key in lost]},
                )
            if all(key.nullable for key in lost):
                left.append({**one, "after": {**(one["after"] or {}), **{key.column: None for key in lost}}})
                told += ["%s: its %s is left empty." % (_said(one, key), key.column) for key in lost]
            else:
                gone = [key for key in lost if not key.nullable]
                told.append("%s: it is not put back." % _said(one, gone[0]))
        if left == found:
            return found, told
        found = left


def _keys(connection: Any, table: str) -> List[Key]:
    with connection.cursor() as cursor:
        cursor.execute(_KEYS, (table,))
        return [Key(*row) for row in cursor.fetchall()]


def _lost(connection: Any, one: Image, key: Key, images: Sequence[Image]) -> bool:
    """Whether the image has the row refer to what there is not."""
    before, after = one["before"] or {}, one["after"] or {}
    value = after.get(key.column)
    if value is None or value == before.get(key.column):
        return False
    others = [other for other in images if other["table"] == key.table]
    brought = {other["after"][key.target] for other in others if other["after"]}
    taken = {other["before"][key.target] for other in others if other["before"] and not other["after"]}
    return value not in brought and (value in taken or not _exists(connection, key, value))


def _exists(connection: Any, key: Key, value: str) -> bool:
    from psycopg2 import sql

    statement = sql.SQL("select exists (select from {} where {}::text = %s)").format(
        sql.Identifier(key.table), sql.Identifier(key.target)
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, (value,))
        return bool(cursor.fetchone()[0])


def _said(one: Image, key: Key) -> str:
    said = "Row %s of %s refers by %s to %s of %s, which was deleted"
    return said % (one["key"], one["table"], key.column, row_of(one)[key.column], key.table)


def _difference(one: Image, key: Key) -> Dict[str, Any]:
    return {
        "table": key.table,
        "key": row_of(one)[key.column],
        "column": None,
        "expected": "a row",
        "found": "no such row",
    }
