# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which rows of a log are deleted, as SQL on ``e`` with named parameters. Pure."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, cast

from .log_table import Keep, Log
from .types import Hold, Scope

RESPECT_DELIVERABLE, RESPECT_ALL, IGNORE = "respect_deliverable", "respect_all", "ignore"


class Rule:
    """``base``: the rows that are old enough. ``keeps``: which of them stay, and why. ``condition``: the rows that go.
    ``undelivered``: which of those a log stream has not delivered.

    ``remembered`` are the ids for the log's own parameters. ``holds`` are what streams have not delivered, of which
    ``respect`` (the option ``log_streams``) says what stays.
    """

    def __init__(
        self,
        log: Log,
        scope: Scope,
        cutoff: str,
        remembered: Optional[Mapping[str, Sequence[str]]] = None,
        holds: Sequence[Hold] = (),
        respect: str = RESPECT_ALL,
    ) -> None:
        self.values: Dict[str, Any] = dict({"cutoff": cutoff}, **(remembered or {}))
        limit = "" if scope["everything"] else log.environment or log.organisation
        if limit:
            self.values["environments"] = [row["id"] for row in scope["environments"]]
            self.values["organisations"] = [row["id"] for row in scope["organisations"]]
        old = "e.%s <= %%(cutoff)s::timestamptz" % log.subject.time
        self.base = " and ".join(part for part in (log.only, old, limit) if part)
        self.keeps = list(log.keeps)
        self.undelivered: List[Keep] = []
        for number, hold in enumerate(holds):
            self._add(log, scope, "hold_%d_" % number, hold, respected(hold, respect, cutoff))
        kept = " or ".join("(%s)" % keep.condition for keep in self.keeps)
        self.condition = "%s and not (%s)" % (self.base, kept) if kept else self.base

    def _add(self, log: Log, scope: Scope, own: str, hold: Hold, kept: Optional[Hold]) -> None:
        """``own`` begins the names of the hold's values."""
        if log.environment:
            place = "e.environment_id = any(%%(%sin)s)" % own
            environments = [row for row in scope["environments"] if row["organisation_id"] == hold["organisation_id"]]
            self.values[own + "in"] = [row["id"] for row in environments]
        else:
            place = "e.organisation_id = %%(%sin)s" % own
            self.values[own + "in"] = hold["organisation_id"]
        whole = "%s and %s" % (place, self._span(own, hold))
        if kept is None:
            self.undelivered.append(Keep(whole, "log stream %s: %s" % (hold["name"], hold["why"]), hold["stream"]))
            return
        part = "%s and %s" % (place, self._span(own + "kept_", kept))
        why = "log stream %s has not delivered them: %s" % (hold["name"], hold["why"])
        self.keeps.append(Keep(part, why, hold["stream"]))
        if kept is not hold:
            rest = "%s and not (%s)" % (whole, part)
            self.undelivered.append(Keep(rest, "log stream %s: %s" % (hold["name"], hold["why"]), hold["stream"]))

    def _span(self, own: str, hold: Hold) -> str:
        self.values[own + "after"] = hold["after"]
        if hold["until"] is None:
            self.values[own + "id"] = hold["after_id"]
            return "(e.timestamp, e.id) > (%%(%safter)s::timestamptz, %%(%sid)s)" % (own, own)
        self.values[own + "until"] = hold["until"]
        return "e.timestamp between %%(%safter)s::timestamptz and %%(%suntil)s::timestamptz" % (own, own)


def respected(hold: Hold, respect: str, cutoff: str) -> Optional[Hold]:
    """What of a hold stays: all of it, the part that can still be delivered, or nothing (None)."""
    if respect == IGNORE:
        return None
    start = hold["deliverable"]
    if respect == RESPECT_ALL or start is None or start <= hold["after"]:
        return hold
    if start > cutoff or (hold["until"] is not None and hold["until"] < start):
        return None
    return cast(Hold, dict(hold, after=start, after_id=""))
