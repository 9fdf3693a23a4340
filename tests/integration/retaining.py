# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Rows of the tables that only grow, each with a word on whether it may go: the rule a second time, in Python."""

from __future__ import annotations

import contextlib
import datetime
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from integration.purging import Instance
from psycopg2 import sql
from psycopg2.extras import Json, execute_values

_NUMBERS = itertools.count(1)
TABLES = {
    "audit_events": "api_auditevent",
    "scim_events": "api_scimevent",
    "sync_events": "api_environmentsyncevent",
    "lease_events": "api_dynamicsecretleaseevent",
    "rotation_events": "api_rotatingsecretevent",
    "delivery_events": "api_logstreamdeliveryevent",
    "sessions": "django_session",
}
TIMES = {"audit_events": "timestamp", "scim_events": "timestamp", "sessions": "expire_date"}
KEYS = {"sessions": "session_key"}
PARENTS = [
    "api_logstream",
    "api_rotatingsecretcredential",
    "api_rotatingsecret",
    "api_dynamicsecretlease",
    "api_dynamicsecret",
    "api_environmentsync",
]
COLUMNS = """
select attname, format_type(atttypid, null) from pg_attribute a
where attrelid = %s::regclass and attnum > 0 and not attisdropped and attnotnull and attidentity = ''
  and not exists (select from pg_attrdef d where (d.adrelid, d.adnum) = (a.attrelid, a.attnum))
"""
FILLING = {"jsonb": Json({}), "integer": 0, "boolean": True, "timestamp with time zone": "now", "interval": "0"}
ENDED = ("completed", "cancelled", "timed_out", "failed")
LEASES = ("created", "active", "renewed", "revoked", "expired")
CREDENTIALS = ("pending", "active", "expiring", "revoking", "revoked", "mint_failed", "revoke_failed")


@dataclass(frozen=True)
class Row:
    """``kind`` is the status of a sync event, of an event's lease or credential, or of a delivery; None for none.

    ``place``: of ``Instance.environments``, its environment or that one's organisation. ``days``: its age, None for no
    time at all. ``event``: the type of a rotation event. ``dead``: its rotating secret or its stream is deleted.
    ``resolved``, ``source``, ``retries`` (the number of another row of the list): of a delivery.
    """

    log: str
    days: float | None = 100.0
    place: int = 0
    kind: str | None = None
    event: str = "rotated"
    dead: bool = False
    resolved: bool = False
    source: str = "secrets"
    retries: int | None = None
    number: int = field(default_factory=lambda: next(_NUMBERS))

    @property
    def id(self) -> str:
        return str(self.number)


def kept(row: Row, rows: Sequence[Row]) -> bool:
    """Whether the application still needs it, however old it is."""
    if row.log == "sync_events":
        others = [other.days for other in rows if (other.log, other.place) == (row.log, row.place)]
        return row.kind not in ENDED or row.days == min(days for days in others if days is not None)
    if row.log == "lease_events":
        return row.kind not in ("revoked", "expired")
    if row.log == "rotation_events":
        set_up = row.event == "config_created" and not row.dead
        alive = row.kind is not None and row.kind not in ("revoked", "mint_failed")
        return set_up or alive or row.event == "orphaned_credential"
    if row.log == "delivery_events":
        return row.kind in ("failed", "skipped") and not (row.resolved or row.dead) and row.source != ""
    return False


class World:
    """A database with exactly these rows, and what they refer to."""

    def __init__(self, database: Instance) -> None:
        self.database = database
        self.logs = [name for name, table in TABLES.items() if self._there(table)]

    def _there(self, table: str) -> bool:
        return bool(self.database.sql("select to_regclass(%s) is not null", table)[0][0])

    def make(self, rows: Iterable[Row]) -> list[Row]:
        rows = [row for row in rows if row.log in self.logs]
        self.database.sql("truncate " + ", ".join(TABLES[log] for log in self.logs))
        for table in filter(self._there, PARENTS):
            self.database.sql(sql.SQL("delete from {}").format(sql.Identifier(table)))
        now = datetime.datetime.now(tz=datetime.timezone.utc)
        parents: dict[tuple[str, str], dict[str, Any]] = {}
        found: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            age = None if row.days is None else now - datetime.timedelta(days=row.days)
            own = {TIMES.get(row.log, "created_at"): age, KEYS.get(row.log, "id"): row.id}
            found.setdefault(TABLES[row.log], []).append(own | self._columns(row, rows, parents))
        for table in reversed(PARENTS):
            self._insert(table, [values for (owner, _id), values in parents.items() if owner == table])
        for table, values in found.items():
            self._insert(table, values)
        return rows

    def _columns(self, row: Row, rows: list[Row], parents: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
        environment, _app, organisation, _name = self.database.environments[row.place]

        def parent(table: str, key: str, **values: Any) -> str:
            parents[table, key] = {"id": key, **values}
            return key

        if row.log == "sync_events":
            sync = parent("api_environmentsync", f"sync-{row.place}", environment_id=environment)
            return {"env_sync_id": sync, "status": row.kind}
        if row.log == "lease_events":
            secret = parent("api_dynamicsecret", f"dynamic-{row.place}", environment_id=environment)
            lease = f"{secret}-{row.kind}"
            return {"lease_id": parent("api_dynamicsecretlease", lease, secret_id=secret, status=row.kind)}
        if row.log == "rotation_events":
            key, deleted = f"rotating-{row.place}-{row.dead}", "now" if row.dead else None
            secret = parent("api_rotatingsecret", key, environment_id=environment, deleted_at=deleted)
            own = {"rotating_secret_id": secret, "status": row.kind}
            credential = row.kind and parent("api_rotatingsecretcredential", f"{key}-{row.kind}", **own)
            return {"rotating_secret_id": secret, "credential_id": credential, "event_type": row.event}
        if row.log == "delivery_events":
            key, deleted = f"stream-{row.place}-{row.dead}", "now" if row.dead else None
            # It wants nothing, so it holds nothing back.
            own = {"organisation_id": organisation, "deleted_at": deleted, "sources": Json([])}
            number = row.retries if row.retries is not None else len(rows)
            origin = rows[number].id if number < len(rows) and rows[number].log == row.log else None
            return {
                "stream_id": parent("api_logstream", key, **own),
                "status": row.kind,
                "source": row.source,
                "resolved_at": "now" if row.resolved else None,
                "retried_from_id": origin,
            }
        return {} if row.log == "sessions" else {"organisation_id": organisation}

    def _insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        filling = {name: FILLING.get(kind, "") for name, kind in self.database.sql(COLUMNS, table)}
        columns = sorted({name for row in rows for name in row} | set(filling))
        values = [[{**filling, **row}.get(name) for name in columns] for row in rows]
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        with contextlib.closing(self.database.connect()) as connection, connection.cursor() as cursor:
            execute_values(
                cursor, sql.SQL("insert into {} ({}) values %s").format(sql.Identifier(table), names), values
            )

    def ids(self) -> set[str]:
        """The numbers of the rows that are there, which no two tables share."""
        query = sql.SQL("select {}::text from {}")
        return {
            row[0]
            for log in self.logs
            for row in self.database.sql(query.format(sql.Identifier(KEYS.get(log, "id")), sql.Identifier(TABLES[log])))
        }

    def goes(self, row: Row, rows: Sequence[Row], retain: int, organisation: str | None, app: str | None) -> bool:
        _environment, own_app, _id, name = self.database.environments[row.place]
        here = organisation in (None, name) and app in (None, own_app)
        return here and row.days is not None and row.days >= retain and not kept(row, rows)
