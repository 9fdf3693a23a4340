#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_health
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Wait until Phase answers
description:
  - Waits until the named components run (and are healthy, where they have a healthcheck) and the backend answers
    C(/health/), asked from inside its container, as the version that is wanted.
  - C(/health/) does not ask the database. Use M(phase.console.phase_migrate) in check mode to compare its migrations.
extends_documentation_fragment:
  - phase.console.target
  - phase.console.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - It changes nothing.
  idempotent:
    support: full
options:
  components:
    description:
      - The components that have to be well, with all their replicas. With O(deployment=local) that can be the backend
        alone.
    type: list
    elements: str
    default: [backend]
  version:
    description: The version that the backend has to answer with. By default any will do.
    type: str
  url:
    description: Where the backend answers, as seen from where it runs.
    type: str
    default: http://127.0.0.1:8000/health/
  wait_timeout:
    description: Seconds to wait. V(0) looks once.
    type: float
    default: 120
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_upgrade
    description: The upgrade that ends with this check.
"""

EXAMPLES = r"""
- name: Wait for the new version
  phase.console.phase_health:
    components: [backend, worker]
    version: v2.73.2
"""

RETURN = r"""
health:
  description: What was seen last.
  returned: always
  type: dict
  contains:
    backend:
      description: The answer of C(/health/), as C(alive), C(version) and C(detail).
      type: dict
    components:
      description: The components by name, with image, status and health.
      type: dict
seconds:
  description: How long it took.
  returned: success
  type: float
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

from ansible_collections.phase.console.plugins.module_utils._call.targets import run_module
from ansible_collections.phase.console.plugins.module_utils._instance.health import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
