# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Which ansible-playbook process this is, and whether another one still runs."""

from __future__ import annotations

DOCUMENTATION = r"""
name: controller
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Name the running Ansible process, or tell whether one is gone
description:
  - Without a term, returns the host, the process ID and the start time of the Ansible process on the controller.
  - With terms that such a call returned earlier, tells for each whether that process is known to be gone.
    Of a process on another host nothing is known, so the answer is V(false).
options:
  _terms:
    description: Earlier results of this lookup.
    type: list
    elements: dict
"""

EXAMPLES = r"""
- name: Remember who is at work
  ansible.builtin.set_fact:
    owner: "{{ lookup('phase.console.controller') }}"

- name: Tell whether that process has ended
  ansible.builtin.debug:
    msg: "{{ lookup('phase.console.controller', owner) }}"
"""

RETURN = r"""
_raw:
  description: A dictionary with C(host), C(pid) and C(born); or one boolean for each term.
  type: list
  elements: raw
"""

import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase


def born(pid: int) -> str | None:
    """What tells a process from a later one with its ID; None when there is no such process.

    From Linux the start time in clock ticks after boot (field 22 of /proc/PID/stat); elsewhere an empty text.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it runs, as another user
    try:
        stat = Path("/proc", str(pid), "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def gone(owner: dict[str, Any]) -> bool:
    """Whether the process that an earlier lookup described has ended; false for one on another host."""
    if owner.get("host") != socket.gethostname():
        return False
    return bool(born(int(owner["pid"])) != owner["born"])


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[Any]:
        if terms:
            return [gone(owner) for owner in terms]
        parent = multiprocessing.parent_process()
        pid = parent.pid if parent is not None and parent.pid is not None else os.getpid()
        return [{"host": socket.gethostname(), "pid": pid, "born": born(pid)}]
