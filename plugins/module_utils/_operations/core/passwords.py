# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a user can sign in: by a password that the application can compare with what is stored of it, or by a provider.

The hash itself is never read.

Django (``django.contrib.auth.hashers``, 4.2 to 5.2) takes nothing that starts with ``!`` or is empty. It looks the
algorithm, which stands before the first ``$``, up in PASSWORD_HASHERS, and refuses a hash of an algorithm that is not
there. Phase has passwords since v2.67.0, and Argon2 alone in that list (seen at v2.73.2).
"""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence

from .rows import columns
from .types import Connection

# Phase's PASSWORD_HASHERS, for where its settings cannot be asked.
ALGORITHMS = ("argon2",)
SET, NONE, DAMAGED, UNKNOWN = "set", "none", "damaged", "unknown"

# Of api_customuser u: "none", "damaged", or the algorithm's name. For statements with parameters.
KIND = r"""
    case when u.password like '!%%' or u.password = '' then 'none'
         when position('$' in u.password) < 2 then 'damaged'
         when u.password like 'pbkdf2~_%%' escape '~'
              and u.password !~ '^pbkdf2_[a-z0-9]+[$][0-9]+[$][^$]+[$].+$' then 'damaged'
         when u.password like 'argon2$%%'
              and u.password !~ '^argon2[$]argon2(i|d|id)[$](v=[0-9]+[$])?[a-z0-9=,]+[$][^$]+[$][^$]+$' then 'damaged'
         else split_part(u.password, '$', 1) end
"""


def state(kind: str, algorithms: Sequence[str] = ALGORITHMS) -> str:
    """SET, NONE, DAMAGED or UNKNOWN for what KIND returned; ``algorithms`` are those that the application has."""
    if kind in (NONE, DAMAGED):
        return kind
    return SET if kind in algorithms else UNKNOWN


def accounts(connection: Connection) -> str:
    """The names of providers that api_customuser u has signed in by, as an expression of SQL."""
    if not {"provider", "user_id"} <= set(columns(connection, "socialaccount_socialaccount")):
        return "'{}'::text[]"
    return """array(select distinct a.provider::text from socialaccount_socialaccount a
                    where a.user_id::text = u."userId" order by 1)"""


def configured() -> List[str]:
    """The algorithms of PASSWORD_HASHERS whose libraries are there. Within ``with_django`` only."""
    from django.contrib.auth import hashers

    found = []
    for hasher in hashers.get_hashers():
        try:
            if hasher.library:
                hasher._load_library()
        except (ValueError, ImportError):
            continue
        found.append(str(hasher.algorithm))
    return found


def sign_in(providers: Mapping[str, Any]) -> List[str]:
    """The instance's own sign-in providers in SOCIALACCOUNT_PROVIDERS: those with a client id."""
    found = []
    for name, given in providers.items():
        apps = [given.get("APP") or {}] + list(given.get("APPS") or [])
        if any(app.get("client_id") for app in apps):
            found.append(name)
    return sorted(found)


def offered() -> List[str]:
    """``sign_in`` of the application's settings. Within ``with_django`` only."""
    from django.conf import settings as configured

    return sign_in(getattr(configured, "SOCIALACCOUNT_PROVIDERS", {}))
