#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_archive_check
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Verify archives of purged rows
description:
  - Reads archives that M(phase.console.phase_purge_logs) wrote, from their first byte to their last. Compression and
    SHA-256 of each batch and of the whole, the number of rows and their times are compared with the manifest.
  - Reports archives of interrupted runs, archives without a manifest, rows that are archived more than once, also in
    different archives of the directory, and files that others may read.
  - Fails where an archive is not intact, and says what to do. It needs no instance and no database.
  - Memory does not grow with the archives. For more than 100,000 rows, a temporary file takes 16 bytes for each.
extends_documentation_fragment:
  - phase.console.attributes
attributes:
  check_mode:
    support: full
    details:
      - It changes nothing in any mode.
  diff_mode:
    support: none
    details:
      - There is nothing that changes.
  idempotent:
    support: full
options:
  path:
    description: An archive, its manifest, or a directory of archives, on the host where the module runs.
    type: path
    required: true
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_archive
    description: What an archive promises, and how rows go back.
  - module: phase.console.phase_purge_logs
"""

EXAMPLES = r"""
- name: Verify the archives on the control node
  phase.console.phase_archive_check:
    path: /var/lib/phase-archives
  delegate_to: localhost
"""

RETURN = r"""
archives:
  description:
    - For each archive its C(path), C(state) (V(whole), V(damaged), V(missing), V(interrupted), V(without a manifest) or
      V(being written)), the C(rows) and C(tables) (rows by table) that were deleted, C(first) and C(last) (the times
      of those), C(batches), of which C(kept) were not deleted, C(bytes) and C(problems) in words.
  returned: success, and when an archive is not intact
  type: list
  elements: dict
rows:
  description: Rows of all archives that were deleted, tags included.
  returned: success, and when an archive is not intact
  type: int
duplicates:
  description:
    - C(rows) that are archived more than once, as after an interrupted run; C(deleted_twice), those that are in more
      than one batch that was deleted; C(pairs) of batches with the most of them.
  returned: success, and when an archive is not intact
  type: dict
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
from ansible_collections.phase.console.plugins.module_utils._purge.archive_check import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
