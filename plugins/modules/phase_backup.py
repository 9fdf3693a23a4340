#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_backup
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Back up Phase's database into a verified file
description:
  - Runs C(pg_dump) next to the database, with the settings of Phase's backend, and writes the dump to a file on the
    host where the module runs.
  - The file gets its name only after it is on the disk and C(pg_restore) has read it back and found the data of every
    table of the live catalog in it. Its manifest, with size and SHA-256, is written beside it as C(NAME.dump.json).
  - A run that is cut off leaves nothing that looks like a backup; the next one removes what it left.
  - The dump holds secrets as Phase stores them, encrypted. Without the instance's C(SERVER_SECRET) and C(SECRET_KEY) it
    cannot be read, so keep those as well, elsewhere.
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
      - A backup at O(dest) that is not older than O(max_age), of the same database with the same migrations, is kept
        once its SHA-256 was found right.
options:
  dest:
    description:
      - The file to write, or a folder (an existing one, or a path that ends in a slash) in which the file is named
        C(phase-DATABASE-TIME.dump). Missing folders are made, for the owner only.
    type: path
    required: true
  format:
    description: The format of C(pg_dump).
    type: str
    choices: [custom]
    default: custom
  image:
    description:
      - The image with C(pg_dump) and C(pg_restore), at least as new as the server.
      - For O(deployment=docker) and O(deployment=compose) the default is the image of the container that
        C(DATABASE_HOST) names; with a database elsewhere, such as a managed one, it has to be given.
      - For O(deployment=kubernetes) it is the image of the pods behind the Service that C(DATABASE_HOST) names.
    type: str
  pg_bin_dir:
    description: A folder in which the programs are looked for before C(PATH). Meant for O(deployment=local).
    type: path
  verify:
    description:
      - V(list) reads the dump's table of contents back, V(full) all of its data as well, which takes about as long as
        the dump.
    type: str
    choices: [list, full]
    default: list
  max_age:
    description:
      - Seconds that a backup stays good, counted from its snapshot. V(0) makes a new one each time.
    type: int
    default: 0
  force:
    description: Make a new backup even if one that is good enough is there.
    type: bool
    default: false
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_restore
    description: How a backup is restored.
  - ref: ansible_collections.phase.console.docsite.guide_upgrade
    description: The upgrade that makes a backup first.
  - module: phase.console.phase_migrate
"""

EXAMPLES = r"""
- name: Back up before maintenance, unless the last backup is younger than an hour
  phase.console.phase_backup:
    deployment: compose
    project_src: /opt/phase
    dest: /var/backups/phase/
    max_age: 3600

- name: Back up an instance whose database is a managed one
  phase.console.phase_backup:
    dest: /var/backups/phase/nightly.dump
    image: postgres:17
    force: true
"""

RETURN = r"""
manifest:
  description: The backup that was made or kept. Not returned in check mode when one would be made.
  returned: success
  type: dict
  contains:
    path:
      description: The file.
      type: str
    format:
      description: The format of the dump.
      type: str
    bytes:
      description: Its size.
      type: int
    sha256:
      description: Its SHA-256.
      type: str
    tables:
      description: How many tables it holds.
      type: int
    rows:
      description: The planner's estimate of the rows in them.
      type: int
    database:
      description: The name of the database.
      type: str
    server_version:
      description: The version of PostgreSQL.
      type: str
    leaf:
      description: The migration of app C(api) that was applied last.
      type: str
    migrations:
      description: How many migrations were applied.
      type: int
    started:
      description: When the dump was begun (UTC).
      type: str
    seconds:
      description: How long it took, with its verification.
      type: float
predicted:
  description: What a new backup would be; not returned when one was kept.
  returned: when a backup is made, and in check mode
  type: dict
  contains:
    path:
      description: The file.
      type: str
    pg_dump:
      description: The version of the C(pg_dump) that is used.
      type: str
    bytes_at_most:
      description: The size of the tables without indexes, which a dump does not exceed.
      type: int
    bytes_free:
      description: Bytes free where the file would be.
      type: int
    tables:
      description: How many tables it would hold.
      type: int
    rows:
      description: The planner's estimate of the rows in them.
      type: int
    leaf:
      description: The migration of app C(api) that was applied last.
      type: str
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
from ansible_collections.phase.console.plugins.module_utils._instance.backup import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
