# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether an owner of an organisation would get in now, and what stands in the way. Pure: facts in, findings out.

What decides in Phase v2.67.0 to v2.73.2 (views auth_password and sso, middleware OrgSSOEnforcementMiddleware):

- A password signs in while ENABLE_PASSWORD_AUTH is true, 1 or yes, redis answers (it counts the attempts: without it
  the answer is 500), the address is in USER_EMAIL_DOMAIN_WHITELIST where that is set, it is stored in lower case (what
  is typed is made so, what is stored is not), the password is usable and right, and the user is active.
- Then every request into the organisation is refused where ``require_sso`` is set, as redis has it for up to 60 s after
  a request, or where the member is managed by SCIM (since v2.68.0). Only a session of the organisation's own provider
  is let through; one of the instance's sign-in providers (Google, GitHub, ...) is refused like a password's.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Sequence

from .shapes import Doctor, Finding, OwnerSeen

Facts = Mapping[str, Any]
DECISION_SECONDS = 60  # how long the backend keeps the organisation's decision in redis
SWITCHED_ON = ("true", "1", "yes")


def password_login(value: Optional[str]) -> bool:
    """What the backend makes of ENABLE_PASSWORD_AUTH."""
    return (value or "").lower() in SWITCHED_ON


def blocked(facts: Facts) -> bool:
    """Whether sessions that are not of the organisation's own provider are refused, or will be within a minute."""
    return bool(facts["require_sso"] or facts["cache"]["decision"])


def examine(facts: Facts) -> Doctor:
    """The doctor's word.

    Facts: ``organisation`` (name), ``require_sso``, ``providers`` [{"name", "enabled"}], ``owners`` [{"email",
    "active", "hash" (see ``core/passwords``), "scim", "accounts" (sign-in providers it is linked to)}],
    ``backend`` (None where it cannot be seen: {"password_auth", "domains", "sign_in"}), ``unseen`` (why it cannot),
    ``cache`` {"decision" (None: none kept), "error" (None: redis answered)}.

    Result: ``would_get_in`` (an owner certainly signs in with a password; what an identity provider would say nobody
    here knows), ``through`` (identity providers that may let an owner in), ``locked_out`` (certainly no owner gets in),
    ``sentence``, ``findings`` [{"finding", "owner", "sentence", "remedy"}], ``owners`` [{"email", "would_get_in",
    "through"}].
    """
    general = _of_organisation(facts) + _of_backend(facts)
    owners: List[OwnerSeen] = []
    stops = [item["finding"] for item in general if item["stops"]]
    findings, unknown = list(general), False
    for owner in facts["owners"]:
        own = _of_owner(facts, owner)
        findings += own
        kept_out = any(item["stops"] for item in own)
        unknown = unknown or (stops == ["backend_unseen"] and not kept_out)
        owners.append(
            {
                "email": owner["email"],
                "would_get_in": not (stops or kept_out),
                "through": _through(facts, owner),
            }
        )
    inside = [owner["email"] for owner in owners if owner["would_get_in"]]
    through = sorted({name for owner in owners for name in owner["through"]})
    why = " ".join(item["sentence"] for item in findings if item["stops"])
    return {
        "would_get_in": bool(inside),
        "through": through,
        "locked_out": not (inside or through or unknown),
        "sentence": _sentence(facts["organisation"], inside, through, unknown, why),
        "findings": [_shown(item) for item in findings],
        "owners": owners,
    }


class _Found(Finding):
    """``stops``: whether it keeps owners out now."""

    stops: bool


def _shown(item: _Found) -> Finding:
    return {
        "finding": item["finding"],
        "owner": item["owner"],
        "sentence": item["sentence"],
        "remedy": item["remedy"],
    }


def _finding(name: str, sentence: str, remedy: str, owner: Optional[str] = None, *, stops: bool = True) -> _Found:
    return {"finding": name, "owner": owner, "sentence": sentence, "remedy": remedy, "stops": stops}


def _of_organisation(facts: Facts) -> List[_Found]:
    name = facts["organisation"]
    found: List[_Found] = []
    enabled = [provider for provider in facts["providers"] if provider["enabled"]]
    decision = facts["cache"]["decision"]
    if facts["require_sso"]:
        found.append(
            _finding(
                "enforcement",
                "%s requires SSO: only sessions of its own identity provider are let in." % name,
                "If that provider is what fails: state=enforcement_disabled.",
            )
        )
        if not facts["providers"]:
            found.append(
                _finding(
                    "no_provider",
                    "%s requires SSO and has no provider: nobody gets in." % name,
                    "state=enforcement_disabled; or state=restored with the snapshot from before the providers went.",
                )
            )
        elif not enabled:
            found.append(
                _finding(
                    "providers_disabled",
                    "%s requires SSO and none of its providers is enabled: nobody gets in." % name,
                    "state=enforcement_disabled; enable a provider in the console afterwards.",
                )
            )
    if decision is not None and decision != facts["require_sso"]:
        word = "is" if decision else "is not"
        found.append(
            _finding(
                "cached_decision",
                "Redis keeps that SSO %s required, and the table says otherwise: redis counts, for up to %d s."
                % (word, DECISION_SECONDS),
                "state=enforcement_disabled clears it.",
                stops=decision,
            )
        )
    if not facts["owners"]:
        found.append(
            _finding(
                "no_owner",
                "%s has no owner: no living member has the role Owner." % name,
                "An Admin may change SSO too. An owner comes back with the role of a member, or from a backup.",
            )
        )
    return found


def _of_backend(facts: Facts) -> List[_Found]:
    backend, error = facts["backend"], facts["cache"]["error"]
    if backend is None:
        return [
            _finding(
                "backend_unseen",
                "What the backend allows and keeps in redis cannot be seen from here: %s" % facts["unseen"],
                "It has to have ENABLE_PASSWORD_AUTH=true, and forgets a decision after %d s." % DECISION_SECONDS,
            )
        ]
    found = []
    if not backend["password_auth"]:
        found.append(
            _finding(
                "password_login_off",
                "Password login is switched off: ENABLE_PASSWORD_AUTH of the backend is none of true, 1 and yes.",
                "Set ENABLE_PASSWORD_AUTH=true for the backend and start it anew.",
            )
        )
    if error:
        found.append(
            _finding(
                "redis_unreachable",
                "Redis cannot be reached as the backend does, and signing in with a password needs it: %s" % error,
                "Start redis, or correct REDIS_* of the backend.",
            )
        )
    return found


def _of_owner(facts: Facts, owner: Facts) -> List[_Found]:
    email = owner["email"]
    found: List[_Found] = []
    domains = facts["backend"]["domains"] if facts["backend"] else []
    if owner["hash"] != "set":
        how = {
            "none": "has no usable password",
            "damaged": "has a damaged password",
            "unknown": "has a password of an algorithm that the backend does not know (PASSWORD_HASHERS)",
        }[owner["hash"]]
        found.append(
            _finding(
                "no_password",
                "%s %s." % (email, how),
                "Another owner, or the identity provider they signed up with; nothing here makes a password.",
                email,
            )
        )
    if not owner["active"]:
        found.append(
            _finding(
                "user_disabled",
                "%s is not active: the address was never confirmed, or the user was disabled." % email,
                "Confirm the address, or set active in api_customuser.",
                email,
            )
        )
    if owner["scim"]:
        found.append(
            _finding(
                "scim_managed",
                "%s is managed by SCIM: passwords are refused whatever the organisation requires." % email,
                "Use an owner that SCIM does not manage, or end SCIM for this member at the identity provider.",
                email,
            )
        )
    if email != email.lower().strip():
        found.append(
            _finding(
                "address_not_lower_case",
                "%s is stored with capitals or blanks, and the login looks for it in lower case." % email,
                "Store the address in lower case (email in api_customuser).",
                email,
            )
        )
    if not _allowed(email, domains):
        found.append(
            _finding(
                "domain_not_allowed",
                "%s is in none of the domains of USER_EMAIL_DOMAIN_WHITELIST (%s)." % (email, ", ".join(domains)),
                "Add its domain for the backend and start it anew.",
                email,
            )
        )
    return found


def _allowed(email: str, domains: Sequence[str]) -> bool:
    return not domains or email.split("@")[-1].lower() in domains


def _through(facts: Facts, owner: Facts) -> List[str]:
    """Identity providers that may let an owner in: the organisation's, and the instance's unless SSO is required."""
    backend = facts["backend"] or {"domains": [], "sign_in": []}
    if not _allowed(owner["email"], backend["domains"]):
        return []
    found = [provider["name"] for provider in facts["providers"] if provider["enabled"]]
    if not blocked(facts) and not owner["scim"]:
        found += [name for name in owner["accounts"] if name in backend["sign_in"]]
    return sorted(set(found))


def _sentence(name: str, inside: Sequence[str], through: Sequence[str], unknown: bool, why: str) -> str:
    if inside:
        return "An owner of %s gets in with a password now: %s." % (name, ", ".join(inside))
    if unknown:
        return "Nothing in the tables keeps the owners of %s out. %s" % (name, why)
    if through:
        left = "No owner of %s certainly gets in with a password. What is left is %s, if it works. %s"
        return left % (name, ", ".join(through), why)
    return "No owner of %s gets in. %s" % (name, why)
