# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose rows a purge may delete, and whether the tables are those that its rules were written for.

Read events are deleted as Phase's documentation and its command since v2.73.0 say: rows of ``api_secretevent`` with
event type R whose timestamp is not after now minus the days to keep, in the environments of the chosen apps, with their
tags. Creations, updates and deletions are the secrets' version history; they stay.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, TypedDict, cast

from ..._errors import NotAllowed
from ..core import organisations as _organisations
from ..core.types import Connection, Cursor
from .errors import RetainTooShort, UnknownApp, UnknownLayout
from .types import Environment, Organisation, PlanRequest, Scope

EVENTS, TAGS = "api_secretevent", "api_secretevent_tags"
FLOOR = "PHASE_CONSOLE_MINIMUM_RETAIN_DAYS"  # in the backend's environment: a playbook cannot go below it

# The columns that the rule reads, the same from v2.37.2 to v2.73.2.
COLUMNS = {
    EVENTS: {
        "id": "text",
        "event_type": "character varying(1)",
        "environment_id": "text",
        "timestamp": "timestamp with time zone",
        "service_account_token_id": "text",
    },
    TAGS: {"id": "bigint", "secretevent_id": "text", "secrettag_id": "text"},
    "api_environment": {"id": "text", "name": "character varying(64)", "app_id": "text"},
    "api_app": {"id": "text", "name": "character varying(64)", "organisation_id": "text"},
    "api_organisation": {"id": "text", "name": "character varying(64)"},
}
INCOMING = "FOREIGN KEY (secretevent_id) REFERENCES api_secretevent(id) DEFERRABLE INITIALLY DEFERRED"

_COLUMNS = """
select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull
from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid
where c.oid in (select to_regclass(name) from unnest(%s) as name) and a.attnum > 0 and not a.attisdropped
"""

_TABLE = """
select c.relkind = 'r' and not exists (select from pg_catalog.pg_inherits i where c.oid in (i.inhparent, i.inhrelid))
         as plain,
       c.relpersistence = 'p' as permanent,
       c.relrowsecurity as row_security,
       exists (select from pg_catalog.pg_rewrite r where r.ev_class = c.oid) as rules,
       array(select t.tgname::text from pg_catalog.pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal
             order by 1) as triggers,
       pg_catalog.pg_has_role(c.relowner, 'USAGE') as owner,
       pg_catalog.has_table_privilege(c.oid, 'SELECT') and pg_catalog.has_table_privilege(c.oid, 'DELETE') as deletes,
       pg_catalog.has_table_privilege(c.oid, 'UPDATE') as updates
from pg_catalog.pg_class c where c.oid = %s::regclass
"""

_INCOMING = """
select k.conname::text, k.conrelid::regclass::text, pg_get_constraintdef(k.oid)
from pg_catalog.pg_constraint k where k.contype = 'f' and k.confrelid = %s::regclass and k.conparentid = 0 order by 1
"""

_ENVIRONMENTS = """
select e.id, e.name, a.id as app_id, a.name as app, o.id as organisation_id, o.name as organisation
from api_environment e join api_app a on a.id = e.app_id join api_organisation o on o.id = a.organisation_id
where (%(organisation)s::text is null or o.id = %(organisation)s) and (%(app)s::text is null or a.id = %(app)s)
order by o.name, a.name, a.id, e.name, e.id
"""


_CUTOFF = """
select to_char((now() - %s * interval '24 hours') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
"""


class TableFacts(TypedDict):
    """Of a table that is purged. ``plain``: neither partitioned nor inherited from. ``owner``: the role has its rights;
    ``deletes``: it may read and delete."""

    plain: bool
    permanent: bool
    row_security: bool
    rules: bool
    triggers: List[str]
    owner: bool
    deletes: bool
    updates: bool


class Layout(TypedDict):
    """Of the read events and their tags. ``foreign_key``: its name, None where it is dropped."""

    triggers: List[str]
    owner: bool
    foreign_key: Optional[str]


Columns = Mapping[str, Mapping[str, Tuple[str, bool]]]  # by table and name: type, and whether it is never null
Incoming = Tuple[str, str, str]  # a foreign key: its name, its table, its definition


def check_layout(connection: Connection, foreign_key_missing: bool = False) -> Layout:
    """Raise UnknownLayout or NotAllowed unless the rule for read events fits this database.

    ``foreign_key_missing`` allows for the incoming foreign key that an interrupted run dropped.
    """
    found, facts, incoming = read_layout(connection, COLUMNS, (EVENTS, TAGS), EVENTS)
    problems = layout_problems(found, facts, incoming, foreign_key_missing)
    if problems:
        raise layout_refused(problems)
    denied = [table for table in (EVENTS, TAGS) if not facts[table]["deletes"]]
    if denied:
        raise NotAllowed(
            "This role may not read %s and delete there." % " and ".join(denied),
            "Run it as the role that owns Phase's tables (DATABASE_USER).",
        )
    return {
        "triggers": facts[EVENTS]["triggers"] + facts[TAGS]["triggers"],
        "owner": facts[EVENTS]["owner"] and facts[TAGS]["owner"],
        "foreign_key": incoming[0][0] if incoming else None,
    }


def read_layout(
    connection: Connection, columns: Mapping[str, Any], purged: Sequence[str], referred: str
) -> Tuple[Columns, Dict[str, TableFacts], List[Incoming]]:
    """Of the catalog: the columns of all these tables, facts about those that are purged, and the foreign keys that
    refer to one of them. Tables that do not exist are left out.
    """
    found: Dict[str, Dict[str, Tuple[str, bool]]] = {}
    facts: Dict[str, TableFacts] = {}
    incoming: List[Incoming] = []
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS, (list(columns),))
        for table, column, kind, not_null in cursor.fetchall():
            found.setdefault(table, {})[column] = (kind, not_null)
        for table in purged:
            if table in found:
                cursor.execute(_TABLE, (table,))
                names = [column[0] for column in cursor.description or ()]
                facts[table] = cast(TableFacts, dict(zip(names, cursor.fetchone())))
        if referred in found:
            cursor.execute(_INCOMING, (referred,))
            incoming = [(row[0], row[1], row[2]) for row in cursor.fetchall()]
    return found, facts, incoming


def layout_refused(problems: Sequence[str]) -> UnknownLayout:
    return UnknownLayout(
        "This is not the layout of Phase's tables that the purge knows: %s." % "; ".join(problems),
        "Nothing was changed. Look for a newer version of this collection, or at who changed the tables.",
    )


def column_problems(columns: Mapping[str, Mapping[str, str]], found: Columns) -> List[str]:
    problems = []
    for table, wanted in columns.items():
        if table not in found:
            problems.append("there is no table %s" % table)
            continue
        for column, kind in wanted.items():
            have = found[table].get(column)
            if have is None or have[0] != kind:
                problems.append("%s.%s is %s, not %s" % (table, column, have[0] if have else "missing", kind))
    return problems


def table_problems(facts: Mapping[str, TableFacts]) -> List[str]:
    problems = []
    for table, fact in facts.items():
        if not fact["plain"]:
            problems.append("%s is partitioned, inherited from, or no table" % table)
        if fact["row_security"]:
            problems.append("%s has row security" % table)
        if fact["rules"]:
            problems.append("%s has rules" % table)
    return problems


def layout_problems(
    found: Columns,
    facts: Mapping[str, TableFacts],
    incoming: Sequence[Incoming],
    foreign_key_missing: bool,
) -> List[str]:
    problems = column_problems(COLUMNS, found)
    for table, columns in COLUMNS.items():
        for column, kind in columns.items():
            have = found.get(table, {}).get(column)
            if have == (kind, False) and column != "service_account_token_id":
                problems.append("%s.%s may be null" % (table, column))
    problems += table_problems(facts)
    expected = [row for row in incoming if row[1] == TAGS and row[2].replace(" NOT VALID", "") == INCOMING]
    if len(incoming) != len(expected):
        names = ", ".join("%s of %s" % (row[0], row[1]) for row in incoming if row not in expected)
        problems.append("%s is referred to by %s" % (EVENTS, names))
    if len(expected) != 1 and not foreign_key_missing and EVENTS in found:
        problems.append("%s has %s incoming foreign keys of %s" % (EVENTS, len(expected) or "no", TAGS))
    return problems


def floor(minimum: int, environment: Optional[Mapping[str, str]] = None) -> int:
    """The fewest days that may be kept: the caller's own ``minimum`` or that of the backend's environment."""
    value = (os.environ if environment is None else environment).get(FLOOR, "").strip() or "0"
    if not value.isdecimal():
        raise RetainTooShort("%s is %r, not a number of days." % (FLOOR, value), "Set it to a whole number.")
    return max(int(value), minimum)


def cutoff_of(cursor: Cursor, days: int) -> str:
    """That many days of 24 hours ago, as the application counts them, whatever the session's time zone does at a change
    of clocks; ISO 8601, from the server's clock."""
    cursor.execute(_CUTOFF, (days,))
    return str(cursor.fetchone()[0])


def resolve(connection: Connection, request: PlanRequest) -> Scope:
    """The scope of a request. Raises OrganisationMissing and UnknownApp."""
    name = request["organisation"]
    chosen = _organisations.known(connection) if name is None else [_organisations.find(connection, name)]
    with connection.cursor() as cursor:
        cursor.execute(_ENVIRONMENTS, {"organisation": name and chosen[0]["id"], "app": request["app_id"]})
        names = [column[0] for column in cursor.description or ()]
        environments = [cast(Environment, dict(zip(names, row))) for row in cursor.fetchall()]
        if request["app_id"] is not None:
            chosen = _organisation_of_app(cursor, request, chosen)
    return {
        "everything": request["organisation"] is None and request["app_id"] is None,
        "app_id": request["app_id"],
        "organisations": [Organisation(id=row["id"], name=row["name"]) for row in chosen],
        "environments": environments,
    }


def _organisation_of_app(cursor: Cursor, request: PlanRequest, chosen: List[Dict[str, str]]) -> List[Dict[str, str]]:
    cursor.execute("select organisation_id from api_app where id = %s", (request["app_id"],))
    row = cursor.fetchone()
    own = [one for one in chosen if row and one["id"] == row[0]]
    if not own:
        where = " of organisation %s" % request["organisation"] if request["organisation"] is not None else ""
        elsewhere = " It belongs to another organisation." if row else ""
        raise UnknownApp(
            "There is no app with the id %s%s.%s" % (request["app_id"], where, elsewhere),
            "Give the id of an app (a UUID, in the address of its page in the console), not its name.",
        )
    return own
