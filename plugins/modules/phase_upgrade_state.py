#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_upgrade_state
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Remember how far an upgrade of Phase has come
description:
  - Keeps the state of an upgrade in a file, so that a run that was cut off is continued and not begun anew. Role
    P(phase.console.upgrade#role) uses it; by itself it touches nothing but that file.
  - Two runs at once are kept apart. The one that began, or took over from a run that is gone, owns the state.
extends_documentation_fragment:
  - phase.console.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  path:
    description: The file, on the host where the module runs.
    type: path
    required: true
  action:
    description:
      - V(read) returns the state.
      - V(begin) starts a run, or takes over one with the same target that was cut off. It fails while another run is at
        work, and when a run to another target stopped after it may have changed the instance.
      - V(note) adds to the notes and moves to O(phase). A run in phase V(done) is over.
      - V(release) lets another run take over at once, after this one failed.
      - V(abandon) forgets a run that was cut off.
    type: str
    choices: [read, begin, note, release, abandon]
    default: read
  upgrade_target:
    description: What the upgrade leads to. A run that stopped midway is continued with an equal one only.
    type: dict
    default: {}
  owner:
    description: The run, as P(phase.console.controller#lookup) names it. Required for all but O(action=read).
    type: dict
  owner_gone:
    description: Whether the process that owns the state, see RV(state.owner), is known to have ended.
    type: bool
    default: false
  phase:
    description: The phase that is reached. The state never goes back to an earlier one.
    type: str
    choices: [backup, migrate, rollout, verify, done]
  notes:
    description: What to remember.
    type: dict
    default: {}
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_upgrade
    description: The upgrade whose state this is.
"""

EXAMPLES = r"""
- name: See whether an upgrade is under way
  phase.console.phase_upgrade_state:
    path: /var/lib/phase.console/upgrade.json
"""

RETURN = r"""
state:
  description: The state; empty without one.
  returned: success
  type: dict
  contains:
    run:
      description: When it began, as a name.
      type: str
    phase:
      description: The phase that was reached.
      type: str
    target:
      description: What it leads to.
      type: dict
    owner:
      description: The run that drives it.
      type: dict
    times:
      description: Begin and end of each phase, in seconds since 1970.
      type: dict
    notes:
      description: What was noted.
      type: dict
midway:
  description: Whether an upgrade was begun and not finished.
  returned: success
  type: bool
resumed:
  description: Whether this run goes on with one that was cut off.
  returned: success
  type: bool
error:
  description: What a playbook can branch on.
  returned: failure
  type: dict
  contains:
    kind:
      description: The kind, one of R(this list,ansible_collections.phase.console.docsite.guide_errors).
      type: str
      sample: lock_held
    next_step:
      description: What to do about it, which C(msg) ends in as well.
      type: str
"""

from ansible_collections.phase.console.plugins.module_utils._call.module import run_module
from ansible_collections.phase.console.plugins.module_utils._upgrade.state import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
