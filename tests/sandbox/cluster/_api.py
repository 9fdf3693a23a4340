# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading from a node's API while it comes up: kubectl takes a tenth of a second each time."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Api:
    """The API server at `server`, read as the administrator of `pki`."""

    def __init__(self, pki: Path, server: str) -> None:
        self.address = urlsplit(server)
        self.context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self.context.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def get(self, path: str) -> bytes | None:
        """What is there; None when nothing is, or nobody answers."""
        assert self.address.hostname is not None
        connection = http.client.HTTPSConnection(
            self.address.hostname, self.address.port, timeout=5, context=self.context
        )
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            return body if answer.status == http.client.OK else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def json(self, path: str) -> dict[str, Any]:
        """An object; empty when there is none."""
        found: dict[str, Any] = json.loads(self.get(path) or b"{}")
        return found

    def wait(self, patience: float) -> bool:
        """Wait until the server says that it is ready."""
        deadline = time.monotonic() + patience
        while self.get("/readyz") != b"ok":
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def node_ready(self) -> bool:
        """Whether pods would be taken: the node is ready, and the default namespace has its service account."""
        conditions = self.json("/api/v1/nodes/node").get("status", {}).get("conditions", [])
        ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
        return ready and self.get("/api/v1/namespaces/default/serviceaccounts/default") is not None
