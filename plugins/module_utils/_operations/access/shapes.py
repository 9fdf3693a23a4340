# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What travels between reading, planning, applying and the module: network policies and single sign-on."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, TypedDict

from ..core.audit import Event
from ..core.rows import Identity, Image, Row


class Organisation(TypedDict):
    """``plan`` is FR, PR or EN."""

    id: str
    name: str
    plan: str


class Named(TypedDict):
    """An account; ``type`` is member or service_account."""

    type: str
    id: str
    name: str


class Account(Named):
    organisation_id: str


class Policy(TypedDict):
    """A network policy with what it means. ``enforced_on``: everybody, its accounts, or nobody."""

    id: str
    name: str
    organisation: Organisation
    allowed_ips: str
    entries: List[str]
    invalid: List[str]
    networks: List[str]
    is_global: bool
    accounts: List[Named]
    created_at: Optional[str]
    updated_at: Optional[str]
    updated_by: Optional[str]
    enforced_on: str


class Data(TypedDict):
    """What ``policies.read`` reads. ``rows``: of policies and attachments, by table. ``real_ip``: whether this release
    looks at X-Real-IP, None where the tables do not show it."""

    supported: bool
    organisations: List[Organisation]
    accounts: List[Account]
    rows: Dict[str, List[Row]]
    real_ip: Optional[bool]
    now: str
    database: Identity


class Question(TypedDict, total=False):
    """Who comes in from where; what was not given is not there."""

    address: str
    account: str
    headers: Dict[str, str]


class Change(TypedDict):
    """Options of state=allowed that let an account in."""

    state: str
    organisation: str
    policies: List[str]
    allow: List[str]


class InForce(TypedDict):
    """A policy in force for an account; ``by`` is attached or global."""

    id: str
    name: str
    by: str
    invalid: List[str]


class Diagnosis(TypedDict):
    blocked: bool
    rule: str
    sentence: str
    address: Optional[str]
    address_from: str
    account: Optional[Named]
    organisation: Organisation
    policies: List[InForce]
    change: Optional[Change]


class RecordedQuestion(TypedDict):
    """``days`` to look back, ``proxies`` as ranges, ``addresses`` of the operator and the ``account``, if any."""

    days: int
    proxies: List[str]
    addresses: List[str]
    account: Optional[str]


class Recorded(TypedDict):
    """What ``recorded.judge`` finds. The lists are shown as they are."""

    organisations: List[str]
    kept_out: List[Dict[str, Any]]
    behind_proxy: List[Dict[str, Any]]
    own_addresses: List[Dict[str, Any]]
    counts: Dict[str, int]
    truncated: bool


class KeptOut(TypedDict):
    """An account that gets in from ``loses`` (ranges) before the change, and not after it.

    ``account`` is None for all that have no policies of their own. ``address``: the one that was asked about, where it
    is among those ranges, else None. ``left``: names of the policies that are in force for it after the change.
    """

    organisation: str
    account: Optional[Named]
    loses: List[str]
    address: Optional[str]
    left: List[str]


class OrganisationShown(Organisation):
    plan_name: str


class PolicyRequest(TypedDict, total=False):
    """What ``network_policy.plan`` is asked. ``images`` and ``force``: with state=restored."""

    state: str
    organisation: Optional[str]
    policies: Optional[List[str]]
    account_policies: Optional[List[str]]
    allow: List[str]
    diagnose: Optional[Question]
    recorded: Optional[RecordedQuestion]
    reason: str
    operator: str
    images: List[Image]
    force: bool


class PolicyPlan(TypedDict):
    """``events`` are rows of Phase's audit log, ``audit`` whether the schema has one, ``notes`` what to warn of."""

    supported: bool
    database: Identity
    organisations: List[OrganisationShown]
    policies: List[Policy]
    policies_after: List[Policy]
    diagnosis: Optional[Diagnosis]
    diagnosis_after: Optional[Diagnosis]
    recorded: Optional[Recorded]
    kept_out: List[KeptOut]
    images: List[Image]
    events: List[Event]
    audit: bool
    notes: List[str]


class PolicyChange(TypedDict):
    images: List[Image]
    events: List[Event]


class PolicyDone(TypedDict):
    written: int
    audit: bool


class Provider(TypedDict):
    name: str
    type: str
    enabled: bool
    id: str
    updated_at: Optional[str]


class SsoShown(TypedDict):
    """What results say of the rows."""

    require_sso: bool
    updated_at: Optional[str]
    providers: List[Provider]


class SsoState(SsoShown):
    """``cached_decision``: what the backend keeps in redis, None where nothing or where it cannot be seen."""

    cached_decision: Optional[bool]


class Finding(TypedDict):
    """``owner``: whom it is about, None for all."""

    finding: str
    owner: Optional[str]
    sentence: str
    remedy: str


class OwnerSeen(TypedDict):
    email: str
    would_get_in: bool
    through: List[str]


class Doctor(TypedDict):
    """Whether an owner gets in; see ``sso_doctor.examine``."""

    would_get_in: bool
    through: List[str]
    locked_out: bool
    sentence: str
    findings: List[Finding]
    owners: List[OwnerSeen]


class OrganisationNamed(TypedDict):
    id: str
    name: str


class SsoRequest(TypedDict, total=False):
    """What ``sso.plan`` is asked. ``organisation_id``, ``images`` and ``force``: of a snapshot."""

    state: str
    organisation: Optional[str]
    backend: bool
    organisation_id: str
    images: List[Image]
    force: bool


class SsoPlan(TypedDict):
    """``images`` hold the providers' configuration: for the snapshot and ``apply`` alone. ``known``: ids of the
    providers. ``stale``: redis would go on to say otherwise. ``told``: the change in sentences. ``notes``: what to warn
    of."""

    organisation: OrganisationNamed
    database: Identity
    before: SsoState
    after: SsoState
    images: List[Image]
    known: List[Optional[str]]
    stale: bool
    told: List[str]
    notes: List[str]
    doctor: Doctor
    doctor_after: Doctor


class SsoChange(TypedDict):
    state: str
    organisation: OrganisationNamed
    images: List[Image]
    known: List[Optional[str]]
    event: Event
    backend: bool


class SsoSettled(TypedDict):
    """``forgotten``: redis was told; ``error``: why not. ``state``, ``rows`` and ``doctor`` are read afterwards."""

    forgotten: bool
    error: Optional[str]
    state: SsoState
    doctor: Doctor
    rows: List[Row]


class SsoDone(SsoSettled):
    audited: bool
