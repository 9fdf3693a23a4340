# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One HTTPS request with limits on its time and size, by Ansible's own client (proxies, certificates, redirects)."""

from __future__ import annotations

import http.client
import ipaddress
import time
import urllib.error
from typing import Any, Callable, Dict, Optional
from urllib.parse import urlsplit

from .ranges import MOST_BYTES, Answer, RangesUnreachable, refuse
from .values import BadValue

CHUNK = 65536


def _secure(url: str) -> bool:
    """Whether nobody between here and there can change the answer: TLS, or this very host."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "https":
            return bool(parts.hostname)
        return parts.scheme == "http" and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _unreachable(url: str, why: object) -> RangesUnreachable:
    return RangesUnreachable("%s cannot be read: %s." % (url, str(why).rstrip(".") or type(why).__name__), "Try again.")


def fetcher(timeout: float, ca_path: Optional[str], clock: Callable[[], float] = time.monotonic) -> Any:
    """A function (url, known etag) -> Answer that takes ``timeout`` seconds at most for the answer's body, and as
    much for each wait before it."""
    from ansible.module_utils import urls

    trouble = (
        *(urllib.error.URLError, http.client.HTTPException, OSError),
        *(urls.ConnectionError, urls.NoSSLError, urls.SSLValidationError),
    )

    def fetch(url: str, etag: Optional[str]) -> Answer:
        if not _secure(url):
            raise BadValue("%s is not safe to read from." % url, "Use https; http only from this host itself.")
        headers: Dict[str, str] = {"Accept-Encoding": "identity"}
        if etag:
            headers["If-None-Match"] = etag
        start = clock()
        try:
            with urls.open_url(
                url,
                headers=headers,
                timeout=timeout,
                ca_path=ca_path,
                follow_redirects="safe",
                http_agent="phase.console",
                use_netrc=False,
            ) as response:
                if not _secure(response.geturl()):
                    raise _unreachable(url, "it leads to %s" % response.geturl())
                body = _body(url, response, lambda: clock() - start > timeout)
                return Answer(body, response.headers.get("ETag"))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 304 and etag:
                return Answer(None, etag)
            raise _unreachable(url, "HTTP %d" % error.code) from None
        except trouble as error:
            raise _unreachable(url, getattr(error, "reason", error)) from None

    return fetch


def _body(url: str, response: Any, late: Callable[[], bool]) -> bytes:
    length = response.headers.get("Content-Length")
    body = b""
    while True:
        chunk = response.read1(CHUNK)  # what has come; read() would wait for the whole of it, a drop at a time
        if not chunk:
            break
        body += chunk
        if len(body) > MOST_BYTES:
            raise refuse(url, "it has more than %d bytes" % MOST_BYTES)
        if late():
            raise _unreachable(url, "it took too long")
    if length and length.isdigit() and len(body) < int(length):
        raise _unreachable(url, "it ended early")
    return body
