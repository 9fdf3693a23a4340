# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The foreign key from the tags to the events, dropped for a purge and restored.

Checking it takes PostgreSQL several times as long as deleting the row itself. Tags are deleted by the statement that
deletes their events, with or without it; but without it nothing keeps others from tagging an event that is deleted, so
such tags are looked for before the constraint is valid again. What has to be restored is written into the comment of
the tags' table in the transaction that drops the constraint: a comment needs no more rights than the constraint, is
part of every dump, and is seen by whoever looks at the table. Where that comment is found, a purge was interrupted.
"""

from __future__ import annotations

import json
from typing import Optional, TypedDict, cast

from ..core.api import Context
from ..core.types import Connection, Cursor
from ..core.waiting import CALM_LOCK, calm, patiently
from ..core.words import identifier
from .errors import PurgeBlocked, UnknownLayout
from .scope import EVENTS, INCOMING, TAGS
from .session import Session
from .walk import LOOKED_UP, UNCHECKED

WORDS = "A purge has dropped the foreign key of this table; phase.console.phase_purge_logs restores it. "
PATIENCE = 20.0  # seconds to wait for the locks; then the key stays
RESTORE_PATIENCE = 600.0
NO_LIMIT = 0  # of a statement that repairs

_COMMENT = "select obj_description('api_secretevent_tags'::regclass, 'pg_class')"
_CONSTRAINT = """
select k.conname::text, pg_get_constraintdef(k.oid), k.convalidated from pg_catalog.pg_constraint k
where k.contype = 'f' and k.conrelid = %s::regclass and k.confrelid = %s::regclass
"""
_ORPHANS = """
delete from api_secretevent_tags t where not exists (select from api_secretevent e where e.id = t.secretevent_id)
"""
# After a purge the planner knows nothing of dead index entries and pages no longer all-visible, and would walk through
# whole indexes of them. So each tag is looked up, or where there are more tags than blocks, the events are read once.
_MORE_TAGS = """
select (select count(*) from api_secretevent_tags) >
       pg_relation_size('api_secretevent') / current_setting('block_size')::int
"""
_READ_ONCE = "set local enable_indexscan = off; set local enable_indexonlyscan = off; set local enable_bitmapscan = off"


_HANGING = """
select 'trigger ' || quote_ident(t.tgname) from pg_catalog.pg_trigger t
where t.tgrelid in (%(events)s::regclass, %(tags)s::regclass) and not t.tgisinternal
union all select k.conname || ' of ' || k.conrelid::regclass::text from pg_catalog.pg_constraint k
where k.contype = 'f' and k.confrelid = %(tags)s::regclass
"""


class Marker(TypedDict):
    """The constraint that an interrupted purge dropped, and the table's ``comment`` before."""

    name: str
    definition: str
    comment: Optional[str]


class Restored(TypedDict):
    """``orphan_tags``: how many tags without an event were deleted."""

    constraint: str
    orphan_tags: int


def marker(connection: Connection) -> Optional[Marker]:
    """None where nothing has to be restored."""
    with connection.cursor() as cursor:
        cursor.execute("select to_regclass(%s) is not null", (TAGS,))
        if not cursor.fetchone()[0]:
            return None
        cursor.execute(_COMMENT)
        text = cursor.fetchone()[0]
    return parse(text)


def parse(comment: Optional[str]) -> Optional[Marker]:
    if not comment or not comment.startswith(WORDS):
        return None
    return cast(Marker, json.loads(comment[len(WORDS) :]))


def must_check(connection: Connection) -> Optional[str]:
    """Why a transaction has to check the foreign key; None where it may leave that out, for which it sets
    session_replication_role. That also leaves out triggers and other foreign keys, so there must be none."""
    import psycopg2

    with connection.cursor() as cursor:
        cursor.execute(_HANGING, {"events": EVENTS, "tags": TAGS})
        hanging = [row[0] for row in cursor.fetchall()]
        if hanging:
            return "without the check %s would not work" % ", ".join(hanging)
        cursor.execute("begin")
        try:
            cursor.execute(UNCHECKED)
        except psycopg2.Error as error:
            if error.pgcode != "42501":  # insufficient_privilege
                raise
            return "the role may not set session_replication_role, which leaves the check out"
        finally:
            cursor.execute("rollback")
    return None


def set_aside(context: Context, session: Session) -> Optional[str]:
    """Drop the constraint and say so in the comment, in one transaction. Returns why that was not possible."""

    def work() -> None:
        with session.transaction(CALM_LOCK) as cursor:
            # Events first, as the application writes them; before that, an autovacuum is made to give way.
            cursor.execute(calm(EVENTS, TAGS))
            cursor.execute("lock table api_secretevent, api_secretevent_tags in access exclusive mode")
            cursor.execute(_CONSTRAINT, (TAGS, EVENTS))
            name, definition, _valid = cursor.fetchone()
            cursor.execute(_COMMENT)
            note = {"name": name, "definition": definition, "comment": cursor.fetchone()[0]}
            cursor.execute("comment on table api_secretevent_tags is %s", (WORDS + json.dumps(note),))
            cursor.execute("alter table api_secretevent_tags drop constraint " + identifier(name))

    try:
        patiently(
            work,
            context,
            PATIENCE,
            lambda: session.blocker(EVENTS, TAGS),
            "Dropping the foreign key",
            blocked=PurgeBlocked,
        )
    except PurgeBlocked as error:
        context.report("%s The foreign key stays, so the purge takes longer." % error.message)
        return error.message.rstrip(".")
    return None


def restore(context: Context, session: Session) -> Optional[Restored]:
    """Restore what the marker names. None without a marker.

    Each step may have been done before: the constraint comes first, so that no new tag goes astray, then the tags that
    have no event, then its validation together with the end of the marker.
    """
    note = marker(session.connection)
    if note is None:
        return None
    if note["definition"].replace(" NOT VALID", "") != INCOMING:
        raise UnknownLayout(
            "The comment of api_secretevent_tags names another foreign key than Phase's: %s." % note["definition"],
            "Restore that one by hand and take this collection's words out of the comment, then run it again.",
        )

    def add() -> None:
        with session.transaction(CALM_LOCK, NO_LIMIT) as cursor:
            cursor.execute(calm(EVENTS, TAGS))
            cursor.execute("lock table api_secretevent, api_secretevent_tags in share row exclusive mode")
            cursor.execute(_CONSTRAINT, (TAGS, EVENTS))
            if cursor.fetchone() is None:
                cursor.execute(
                    "alter table api_secretevent_tags add constraint %s %s not valid"
                    % (identifier(note["name"]), INCOMING)
                )

    def who() -> str:
        return session.blocker(EVENTS, TAGS)

    patiently(add, context, RESTORE_PATIENCE, who, "Restoring the foreign key", blocked=PurgeBlocked)
    orphans = 0

    def clean() -> None:
        nonlocal orphans
        with session.transaction(statement_timeout=NO_LIMIT) as cursor:
            join_well(cursor)
            cursor.execute(_ORPHANS)
            orphans += cursor.rowcount

    def validate() -> None:
        with session.transaction(CALM_LOCK, NO_LIMIT) as cursor:
            join_well(cursor)
            cursor.execute("alter table api_secretevent_tags validate constraint " + identifier(note["name"]))
            cursor.execute("comment on table api_secretevent_tags is %s", (note["comment"],))

    patiently(clean, context, RESTORE_PATIENCE, who, "Deleting tags without an event", blocked=PurgeBlocked)
    patiently(validate, context, RESTORE_PATIENCE, who, "Validating the foreign key", blocked=PurgeBlocked)
    return {"constraint": note["name"], "orphan_tags": orphans}


def join_well(cursor: Cursor) -> None:
    """For this transaction: how tags are compared with events, also by what validates the constraint."""
    cursor.execute(_MORE_TAGS)
    cursor.execute(_READ_ONCE if cursor.fetchone()[0] else LOOKED_UP)
