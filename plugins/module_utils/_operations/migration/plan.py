# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of pending migrations: what each does to the live tables, and to the version that still runs.

Pure: it gets what Django says of each migration (``migration/django``) and what the catalog says of the tables
(``migration/catalog``), and returns plain data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from ..core.words import people_size
from .schema import Column, Constraint, Index, Schema
from .sql import analyse
from .statement import EXCLUSIVE, KINDS, Break, Statement, strongest, worst_kind
from .types import Entry, Finding, LockedTable, RefusedFinding, Size

FINDINGS = (
    "rewrite",
    "scan",
    "blocking_index",
    "access_exclusive",
    "python",
    "irreversible",
    "breaks_running_version",
    "unknown_sql",
)

# What people notice when the running version cannot insert into a table (Phase v2.37.2 to v2.73.2).
_INSERTS = {
    "api_secretevent": "reads and changes of secrets fail, since each one records an event",
    "api_secret": "new secrets cannot be made",
    "api_auditevent": "changes that are audited fail",
    "api_environment": "new environments cannot be made",
    "api_environmentkey": "nobody can be given access to an environment",
    "api_organisationmember": "nobody can join",
    "api_serviceaccounttoken": "new service account tokens cannot be made",
}
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass
class Migration:
    """What Django knows of one migration. ``mentions`` are tables that its Python code names."""

    name: str  # app.name
    atomic: bool = True
    irreversible: bool = False
    runs_python: bool = False
    mentions: List[str] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)


def schema_of(catalog: Dict[str, Any]) -> Schema:
    """The starting point of the walk: the live catalog as ``_migration_catalog.read`` gives it."""
    schema = Schema()
    for table, columns in catalog["columns"].items():
        schema.columns[table] = {
            name: Column(facts["type"], facts["not_null"], facts["default"]) for name, facts in columns.items()
        }
    for facts in catalog["constraints"]:
        schema.constraints[facts["name"]] = Constraint(
            facts["name"],
            facts["table"],
            facts["type"],
            tuple(facts["columns"]),
            facts["references"],
            tuple(facts["referenced_columns"]),
        )
    for facts in catalog["indexes"]:
        schema.indexes[facts["name"]] = Index(facts["name"], facts["table"], facts["unique"], tuple(facts["columns"]))
    return schema


class Walk:
    """Goes through the pending migrations in order; ``schema`` is always that after the last statement seen."""

    def __init__(self, catalog: Dict[str, Any]) -> None:
        self.catalog = catalog
        self.server: int = catalog["server_version"]
        self.schema = schema_of(catalog)
        self._required = {
            (table, name)
            for table, columns in self.schema.columns.items()
            for name, column in columns.items()
            if column.not_null and not column.default
        }
        self._statements: List[Statement] = []
        self.entries: List[Entry] = []

    def observe(self, sql: str) -> None:
        """Take in SQL of the migration under way."""
        self._statements.extend(analyse(sql, self.schema, self.server))

    def assume(self, table: str, why: str) -> None:
        """SQL that cannot be known, on a table: the worst case."""
        self._statements.append(
            Statement("", "unknown", [(table, EXCLUSIVE)] if table else [], [why], [], None, [table] if table else [])
        )

    def finish(self, migration: Migration) -> None:
        """Close the migration under way."""
        statements, self._statements = self._statements, []
        breaks = [cause for statement in statements for cause in statement.breaks]
        for table, column in required_values(self.schema):
            if (table, column) not in self._required:
                breaks.append(Break(table, column, "value_required"))
                self._required.add((table, column))
        self.entries.append(
            entry(
                migration, statements, breaks, self.schema.created, self.schema.renamed_tables, self.catalog["tables"]
            )
        )


def required_values(schema: Schema) -> List[Tuple[str, str]]:
    """(table, column) of tables in use whose inserts must name the column: NOT NULL and no default."""
    return [
        (table, name)
        for table, columns in schema.columns.items()
        if table not in schema.created
        for name, column in columns.items()
        if column.not_null and not column.default
    ]


def entry(
    migration: Migration,
    statements: Sequence[Statement],
    breaks: Sequence[Break],
    created: Set[str],
    renamed: Dict[str, str],
    sizes: Dict[str, Dict[str, Any]],
) -> Entry:
    """One element of ``plan``. ``sizes`` is {table: {"rows", "bytes"}} of the live catalog."""

    def size(table: str) -> Size:
        live = sizes.get(renamed.get(table, table), {})
        return {"rows": live.get("rows"), "bytes": live.get("bytes")}

    locks: Dict[str, str] = {}
    for statement in statements:
        for table, mode in statement.locks:
            locks[table] = strongest([mode, locks.get(table, mode)])
    tables: List[LockedTable] = [
        {"table": table, "lock": mode, "new": table in created, **size(table)} for table, mode in locks.items()
    ]
    result: Entry = {
        "name": migration.name,
        "class": worst_kind(effective_kind(statement, created) for statement in statements),
        "atomic": migration.atomic,
        "runs_python": migration.runs_python,
        "irreversible": migration.irreversible,
        "breaks_running_version": bool(breaks),
        "breaks_secret_reads": any(stops_reads(cause) for cause in breaks),
        "breaks": [explain(cause) for cause in breaks],
        "statements": [
            {
                "sql": statement.sql,
                "class": statement.kind,
                "tables": [{"table": table, "lock": mode} for table, mode in statement.locks],
                "why": "; ".join(statement.why),
            }
            for statement in statements
        ],
        "tables": tables,
        "python_tables": [{"table": table, **size(table)} for table in migration.mentions],
        "concurrent_indexes": [
            {"index": statement.index, "table": statement.locks[0][0]}
            for statement in statements
            if statement.kind == "concurrent_index_build" and statement.index
        ],
        "notes": list(migration.notes),
        "findings": findings(migration, breaks, statements, created, size, 1),
        "summary": "%s: %s"
        % (
            migration.name,
            "; ".join(effects(migration, statements, breaks, created, size)) or "changes nothing in the database",
        ),
    }
    return result


def effective_kind(statement: Statement, created: Set[str]) -> str:
    """The kind, unless all its work is on tables that nobody uses yet."""
    if statement.kind == "unknown":
        return "unknown"
    if statement.locks and all(table in created for table, mode in statement.locks):
        return "none"
    if statement.work and all(table in created for table in statement.work):
        return "catalog_only"
    return statement.kind


def findings(
    migration: Migration,
    breaks: Sequence[Break],
    statements: Sequence[Statement],
    created: Set[str],
    size: Callable[[str], Size],
    floor: int,
) -> List[Finding]:
    """What a user may refuse: [{"finding", "table" or None, "rows"}].

    Tables known to have fewer than ``floor`` rows do not count.
    """
    found: List[Finding] = []

    def add(finding: str, table: Optional[str] = None) -> None:
        rows = size(table)["rows"] if table else None
        item: Finding = {"finding": finding, "table": table, "rows": rows}
        if item not in found and (rows is None or rows >= floor):
            found.append(item)

    for statement in statements:
        kind = effective_kind(statement, created)
        finding = {"rewrite": "rewrite", "scan": "scan", "index_build": "blocking_index"}.get(kind)
        if finding:
            for table in statement.work:
                add(finding, table)
        if kind == "unknown":
            add("unknown_sql")
        for table, mode in statement.locks:
            if mode == EXCLUSIVE and table not in created:
                add("access_exclusive", table)
    if migration.runs_python:
        add("python")
    if migration.irreversible:
        add("irreversible")
    if breaks:
        add("breaks_running_version")
    return found


def refused(plan: Iterable[Entry], stop_on: Iterable[str], floor: int) -> List[RefusedFinding]:
    """The findings of the plan that the user wants to stop at: [{"migration", "finding", "table", "rows"}]."""
    wanted = set(stop_on)
    return [
        {"migration": migration["name"], **item}
        for migration in plan
        for item in migration["findings"]
        if item["finding"] in wanted and (item["rows"] is None or item["rows"] >= floor)
    ]


def stops_reads(cause: Break) -> bool:
    """Whether reading a secret fails in the running version.

    An insert that lacks a value stops only what inserts into that table, and a read inserts an event. Whatever else
    changes under a table may stop a read.
    """
    return cause.change != "value_required" or cause.table == "api_secretevent"


# Words


def explain(cause: Break) -> str:
    what, table, notice = cause.change, cause.table, _INSERTS.get(cause.table)
    if what == "value_required":
        text = "column %s of %s is NOT NULL without a default: the running version's inserts fail" % (
            cause.column,
            table,
        )
        return text + (" (%s)" % notice if notice else "")
    if what == "table_dropped":
        return "table %s is dropped: what the running version does with it fails" % table
    if what == "table_renamed":
        return "table %s is renamed: what the running version does with it fails" % table
    if what == "type_changed":
        return "column %s of %s changes its type: the running version may fail to read or write it" % (
            cause.column,
            table,
        )
    return "column %s of %s is %s: the running version's reads and writes of the table fail" % (
        cause.column,
        table,
        what,
    )


def _count(number: int, noun: str) -> str:
    word = _WORDS[number] if number < len(_WORDS) else str(number)
    return "%s %s%s" % (word, noun, "" if number == 1 else "s")


def _waiting(mode: str) -> str:
    if mode == EXCLUSIVE:
        return "reads and writes wait"
    return "writes wait" if mode in ("SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE") else "reads and writes go on"


_PHRASES = {
    "unknown": "SQL that is not understood on {table} ({size}): taken as the worst case",
    "rewrite": "rewrites {table} ({size}): {waiting}",
    "scan": "reads all of {table} ({size}): {waiting}",
    "data": "changes rows of {table} ({size})",
    "validate": "checks the rows of {table} ({size}): reads and writes go on",
    "index_build": "{count} on {table} ({size}): {waiting}",
    "concurrent_index_build": "{count} on {table} ({size}): writes go on",
}
_NOUNS = {"index_build": "index build", "concurrent_index_build": "concurrent index build"}


@dataclass
class Work:
    """``heavy``: (kind, table) -> the lock held during each piece of work; ``held``: the strongest lock by table."""

    heavy: Dict[Tuple[str, str], List[str]]
    held: Dict[str, str]

    @property
    def worked(self) -> Set[str]:
        return {table for kind, table in self.heavy}


def work_of(migration: Migration, statements: Sequence[Statement], created: Set[str]) -> Work:
    """The work on tables in use. An atomic migration keeps its locks until it commits (13.3.1), so they add up."""
    work = Work({}, {})
    for statement in statements:
        own = dict(statement.locks)
        for table, mode in own.items():
            if table not in created:
                work.held[table] = strongest([mode, work.held.get(table, mode)])
        kind = effective_kind(statement, created)
        for table in statement.work if kind not in ("none", "catalog_only") else ():
            if table not in created:
                mode = own.get(table, "ACCESS SHARE")
                work.heavy.setdefault((kind, table), []).append(work.held[table] if migration.atomic else mode)
    return work


def effects(
    migration: Migration, statements: Sequence[Statement], breaks: Sequence[Break], created: Set[str], size: Any
) -> List[str]:
    """What one migration does, worst first, in a few words each."""
    work = work_of(migration, statements, created)
    phrases = _heavy_phrases(work, size)
    if any(statement.kind == "unknown" and not statement.work for statement in statements):
        phrases.append("SQL that is not understood: taken as the worst case")
    if migration.runs_python:
        named = ["%s (%s)" % (table, people_size(size(table))) for table in migration.mentions if table not in created]
        phrases.append("runs Python" + (" on " + ", ".join(named) if named else "") + ": how long is not known")
    made = {s.locks[0][0] for s in statements if s.locks and s.sql.upper().startswith("CREATE TABLE")} & created
    if made:
        phrases.append("makes %s" % _count(len(made), "table"))
    phrases += _lock_phrases(work, long=migration.atomic and bool(work.heavy or migration.runs_python))
    if statements and not phrases:
        touches = any(statement.locks for statement in statements)
        phrases.append("touches only tables that this upgrade makes" if touches else "changes nothing in the tables")
    phrases += ["from here until the backend is replaced: " + explain(cause) for cause in breaks]
    return phrases + (["cannot be reversed"] if migration.irreversible else [])


def _heavy_phrases(work: Work, size: Any) -> List[str]:
    return [
        _PHRASES[kind].format(
            table=table,
            size=people_size(size(table)),
            waiting=_waiting(strongest(modes)),
            count=_count(len(modes), _NOUNS.get(kind, kind)),
        )
        for (kind, table), modes in sorted(work.heavy.items(), key=lambda item: -KINDS.index(item[0][0]))
    ]


def _lock_phrases(work: Work, long: bool) -> List[str]:
    """Tables that are only locked: for a moment, or (``long``) for as long as the work on others takes."""
    phrases = []
    for waiting in ("reads and writes wait", "writes wait"):
        tables = sorted(t for t, mode in work.held.items() if _waiting(mode) == waiting and t not in work.worked)
        if tables:
            phrase = "locks %s until it commits: %s" if long else "short lock on %s: %s for a moment"
            phrases.append(phrase % (", ".join(tables), waiting))
    return phrases
