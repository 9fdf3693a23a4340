# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deleting in small transactions, as large as fit into a target time: by ranges of blocks, or by an index.

A walk visits each block of the table once, in their order, and so writes a fraction of the WAL of a purge that goes by
index. Rows that come meanwhile are newer than the cutoff. Statements delete events and their tags together, and look
at the rule again for a row that somebody changed meanwhile (PostgreSQL documentation, 13.2.1 Read Committed).
"""

# ruff: noqa: S608 - names are constants of this package

from __future__ import annotations

from typing import Any, Callable, List, Mapping, Optional

from ..core.api import Context
from ..core.types import Cursor
from ..core.waiting import RETRIED, patiently, scaled
from ..core.words import people_bytes
from .errors import PurgeBlocked
from .export import Exporter, selection
from .log_table import READS, Subject
from .rule import Rule
from .session import Session
from .throttle import Control

SMALLEST, LARGEST = 64, 65536  # blocks in a transaction
FEWEST, MOST = 200, 50_000  # rows in a transaction, by index
WORTH_IT = 10_000  # rows deleted before the foreign key is set aside
PATIENCE = 600.0  # seconds that the whole may wait for another session's lock on the table
TELL = 2.0  # seconds between two lines of progress
MANY = 8 << 20  # bytes of a referring table that it takes time to read in each batch
# The planner would join a batch in bulk, and read all that refers to the table: many times what the batch deletes.
LOOKED_UP = "set local enable_hashjoin = off; set local enable_mergejoin = off"

WITH_OTHERS = """
with gone as (delete from {table} e where {condition} returning e.{key} as id),
     others as ({others})
select count(*) from gone
"""
ALONE = "delete from {table} e where {condition}"
# Without the check of the foreign key, for this transaction alone. Events first: another session that tags one of them
# either holds it by the check of its own COMMIT; then this waits, and the next statement, which sees what has been
# committed until it begins (PostgreSQL documentation, 13.2.1), deletes the tag. Or its check comes later, waits for
# this transaction, and fails. So no tag is left without its event.
UNCHECKED = "set local session_replication_role = replica"
EVENTS_FIRST = """
with gone as (delete from {table} e where {condition} returning e.{key} as id)
select count(*), set_config('phase_console.gone', coalesce(array_agg(id), '{{}}')::text, true) is null from gone
"""
THEN_OTHERS = "with gone as (select unnest(current_setting('phase_console.gone')::text[]) as id) {others}"
# The condition as IS TRUE is none that an index could serve: only the range of blocks limits the scan.
BLOCKS = "e.ctid >= '({first},0)'::tid and e.ctid < '({end},0)'::tid and ({rule}) is true"
UNLOCKED = "e.ctid = any(array(select e.ctid from {table} e where {condition} for update skip locked))"
DOOMED = """
with doomed as materialized (
  select e.ctid as place, e.{time} as moment from {table} e
  where e.{group} = %(group)s and e.{time} >= %(after)s::timestamptz and {rule}
  order by e.{time} limit {rows} for update skip locked
), """
BY_INDEX = (
    DOOMED
    + """gone as (
  delete from {table} e where e.ctid = any(array(select place from doomed)) returning e.{key} as id
), others as ({others})
select (select count(*) from gone), (select count(*) from doomed), (select max(moment)::text from doomed)
"""
)
# With an archive: the rows are what is selected.
EXPORTED = "with gone as (delete from {table} e where {condition} returning e.*){exported}"
EXPORTED_BY_INDEX = (
    DOOMED
    + "gone as (delete from {table} e where e.ctid = any(array(select place from doomed)) returning e.*){exported}"
)


class Progress:
    def __init__(self, context: Context, control: Control, exporter: Optional[Exporter] = None, of: str = "") -> None:
        self._context = context
        self._control = control
        self._exporter = exporter
        self._of = of
        self._begun = control.working()
        self._told = context.clock()
        self.deleted = 0
        self.batches = 0

    def add(self, rows: int, done: float) -> None:
        """A batch of ``rows``; ``done`` is the part of the whole that is behind us, 0 to 1."""
        self.deleted += rows
        self.batches += 1
        now = self._context.clock()
        if now - self._told < TELL:
            return
        self._told = now
        working = max(self._control.working() - self._begun, 0.001)
        rate = round(self.deleted / working)
        left = round(working / done * (1 - done)) if done > 0 else None
        text = "%s%.0f %%: %d rows deleted, %d a second" % (self._of, 100 * done, self.deleted, rate)
        if left is not None:
            text += ", about %d s left" % left
        counters = {"percent": round(100 * done, 1), "deleted": self.deleted, "rows_per_second": rate}
        if self._exporter is not None:
            text += ", %s archived" % people_bytes(self._exporter.bytes)
            counters["archived"] = self._exporter.rows
        self._context.report(text, **dict(counters, seconds_left=left, throttle="none"))


class Walk:
    """A purge of one table. ``run`` returns what stopped it, None at the end; ``block`` is how far it came."""

    def __init__(
        self,
        context: Context,
        session: Session,
        control: Control,
        rule: Rule,
        target: float,
        subject: Subject = READS.subject,
        exporter: Optional[Exporter] = None,
    ) -> None:
        self._context = context
        self._session = session
        self._control = control
        self._rule = rule
        self._target = target
        self._exporter = exporter
        self.subject = subject
        self.progress = Progress(context, control, exporter, "" if subject is READS.subject else subject.table + ": ")
        self.skipped = False  # rows that others had locked were passed over
        self.block = 0
        self._first = ""  # what each batch's transaction begins with
        self._free = False  # the foreign key has been dropped
        self._unchecked = False  # the foreign key is not checked

    # By blocks

    def run(
        self, blocks: int, set_aside: Optional[Callable[[], bool]] = None, unchecked: bool = False
    ) -> Optional[str]:
        """All blocks. ``set_aside`` is called once WORTH_IT rows are deleted; it says whether the foreign key has been
        dropped. Rows that refer to others are deleted with them nevertheless: to look for them at the end would visit
        what has been deleted once more, in no order. ``unchecked``: the foreign key is not checked.
        """
        self._look()
        self._unchecked = unchecked
        size = SMALLEST
        while self.block < blocks:
            stop = self._control.gate()
            if stop:
                return stop
            if set_aside is not None and self.progress.deleted >= WORTH_IT:
                self._free = set_aside()
                set_aside, size = None, SMALLEST
            end = min(self.block + size, blocks)
            begun = self._context.clock()
            rows = self._range(self.block, end)
            if rows is None:
                return "max_duration"
            self.block = end
            self.progress.add(rows, end / blocks)
            size = scaled(size, self._context.clock() - begun, self._target, SMALLEST, LARGEST)
        return None

    def _look(self) -> None:
        """How to find the rows that refer to those that are deleted."""
        if self.subject.referring:
            with self._session.transaction() as cursor:
                cursor.execute("select pg_relation_size(%s::regclass) > %s", (self.subject.referring[0], MANY))
                self._first = LOOKED_UP if cursor.fetchone()[0] else ""

    def _range(self, first: int, end: int) -> Optional[int]:
        """Rows deleted; None when the time was over before a lock came."""
        import psycopg2

        statement = retry = EXPORTED
        if self._exporter is None:
            statement = WITH_OTHERS if self.subject.others else ALONE
            # Restoring the foreign key finds the tags that this leaves.
            retry = ALONE if self._free else statement
            if self._unchecked:
                statement = retry = EVENTS_FIRST
        condition = BLOCKS.format(first=first, end=end, rule=self._rule.condition)
        try:
            return int(self._delete(self._filled(statement, condition=condition), self._rule.values)[0])
        except psycopg2.Error as error:
            if error.pgcode not in RETRIED:
                raise
            self.skipped = True
        # Another session holds a row, or the table: rows are passed over, and the table is waited for.
        unlocked = UNLOCKED.format(table=self.subject.table, condition=condition)
        row = self._patiently(self._filled(retry, condition=unlocked), self._rule.values)
        return None if row is None else int(row[0])

    # By index

    def run_by_index(self, groups: List[str], expected: int) -> Optional[str]:
        self._look()
        rows = 2000
        for number, group in enumerate(groups):
            after = "-infinity"
            while True:
                stop = self._control.gate()
                if stop:
                    return stop
                begun = self._context.clock()
                values = dict(self._rule.values, group=group, after=after)
                statement = EXPORTED_BY_INDEX if self._exporter is not None else BY_INDEX
                statement = self._filled(statement, rule=self._rule.condition, rows=rows)
                row = self._patiently(statement, values)
                if row is None:
                    return "max_duration"
                gone, doomed, last = row
                done = (number + 0.5) / len(groups)
                if expected:
                    done = min(max(done, (self.progress.deleted + gone) / expected), 0.999)
                self.progress.add(gone, done)
                if doomed < rows:
                    break
                self.skipped = self.skipped or gone < doomed
                if last == after and not gone:
                    break
                after = last
                rows = scaled(rows, self._context.clock() - begun, self._target, FEWEST, MOST)
        return None

    # Both

    def _filled(self, statement: str, **more: Any) -> str:
        subject = self.subject
        names = {name: getattr(subject, name) for name in ("table", "key", "time", "group", "others")}
        other = subject.referring[0] if subject.referring else ""
        others = subject.others + " returning t.*" if other else subject.others
        without = subject.values if self._exporter is not None and not self._exporter.values else ()
        exported = selection(subject.table, subject.key, subject.time, others, other, "rows" in more, without)
        return statement.format(**names, **more, exported=exported)

    def _delete(self, statement: str, values: Mapping[str, Any]) -> Any:
        if self._exporter is not None:
            totals = self._exporter.delete(self._session, statement, values, self._first)
            return totals["gone"], totals["doomed"], totals["moment"]
        with self._session.transaction() as cursor:
            if self._first:
                cursor.execute(self._first)
            if self._unchecked:
                cursor.execute(UNCHECKED)
            cursor.execute(statement, values)
            row = cursor.fetchone() if cursor.description else (cursor.rowcount,)
            if self._unchecked:
                self._delete_others(cursor)
            return row

    def _delete_others(self, cursor: Cursor) -> None:
        cursor.execute(THEN_OTHERS.format(others=self.subject.others))

    def _patiently(self, statement: str, values: Mapping[str, Any]) -> Any:
        """The row of a batch that waits for locks; None when the time was over before they came."""
        found: List[Any] = []
        went = patiently(
            lambda: found.append(self._delete(statement, values)),
            self._context,
            PATIENCE,
            lambda: self._session.blocker(self.subject.table, *self.subject.referring),
            "The purge",
            self._control.over,
            blocked=PurgeBlocked,
        )
        return found[0] if went else None
