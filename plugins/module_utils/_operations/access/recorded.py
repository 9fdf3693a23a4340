# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whom the network policies would keep out if each account came from where Phase has recorded it.

An address of a trusted proxy says nothing of its client: an account that is let in by it today will be seen with
another one, which is not known yet. Tables of Phase v2.41.0 to v2.73.2; the audit log since v2.69.0. Reads only.
"""

from __future__ import annotations

import contextlib
import ipaddress
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..core import rows as _rows
from ..core.types import Connection
from . import rule as _access
from .policies import find_account, find_organisation, policies
from .shapes import Account, Data, Organisation, Policy, Recorded, RecordedQuestion

Item = Dict[str, Any]  # an account that came from an address

NEWEST = 2000  # events looked at in each environment; the index on (environment_id, timestamp desc) makes that cheap

_SECRETS = """
    select a.organisation_id, v.user_id, v.service_account_id, v.service_token_id, host(v.ip_address),
           count(*), max(v.timestamp)::text, bool_or(v.number = %(newest)s)
    from api_environment e join api_app a on a.id = e.app_id
    cross join lateral (
        select s.user_id, s.service_account_id, s.service_token_id, s.ip_address, s.timestamp,
               row_number() over (order by s.timestamp desc) as number
        from api_secretevent s
        where s.environment_id = e.id and s.timestamp > now() - make_interval(days => %(days)s)
        order by s.timestamp desc limit %(newest)s
    ) v
    where a.organisation_id = any(%(organisations)s) and v.ip_address is not null
    group by 1, 2, 3, 4, 5
"""
_AUDIT = """
    select organisation_id, case when actor_type = 'user' then actor_id end,
           case when actor_type = 'sa' then actor_id end, null, host(ip_address), count(*), max(timestamp)::text, false
    from api_auditevent
    where organisation_id = any(%(organisations)s) and ip_address is not null
      and timestamp > now() - make_interval(days => %(days)s)
    group by 1, 2, 3, 4, 5
"""


def look(connection: Connection, data: Data, question: RecordedQuestion, organisation: Optional[str]) -> Recorded:
    """What ``judge`` says, and ``truncated``: whether there are older events of those days that were not looked at.

    ``question``: ``proxies`` (ranges whose word about the client will be taken), ``addresses`` (the operator's own),
    ``account`` (the operator's, or None), ``days``. ``organisation``: name or id, None for all.
    """
    within = find_organisation(data, organisation) if organisation else None
    known = policies(data) if data["supported"] else []
    if within is not None:
        known = [one for one in known if one["organisation"]["id"] == within["id"]]
    wanted = sorted({one["organisation"]["id"] for one in known if one["enforced_on"] != "nobody"})
    seen, truncated = _recorded(connection, wanted, question["days"])
    return {**judge(data, known, seen, question, within), "truncated": truncated}


def _recorded(connection: Connection, organisations: List[str], days: int) -> Tuple[List[Item], bool]:
    """Who came from where: ``organisation``, ``type``, ``id``, ``address``, ``events``, ``last``."""
    if not organisations:
        return [], False
    values = {"organisations": organisations, "days": days, "newest": NEWEST}
    statements = [_SECRETS] + ([_AUDIT] if _rows.columns(connection, "api_auditevent") else [])
    merged: Dict[Tuple[str, str, str, str], Item] = {}
    truncated = False
    for statement in statements:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows = cursor.fetchall()
        for organisation, member, service_account, service_token, address, events, last, more in rows:
            kinds = (("member", member), ("service_account", service_account), ("service_token", service_token))
            kind, identity = next((pair for pair in kinds if pair[1]), ("unknown", ""))
            item = merged.setdefault(
                (organisation, kind, identity, address),
                {
                    "organisation": organisation,
                    "type": kind,
                    "id": identity,
                    "address": address,
                    "events": 0,
                    "last": "",
                },
            )
            item["events"] += events
            item["last"] = max(item["last"], last)
            truncated = truncated or more
    return [merged[key] for key in sorted(merged)], truncated


def judge(
    data: Data,
    known: Sequence[Policy],
    seen: Sequence[Item],
    question: RecordedQuestion,
    within: Optional[Organisation] = None,
) -> Recorded:
    """What the policies say to the addresses.

    ``kept_out``: no policy in force lets this account in from an address it came from. ``behind_proxy``: the account
    came from a trusted proxy's own address, and from no other that is let in; ``entry`` lets the proxy in today.
    ``own_addresses``: the operator's addresses, ``allowed`` or not. ``organisations``: those with policies in force.
    ``counts``: how many addresses there are, and how many of them are a proxy's or private.
    """
    organisations = {one["id"]: one for one in data["organisations"]}
    accounts = {(one["type"], one["id"]): one for one in data["accounts"]}
    trusted = [ipaddress.ip_network(text, strict=False) for text in question["proxies"]]
    result: Recorded = {
        "truncated": False,
        "organisations": sorted({one["organisation"]["name"] for one in known if one["enforced_on"] != "nobody"}),
        "kept_out": [],
        "behind_proxy": [],
        "own_addresses": _own_addresses(data, known, question, within),
        "counts": _counts(seen, trusted),
    }
    safe = set()
    for item in seen:
        account = accounts.get((item["type"], item["id"]))
        if account is None and item["type"] in ("member", "service_account"):
            continue  # deleted since
        organisation = organisations[item["organisation"]]
        verdict = _verdict(item["address"], account, organisation, known)
        if not verdict.policies:
            continue
        found = {
            "organisation": organisation["name"],
            "account": {"type": item["type"], "id": item["id"], "name": account["name"] if account else item["id"]},
            "address": item["address"],
            "events": item["events"],
            "last_seen": item["last"],
            "policies": [one["name"] for one in verdict.policies],
        }
        if inside(item["address"], trusted):
            result["behind_proxy"].append(dict(found, entry=verdict.entry))
        elif verdict.allowed:
            safe.add((item["organisation"], item["type"], item["id"]))
        else:
            result["kept_out"].append(found)
    by_name = {one["name"]: one["id"] for one in data["organisations"]}
    result["behind_proxy"] = [
        one
        for one in result["behind_proxy"]
        if (by_name[one["organisation"]], one["account"]["type"], one["account"]["id"]) not in safe
    ]
    return result


def _verdict(
    address: str, account: Optional[Account], organisation: Organisation, known: Sequence[Policy]
) -> _access.Verdict:
    key = (account["type"], account["id"]) if account else None
    own = [one for one in known if key and any((of["type"], of["id"]) == key for of in one["accounts"])]
    everywhere = [one for one in known if one["is_global"] and one["organisation"]["id"] == organisation["id"]]
    return _access.verdict(address, organisation["plan"], own, everywhere)


def inside(address: str, networks: Sequence[Any]) -> bool:
    client = ipaddress.ip_address(address.partition("%")[0])
    return any(client.version == network.version and client in network for network in networks)


def _counts(seen: Sequence[Item], trusted: Sequence[Any]) -> Dict[str, int]:
    addresses = {item["address"] for item in seen}
    proxies = {address for address in addresses if inside(address, trusted)}
    private = {address for address in addresses - proxies if inside(address, _access.PRIVATE)}
    return {"addresses": len(addresses), "proxies": len(proxies), "private": len(private)}


def _own_addresses(
    data: Data, known: Sequence[Policy], question: RecordedQuestion, within: Optional[Organisation]
) -> List[Item]:
    """The operator's addresses, for the operator's account, or for one that has no policies of its own anywhere."""
    account = None
    chosen = [one for one in data["organisations"] if within is None or one["id"] == within["id"]]
    if question["account"]:
        account = find_account(data, question["account"], within)
        chosen = [one for one in chosen if one["id"] == account["organisation_id"]]
    found = []
    for address in question["addresses"]:
        for organisation in chosen:
            verdict = _verdict(address, account, organisation, known)
            if verdict.policies:
                names = [one["name"] for one in verdict.policies]
                item = {"organisation": organisation["name"], "address": address, "allowed": verdict.allowed}
                found.append(dict(item, policies=names, entry=verdict.entry))
    return found


def networks_of(texts: Sequence[str]) -> List[str]:
    """Those that are ranges; nginx also takes names and ``unix:``."""
    found = []
    for text in texts:
        with contextlib.suppress(ValueError):
            found.append(str(ipaddress.ip_network(text, strict=False)))
    return found
