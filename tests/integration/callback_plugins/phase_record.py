# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors

"""Writes what each task returned to a file as it comes: tests read results as data, and stdout as users see it.

Also lets the runs share what Ansible packs of a module with all that it imports, once a run otherwise: up to a second
of the processor for each module.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__ as core_version

DOCUMENTATION = """
name: phase_record
type: notification
short_description: Record task results as JSON lines
description:
  - Appends one JSON object for each event to the file that E(PHASE_CONSOLE_RECORD) names.
"""

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "phase_record"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if "PYTHONPYCACHEPREFIX" in os.environ:
            _share_packed_modules(Path(os.environ["PYTHONPYCACHEPREFIX"], "packed"))

    def _write(self, **event):
        path = os.environ.get("PHASE_CONSOLE_RECORD")
        if path:
            with Path(path).open("a", encoding="utf-8") as record:
                record.write(json.dumps(event, default=str) + "\n")

    def _task(self, status, outcome, **more):
        task, host = _field(outcome, "task"), _field(outcome, "host")
        self._write(
            event="task",
            status=status,
            host=host.get_name(),
            name=task.get_name(),
            action=task.resolved_action or task.action,
            result=_field(outcome, "result"),
            **more,
        )

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._write(event="start", name=task.get_name(), action=task.resolved_action or task.action)

    def v2_runner_on_ok(self, result):
        self._task("changed" if _field(result, "result").get("changed") else "ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._task("failed", result, ignored=bool(ignore_errors))

    def v2_runner_on_skipped(self, result):
        self._task("skipped", result)

    def v2_runner_on_unreachable(self, result):
        self._task("unreachable", result)

    def v2_playbook_on_stats(self, stats):
        hosts = sorted(stats.processed)
        self._write(event="stats", hosts={host: stats.summarize(host) for host in hosts}, custom=stats.custom)


def _share_packed_modules(folder):
    """Have Ansible's own folder of packed modules be one that fits these sources, this Ansible and this Python.

    From ansible-core 2.19 on, runs side by side lock what they write there; tests under 2.18 run one after the other.
    """
    key = hashlib.sha256(f"{core_version} {sys.version}".encode())
    for source in sorted(PLUGINS.rglob("*.py")):
        key.update(str(source).encode() + b"\0" + source.read_bytes())
    shared = folder / key.hexdigest()[:20]
    shared.mkdir(parents=True, exist_ok=True)
    Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache").symlink_to(shared)


def _field(outcome, name):
    """A task result's field: public from ansible-core 2.19 on, with an underscore before it."""
    return getattr(outcome, name) if hasattr(outcome, name) else getattr(outcome, "_" + name)
