#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_restore
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Restore a backup of Phase's database, and take that back
description:
  - Restores a dump of M(phase.console.phase_backup) into a new database beside the present one, compares every table
    and the migrations with what the dump holds, and only then renames both in one transaction. Until that moment the
    present database serves; from then on it is kept under another name.
  - Settings, grants, owner, encoding and locale of the database, settings of roles in it and its comment are carried
    over.
  - It ends the application's sessions when it renames. Stop the backend and its worker before, as the playbook
    C(phase.console.restore) does, so that nothing is written in between; what is written stays in the kept database.
  - A run that is killed leaves the present database or the restored one in place, each whole. The next run drops what
    is not finished, which it knows by name and comment.
  - The instance needs the same C(SERVER_SECRET) and C(SECRET_KEY) as when the backup was made.
extends_documentation_fragment:
  - phase.console.target
  - phase.console.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - The comment on a restored database names its backup. The same backup is not restored again unless O(force) is
        set, also when rows were changed since.
options:
  state:
    description:
      - V(restored) makes the database what the backup holds.
      - V(returned) takes the last restore back. The database from before it is in use again, and the restored one is
        kept.
      - V(dropped) drops the databases that restores have kept, for good.
    type: str
    choices: [restored, returned, dropped]
    default: restored
  src:
    description:
      - The dump to restore, or a folder of dumps, of which the newest is taken. Needed for O(state=restored).
      - Its manifest C(NAME.dump.json) has to be beside it to know whether it is whole. Without one the module warns.
    type: path
  image:
    description:
      - The image with C(pg_restore). The default is the image of the container that C(DATABASE_HOST) names; with a
        database elsewhere, such as a managed one, it has to be given.
    type: str
  pg_bin_dir:
    description: A folder in which C(pg_restore) is looked for before C(PATH). Meant for O(deployment=local).
    type: path
  free_space:
    description:
      - How much disk is free for PostgreSQL, such as V(50GB), where that cannot be seen, as with a managed database.
        KB, MB and GB are powers of 1000, KiB, MiB and GiB of 1024.
    type: str
  end_other_sessions:
    description:
      - End sessions of other roles and of this collection's other runs as well. Without it they are a reason to stop.
        The application's own sessions are always ended.
    type: bool
    default: false
  force:
    description: Restore a backup again from which the present database was restored already.
    type: bool
    default: false
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_restore
    description: What is restored, what happens at an interruption, and the way back.
  - module: phase.console.phase_backup
"""

EXAMPLES = r"""
- name: Say what restoring the newest backup would do
  phase.console.phase_restore:
    src: /var/backups/phase/
  check_mode: true
  register: restore

- name: Restore it
  phase.console.phase_restore:
    src: "{{ restore.plan.backup.path }}"

- name: Take that back
  phase.console.phase_restore:
    state: returned

- name: Drop the databases that restores have kept
  phase.console.phase_restore:
    state: dropped
"""

RETURN = r"""
plan:
  description: What is done, in check mode what would be.
  returned: success
  type: dict
  contains:
    summary:
      description: The plan in sentences, for a person.
      type: list
      elements: str
    backup:
      description: The backup; for O(state=restored).
      type: dict
      contains:
        path:
          description: The file.
          type: str
        bytes:
          description: Its size.
          type: int
        started:
          description: When the dump was begun (UTC); null without a manifest.
          type: str
        sha256:
          description: Its SHA-256.
          type: str
        sha256_checked:
          description: Whether a manifest says the same.
          type: bool
        server_version:
          description: The version of PostgreSQL that it was made of.
          type: str
        release:
          description: The releases of Phase that its migrations fit.
          type: str
        rows:
          description: How many rows it holds.
          type: int
        tables:
          description: How many rows it holds, by table.
          type: dict
    database:
      description: The name of the database.
      type: str
    old_database:
      description: The name under which the present database is kept.
      type: str
    release:
      description: The releases of Phase that fit the database afterwards.
      type: str
    newer_rows:
      description:
        - Rows that were added or changed since the backup, by table; null where counting took longer than 30 seconds.
      type: dict
    secret_changed:
      description: When a secret was changed last (UTC).
      type: str
    secret_read:
      description: When the newest read event was written (UTC).
      type: str
    access:
      description:
        - Sentences on network policies, single sign-on and tokens that differ from the backup's, by name. What was
          revoked or deleted since the backup is valid again after the restore.
      type: list
      elements: str
    bytes_needed:
      description: How much disk the restored database may take.
      type: int
    bytes_free:
      description: How much the server has; null where that cannot be seen.
      type: int
database:
  description: The name of the database.
  returned: success
  type: str
old_database:
  description: The database that is kept.
  returned: when the database is changed to another
  type: str
dropped:
  description: The databases that were dropped.
  returned: O(state=dropped)
  type: list
  elements: str
seconds:
  description: How long the restore took.
  returned: when a backup was restored
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
from ansible_collections.phase.console.plugins.module_utils._instance.restore import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
