# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""phase_vacuum with live progress."""

from __future__ import annotations

from ansible_collections.phase.console.plugins.plugin_utils._progress import ProgressAction


class ActionModule(ProgressAction):
    """Runs the module phase_vacuum and shows the progress it tells."""
