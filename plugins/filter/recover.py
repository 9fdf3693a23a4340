# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What role recover makes of what the modules found."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.phase.console.plugins.module_utils._access import recover as _recover
from ansible_collections.phase.console.plugins.plugin_utils._filters import telling


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"recover": telling(_recover.recover)}
