# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the web process answers, asked from where it runs."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from ..core.api import Context, Request, Result


def allowed_host(allowed: str, url: str) -> str:
    """A Host that an instance with these ALLOWED_HOSTS answers to (Django documentation, settings, ALLOWED_HOSTS).

    The host of ``url`` where it is one of them, or where none is set; ``.example.com`` allows ``example.com``.
    """
    names = [name.strip() for name in allowed.split(",") if name.strip()]
    host = (urlsplit(url).hostname or "").lower()
    fits = [name for name in names if name == "*" or host == name.lower() or (name[0] == "." and host.endswith(name))]
    return "" if fits or not names else names[0].lstrip(".")


def probe(context: Context, request: Request) -> Result:
    """``alive``, ``version`` and ``detail`` of ``/health/``; request: ``url``, ``timeout`` (seconds).

    Phase answers ``{"status": "alive", "version": ...}`` without asking its database. Before v2.68.0 it looks at the
    Host header first, so the request bears one that the instance's own ALLOWED_HOSTS has. No answer is a finding,
    not an error.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = request["url"]
    host = allowed_host(os.environ.get("ALLOWED_HOSTS", ""), url)
    asked = urllib.request.Request(url, headers={"Host": host} if host else {})  # noqa: S310 - the operator's URL
    try:
        with opener.open(asked, timeout=request["timeout"]) as response:
            answer = json.loads(response.read(65536))
    except urllib.error.HTTPError as error:
        refused = " to Host %s; is it in ALLOWED_HOSTS?" % (host or urlsplit(url).hostname) if error.code == 400 else ""
        return {"alive": False, "version": None, "detail": "%s: %s%s" % (url, error, refused)}
    except (OSError, ValueError) as error:  # URLError and a broken answer are among them
        return {"alive": False, "version": None, "detail": "%s: %s" % (url, error)}
    if not isinstance(answer, dict):
        return {"alive": False, "version": None, "detail": "%s: not a health answer" % url}
    return {"alive": answer.get("status") == "alive", "version": answer.get("version"), "detail": ""}
