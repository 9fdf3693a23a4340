#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_migration_job
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Tell how the container that migrates fares, and end a stuck one
description:
  - An instance of Phase in containers has one that migrates the database and ends; backend and worker start once it has
    ended well. This module says whether it works, waits for somebody's lock, is stuck, has failed or is done, and who
    holds it back.
  - It ends one that is stuck, and starts what waited for it, once M(phase.console.phase_migrate) has done its work.
  - It also works while the backend does not run. Without containers it tells of a run of M(phase.console.phase_migrate)
    only.
extends_documentation_fragment:
  - phase.console.target
  - phase.console.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - What would be stopped or started is in the result.
  idempotent:
    support: full
options:
  state:
    description:
      - V(info) changes nothing.
      - V(cleared) stops the container when RV(job.state) is V(blocked) or V(stuck), and ends its sessions. One that
        works, or builds an index, is never stopped; that is an error.
      - A container without a session in the database is V(stuck) only where the database is a container beside it. An
        external database, or one behind a pooler, may see it under another address; it is V(working) then, and a
        hanging one has to be stopped by hand.
      - V(started) starts the containers in RV(waiting), without running the migrations' container again, each run of
        which would add one more licence check to Phase's scheduler.
    type: str
    default: info
  stuck_after:
    description: How long it has to have done nothing, or waited for a lock, to count as stuck or blocked.
    type: str
    default: 60s
  image:
    description: The image in which to ask the database while the backend does not run. By default the container's own.
    type: str
seealso:
  - module: phase.console.phase_migrate
"""

EXAMPLES = r"""
- name: See why the backend does not start
  phase.console.phase_migration_job:
    deployment: compose
    project_src: /opt/phase

- name: End a migration that waits for a lock for more than two minutes
  phase.console.phase_migration_job:
    state: cleared
    stuck_after: 2m
"""

RETURN = r"""
job:
  description: The container, and what was made out about it.
  returned: success
  type: dict
  contains:
    state:
      description:
        - V(none), V(done), V(failed), V(working), V(blocked), V(stuck), or V(own) for a run of
          M(phase.console.phase_migrate) that is at work.
      type: str
    sentence:
      description: The same in a sentence, with who holds it back.
      type: str
    container:
      description: Its name. This and what follows are there when there is a container.
      type: str
    image:
      description: Its image.
      type: str
    status:
      description: What the engine says.
      type: str
    exit_code:
      description: With which it ended.
      type: int
    seconds:
      description: How long ago it was started, or ended.
      type: float
    log:
      description: Its last lines.
      type: list
      elements: str
sessions:
  description: Its sessions in the database, with what they wait for.
  returned: success
  type: list
  elements: dict
waiting:
  description: The components that V(started) starts.
  returned: success
  type: list
  elements: str
image:
  description: The image whose migrations it was to apply; null when that is not known.
  returned: success
  type: str
"""

from ansible_collections.phase.console.plugins.module_utils._call.module import run_module
from ansible_collections.phase.console.plugins.module_utils._upgrade.migration_job import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
