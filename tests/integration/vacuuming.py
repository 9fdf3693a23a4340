# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""phase_vacuum in this process, on the sandbox's databases."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.argspec import target_spec
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._call.targets import build_target
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._vacuum import vacuum as _vacuum
from integration.forks import Database

PURGE = """
create temporary table gone as select id from api_secretevent
where event_type = 'R' and timestamp < now() - '30 days'::interval;
delete from api_secretevent_tags where secretevent_id in (select id from gone);
delete from api_secretevent where id in (select id from gone)
"""


class Vacuum:
    """phase_vacuum on one database, in this process; ``warned`` of the last run."""

    def __init__(self, database: Database, **target: Any) -> None:
        self.target = {"deployment": "database", "database_url": database.url, **target}
        self.warned: list[str] = []

    def __call__(self, mode: str = "auto", *, check: bool = False, **options: Any) -> dict[str, Any]:
        self.warned, spec = [], target_spec().merge(_vacuum.SPEC).options
        params = {name: option.get("default") for name, option in spec.items()}
        params.update(self.target, mode=mode, confirm_full=True, free_space=50 << 30)
        params.update(options)
        target = build_target(params, lambda: False)
        return _vacuum.run(Call(params, check, True, target, silent, self.warned.append))

    def refused(self, *arguments: Any, **options: Any) -> PhaseError:
        with pytest.raises(PhaseError) as refused:
            self(*arguments, **options)
        assert refused.value.message.endswith(".") and refused.value.next_step.endswith(".")
        return refused.value


def silent(message: str, **counters: Any) -> None:
    """For reports that nobody reads."""


def entry(result: dict[str, Any], name: str = "api_secretevent") -> dict[str, Any]:
    return next(one for one in result["tables"] if one["name"] == name)
