# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the web process answers, asked from where it runs."""

from __future__ import annotations

import json
import urllib.request

from ..core.api import Context, Request, Result


def probe(context: Context, request: Request) -> Result:
    """``alive``, ``version`` and ``detail`` of ``/health/``; request: ``url``, ``timeout`` (seconds).

    Phase v2.73.2 answers ``{"status": "alive", "version": ...}`` before it looks at the Host header, and without asking
    its database. No answer is a finding, not an error.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request["url"], timeout=request["timeout"]) as response:
            answer = json.loads(response.read(65536))
    except (OSError, ValueError) as error:  # URLError and a broken answer are among them
        return {"alive": False, "version": None, "detail": "%s: %s" % (request["url"], error)}
    if not isinstance(answer, dict):
        return {"alive": False, "version": None, "detail": "%s: not a health answer" % request["url"]}
    return {"alive": answer.get("status") == "alive", "version": answer.get("version"), "detail": ""}
