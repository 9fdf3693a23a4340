# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The statements of a rewrite, made from the catalog's own words. Pure.

What is built bears its final name in a schema of its own, so that the swap is two moves and no renaming. Of the rows
those are kept for which ``goes``, a condition on the table as ``e``, is not true; None keeps all.
"""

# ruff: noqa: S608 - names are the catalog's, quoted by the server

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ..core.waiting import CALM_LOCK, calm, only
from .catalog import MARK, OLD, TRIGGER, WORK, Constraint, Index, Table

Grants = Sequence[Tuple[str, str, bool]]


def literal(text: str) -> str:
    """A text as SQL, whatever standard_conforming_strings says."""
    quoted = "'%s'" % text.replace("'", "''")
    return "e" + quoted.replace("\\", "\\\\") if "\\" in quoted else quoted


def kept(goes: Optional[str]) -> str:
    return "true" if goes is None else "(%s) is not true" % goes


def mark(table: Table, who: str) -> str:
    """What the schemas' comments say: enough for a later run to tidy up."""
    return MARK + json.dumps({"place": table.place, "name": table.name, "who": who})


# Before the copy


_NOTE = """
begin
  if tg_op <> 'DELETE' then
    insert into @work@.changed values (new.@key@);
  end if;
  if tg_op = 'DELETE' then
    insert into @work@.changed values (old.@key@);
  elsif tg_op = 'UPDATE' then
    if old.@key@ is distinct from new.@key@ then
      insert into @work@.changed values (old.@key@);
    end if;
  end if;
  return null;
end
"""

_CATCH_UP = """
declare
  taken @type@[];
begin
  with gone as (
    delete from @work@.changed c where c.ctid = any(array(select ctid from @work@.changed limit most)) returning c.key
  ) select array_agg(distinct key) into taken from gone;
  if taken is null then
    return 0;
  end if;
  delete from @copy@ e where e.@key@ = any(taken);
  insert into @copy@ (@columns@)
  select @their_columns@ from only @place@ e where e.@key@ = any(taken) and @kept@;
  return cardinality(taken);
end
"""


def fitted(text: str, values: Dict[str, str]) -> str:
    """A text with ``@name@`` replaced by values; once only, so that what a value holds stays as it is."""
    return re.sub("@([a-z_]+)@", lambda found: values[found.group(1)], text)


def work_schema(table: Table, goes: Optional[str], who: str) -> str:
    """The schema with the log of changed keys, the trigger that fills it, and the function that catches up by it.

    The trigger fires for every role and in every replication role. The log is unlogged: a rewrite is never resumed.
    """
    values = {
        "work": WORK,
        "key": table.key,
        "type": table.key_type,
        "copy": table.copy,
        "place": table.place,
        "columns": ", ".join(table.columns),
        "their_columns": ", ".join("e." + column for column in table.columns),
        "kept": kept(goes),
    }
    settings = "set search_path = pg_catalog, pg_temp"
    return "; ".join(
        [
            calm(table.place),
            "create schema %s" % WORK,
            "comment on schema %s is %s" % (WORK, literal(mark(table, who))),
            "revoke all on schema %s from public" % WORK,
            # An autovacuum that cuts off its end would lock it for a while.
            "create unlogged table %s.changed (key %s not null) with (vacuum_truncate = false)"
            % (WORK, table.key_type),
            "create function %s.note() returns trigger language plpgsql security definer %s as %s"
            % (WORK, settings, literal(fitted(_NOTE, values))),
            "create function %s.catch_up(most int) returns int language plpgsql %s as %s"
            % (WORK, settings, literal(fitted(_CATCH_UP, values))),
            "create trigger %s after insert or update or delete on %s for each row execute function %s.note()"
            % (TRIGGER, table.place, WORK),
            "alter table only %s enable always trigger %s" % (table.place, TRIGGER),
        ]
    )


def guard(table: Table) -> str:
    return calm(table.place, *table.followers)


def guard_copy(table: Table) -> str:
    """The same for the copy once it is finished: an autovacuum that works on it would keep it from moving."""
    return "set local lock_timeout = %d; %s" % (CALM_LOCK, calm(table.copy))


# The copy


def make_copy(table: Table) -> str:
    return (
        "create table %s (like %s including all excluding indexes excluding identity excluding statistics) "
        "using heap with (autovacuum_enabled = false, toast.autovacuum_enabled = false)"
    ) % (table.copy, table.place)


def fill(table: Table, goes: Optional[str], blocks: str) -> str:
    """Copies what stays. EXPLAIN ANALYZE carries it out and counts what it leaves out, too: ``scanned``."""
    return (
        "explain (analyze, timing off, buffers off, format json) "
        "insert into {copy} ({columns}) select {columns} from only {place} e where {blocks} and {kept}"
    ).format(copy=table.copy, columns=", ".join(table.columns), place=table.place, blocks=blocks, kept=kept(goes))


def scanned(plan: Mapping[str, Any]) -> Tuple[int, int]:
    """Rows copied and rows left out by a ``fill``: what its scan of the table found, and what its filter removed."""
    while plan.get("Alias") != "e":
        plan = plan["Plans"][0]
    return int(plan["Actual Rows"]), int(plan.get("Rows Removed by Filter", 0))


def block_range(first: int, end: int) -> str:
    return "e.ctid >= '(%d,0)'::tid and e.ctid < '(%d,0)'::tid" % (first, end)


def make_index(table: Table, index: Index) -> str:
    return "%s%s %s" % (index.opening, table.copy, index.rest)


def make_key(table: Table, key: Constraint) -> str:
    """A primary or unique constraint over the index of its name, which is there."""
    kind = "primary key" if key.kind == "p" else "unique"
    when = ""
    if "DEFERRABLE" in key.definition.rpartition(")")[2]:
        when = " deferrable" + (" initially deferred" if key.definition.endswith("INITIALLY DEFERRED") else "")
    return "alter table only %s add constraint %s %s using index %s%s" % (table.copy, key.name, kind, key.name, when)


def finish(table: Table, grants: Grants) -> List[str]:
    """What else the copy needs to be like the table; ``grants`` are those that it came with."""
    statements = [make_key(table, key) for key in table.keys]
    clustered = [index.name for index in table.indexes if index.clustered]
    statements += ["alter table only %s cluster on %s" % (table.copy, name) for name in clustered]
    if table.settings:
        statements.append("alter table only %s %s" % (table.copy, ", ".join(table.settings)))
    statements.append("alter table only %s reset (autovacuum_enabled, toast.autovacuum_enabled)" % table.copy)
    if table.options:
        statements.append("alter table only %s set (%s)" % (table.copy, ", ".join(table.options)))
    statements += regrant(table, grants)
    if table.comment:
        statements.append("comment on table %s is %s" % (table.copy, table.comment))
    for index in table.indexes:
        if index.comment:
            statements.append("comment on index %s.%s is %s" % (WORK, index.name, index.comment))
    for key in table.keys:
        if key.comment:
            statements.append("comment on constraint %s on %s is %s" % (key.name, table.copy, key.comment))
    return statements


def regrant(table: Table, grants: Grants) -> List[str]:
    if sorted(grants) == sorted(table.grants):
        return []
    statements = ["revoke all on %s from %s" % (table.copy, role) for role in sorted({grant[0] for grant in grants})]
    for role, privilege, grantable in table.grants:
        more = " with grant option" if grantable else ""
        statements.append("grant %s on %s to %s%s" % (privilege, table.copy, role, more))
    return statements


# The swap


def hold_writers(table: Table) -> str:
    """Parents first: the application writes them before the events that refer to them."""
    parents = "lock table %s in share row exclusive mode; " % only(table.parents) if table.parents else ""
    return parents + "lock table %s in share row exclusive mode" % only([table.place] + table.followers)


def hold_everybody(table: Table) -> str:
    return "lock table %s in access exclusive mode" % only([table.place] + table.followers)


def swap(table: Table, who: str) -> str:
    """In one transaction that holds everybody. The table that leaves is emptied: while it still has its foreign keys,
    rows in it would keep the application from deleting the rows that they refer to.
    """
    statements = ["alter table only %s drop constraint %s" % (key.table, key.name) for key in table.incoming]
    statements += [
        "create schema %s" % OLD,
        "comment on schema %s is %s" % (OLD, literal(mark(table, who))),
        "drop trigger %s on %s" % (TRIGGER, table.place),
        "alter table %s set schema %s" % (table.place, OLD),
        "alter table %s set schema %s" % (table.copy, table.schema),
        "truncate table only %s" % table.replaced,
    ]
    for owner in [table.place] + table.followers:
        keys = [key for key in table.outgoing + table.incoming if key.table == owner]
        adds = ["add constraint %s %s not valid" % (key.name, key.definition) for key in keys]
        if adds:
            statements.append("alter table only %s %s" % (owner, ", ".join(adds)))
    for key in table.outgoing + table.incoming:
        if key.comment:
            statements.append("comment on constraint %s on %s is %s" % (key.name, key.table, key.comment))
    return "; ".join(statements)


# Afterwards


def orphans(place: str, key: str, follower: str, column: str) -> str:
    return "delete from only %s f where f.%s is not null and not exists (select from only %s e where e.%s = f.%s)" % (
        follower,
        column,
        place,
        key,
        column,
    )
