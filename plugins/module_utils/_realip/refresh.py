# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""phase_realip_ranges: the published ranges, fetched over HTTPS and judged."""

from __future__ import annotations

import datetime
from typing import Any, Dict

from .._call.argspec import ArgumentSpec
from .._call.module import Call
from .fetch import fetcher
from .ranges import refresh

SPEC = ArgumentSpec(
    {
        "source": {"type": "str", "choices": ["cloudflare", "cloudfront"], "required": True},
        "cache": {"type": "path"},
        "urls": {"type": "list", "elements": "str"},
        "ca_bundle": {"type": "path"},
        "timeout": {"type": "float", "default": 15},
        "max_change": {"type": "float", "default": 0.25},
        "accept_change": {"type": "bool", "default": False},
    },
)


def run(call: Call) -> Dict[str, Any]:
    """The module's result."""

    def now() -> datetime.datetime:
        return datetime.datetime.fromtimestamp(call.now(), datetime.timezone.utc)

    fetch = fetcher(call.params["timeout"], call.params["ca_bundle"])
    return refresh(call.params, call.check, fetch, now, call.warn)
