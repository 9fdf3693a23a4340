# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables that only grow: which of their rows are records, and which the application still needs.

Read from Phase's source, v2.37.2 to v2.73.2. Pure: a row is ``e`` in conditions, ``%(organisations)s`` and
``%(environments)s`` are the ids of the scope.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Tuple

from .scope import COLUMNS, EVENTS, TAGS
from .types import READ_EVENTS

TIME = "timestamp with time zone"


@dataclass(frozen=True)
class Subject:
    """A table (``e`` in conditions) whose rows are deleted. Its names are constants of this package.

    ``others`` is the statement that runs with each delete, for the rows ``t`` that refer to those in ``gone`` (id);
    ``referring`` is the other table that it deletes from. ``group`` leads an index that ``time`` follows; only a walk
    by index needs it. ``values``: its columns that copy a secret, as ciphertext.
    """

    table: str
    time: str
    key: str = "id"
    group: str = ""
    others: str = ""
    referring: Tuple[str, ...] = ()
    values: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Keep:
    """Rows that stay, however old they are: a condition that is never null, and why. ``stream``: a log stream's id."""

    condition: str
    why: str
    stream: str = ""


@dataclass(frozen=True)
class Log:
    """``since``: the release that brought the table. ``reads``: columns by table, of those that the rule reads.

    ``only`` limits it to some rows of its table. ``organisation`` or ``environment`` is the condition that limits it to
    a scope; a log without either belongs to the whole instance. ``remembered``: parameters by name, each the ids that a
    query finds. ``source``: the name by which log streams ship it. ``own_key``: the foreign key from the table to
    itself. ``has_floor``: whether a floor for the days counts here. ``archived``: whether its rows may be written into
    an archive.
    """

    name: str
    since: str
    subject: Subject
    reads: Mapping[str, Mapping[str, str]]
    only: str = ""
    organisation: str = ""
    environment: str = ""
    keeps: Tuple[Keep, ...] = ()
    remembered: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    own_key: str = ""
    has_floor: bool = True
    archived: bool = True

    @property
    def knows_apps(self) -> bool:
        return bool(self.environment)

    @property
    def knows_organisations(self) -> bool:
        return bool(self.environment or self.organisation)


AUDIT = Log(
    "audit_events",
    "v2.69.0",
    Subject("api_auditevent", "timestamp"),
    {"api_auditevent": {"id": "text", "timestamp": TIME, "organisation_id": "text"}},
    organisation="e.organisation_id = any(%(organisations)s)",
    source="org_audit",
)

SCIM = Log(
    "scim_events",
    "v2.68.0",
    Subject("api_scimevent", "timestamp"),
    {"api_scimevent": {"id": "text", "timestamp": TIME, "organisation_id": "text"}},
    organisation="e.organisation_id = any(%(organisations)s)",
)

# A worker writes the outcome into the newest event of its sync, and whoever starts a sync cancels the unfinished ones.
SYNC = Log(
    "sync_events",
    "v2.36.4",
    Subject("api_environmentsyncevent", "created_at"),
    {
        "api_environmentsyncevent": {
            "id": "text",
            "created_at": TIME,
            "status": "character varying(16)",
            "env_sync_id": "text",
        },
        "api_environmentsync": {"id": "text", "environment_id": "text"},
    },
    environment="exists (select from api_environmentsync s where s.id = e.env_sync_id "
    "and s.environment_id = any(%(environments)s))",
    keeps=(
        Keep("e.status not in ('completed', 'cancelled', 'timed_out', 'failed')", "the sync has not ended"),
        Keep("e.id in (select unnest(%(newest)s::text[]))", "it is the newest of its sync"),
    ),
    remembered={
        "newest": """
select e.id from api_environmentsyncevent e
join (select env_sync_id, max(created_at) as newest from api_environmentsyncevent group by 1) n
  on n.env_sync_id = e.env_sync_id and n.newest = e.created_at
where e.created_at <= %(cutoff)s::timestamptz
"""
    },
)

LEASE = Log(
    "lease_events",
    "v2.52.0",
    Subject("api_dynamicsecretleaseevent", "created_at"),
    {
        "api_dynamicsecretleaseevent": {"id": "bigint", "created_at": TIME, "lease_id": "text"},
        "api_dynamicsecretlease": {"id": "text", "secret_id": "text", "status": "character varying(50)"},
        "api_dynamicsecret": {"id": "text", "environment_id": "text"},
    },
    environment="exists (select from api_dynamicsecretlease l join api_dynamicsecret s on s.id = l.secret_id "
    "where l.id = e.lease_id and s.environment_id = any(%(environments)s))",
    keeps=(
        Keep(
            "exists (select from api_dynamicsecretlease l where l.id = e.lease_id "
            "and l.status not in ('revoked', 'expired'))",
            "the lease has not ended",
        ),
    ),
)

# Phase finds whom to notify of a failing rotation by the event of its creation. A credential that could neither be
# stored nor revoked has no other row than its event.
ROTATION = Log(
    "rotation_events",
    "v2.70.0",
    Subject("api_rotatingsecretevent", "created_at"),
    {
        "api_rotatingsecretevent": {
            "id": "bigint",
            "created_at": TIME,
            "event_type": "character varying(50)",
            "rotating_secret_id": "text",
            "credential_id": "text",
        },
        "api_rotatingsecret": {"id": "text", "environment_id": "text", "deleted_at": TIME},
        "api_rotatingsecretcredential": {"id": "text", "status": "character varying(20)"},
    },
    environment="exists (select from api_rotatingsecret s where s.id = e.rotating_secret_id "
    "and s.environment_id = any(%(environments)s))",
    keeps=(
        Keep(
            "e.event_type = 'config_created' and exists (select from api_rotatingsecret s "
            "where s.id = e.rotating_secret_id and s.deleted_at is null)",
            "it names who set the rotation up",
        ),
        Keep("e.event_type = 'orphaned_credential'", "no other row names a credential that was left at the provider"),
        Keep(
            "exists (select from api_rotatingsecretcredential c where c.id = e.credential_id "
            "and c.status not in ('revoked', 'mint_failed'))",
            "its credential has not been revoked",
        ),
    ),
)

# Since v2.73.0 Phase itself deletes those older than 30 days, by the same rule.
DELIVERY = Log(
    "delivery_events",
    "v2.73.0",
    Subject(
        "api_logstreamdeliveryevent",
        "created_at",
        others="update api_logstreamdeliveryevent t set retried_from_id = null from gone "
        "where t.retried_from_id = gone.id and not exists (select from gone too where too.id = t.id)",
    ),
    {
        "api_logstreamdeliveryevent": {
            "id": "text",
            "created_at": TIME,
            "status": "character varying(16)",
            "source": "character varying(32)",
            "resolved_at": TIME,
            "retried_from_id": "text",
            "stream_id": "text",
        },
        "api_logstream": {"id": "text", "organisation_id": "text", "deleted_at": TIME},
    },
    organisation="exists (select from api_logstream s where s.id = e.stream_id "
    "and s.organisation_id = any(%(organisations)s))",
    keeps=(
        Keep(
            "e.status in ('failed', 'skipped') and e.resolved_at is null and e.source <> '' and exists "
            "(select from api_logstream s where s.id = e.stream_id and s.deleted_at is null)",
            "it failed and is not resolved",
        ),
    ),
    own_key="FOREIGN KEY (retried_from_id) REFERENCES api_logstreamdeliveryevent(id) DEFERRABLE INITIALLY DEFERRED",
)

# Phase keeps its sessions in signed cookies, so this table stays empty unless somebody changed that.
SESSIONS = Log(
    "sessions",
    "v2.36.4",
    Subject("django_session", "expire_date", key="session_key"),
    {"django_session": {"session_key": "character varying(40)", "expire_date": TIME}},
    has_floor=False,
    archived=False,  # whoever has a session's row has the session
)

READS = Log(
    READ_EVENTS,
    "v2.36.4",
    Subject(
        EVENTS,
        "timestamp",
        group="environment_id",
        others="delete from api_secretevent_tags t using gone where t.secretevent_id = gone.id",
        referring=(TAGS,),
        values=("key", "value", "comment"),
    ),
    COLUMNS,
    only="e.event_type = 'R'",
    environment="e.environment_id = any(%(environments)s)",
    source="secrets",
)

LOGS: Dict[str, Log] = {log.name: log for log in (READS, AUDIT, SCIM, SYNC, LEASE, ROTATION, DELIVERY, SESSIONS)}
OTHERS: Dict[str, Log] = {name: log for name, log in LOGS.items() if log is not READS}


def came_with(log: Log, release: str) -> bool:
    """Whether that release of Phase has the table."""
    return numbers(release) >= numbers(log.since)


def numbers(release: str) -> List[int]:
    return [int(part) for part in release.lstrip("v").split(".") if part.isdecimal()]
