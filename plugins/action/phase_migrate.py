# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Live progress of every module that reports it; ``plugin_routing`` in meta/runtime.yml lists them.

It has the name of one of them, since ansible-test wants a module of the name of each action plugin.
"""

from __future__ import annotations

from ansible_collections.phase.console.plugins.plugin_utils._progress import ProgressAction


class ActionModule(ProgressAction):
    """Runs the module that the task names and shows its progress."""
