# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What travels between the two ends of a purge: requests, the plan and the outcome. Plain JSON data."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, TypedDict

from ..core.rows import Identity
from ..rewrite.types import RewritePlan

READ_EVENTS = "read_events"  # the name of the log that has strategies; the others are in ``purge/log_table``


class Organisation(TypedDict):
    id: str
    name: str


class Environment(TypedDict):
    id: str
    name: str
    app_id: str
    app: str
    organisation_id: str
    organisation: str


class Scope(TypedDict):
    """``everything``: no limit to organisations or environments."""

    everything: bool
    app_id: Optional[str]
    organisations: List[Organisation]
    environments: List[Environment]


class Sizes(TypedDict):
    """Of a table: ``rows`` is the planner's estimate, None where it was never analyzed."""

    rows: Optional[int]
    table_bytes: int
    index_bytes: int
    dead_rows: int
    blocks: int


class Hold(TypedDict):
    """Events that a log stream has not delivered: those after (``after``, ``after_id``), or, with ``until``, those from
    ``after`` to ``until``, both included. Times in UTC (ISO 8601), ``after`` may be ``-infinity``.

    ``deliverable`` is the time from which on the stream can still deliver them; None where all can be.
    """

    stream: str
    name: str
    organisation_id: str
    why: str
    after: str
    after_id: str
    until: Optional[str]
    deliverable: Optional[str]


class Reason(TypedDict):
    """Why rows stay that are old enough, or why some that go are named. ``rows`` is None where they were not counted,
    ``stream`` the id of a log stream."""

    rows: Optional[int]
    why: str
    stream: Optional[str]


class LogPlan(TypedDict):
    """A log: rows up to ``cutoff`` (ISO 8601, from the server's clock) are ``eligible``, but for those that are
    ``held_back``, for the reasons in ``kept``. ``undelivered`` are rows that go though a log stream has not delivered
    them. ``exact``: they were counted; else the planner estimates ``eligible``, and nothing is held back.

    ``bytes`` is the part of the table that the eligible rows take. ``triggers`` run for each of them. ``missing`` says
    why this release of Phase has no such table.
    """

    name: str
    table: str
    retain_days: int
    cutoff: str
    eligible: int
    exact: bool
    held_back: int
    kept: List[Reason]
    undelivered: List[Reason]
    bytes: int
    before: Optional[Sizes]
    triggers: List[str]
    missing: Optional[str]


class Month(TypedDict):
    """Read events of an environment in a month (``YYYY-MM``) that may go."""

    organisation: str
    app: str
    app_id: str
    environment: str
    environment_id: str
    month: str
    rows: int


class Finding(TypedDict):
    """What is in the way: ``blocks`` names the ways of purging that would wait or fail."""

    what: str
    text: str
    blocks: List[str]


class Token(TypedDict):
    """A service-account token whose last use (ISO 8601) is known only by a read event that goes."""

    id: str
    name: str
    account: str
    last_used: str


class Tokens(TypedDict):
    """``kept_in_column``: the time is written into ``last_used_at`` first."""

    kept_in_column: bool
    tokens: List[Token]


class Expected(TypedDict):
    """Orders of magnitude."""

    seconds: float
    wal_bytes: int


class Recovery(TypedDict, total=False):
    """What an interrupted run left: the name of a dropped ``constraint``, or the ``place`` of an unfinished rewrite and
    whether that had ``swapped`` the tables."""

    constraint: str
    place: str
    swapped: bool


class Way(TypedDict):
    """How the read events are deleted: ``path`` is blocks or index, ``foreign_key`` kept, set_aside or unchecked, with
    the expected ``seconds`` of each. ``rewrite`` is the plan of ``rewrite/rewrite``, where that was made."""

    strategy: str
    why: str
    path: str
    path_why: str
    foreign_key: str
    foreign_key_why: str
    seconds: Dict[str, float]
    expected: Expected
    rewrite: Optional[RewritePlan]


class Plan(TypedDict):
    """``logs`` by name, in the order in which they are purged. ``way`` and ``months`` are of the read events;
    ``months`` is None where they were not counted. ``database`` is ``rows.identity``."""

    scope: Scope
    logs: Dict[str, LogPlan]
    way: Way
    months: Optional[List[Month]]
    log_streams: str
    token_last_used: Tokens
    obstacles: List[Finding]
    recovery: Optional[Recovery]
    release: str
    database: Identity


class PlanRequest(TypedDict):
    """``organisation`` (a name) or None for all, ``app_id`` or None. ``retain``: the days to keep, by log; any other
    log stays as it is. ``strategy``: auto, delete, rewrite. ``foreign_key``: auto, keep, set_aside. ``log_streams``:
    respect_deliverable, respect_all, ignore. ``archive``: the id of the run whose rows the caller takes into an archive
    before they are deleted, or None; ``archive_values``: with the secrets' ciphertext. ``count``: count the read
    events, which reads their table once. ``free_bytes``: of the server's disk, or None where the caller cannot see it.
    """

    organisation: Optional[str]
    app_id: Optional[str]
    retain: Dict[str, int]
    minimum_retain_days: int
    strategy: str
    foreign_key: str
    log_streams: str
    archive: Optional[str]
    archive_values: bool
    count: bool
    free_bytes: Optional[int]


class Limits(TypedDict):
    """Above which the purge waits; 0 is no limit. Seconds, bytes a second (``wal_rate``), bytes (``free_disk``)."""

    replica_lag: float
    lock_wait: float
    writer_latency: float
    wal_rate: int
    free_disk: int
    autovacuum: bool


class ApplyRequest(PlanRequest):
    """``host`` is the caller's; ``lock_timeout``, ``max_duration`` (0: none) and ``transaction_time`` in seconds."""

    plan: Plan
    host: str
    lock_timeout: float
    max_duration: float
    transaction_time: float
    throttle: Limits


class LogOutcome(TypedDict):
    """``remaining`` rows may go and are still there; ``exact``: that was counted. ``stopped_by`` is None at the end."""

    deleted: int
    remaining: int
    exact: bool
    stopped_by: Optional[str]
    after: Optional[Sizes]


class ForeignKey(TypedDict, total=False):
    """``state``: kept, unchecked, set_aside or restored; with restored ``constraint`` and ``orphan_tags``."""

    state: str
    why: str
    constraint: str
    orphan_tags: int


class Outcome(TypedDict):
    """``logs`` by name. ``seconds`` (with pauses), ``rows_per_second`` and ``paused`` (seconds by reason) are of all
    logs; ``batches``, ``tokens_kept`` and ``rewrite`` (``purge/rewrite.shown``) of the read events."""

    logs: Dict[str, LogOutcome]
    seconds: float
    rows_per_second: int
    batches: int
    paused: Dict[str, float]
    recovered: Optional[Dict[str, Any]]
    foreign_key: ForeignKey
    tokens_kept: int
    rewrite: Optional[Dict[str, Any]]


class BatchQuestion(TypedDict):
    """A batch of an archive whose outcome is to be found: rows by ``key`` in ``samples``, deleted by ``transaction``
    or when another ``relation`` (oid) takes the table's place."""

    batch: str
    table: str
    key: str
    samples: List[str]
    transaction: int
    relation: Optional[int]


class Batch(BatchQuestion):
    """A batch as it is handed over: compressed ``bytes`` with their ``sha256``, its ``rows`` and those by table."""

    bytes: int
    sha256: str
    rows: int
    time: str
    tables: Dict[str, int]
    first: str
    last: str


class StatesRequest(TypedDict):
    batches: List[BatchQuestion]


class States(TypedDict):
    """By batch: deleted, kept, or None while that is not decided."""

    states: Dict[str, Optional[str]]
