# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What role realip prints, checked."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.phase.console.plugins.module_utils._realip import check as _realip_check
from ansible_collections.phase.console.plugins.module_utils._realip import settings as _realip_settings
from ansible_collections.phase.console.plugins.plugin_utils._filters import telling


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "realip_dangers": telling(_realip_check.dangers),
            "realip_settings": telling(_realip_settings.settings),
            "realip_published": telling(lambda sources: list(_realip_settings.sources_to_fetch(sources))),
        }
