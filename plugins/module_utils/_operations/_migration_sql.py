# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a statement of a migration does to PostgreSQL: which locks, and how much work under them.

Reads the DDL that Django's schema editor writes (and hand-written RunSQL of the same kinds). It is no full parser: what
it does not know gets the kind ``unknown``, which callers treat as the worst case.

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

Sources (PostgreSQL documentation, 12 to 18): section 13.3.1 "Table-Level Locks" for the modes; the reference page of
ALTER TABLE, "Description" for the lock of each form and "Notes" for rewrites and scans; CREATE INDEX, "Building Indexes
Concurrently"; DROP INDEX; COMMENT. Two facts are from the server's source: the foreign key of an added column is not
checked when the column has no default (parse_utilcmd.c, transformAlterTableStmt), and a type change rewrites unless the
conversion is a relabelling or a longer length (tablecmds.c, ATColumnChangeRequiresRewrite).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

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


# Tokens


class Token(NamedTuple):
    kind: str  # space, word, quoted, string, number, symbol
    text: str

    @property
    def name(self) -> str:
        """The identifier that the token stands for, folded as PostgreSQL folds it."""
        return self.text[1:-1].replace('""', '"') if self.kind == "quoted" else self.text.lower()


_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*)
  | (?P<comment>/\*)
  | (?P<dollar>\$(?:[^\W\d]\w*)?\$)
  | (?P<string>[eE]'(?:[^'\\]|\\.|'')*' | (?:[bBxXnN]|[uU]&)?'(?:[^']|'')*')
  | (?P<quoted>(?:[uU]&)?"(?:[^"]|"")+")
  | (?P<word>[^\W\d][\w$]*)
  | (?P<number>\d[\w.]*)
  | (?P<symbol>::|.)
    """,
    re.VERBOSE | re.DOTALL,
)


def _end_of_comment(sql: str, start: int) -> int:
    """The end of the block comment that begins at ``start``; PostgreSQL's nest."""
    depth, position = 1, start + 2
    for mark in re.finditer(r"/\*|\*/", sql[position:]):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return position + mark.end()
    return len(sql)


def tokens(sql: str) -> List[Token]:
    """All tokens; joined, their texts are the input again."""
    found: List[Token] = []
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        assert match is not None and match.lastgroup is not None  # the last branch takes any character
        kind, end = match.lastgroup, match.end()
        if kind == "comment":
            kind, end = "space", _end_of_comment(sql, position)
        elif kind == "dollar":
            closing = sql.find(match.group(), end)
            kind, end = "string", len(sql) if closing < 0 else closing + len(match.group())
        found.append(Token(kind, sql[position:end]))
        position = end
    return found


def split(sql: str) -> List[Tuple[str, List[Token]]]:
    """The statements of a script: text without comments, and tokens without spaces. Empty ones are left out."""
    statements: List[Tuple[str, List[Token]]] = []
    text, parts = "", []  # type: str, List[Token]
    for token in tokens(sql) + [Token("symbol", ";")]:
        if token.kind == "symbol" and token.text == ";":
            if parts:
                statements.append((text.strip(), parts))
            text, parts = "", []
        elif token.kind == "space":
            text += " "
        else:
            text += token.text
            parts.append(token)
    return statements


def without_literals(sql: str, length: int = 160) -> str:
    """The statement for people: one line, shortened, every literal as ``?``."""
    text = "".join(
        " " if token.kind == "space" else "?" if token.kind in ("string", "number") else token.text
        for token in tokens(sql)
    )
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


# What is known of the schema while the plan is walked


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


# Statements


@dataclass
class Break:
    """Why the version that still runs fails once this is committed.

    ``value_required`` (NOT NULL without a default) is no matter of one statement, since Django gives a default and
    takes it away again: see ``required_values`` in ``_migration_plan``.
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


class _Reader:
    """Steps through the tokens of one statement or of one part of it."""

    def __init__(self, parts: Sequence[Token]) -> None:
        self.parts = list(parts)
        self.at = 0

    def peek(self, ahead: int = 0) -> Optional[Token]:
        return self.parts[self.at + ahead] if self.at + ahead < len(self.parts) else None

    def done(self) -> bool:
        return self.at >= len(self.parts)

    def accept(self, phrase: str) -> bool:
        """Take the words (or symbols) of the phrase if they come next."""
        wanted = phrase.lower().split()
        for ahead, word in enumerate(wanted):
            token = self.peek(ahead)
            if token is None or token.kind not in ("word", "symbol") or token.text.lower() != word:
                return False
        self.at += len(wanted)
        return True

    def next_is(self, phrase: str) -> bool:
        before = self.at
        found = self.accept(phrase)
        self.at = before
        return found

    def name(self) -> str:
        """An identifier; of a qualified one the last part, since Phase lives in one schema."""
        token = self.peek()
        if token is None or token.kind not in ("word", "quoted"):
            raise _NotUnderstood
        self.at += 1
        if self.accept("."):
            return self.name()
        return token.name

    def names(self) -> List[str]:
        found = [self.name()]
        while self.accept(","):
            found.append(self.name())
        return found

    def group(self) -> List[Token]:
        """What stands between the parentheses that come next."""
        if not self.accept("("):
            raise _NotUnderstood
        depth, start = 1, self.at
        while depth:
            token = self.peek()
            if token is None:
                raise _NotUnderstood
            depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "symbol" else 0
            self.at += 1
        return self.parts[start : self.at - 1]

    def rest(self) -> List[Token]:
        left = self.parts[self.at :]
        self.at = len(self.parts)
        return left

    def until(self, stops: Set[str]) -> List[Token]:
        """Tokens up to one of the words, outside of parentheses."""
        start, depth = self.at, 0
        while not self.done():
            token = self.parts[self.at]
            if token.kind == "symbol":
                depth += {"(": 1, ")": -1}.get(token.text, 0)
            elif depth == 0 and token.kind == "word" and token.name in stops and self.at > start:
                break
            self.at += 1
        return self.parts[start : self.at]


class _NotUnderstood(Exception):
    pass


def _commas(parts: Sequence[Token]) -> List[List[Token]]:
    """Split at the commas outside of parentheses."""
    pieces: List[List[Token]] = [[]]
    depth = 0
    for token in parts:
        if token.kind == "symbol" and token.text in "()[]":
            depth += 1 if token.text in "([" else -1
        if token.kind == "symbol" and token.text == "," and depth == 0:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


# Types

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
    match = re.match(r"\s*(.*?)\s*(?:\(\s*([\d\s,]*)\))?\s*(with(?:out)? time zone)?\s*((?:\[\d*\])*)\s*$", text.lower())
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
    if old_base in strings and new_base in strings:
        grows = not new_size or (bool(old_size) and new_size[0] >= old_size[0])
        return not grows, grows
    if old_base == new_base == "numeric":
        grows = not new_size or (len(old_size) == len(new_size) and old_size[1:] == new_size[1:] and new_size >= old_size)
        return not grows, grows
    if old_base == new_base == "bit varying":
        grows = not new_size or (bool(old_size) and new_size[0] >= old_size[0])
        return not grows, grows
    if (old_base, new_base) == ("cidr", "inet"):
        return False, True
    whole = ("smallint", "integer", "bigint")
    if old_base in whole and new_base in whole:
        return True, whole.index(new_base) > whole.index(old_base)
    return True, False


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
_STABLE = {"now", "statement_timestamp", "transaction_timestamp", "interval", "numeric", "varchar", "char", "timestamp"}


def _constant(expression: Sequence[Token]) -> bool:
    """Whether a default is evaluated once: constants, casts and stable functions of the time."""
    for token, after in zip(expression, list(expression[1:]) + [Token("symbol", ";")]):
        if token.kind in ("word", "quoted") and after.text == "(" and token.name not in _STABLE:
            return False
        if token.kind == "word" and token.name in ("select", "nextval"):
            return False
    return True


def _join(parts: Sequence[Token]) -> str:
    text = ""
    for token in parts:
        tight = not text or text[-1] in "(" or token.text in "(),[]"
        text += token.text if tight else " " + token.text
    return text


def _index_columns(items: Sequence[Token]) -> Tuple[str, ...]:
    found = []
    for item in _commas(items):
        if item and item[0].kind in ("word", "quoted") and (len(item) == 1 or item[1].text != "("):
            found.append(item[0].name)
    return tuple(found)


class _Analysis:
    """One statement, read with the schema as it will be then; the schema is moved on."""

    def __init__(self, text: str, parts: Sequence[Token], schema: Schema, server: int) -> None:
        self.read = _Reader(parts)
        self.schema = schema
        self.server = server
        self.statement = Statement(text)

    def run(self) -> Statement:
        try:
            self._dispatch()
        except _NotUnderstood:
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
        raise _NotUnderstood

    # Tables

    def nothing(self) -> None:
        self.read.rest()

    def create_table(self) -> None:
        read, schema = self.read, self.schema
        read.accept("if not exists")
        table = read.name()
        if not read.next_is("("):
            raise _NotUnderstood  # CREATE TABLE AS reads other tables
        schema.created.add(table)
        schema.columns[table] = {}
        self.statement.lock(table, EXCLUSIVE)
        for item in _commas(read.group()):
            part = _Reader(item)
            word = item[0].name if item and item[0].kind == "word" else ""
            if word in ("constraint", "unique", "primary", "foreign", "check", "exclude"):
                self._add_constraint(table, part, new_table=True)
            elif word == "like":
                continue
            else:
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
        for action in _commas(read.rest()):
            self._alter(table, _Reader(action))

    def _alter(self, table: str, action: _Reader) -> None:
        statement, schema = self.statement, self.schema
        if action.accept("add constraint"):
            action.at -= 1
            self._add_constraint(table, action)
        elif any(action.next_is("add " + word) for word in ("unique", "primary key", "foreign key", "check", "exclude")):
            action.accept("add")
            self._add_constraint(table, action)
        elif action.accept("add column") or action.accept("add"):
            action.accept("if not exists")
            statement.lock(table, EXCLUSIVE)
            self._define_column(table, action)
        elif action.accept("drop constraint"):
            action.accept("if exists")
            self._drop_constraint(table, action.name())
        elif action.accept("alter constraint"):
            statement.lock(table, SHARE_ROW)
            statement.does("catalog_only")
        elif action.accept("validate constraint"):
            key = schema.constraints.get(action.name())
            statement.lock(table, SHARE_UPDATE)
            statement.does("validate", "checks the rows while reads and writes go on", table)
            if key is not None and key.references:
                statement.lock(key.references, "ROW SHARE")
        elif action.accept("drop column") or action.accept("drop"):
            action.accept("if exists")
            self._drop_column(table, action.name())
        elif action.accept("rename constraint"):
            old = action.name()
            statement.lock(table, EXCLUSIVE)
            statement.does("catalog_only")
            if action.accept("to"):
                self._rename_constraint(old, action.name())
        elif action.accept("rename column") or action.accept("rename"):
            self._rename_column(table, action)
        elif action.accept("alter column") or action.accept("alter"):
            self._alter_column(table, action.name(), action)
        elif action.accept("set schema") or action.accept("owner to") or action.accept("replica identity"):
            statement.lock(table, EXCLUSIVE)
            statement.does("catalog_only")
        elif action.accept("set (") or action.accept("reset (") or action.accept("cluster on"):
            statement.lock(table, SHARE_UPDATE)
            statement.does("catalog_only")
        elif action.accept("enable row level") or action.accept("disable row level"):
            statement.lock(table, EXCLUSIVE)
            statement.does("catalog_only")
        elif action.accept("enable") or action.accept("disable"):
            statement.lock(table, SHARE_ROW)
            statement.does("catalog_only")
        elif any(action.accept("set " + word) for word in ("logged", "unlogged", "tablespace", "access method")):
            statement.lock(table, EXCLUSIVE)
            statement.does("rewrite", "moves the whole table", table)
        else:
            statement.lock(table, EXCLUSIVE)
            statement.does("unknown", "not understood: taken as the worst case", table)

    def _define_column(self, table: str, part: _Reader, new_table: bool = False) -> None:
        """``name type [constraints]``, of a new table or added to one that exists."""
        statement = self.statement
        name = part.name()
        type_text = _join(part.until(_COLUMN_WORDS))
        column = Column(_SERIAL.get(type_text.lower(), type_text))
        rewrite, scan, index, reference, has_default = False, False, False, None, False
        if type_text.lower() in _SERIAL:
            rewrite, has_default = True, True
        constraint_name = ""
        while not part.done():
            if part.accept("default"):
                expression = part.until(_COLUMN_WORDS)
                null = len(expression) == 1 and expression[0].name == "null"
                has_default = not null
                rewrite = rewrite or not _constant(expression) or (has_default and self.server < 110000)
            elif part.accept("not null"):
                column.not_null = True
            elif part.accept("null") or part.accept("deferrable") or part.accept("initially deferred") or part.accept("not deferrable") or part.accept("initially immediate"):
                continue
            elif part.accept("constraint"):
                constraint_name = part.name()
            elif part.accept("primary key") or part.accept("unique"):
                primary = part.parts[part.at - 1].name == "key"
                index = True
                column.not_null = column.not_null or primary
                kind = "p" if primary else "u"
                default_name = "%s_pkey" % table if primary else "%s_%s_key" % (table, name)
                self.schema.add_constraint(Constraint(constraint_name or default_name, table, kind, (name,)))
                constraint_name = ""
            elif part.accept("check"):
                part.group()
                scan = True
                self.schema.add_constraint(
                    Constraint(constraint_name or "%s_%s_check" % (table, name), table, "c", (name,))
                )
                constraint_name = ""
            elif part.accept("references"):
                reference = part.name()
                columns = _index_columns(part.group()) if part.next_is("(") else ("id",)
                part.until({"deferrable", "initially", "not", "null", "default", "constraint", "check", "unique"})
                self.schema.add_constraint(
                    Constraint(
                        constraint_name or "%s_%s_fkey" % (table, name), table, "f", (name,), reference, columns
                    )
                )
                constraint_name = ""
            elif part.accept("generated"):
                stored = any(token.name == "stored" for token in part.rest() if token.kind == "word")
                identity = any(token.name == "identity" for token in part.parts if token.kind == "word")
                virtual = self.server >= 180000 and not stored and not identity
                rewrite, has_default = rewrite or not virtual, True
            elif part.accept("collate") or part.accept("storage") or part.accept("compression"):
                part.name()
            else:
                raise _NotUnderstood
        column.default = has_default
        self.schema.columns.setdefault(table, {})[name] = column
        if reference and reference != table:
            statement.lock(reference, SHARE_ROW)
        if new_table:
            return
        statement.does("catalog_only")
        if rewrite:
            statement.does("rewrite", "the default of the new column is computed for each row", table)
        if index:
            statement.does("index_build", "builds a unique index while everything waits", table)
        if scan or (reference and has_default):
            statement.does("scan", "checks each row while everything waits", table)
        if column.not_null and not has_default:
            statement.does("scan", "fails unless the table is empty", table)

    def _add_constraint(self, table: str, part: _Reader, new_table: bool = False) -> None:
        statement = self.statement
        name = part.name() if part.accept("constraint") else ""
        words = [token.name for token in part.parts if token.kind == "word"]
        not_valid = words[-2:] == ["not", "valid"]
        if part.accept("foreign key"):
            columns = _index_columns(part.group())
            if not part.accept("references"):
                raise _NotUnderstood
            other = part.name()
            referenced = _index_columns(part.group()) if part.next_is("(") else ("id",)
            name = name or "%s_%s_fkey" % (table, "_".join(columns))
            self.schema.add_constraint(Constraint(name, table, "f", columns, other, referenced))
            if not new_table:
                statement.lock(table, SHARE_ROW)
            statement.lock(other, SHARE_ROW)
            kind, why = "scan", "checks each row against %s while writes wait" % other
        elif part.accept("check"):
            part.group()
            self.schema.add_constraint(Constraint(name or "%s_check" % table, table, "c"))
            statement.lock(table, EXCLUSIVE)
            kind, why = "scan", "checks each row while everything waits"
        elif part.accept("unique") or part.accept("primary key"):
            primary = part.parts[part.at - 1].name == "key"
            part.accept("nulls not distinct")
            part.accept("nulls distinct")
            statement.lock(table, EXCLUSIVE)
            if part.accept("using index"):
                index = self.schema.indexes.get(part.name())
                columns = index.columns if index else ()
                kind, why = "catalog_only", ""
                nullable = any(not getattr(self.schema.column(table, c), "not_null", False) for c in columns or ("",))
                if primary and nullable:
                    kind, why = "scan", "checks each row for nulls while everything waits"
            else:
                columns = _index_columns(part.group())
                kind, why = "index_build", "builds a unique index while everything waits"
            self.schema.add_constraint(
                Constraint(name or "%s_%s_key" % (table, "_".join(columns)), table, "p" if primary else "u", columns)
            )
        elif part.accept("exclude"):
            self.schema.add_constraint(Constraint(name or "%s_excl" % table, table, "x"))
            statement.lock(table, EXCLUSIVE)
            kind, why = "index_build", "builds an exclusion index while everything waits"
        elif part.accept("not null"):
            column = self.schema.column(table, part.name())
            statement.lock(table, EXCLUSIVE)
            kind, why = "scan", "checks each row for nulls while everything waits"
            if column is not None:
                column.not_null = True
        else:
            raise _NotUnderstood
        if new_table:
            return
        if not_valid and kind == "scan":
            kind, why = "catalog_only", "not checked for the rows that exist"
        statement.does(kind, why, table)

    def _drop_constraint(self, table: str, name: str) -> None:
        constraint = self.schema.constraints.get(name)
        self.statement.does("catalog_only")
        self.statement.lock(table, EXCLUSIVE)
        if constraint is not None and constraint.references and constraint.references != table:
            self.statement.lock(constraint.references, EXCLUSIVE)
        self.schema.drop(name)

    def _rename_constraint(self, old: str, new: str) -> None:
        constraint = self.schema.constraints.get(old)
        self.schema.drop(old)
        if constraint is not None:
            constraint.name = new
            self.schema.add_constraint(constraint)

    def _drop_column(self, table: str, column: str) -> None:
        self.statement.does("catalog_only")
        self.statement.lock(table, EXCLUSIVE)
        for key in self.schema.foreign_keys(table, column):
            if key.references and key.references != table:
                self.statement.lock(key.references, EXCLUSIVE)
        if table not in self.schema.created:
            self.statement.breaks.append(Break(table, column, "dropped"))
        self.schema.drop_column(table, column)

    def _rename_column(self, table: str, action: _Reader) -> None:
        old = action.name()
        if not action.accept("to"):
            raise _NotUnderstood
        self.statement.does("catalog_only")
        self.statement.lock(table, EXCLUSIVE)
        if table not in self.schema.created:
            self.statement.breaks.append(Break(table, old, "renamed"))
        self.schema.rename_column(table, old, action.name())

    def _alter_column(self, table: str, name: str, action: _Reader) -> None:
        statement = self.statement
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
            new = _join(action.until({"using", "collate"}))
            self._change_type(table, name, column, new, action)
        else:
            raise _NotUnderstood

    def _change_type(self, table: str, name: str, column: Column, new: str, action: _Reader) -> None:
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
            raise _NotUnderstood
        read.accept("only")
        table = read.name()
        if read.accept("using"):
            read.name()
        columns = _index_columns(read.group())
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
        """Since version 12 renaming an index takes SHARE UPDATE EXCLUSIVE (ALTER INDEX, Description)."""
        read = self.read
        read.accept("if exists")
        name = read.name()
        index = self.schema.indexes.get(name)
        self.statement.does("catalog_only")
        if index is not None:
            self.statement.lock(index.table, SHARE_UPDATE if self.server >= 120000 else EXCLUSIVE)
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
            raise _NotUnderstood
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
                raise _NotUnderstood
            table = parts[-2]
        else:
            return
        self.statement.lock(table, SHARE_UPDATE)
        self.statement.does("catalog_only")

    def create_trigger(self) -> None:
        self.read.until({"on"})
        if not self.read.accept("on"):
            raise _NotUnderstood
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
            raise _NotUnderstood
        for table in names:
            self.statement.lock(table, mode)
        self.statement.does("catalog_only")


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
