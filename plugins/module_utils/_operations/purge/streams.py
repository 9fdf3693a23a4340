# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What log streams have not delivered yet (Phase v2.73.0 on, ``api_logstream``).

A stream ships the events of its organisation from its sources, ``secrets`` and ``org_audit``, each in the order
(timestamp, id), after the cursor ``{"ts", "id"}`` it keeps for the source, or after its own creation. A chunk that
failed too often is recorded in ``api_logstreamdeliveryevent`` as failed or skipped, the cursor goes past it, and a
person may ship it again until the record is resolved, also when the stream does not ship that source any more. A paused
stream goes on from its cursor one day; a deleted one (``deleted_at``) never.
"""

from __future__ import annotations

import datetime
from typing import Any, Dict, List, Mapping, Optional, Sequence

from .scope import Scope

SOURCE = "secrets"
UNREADABLE = "-infinity"

_STREAMS = """
select s.id, s.name, s.organisation_id, s.is_active, s.paused_reason, s.cursors -> %(source)s,
       to_char(s.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'), s.sources ? %(source)s
from api_logstream s
where s.deleted_at is null and s.organisation_id = any(%(organisations)s)
order by s.name, s.id
"""

_FAILED = """
select d.stream_id, to_char(d.cursor_from at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
       to_char(d.cursor_to at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
from api_logstreamdeliveryevent d
where d.stream_id = any(%(streams)s) and d.source = %(source)s and d.status in ('failed', 'skipped')
  and d.resolved_at is null and d.cursor_from is not null and d.cursor_to is not null
order by 1, 2, 3
"""


def read_holds(connection: Any, scope: Scope) -> List[Dict[str, Any]]:
    """What streams still want of the scope's secret events, see ``holds_of``."""
    return holds_of(
        connection, SOURCE, sorted({row["organisation_id"] for row in scope["environments"]}), scope["cutoff"]
    )


def holds_of(connection: Any, source: str, organisations: Sequence[str], cutoff: str) -> List[Dict[str, Any]]:
    """What streams of these organisations still want of a source, as exceptions for ``_purge_scope.held``.

    Each: ``stream``, ``name``, ``organisation_id``, ``why``, ``from``, and either ``from_id`` (all after that event,
    ``to`` None) or ``to``. Only those that reach back to the cutoff are among them.
    """
    with connection.cursor() as cursor:
        cursor.execute("select to_regclass('api_logstream') is not null")
        if not cursor.fetchone()[0]:
            return []
        cursor.execute(_STREAMS, {"source": source, "organisations": list(organisations)})
        streams = cursor.fetchall()
        cursor.execute(_FAILED, {"source": source, "streams": [row[0] for row in streams]})
        failed = cursor.fetchall()
    holds = [pending(*row[:-1]) for row in streams if row[-1]]
    by_id = {row[0]: row for row in streams}
    for stream, first, last in failed:
        holds.append(
            {
                "stream": stream,
                "name": by_id[stream][1],
                "organisation_id": by_id[stream][2],
                "why": "a delivery from %s to %s failed and can be sent again" % (first, last),
                "from": first,
                "from_id": None,
                "to": last,
            }
        )
    return [hold for hold in holds if reaches(hold["from"], cutoff)]


def pending(
    stream: str, name: str, organisation: str, active: bool, paused: str, cursor: Any, created: Optional[str]
) -> Dict[str, Any]:
    """The exception for what comes after a stream's cursor. A cursor nobody can read holds back everything."""
    place: Mapping[str, Any] = cursor if isinstance(cursor, dict) and cursor.get("ts") else {"ts": created, "id": ""}
    moment = parse(place["ts"])
    state = "" if active else " (it is paused%s)" % (": " + paused if paused else "")
    why = "it has delivered up to %s%s" % (moment, state) if moment else "its cursor cannot be read%s" % state
    return {
        "stream": stream,
        "name": name,
        "organisation_id": organisation,
        "why": why,
        "from": moment or UNREADABLE,
        "from_id": str(place.get("id") or "") if moment else "",
        "to": None,
    }


def parse(text: Any) -> Optional[str]:
    """A timestamp as the application writes it (``isoformat``), in UTC; None for what is none."""
    try:
        moment = datetime.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return moment.astimezone(datetime.timezone.utc).isoformat(timespec="microseconds")


def reaches(moment: str, cutoff: str) -> bool:
    """Whether something from that moment on can be older than the cutoff; both in UTC, or UNREADABLE."""
    return moment == UNREADABLE or moment <= cutoff


def summed(holds: Sequence[Mapping[str, Any]], counts: Sequence[Optional[int]]) -> List[Dict[str, Any]]:
    """For people and results: which stream holds back how many rows, and why."""
    return [
        {"id": hold["stream"], "name": hold["name"], "rows": count, "why": hold["why"]}
        for hold, count in zip(holds, counts)
    ]
