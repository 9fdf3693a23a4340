# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the backend itself adds to the database's word on SSO: its settings, and what it keeps in redis.

Facts of Phase v2.67.0 to v2.73.2: the middleware keeps ``[require_sso, name]`` for 60 s in Django's default cache under
``org_sso_decision:<organisation id>``, ``[False, ""]`` where it could not load the organisation. Django adds its key
prefix and version, and pickles the value; so it is read and deleted through the application's own cache.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Callable, Dict, Mapping, Optional, TypeVar

from ..._errors import ApplicationFailed
from ..core import passwords
from ..core.api import Context
from ..core.django import with_django
from ..core.secrets import masker, secret_values
from .sso_doctor import password_login

T = TypeVar("T")
PATIENCE = 5.0  # seconds for redis: the application sets no timeout of its own, and a lost host answers after minutes
RECHECK = 0.25  # seconds after which a decision that was cleared is looked at once more
RECHECKS = 2
UNSEEN = "deployment=database reaches the database alone."


def settings(environment: Mapping[str, str]) -> Dict[str, Any]:
    """What its environment says of passwords: ``password_auth``, and ``domains`` (empty: any)."""
    listed = environment.get("USER_EMAIL_DOMAIN_WHITELIST", "").split(",")
    return {
        "password_auth": password_login(environment.get("ENABLE_PASSWORD_AUTH")),
        "domains": [domain.strip().lower() for domain in listed if domain.strip()],
    }


def decision_of(kept: Any) -> Optional[bool]:
    """The decision in a cached value, None where there is none."""
    return bool(kept[0]) if isinstance(kept, (list, tuple)) and kept else None


def within(seconds: float, function: Callable[[], T]) -> T:
    """The function's value. Raises TimeoutError after ``seconds``: then its thread is left behind."""
    outcome: Dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["value"] = function()
        except Exception as error:  # whatever a cache may raise: it is the caller's
            outcome["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if "error" in outcome:
        raise outcome["error"]
    if "value" not in outcome:
        raise TimeoutError("no answer within %g s" % seconds)
    value: T = outcome["value"]
    return value


def _key(organisation: str) -> str:
    return "org_sso_decision:" + organisation


def _ask(function: Callable[[Any], T]) -> Dict[str, Any]:
    """``value`` of a function of Django's cache, or ``error``, in words without secrets; within PATIENCE."""
    from django.core.cache import cache

    try:
        return {"value": within(PATIENCE, lambda: function(cache)), "error": None}
    except Exception as error:  # of redis, of a socket, or of another cache that somebody configured
        mask = masker(secret_values(os.environ))
        return {"value": None, "error": mask(" ".join(("%s: %s" % (type(error).__name__, error)).split()))}


def look(organisation: str) -> Dict[str, Any]:
    """``backend`` and ``cache`` (``decision``, ``error``), as the doctor takes them.

    ``backend``: ``settings``, ``sign_in``, and ``algorithms`` of passwords, empty where its settings did not load.
    """
    backend = dict(settings(os.environ), sign_in=[], algorithms=[])

    def read() -> Dict[str, Any]:
        backend["algorithms"] = passwords.configured()
        backend["sign_in"] = passwords.offered()
        return _ask(lambda cache: decision_of(cache.get(_key(organisation))))

    try:
        answer = with_django(read)
    except ApplicationFailed as error:
        answer = {"value": None, "error": error.message}
    return {"backend": backend, "cache": {"decision": answer["value"], "error": answer["error"]}}


def clear(context: Context, organisation: str, require_sso: bool) -> Optional[str]:
    """Delete the cached decision; None, or why that cannot be.

    To be called after the commit. A request that read the table before it may write the old decision just after, so it
    is looked at again for a moment.
    """

    def forget() -> Optional[str]:
        deleted = _ask(lambda cache: cache.delete(_key(organisation)))
        for _number in range(RECHECKS):
            if deleted["error"]:
                break
            context.sleep(RECHECK)
            kept = _ask(lambda cache: decision_of(cache.get(_key(organisation))))
            if kept["value"] is not None and kept["value"] != require_sso:
                deleted = _ask(lambda cache: cache.delete(_key(organisation)))
        error: Optional[str] = deleted["error"]
        return error

    try:
        return with_django(forget)
    except ApplicationFailed as error:
        return error.message
