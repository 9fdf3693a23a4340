# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a purge may delete: the one place that knows it, checked against the live catalog first.

The rule is that of Phase's documentation and of its command since v2.73.0: rows of ``api_secretevent`` with event type
R whose timestamp is not after now minus the days to keep, in the environments of the chosen apps. Creations, updates
and deletions are the secrets' version history and are never among them. Each row's tags go with it.

A scope is plain data: ``cutoff`` (ISO 8601, from the server's clock), ``retain_days``, ``everything`` (no limit to
environments), ``organisations`` [{id, name}], ``environments`` [{id, name, app_id, app, organisation_id,
organisation}].
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ..core import organisations as _organisations
from .errors import NotAllowed, RetainTooShort, UnknownApp, UnknownLayout

EVENTS, TAGS = "api_secretevent", "api_secretevent_tags"
FLOOR = "PHASE_CONSOLE_MINIMUM_RETAIN_DAYS"  # in the backend's environment: a playbook cannot go below it

Scope = Dict[str, Any]

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


def check_layout(connection: Any, foreign_key_missing: bool = False) -> Dict[str, Any]:
    """Raise UnknownLayout or NotAllowed unless the rule fits this database; what was found about the two tables.

    ``foreign_key_missing`` allows for the incoming foreign key that an earlier run set aside.
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


Columns = Mapping[str, Mapping[str, Tuple[str, bool]]]  # by table and name: type, and whether it is never null


def read_layout(
    connection: Any, columns: Mapping[str, Any], purged: Sequence[str], referred: str
) -> Tuple[Columns, Dict[str, Dict[str, Any]], List[Tuple[str, str, str]]]:
    """Of the catalog: the columns of all these tables, facts about those that are purged, and the foreign keys that
    refer to one of them (name, table, definition). Tables that do not exist are left out.
    """
    found: Dict[str, Dict[str, Tuple[str, bool]]] = {}
    facts: Dict[str, Dict[str, Any]] = {}
    incoming: List[Tuple[str, str, str]] = []
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS, (list(columns),))
        for table, column, kind, not_null in cursor.fetchall():
            found.setdefault(table, {})[column] = (kind, not_null)
        for table in purged:
            if table in found:
                cursor.execute(_TABLE, (table,))
                facts[table] = dict(zip([column[0] for column in cursor.description], cursor.fetchone()))
        if referred in found:
            cursor.execute(_INCOMING, (referred,))
            incoming = [tuple(row) for row in cursor.fetchall()]
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


def table_problems(facts: Mapping[str, Mapping[str, Any]]) -> List[str]:
    problems = []
    for table, fact in facts.items():
        if not fact["plain"]:
            problems.append("%s is partitioned, inherited from, or no table" % table)
        problems.extend("%s has %s" % (table, name) for name in ("row_security", "rules") if fact[name])
    return problems


def layout_problems(
    found: Columns,
    facts: Mapping[str, Mapping[str, Any]],
    incoming: Sequence[Tuple[str, str, str]],
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
        names = ", ".join("%s of %s" % row[:2] for row in incoming if row not in expected)
        problems.append("%s is referred to by %s" % (EVENTS, names))
    if len(expected) != 1 and not foreign_key_missing and EVENTS in found:
        problems.append("%s has %s incoming foreign keys of %s" % (EVENTS, len(expected) or "no", TAGS))
    return problems


def floor(request: Mapping[str, Any], environment: Optional[Mapping[str, str]] = None) -> int:
    """The fewest days that may be kept: the caller's own minimum or that of the backend's environment."""
    value = (os.environ if environment is None else environment).get(FLOOR, "").strip() or "0"
    if not value.isdecimal():
        raise RetainTooShort("%s is %r, which is no number of days." % (FLOOR, value), "Set it to a whole number.")
    return max(int(value), request.get("minimum_retain_days") or 0)


def cutoff_of(cursor: Any, days: int) -> str:
    """That many days of 24 hours ago, as the application counts them, whatever the session's time zone does at a change
    of clocks; ISO 8601, from the server's clock."""
    cursor.execute(_CUTOFF, (days,))
    return str(cursor.fetchone()[0])


def resolve(connection: Any, request: Mapping[str, Any]) -> Scope:
    """The scope of a request: ``organisation`` (name) or None for all, ``app_id`` or None, ``retain_days``.

    Raises RetainTooShort, OrganisationMissing and UnknownApp.
    """
    least = floor(request)
    if request["retain_days"] < least and request.get("read_events", True):
        raise RetainTooShort(
            "retain_days is %d, and at least %d days have to be kept here." % (request["retain_days"], least),
            "Raise retain_days; the minimum is set by minimum_retain_days or by %s of the backend." % FLOOR,
        )
    named = request["organisation"] is not None
    chosen = [_organisations.find(connection, request["organisation"])] if named else _organisations.known(connection)
    with connection.cursor() as cursor:
        values = {"organisation": chosen[0]["id"] if named else None, "app": request["app_id"]}
        cursor.execute(_ENVIRONMENTS, values)
        names = [column[0] for column in cursor.description]
        environments = [dict(zip(names, row)) for row in cursor.fetchall()]
        if request["app_id"] is not None:
            chosen = _organisation_of_app(cursor, request, chosen)
        cutoff = cutoff_of(cursor, request["retain_days"])
    return {
        "cutoff": cutoff,
        "retain_days": request["retain_days"],
        "everything": request["organisation"] is None and request["app_id"] is None,
        "app_id": request["app_id"],
        "organisations": [{"id": row["id"], "name": row["name"]} for row in chosen],
        "environments": environments,
    }


def _organisation_of_app(cursor: Any, request: Mapping[str, Any], chosen: List[Dict[str, str]]) -> List[Dict[str, str]]:
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


class Condition:
    """What may go of a table ``e``: SQL, and its values as named parameters."""

    condition: str
    values: Dict[str, Any]


class Rule(Condition):
    """The rule as a condition on ``api_secretevent e``.

    ``holds`` are exceptions (``purge/streams``): ``base`` is the rule without them, ``condition`` with them.
    """

    def __init__(self, scope: Scope, holds: Sequence[Mapping[str, Any]] = ()) -> None:
        self.values = {"cutoff": scope["cutoff"]}
        self.base = "e.event_type = 'R' and e.timestamp <= %(cutoff)s::timestamptz"
        if not scope["everything"]:
            self.values["environments"] = [row["id"] for row in scope["environments"]]
            self.base += " and e.environment_id = any(%(environments)s)"
        self.holds = [self._hold(number, hold, scope) for number, hold in enumerate(holds)]
        held = " or ".join(self.holds)
        self.condition = "%s and not (%s)" % (self.base, held) if held else self.base

    def _hold(self, number: int, hold: Mapping[str, Any], scope: Scope) -> str:
        own = "hold_%d_" % number
        self.values[own + "in"] = [
            row["id"] for row in scope["environments"] if row["organisation_id"] == hold["organisation_id"]
        ]
        return held("e.environment_id = any(%%(%sin)s)" % own, hold, own, self.values)


def held(place: str, hold: Mapping[str, Any], own: str, values: Dict[str, Any]) -> str:
    """The condition for what a stream holds back: events at a place (SQL) after (timestamp, id), or within two
    timestamps. ``own`` begins the names of its values."""
    values[own + "from"] = hold["from"]
    if hold["to"] is None:
        values[own + "id"] = hold["from_id"]
        return "(%s and (e.timestamp, e.id) > (%%(%sfrom)s::timestamptz, %%(%sid)s))" % (place, own, own)
    values[own + "to"] = hold["to"]
    return "(%s and e.timestamp between %%(%sfrom)s::timestamptz and %%(%sto)s::timestamptz)" % (place, own, own)
