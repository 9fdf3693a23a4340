# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The plan and the summary of role upgrade."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.phase.console.plugins.module_utils._upgrade import plan as _upgrade_plan
from ansible_collections.phase.console.plugins.plugin_utils._filters import telling


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "upgrade_target": telling(_upgrade_plan.upgrade_target),
            "upgrade_plan": telling(_upgrade_plan.upgrade_plan),
            "upgrade_summary": telling(_upgrade_plan.upgrade_summary),
        }
