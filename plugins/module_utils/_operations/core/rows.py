# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows as they are, to the byte: read, changed and put back.

A *row* is ``{column: text or None}`` with every column of the live table, each value in PostgreSQL's own text form,
which PostgreSQL reads back to the same value under the settings of ``transaction``. An *image* is one row before and
after a change, plain JSON data: ``{"table", "key", "before", "after"}``; None stands for no such row, and ``key`` is
the text of the primary key. A list of images is a change that can be predicted, shown, written, and, reversed, undone.

    with transaction(connection):                       # one snapshot, reads only
        before = fetch(connection, TABLE, ["id 1"])
    images = [image(TABLE, row, dict(row, enabled="false")) for row in before]
    ...
    with transaction(connection, write=True):
        write(connection, images)                       # raises RowsChanged, or every row is as in "after"
"""

from __future__ import annotations

import contextlib
from typing import Any, Collection, Dict, Iterator, List, Optional, Sequence, Tuple, TypedDict

from ..._errors import PhaseError

Row = Dict[str, Optional[str]]


class Image(TypedDict):
    """One row before and after a change; None stands for no such row. ``key`` is the text of the primary key."""

    table: str
    key: str
    before: Optional[Row]
    after: Optional[Row]


class Difference(TypedDict):
    """A column that is not as expected; ``column`` is None where the whole row is there or not."""

    table: str
    key: str
    column: Optional[str]
    expected: Optional[str]
    found: Optional[str]


class Identity(TypedDict):
    """Which database it is; ``cluster`` is None where the role may not read PostgreSQL's identifier."""

    database: Optional[str]
    cluster: Optional[str]


HIDDEN = "(not shown)"

# Text forms depend on these (PostgreSQL documentation, 20.11.2 Locale and Formatting; 8.4.1 bytea).
SETTINGS = (
    "set local timezone = 'UTC'; set local datestyle = 'ISO, MDY'; set local intervalstyle = 'postgres';"
    " set local extra_float_digits = 3; set local bytea_output = 'hex'; set local xmloption = 'content'"
)


class RowsChanged(PhaseError):
    """Rows are not as they were expected to be; ``partial["changed_since"]`` lists the differences."""

    kind = "rows_changed"


@contextlib.contextmanager
def transaction(connection: Any, *, write: bool = False) -> Iterator[None]:
    """A transaction on a connection in autocommit mode, in which text forms are the same whatever the role's settings.

    Without ``write`` it reads only, from one snapshot. With it every statement sees what is committed, as a lock that
    was waited for demands. Left by an exception, it is rolled back.
    """
    import psycopg2

    mode = "isolation level read committed, read write" if write else "isolation level repeatable read, read only"
    with connection.cursor() as cursor:
        cursor.execute("begin transaction " + mode)
        try:
            cursor.execute(SETTINGS)
            yield
        except BaseException:
            if not connection.closed:
                cursor.execute("rollback")
            raise
        try:
            cursor.execute("commit")  # which is when Phase's foreign keys, all deferred, are looked at
        except psycopg2.IntegrityError as error:
            raise RowsChanged(
                "The rows do not fit what was added or deleted in the meantime: %s"
                % " ".join((error.diag.message_detail or error.diag.message_primary or str(error)).split()),
                "Nothing was changed. Look at what changed, then run again.",
            ) from error


def identity(connection: Any) -> Identity:
    """Which database this is: its name, and PostgreSQL's identifier of the cluster where the role may read that.

    A copy made by dump and restore is another database. ``pg_control_system`` is there since PostgreSQL 9.6.
    """
    with connection.cursor() as cursor:
        cursor.execute("select current_database()::text, has_function_privilege('pg_control_system()', 'execute')")
        name, allowed = cursor.fetchone()
        cluster = None
        if allowed:
            cursor.execute("select system_identifier::text from pg_control_system()")
            (cluster,) = cursor.fetchone()
    return {"database": name, "cluster": cluster}


def columns(connection: Any, table: str) -> List[str]:
    """The columns that hold data of their own, in the table's order; none where the schema has no such table."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select attname::text from pg_attribute where attrelid = to_regclass(quote_ident(%s))"
            " and attnum > 0 and not attisdropped and attgenerated = '' order by attnum",
            (table,),
        )
        return [row[0] for row in cursor.fetchall()]


def primary_key(connection: Any, table: str) -> str:
    """The one column of the primary key. Raises ValueError where there is none or more, as Django never makes it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select a.attname::text from pg_constraint c join pg_attribute a"
            " on a.attrelid = c.conrelid and a.attnum = any (c.conkey)"
            " where c.contype = 'p' and c.conrelid = to_regclass(quote_ident(%s))",
            (table,),
        )
        found = [row[0] for row in cursor.fetchall()]
    if len(found) != 1:
        raise ValueError("%s has no primary key of one column" % table)
    return str(found[0])


def fetch(
    connection: Any, table: str, values: Optional[Sequence[str]] = None, *, column: str = "", lock: bool = False
) -> List[Row]:
    """Rows whose ``column`` (the primary key) is one of ``values``, or all of them; ordered by the primary key.

    ``lock`` holds them until the transaction ends. No such table: no rows.
    """
    from psycopg2 import sql

    names = columns(connection, table)
    if not names:
        return []
    key = primary_key(connection, table)
    statement = sql.SQL("select {} from {}").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in names), sql.Identifier(table)
    )
    if values is not None:
        statement += sql.SQL(" where {}::text = any (%s)").format(sql.Identifier(column or key))
    statement += sql.SQL(' order by {}::text collate "C"').format(sql.Identifier(key))
    if lock:
        statement += sql.SQL(" for update")
    with connection.cursor() as cursor:
        cursor.execute(statement, (list(values),) if values is not None else None)
        return [dict(zip(names, row)) for row in cursor.fetchall()]


def image(table: str, before: Optional[Row], after: Optional[Row], key: str = "id") -> Image:
    """The image of one row; ``key`` is the name of its primary key."""
    row = before if before is not None else after
    if row is None:
        raise ValueError("a row that is neither before nor after")
    return {"table": table, "key": str(row[key]), "before": before, "after": after}


def row_of(one: Image) -> Row:
    """The row after the change, or before it where it is gone after it."""
    row = one["after"] if one["after"] is not None else one["before"]
    if row is None:
        raise ValueError("an image without a row")
    return row


def reverse(images: Sequence[Image]) -> List[Image]:
    """What undoes them."""
    return [{**one, "before": one["after"], "after": one["before"]} for one in images]


def real(images: Sequence[Image]) -> List[Image]:
    """Those that change something."""
    return [one for one in images if one["before"] != one["after"]]


def current(connection: Any, images: Sequence[Image], *, lock: bool = False) -> Dict[Tuple[str, str], Row]:
    """The rows of the images as they are now, by (table, key); those that do not exist are left out."""
    found: Dict[Tuple[str, str], Row] = {}
    for table in sorted({one["table"] for one in images}):
        keys = sorted(one["key"] for one in images if one["table"] == table)
        if not columns(connection, table):
            continue
        key = primary_key(connection, table)
        for row in fetch(connection, table, keys, lock=lock):
            found[table, str(row[key])] = row
    return found


def rebase(connection: Any, images: Sequence[Image]) -> List[Image]:
    """The images that lead from the rows as they are now to the same ``after``, whatever was expected before."""
    now = current(connection, images)
    return [{**one, "before": now.get((one["table"], one["key"]))} for one in images]


def difference(
    table: str, key: str, expected: Optional[Row], found: Optional[Row], hidden: Collection[str] = ()
) -> List[Difference]:
    """What differs between two states of a row, a column each: ``table``, ``key``, ``column``, ``expected``, ``found``.

    A row that is there in one of them only has ``column`` None. Values of ``hidden`` columns are not told.
    """
    if expected is None or found is None:
        if expected is found:
            return []
        states = ["no such row" if row is None else "a row" for row in (expected, found)]
        return [{"table": table, "key": key, "column": None, "expected": states[0], "found": states[1]}]
    return [
        {
            "table": table,
            "key": key,
            "column": name,
            "expected": HIDDEN if name in hidden else expected.get(name),
            "found": HIDDEN if name in hidden else found.get(name),
        }
        for name in list(expected) + [name for name in found if name not in expected]
        if (name in expected) != (name in found) or expected.get(name) != found.get(name)
    ]


def describe(differences: Sequence[Difference]) -> str:
    """The first few differences as a clause: ``allowed_ips of api_networkaccesspolicy 1 is 'b' instead of 'a'``."""
    said = []
    for one in differences[:3]:
        if one["column"] is None:
            said.append("%(table)s has %(found)s %(key)s where %(expected)s was expected" % one)
        elif one["found"] == HIDDEN:
            said.append("%(column)s of %(table)s %(key)s is another" % one)
        else:
            told = (one["column"], one["table"], one["key"], one["found"], one["expected"])
            said.append("%s of %s %s is %r instead of %r" % told)
    more = len(differences) - len(said)
    return "; ".join(said) + ("; and %d more" % more if more > 0 else "")


def expect(connection: Any, images: Sequence[Image], hidden: Collection[str] = (), *, lock: bool = False) -> None:
    """Raise RowsChanged unless every row is as in ``before``."""
    now = current(connection, images, lock=lock)
    differences = [
        item
        for one in images
        for item in difference(one["table"], one["key"], one["before"], now.get((one["table"], one["key"])), hidden)
    ]
    if differences:
        raise RowsChanged(
            "Rows have changed in the meantime: %s." % describe(differences),
            "Look at what changed, then run again.",
            partial={"changed_since": differences},
        )


def write(connection: Any, images: Sequence[Image], hidden: Collection[str] = ()) -> int:
    """Make every row what ``after`` says; how many were written. To be called in a writing ``transaction``.

    The rows are locked first, in one order everywhere, and compared with ``before``: RowsChanged, and nothing is
    written, where one differs. Foreign keys are deferred in Phase's schema, so the order of writing does not matter.
    """
    expect(connection, images, hidden, lock=True)
    changes = real(images)
    for one in sorted(changes, key=lambda one: (one["table"], one["key"])):
        _write_one(connection, one)
    return len(changes)


def _write_one(connection: Any, one: Image) -> None:
    from psycopg2 import sql

    table, key = sql.Identifier(one["table"]), sql.Identifier(primary_key(connection, one["table"]))
    before, after = one["before"], one["after"]
    values: List[Any]
    if after is None:
        statement = sql.SQL("delete from {} where {} = %s").format(table, key)
        values = [one["key"]]
    elif before is None:
        names = list(after)
        statement = sql.SQL("insert into {} ({}) overriding system value values ({})").format(
            table,
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join([sql.SQL("%s")] * len(names)),
        )
        values = [after[name] for name in names]
    else:
        names = [name for name in after if after[name] != before.get(name)]
        statement = sql.SQL("update {} set {} where {} = %s").format(
            table, sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in names), key
        )
        values = [after[name] for name in names] + [one["key"]]
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
