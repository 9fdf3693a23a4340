# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What log streams have not delivered (Phase v2.73.0 on, ``api_logstream``), and what of it they still can deliver.

A stream ships the events of its organisation from its sources, ``secrets`` and ``org_audit``, each in the order
(timestamp, id), after the cursor ``{"ts", "id"}`` it keeps for the source, or after its own creation. A chunk that
failed too often is recorded in ``api_logstreamdeliveryevent`` as failed or skipped, and the cursor passes it; until the
record is resolved it can be retried, even when the stream does not ship that source any more. A deleted stream
(``deleted_at``) delivers nothing.

An adapter skips events that are older than its ``max_event_age``, also those of a paused stream that is resumed, and a
retry of them fails ("range expired"). Phase v2.73.2 has one adapter, Datadog's: 18 hours less 40 minutes.
"""

from __future__ import annotations

import datetime
from typing import Any, List, Mapping, Optional, Sequence

from ..core.types import Connection
from .types import Hold

MAX_EVENT_AGE = {"datadog": datetime.timedelta(hours=17, minutes=20)}  # by provider; others may deliver everything
UNREADABLE = "-infinity"

_STREAMS = """
select s.id, s.name, s.organisation_id, s.is_active, s.paused_reason, s.cursors -> %(source)s,
       to_char(s.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
       to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'), s.provider, s.sources ? %(source)s
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


def holds_of(connection: Connection, source: str, organisations: Sequence[str], cutoff: str) -> List[Hold]:
    """What streams of these organisations have not delivered of a source, where it reaches back to the cutoff."""
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
        _id, name, organisation, *_more, now, provider, _ships = by_id[stream]
        holds.append(
            {
                "stream": stream,
                "name": name,
                "organisation_id": organisation,
                "why": "a delivery from %s to %s failed and is not resolved" % (first, last),
                "after": first,
                "after_id": "",
                "until": last,
                "deliverable": deliverable(provider, now),
            }
        )
    return [hold for hold in holds if reaches(hold["after"], cutoff)]


def pending(
    stream: str,
    name: str,
    organisation: str,
    active: bool,
    paused: str,
    cursor: Any,
    created: Optional[str],
    now: str,
    provider: str,
) -> Hold:
    """What comes after a stream's cursor: everything, where the cursor cannot be read."""
    place: Mapping[str, Any] = cursor if isinstance(cursor, dict) and cursor.get("ts") else {"ts": created, "id": ""}
    moment = parse(place["ts"])
    state = "" if active else " (it is paused%s)" % (": " + paused if paused else "")
    why = "it has delivered up to %s%s" % (moment, state) if moment else "its cursor cannot be read%s" % state
    return {
        "stream": stream,
        "name": name,
        "organisation_id": organisation,
        "why": why,
        "after": moment or UNREADABLE,
        "after_id": str(place.get("id") or "") if moment else "",
        "until": None,
        "deliverable": deliverable(provider, now),
    }


def deliverable(provider: str, now: str) -> Optional[str]:
    """From which time on a stream of that provider can still deliver an event; None for all times."""
    age = MAX_EVENT_AGE.get(provider)
    if age is None:
        return None
    return (datetime.datetime.fromisoformat(now) - age).isoformat(timespec="microseconds")


def parse(text: Any) -> Optional[str]:
    """A timestamp as the application writes it (``isoformat``), in UTC; None where the text is none."""
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
