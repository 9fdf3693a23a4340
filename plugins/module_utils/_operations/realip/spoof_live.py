# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lying to the nginx that serves, and asking Phase itself whom it sees.

``clientIp`` of ``/graphql/`` is the address that Phase takes for the client's (since v2.41.0); it needs a session. One
is made here, good for seconds: it is a signed cookie, so nothing of it is kept anywhere, and it goes to nginx and back
to the backend only.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
from typing import Any, Dict, List, Optional, Tuple

from ..core.api import Context, Request, Result
from ..core.database import require_phase
from ..core.django import with_django
from ..instance import access as ask
from .forgeries import FORGED, Attempt, forgeries
from .spoof import Finding, ProbeFailed, lines_of, open_connection, places, plain, send

_SOMEBODY = "select user_id::text from api_organisationmember where deleted_at is null order by created_at, id limit 1"
_QUESTION = json.dumps({"query": "query { clientIp }"}).encode()
_ANSWER = re.compile(rb'"clientIp"\s*:\s*"([^"]*)"')


def confirm(context: Context, request: Request) -> Result:
    """What Phase takes for the client's address, for ``attempts`` lies from here, which is no proxy.

    Request: ``nginx`` (addresses), ``endpoints`` (see ``_nginx_conf.Trial``, with live ports), ``edges``, ``attempts``.
    Result: as a Finding, with ``findings`` and ``skipped``: why nothing could be asked, else None.
    """
    finding = Finding()

    def result(skipped: Optional[str]) -> Result:
        return dict(finding.as_dict(), findings=finding.told, skipped=skipped)

    api = [endpoint for endpoint in request["endpoints"] if endpoint["path"].rstrip("/").endswith("/service")]
    found = sorted(places(request["nginx"], api), key=lambda place: not place[1]["tls"])
    if not found:
        return result("no server with a location /service/ can be reached from the backend")
    session = _session(context)
    if session is None:
        return result("the instance has no members yet")
    lies = [Attempt("no forged header", [], ""), *forgeries(request["attempts"], request["edges"])]
    for number, attempt in enumerate(lies):
        context.check_cancelled()
        address, endpoint = found[number % len(found)]
        own, view = _ask(address, endpoint, session, attempt)
        if _trusted(own, endpoint["ranges"]):
            return result("the backend's own address %s is among the trusted ranges" % own)
        if number == 0 and view is None:
            return result("Phase does not tell whom it sees (before v2.41.0, or it refuses the session)")
        finding.add("stranger", endpoint, attempt, own, view and {"headers": [["X-Real-IP", view]], "peer": view})
    return result(None)


def _session(context: Context) -> Optional[Dict[str, str]]:
    connection = context.connect("spoof probe")
    try:
        require_phase(connection)
        with connection.cursor() as cursor:
            cursor.execute(_SOMEBODY)
            row = cursor.fetchone()
    finally:
        connection.close()
    return None if row is None else with_django(lambda: ask.session_headers(row[0]))


def _trusted(own: str, ranges: List[str]) -> bool:
    for text in ranges:
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(own) in ipaddress.ip_network(text, strict=False):
                return True
    return False


def _ask(
    address: str, endpoint: Dict[str, Any], session: Dict[str, str], attempt: Attempt
) -> Tuple[str, Optional[str]]:
    """The address that the request came from, and the one that Phase took; None where the request was refused."""
    head = ["POST %s/graphql/ HTTP/1.1" % endpoint["path"].rstrip("/"), "Connection: close"]
    head += ["Content-Type: application/json", "Content-Length: %d" % len(_QUESTION)]
    head += ["%s: %s" % pair for pair in session.items()]
    try:
        connection, own = open_connection(address, endpoint, attempt.forged or FORGED[0])
        with contextlib.closing(connection):
            status, _top, body = send(connection, [*head, *lines_of(attempt)], _QUESTION)
    except OSError as error:
        raise ProbeFailed(
            "nginx does not answer at port %d: %s." % (endpoint["port"], error), "See its log."
        ) from error
    match = _ANSWER.search(body)
    return own, plain(match.group(1).decode()) if status == 200 and match else None
