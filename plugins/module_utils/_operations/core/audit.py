# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Audit rows in the shape of Phase's own, so that its console shows what was done past it.

From v2.73.2, where the table is (it came with v2.69.0, migration ``0118_auditevent``): the console lists an
organisation's rows by time, and its GraphQL type turns ``event_type``, ``resource_type`` and ``actor_type`` into
enumerations, so a value that the release does not know would break the whole list (actors are ``user`` or ``sa``). The
actor is looked up among the organisation's members by ``actor_id``, then by ``actor_metadata.email``; where none is
found, the console shows ``email``, else ``username``. Nobody's name is put to an emergency change: ``actor_type`` is
``user`` and ``actor_id`` empty, as in the application's own fallback, and ``username`` says who it was, and where.
"""

from __future__ import annotations

import json
import uuid
from typing import Any, Dict, List, Optional, Sequence

from .rows import columns

TABLE = "api_auditevent"
EVENT_TYPES = ("C", "R", "U", "D", "A")
RESOURCE_TYPES = ("app", "env", "role", "sa", "member", "policy", "pat", "sa_token", "svc_token")  # of v2.69.0
ACTOR = "phase.console"

Event = Dict[str, Any]


def event(
    *,
    organisation: str,
    event_type: str,
    resource_type: str,
    resource_id: str,
    name: str,
    description: str,
    reason: str = "",
    operator: str = "",
    metadata: Optional[Dict[str, Any]] = None,
    old_values: Optional[Dict[str, Any]] = None,
    new_values: Optional[Dict[str, Any]] = None,
) -> Event:
    """One emergency change as a row, all but ``id`` and ``timestamp``.

    ``organisation`` and ``resource_id`` are ids, ``name`` what the console calls the resource, ``description`` what was
    done, as ``Updated network access policy 'Office'``, ``operator`` who ran it where, as ``root@bastion``, and
    ``metadata`` what the application itself tells of the resource beside its name.
    """
    if event_type not in EVENT_TYPES or resource_type not in RESOURCE_TYPES:
        raise ValueError("Phase's console cannot show %s of %s" % (event_type, resource_type))
    by = "%s by %s" % (ACTOR, operator) if operator else ACTOR
    return {
        "organisation_id": organisation,
        "event_type": event_type,
        "resource_type": resource_type,
        "resource_id": resource_id,
        "actor_type": "user",
        "actor_id": "",
        "actor_metadata": {"email": "", "username": by},
        "resource_metadata": dict(metadata or {}, name=name, emergency=True, reason=reason),
        "old_values": old_values,
        "new_values": new_values,
        "description": "%s (emergency change with %s%s)" % (description, by, ": " + reason if reason else ""),
        "ip_address": None,
        "user_agent": ACTOR,
    }


def available(connection: Any) -> bool:
    """Whether this schema level has the table; from v2.36.4 to v2.68.x it has not."""
    return bool(columns(connection, TABLE))


def absent(written: bool) -> List[str]:
    """What to warn of: nothing, or that there is no audit log to write to."""
    if written:
        return []
    return ["This release of Phase has no audit log (it came with v2.69.0), so the change is recorded there nowhere."]


def record(connection: Any, events: Sequence[Event]) -> bool:
    """Insert them, in the caller's transaction; whether this schema level has an audit log."""
    from psycopg2 import sql

    if not available(connection):
        return False
    with connection.cursor() as cursor:
        for one in events:
            row = {
                name: json.dumps(value) if isinstance(value, dict) else value
                for name, value in dict(one, id=str(uuid.uuid4())).items()
            }
            statement = sql.SQL("insert into {} ({}, timestamp) values ({}, clock_timestamp())").format(
                sql.Identifier(TABLE),
                sql.SQL(", ").join(map(sql.Identifier, row)),
                sql.SQL(", ").join([sql.SQL("%s")] * len(row)),
            )
            cursor.execute(statement, list(row.values()))
    return True
