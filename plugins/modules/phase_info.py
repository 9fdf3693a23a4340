#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: phase_info
short_description: Tell what a Phase Console instance is and does
version_added: 0.1.0
description:
  - Tells the containers and images of an instance, its database, its migrations, its sizes, and who works in it now.
  - Reads only. Needs no credentials where the backend's container has them.
author: The phase.console authors (@phase-console)
extends_documentation_fragment:
  - phase.console.attributes
  - phase.console.target
attributes:
  check_mode:
    support: full
    details: [Reads only.]
  diff_mode:
    support: none
    details: [Changes nothing.]
  idempotent:
    support: full
options:
  gather_subset:
    description: What to tell.
    type: list
    elements: str
    choices: [instance, migrations, storage, activity, all]
    default: [all]
"""

EXAMPLES = r"""
- name: See everything about the instance on this Docker host
  phase.console.phase_info:
  register: info

- name: Fail early when an index build was left half done
  phase.console.phase_info:
    gather_subset: [storage]
  register: info
  failed_when: info.phase.storage.invalid_indexes | length > 0
"""

RETURN = r"""
phase:
  description: One key for each subset.
  returned: success
  type: dict
  contains:
    instance:
      description:
        - The backend's C(image), C(image_id), C(digest) and C(container), all C(components) of the instance in the same
          form with C(status) and C(health), and C(external_migration).
        - C(database) has the server's version, the database, our role and whether it is a superuser, TLS, uptime.
      returned: when asked for
      type: dict
    migrations:
      description:
        - The ledger, with the number C(applied), the C(last) one, all C(names), and C(duplicates).
        - C(release) is the newest release of Phase whose migrations are all there.
      returned: when asked for
      type: dict
    storage:
      description:
        - C(database_bytes), the largest C(tables) with bytes and estimated rows, C(invalid_indexes).
        - C(free_bytes) where PostgreSQL keeps its data; null when that cannot be seen from here.
      returned: when asked for
      type: dict
    activity:
      description: Number of C(sessions), C(long_transactions), C(blocked) sessions, C(advisory_locks), C(index_builds).
      returned: when asked for
      type: dict
"""

from ansible_collections.phase.console.plugins.module_utils._call.module import run_module
from ansible_collections.phase.console.plugins.module_utils._instance.info import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
