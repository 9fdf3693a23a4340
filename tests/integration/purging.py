# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Purges of the sandbox's databases, in this process, and what they must leave: told by rows that a test made."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from ansible_collections.phase.console.plugins.module_utils._call.argspec import target_spec
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._call.targets import build_target
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.purge import operation as operations
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    throttle as _purge_throttle,
)
from ansible_collections.phase.console.plugins.module_utils._operations.purge import (
    walk as _purge_walk,
)
from ansible_collections.phase.console.plugins.module_utils._purge import purge_logs as _purge
from integration.forks import Database
from psycopg2 import sql
from psycopg2.extras import execute_values

_NUMBERS = itertools.count(1)
COLUMNS = ["id", "key", "key_digest", "value", "version", "comment", "event_type", "environment_id", "secret_id"]
COLUMNS += ["timestamp", "path", "service_account_token_id"]
EVERYTHING = """
select coalesce(string_agg(md5(row::text), ',' order by row::text), '') from (
  select e::text from api_secretevent e union all select t::text from api_secretevent_tags t
) as rows (row)
"""


@dataclass(frozen=True)
class Event:
    """A row to be made: its type, its age in days, and the environment by its place in the list of all."""

    kind: str = "R"
    days: float = 100.0
    environment: int = 0
    tags: int = 0
    token: bool = False
    id: str = field(default_factory=lambda: f"made-{next(_NUMBERS):08}")


class Instance(Database):
    """A database of the sandbox, with purges of it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.told: list[str] = []
        self.warned: list[str] = []
        query = (
            "select e.id, a.id, o.id, o.name from api_environment e join api_app a on a.id = e.app_id "
            "join api_organisation o on o.id = a.organisation_id order by o.name desc, a.name, e.name"
        )
        self.environments = self.sql(query)

    # Rows

    def make(self, events: Iterable[Event]) -> list[Event]:
        """Exactly these events and no others."""
        events = list(events)
        now = datetime.datetime.now(tz=datetime.timezone.utc)
        ((tokens,),) = self.sql("select array_agg(t.id order by t.id) from api_serviceaccounttoken t")
        tags = [row[0] for row in self.sql("select id from api_secrettag order by id")]
        secrets = dict(self.sql("select environment_id, min(id) from api_secret group by 1"))
        typed = bool(
            self.sql(
                "select 1 from information_schema.columns where table_name = 'api_secretevent' and column_name = 'type'"
            )
        )
        columns = [*COLUMNS, "type"] if typed else COLUMNS
        rows, tagged = [], []
        for event in events:
            environment = self.environments[event.environment % len(self.environments)][0]
            when = now - datetime.timedelta(days=event.days)
            token = tokens[0] if event.token else None
            where = (environment, secrets[environment], when, "/", token)
            rows.append((event.id, "k", "d", "ph:v1:cipher", 1, "", event.kind, *where, "secret")[: len(columns)])
            tagged += [(event.id, tag) for tag in tags[: event.tags]]
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("truncate api_secretevent, api_secretevent_tags")
            if rows:
                insert = sql.SQL("insert into api_secretevent ({}) values %s").format(names)
                execute_values(cursor, insert, rows)
            if tagged:
                insert = "insert into api_secretevent_tags (secretevent_id, secrettag_id) values %s"
                execute_values(cursor, insert, tagged)
        return events

    def ids(self) -> set[str]:
        return {row[0] for row in self.sql("select id from api_secretevent")}

    def tags(self) -> list[str]:
        return [row[0] for row in self.sql("select secretevent_id from api_secretevent_tags order by 1")]

    def digest(self) -> Any:
        return self.sql(EVERYTHING)

    def foreign_key(self) -> list[tuple[Any, ...]]:
        """The incoming foreign key, and the comment of the table it belongs to."""
        return self.sql(
            "select conname, convalidated, pg_get_constraintdef(oid), obj_description(conrelid, 'pg_class') "
            "from pg_constraint where confrelid = 'api_secretevent'::regclass"
        )

    # Purges

    def target(self, **options: Any) -> Any:
        params = {name: option.get("default") for name, option in target_spec().options.items()}
        params.update({"deployment": "database", "database_url": self.url, **options})
        return params

    def purge(
        self,
        check: bool = False,
        diff: bool = False,
        throttle: Any = None,
        transaction_time: float = _purge.TRANSACTION_TIME,
        **options: Any,
    ) -> dict[str, Any]:
        """What the module does with these options; by default of organisation SpaceX, over a direct connection."""
        params = self.target()
        params.update({name: option.get("default") for name, option in _purge.SPEC.options.items()})
        if not {"organisation", "all_organisations", "app_id"} & set(options):
            options["organisation"] = "SpaceX"
        params.update(options)
        params["throttle"] = {
            **{name: option["default"] for name, option in _purge.THROTTLE.items()},
            **(throttle or {}),
        }
        self.told, self.warned = [], []

        def report(message: str, **counters: Any) -> None:
            self.told.append(message)

        target = build_target(params, lambda: False)
        with mock.patch.object(_purge, "TRANSACTION_TIME", transaction_time):
            return dict(_purge.run(Call(params, check, diff, target, report, self.warned.append)))

    def operation(self, operation: Any, request: dict[str, Any]) -> dict[str, Any]:
        """One operation by itself, over a direct connection."""
        return dict(build_target(self.target(), lambda: False).run(operation, request, quiet))

    def refused(self, kind: str, **options: Any) -> PhaseError:
        """Both modes refuse, with that kind, and nothing has changed."""
        before, errors = self.digest(), []
        for check in (True, False):
            try:
                self.purge(check=check, **options)
            except PhaseError as error:
                errors.append(error)
        assert [error.kind for error in errors] == [kind, kind] and all(error.next_step for error in errors)
        assert self.digest() == before
        return errors[-1]

    def by(
        self,
        path: str,
        foreign_key: str = "kept",
        retain_days: int = 30,
        log_streams: str = "respect_all",
        **scope: Any,
    ) -> dict[str, Any]:
        """The outcome for the read events of a purge that finds them in a certain way, whatever the plan had chosen."""
        params = {"organisation": None, "app_id": None, "minimum_retain_days": 0, "strategy": "delete", **scope}
        params.update(foreign_key="keep", log_streams=log_streams, archive=None, count=False)
        params["retain"] = {"read_events": retain_days}
        target = build_target(self.target(), lambda: False)
        plan = target.run(operations.plan, params, quiet)
        plan["way"].update(path=path, foreign_key=foreign_key)
        more = {"host": "here", "lock_timeout": 5, "max_duration": 0, "transaction_time": 0.25, "throttle": {}}
        with mock.patch.object(_purge_walk, "WORTH_IT", 0):
            done = target.run(operations.apply, {**params, **more, "plan": plan}, quiet)
        return dict(done, **done["logs"]["read_events"])


def quiet(message: str, **counters: Any) -> None:
    """Progress that nobody looks at."""


def survivors(events: Iterable[Event], goes: Callable[[Event], bool]) -> set[str]:
    return {event.id for event in events if not goes(event)}


@contextlib.contextmanager
def slowly() -> Iterator[None]:
    """Purges of this process in steps of a block, with a pause and a look at the throttles at each."""
    gate = _purge_throttle.Control.gate

    def slow(control: Any) -> Any:
        time.sleep(0.01)
        return gate(control)

    with (
        mock.patch.multiple(_purge_walk, SMALLEST=1, LARGEST=1),
        mock.patch.object(_purge_throttle.Control, "gate", slow),
    ):
        yield
