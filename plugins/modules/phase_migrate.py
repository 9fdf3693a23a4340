#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: phase_migrate
short_description: Migrate the database of a Phase Console instance, knowing beforehand what that does
version_added: 0.1.0
description:
  - Compares the migrations of an image of Phase's backend with those that the database has, and applies what is
    missing.
  - Tells for each pending migration its SQL, the locks it takes on which table, whether it rewrites or reads whole
    tables, builds indexes with or without C(CONCURRENTLY), runs Python, can be reversed, and whether the version that
    still runs survives it. Check mode tells the same and changes nothing.
  - Runs the application's own C(manage.py migrate) in the target image, once, and only when something is pending.
  - One migration of a database at a time. The second caller waits, or leaves with the name of the first.
  - A run goes on when its caller dies. The next call finds and joins it.
  - An instance in containers has one that migrates the database and ends; backend and worker start once it has ended
    well. The other values of O(state) are about that container, and work while the backend does not run.
author: The phase.console authors (@phase-console)
extends_documentation_fragment:
  - phase.console.attributes
  - phase.console.target
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: [Shows the leaves of the migration graph and the pending migrations before and after.]
  idempotent:
    support: full
    details: [With nothing pending nothing is started but the plan.]
options:
  state:
    description:
      - V(migrated) applies what is pending.
      - V(info) says in RV(job) how the container that migrates fares and who holds it back, and changes nothing.
        Without containers it knows the collection's own runs only.
      - V(cleared) stops that container when RV(job.state) is V(blocked) or V(stuck), and ends its sessions. One that
        works, or builds an index, is never stopped; that is an error.
      - A container without a session in the database is V(stuck) only where the database is a container beside it. An
        external database, or one behind a pooler, may see it under another address; it is V(working) then, and a
        hanging one has to be stopped by hand.
      - V(started) starts the containers in RV(waiting), without running the migrations' container again, each run of
        which would add one more licence check to Phase's scheduler.
    type: str
    default: migrated
  stuck_after:
    description: How long it has to have done nothing, or waited for a lock, to count as stuck or blocked.
    type: str
    default: 60s
  image:
    description:
      - The image of Phase's backend whose migrations count. The one that runs by default.
      - With O(deployment=kubernetes), a Job of this image plans and migrates. Roll the new version out afterwards.
      - With O(deployment=local), the folder of another checkout.
      - For the other values of O(state), the image in which to ask the database while the backend does not run. By
        default that of the container that migrates.
    type: str
  timeout:
    description:
      - How long this call waits, in seconds or as in C(30m). V(0) is no limit.
      - The migration itself is not ended by it. Run the module again to join it.
    type: str
    default: 2h
  wait_for_lock:
    description:
      - How long to wait while another run migrates the same database. V(0) leaves at once.
      - A run whose caller is gone is joined, however long it takes. It is known to be alone after ten seconds.
    type: str
    default: 20s
  lock_retries:
    description:
      - How often a migration is tried again that did not get its lock within O(timeouts.lock). The pauses grow from one
        second to thirty.
      - Migrations that are not atomic, such as those that build indexes concurrently, wait for their locks without
        limit.
    type: int
    default: 8
  stop_on:
    description:
      - Refuse the whole run when the plan has one of these findings.
      - V(rewrite), a table is written anew while everything waits.
      - V(scan), a table is read whole while writes or everything wait.
      - V(blocking_index), an index is built without C(CONCURRENTLY).
      - V(access_exclusive), a table is locked for reads too, even for a moment.
      - V(python), a migration runs Python, so how long it takes is not known.
      - V(irreversible), a migration cannot be reversed.
      - V(breaks_running_version), the version that still runs fails until it is replaced.
      - V(unknown_sql), SQL is not understood.
    type: list
    elements: str
    choices:
      - rewrite
      - scan
      - blocking_index
      - access_exclusive
      - python
      - irreversible
      - breaks_running_version
      - unknown_sql
    default: []
  stop_on_min_rows:
    description:
      - Findings on tables that are known to have fewer rows do not count for O(stop_on).
      - A table whose rows nobody has counted yet always counts.
    type: int
    default: 1
  repair_indexes:
    description:
      - Drop, concurrently, the indexes that an interrupted migration left behind, then migrate. Only indexes that a
        pending migration builds concurrently are touched, the valid ones among them as well, since the migration starts
        anew.
      - Without it such an index is named and nothing is run.
    type: bool
    default: false
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_migrate
    description: How to read the plan, and what to do about an interrupted migration.
  - module: phase.console.phase_info
"""

EXAMPLES = r"""
- name: See what an upgrade would do to the database
  phase.console.phase_migrate:
    image: phasehq/backend:v2.73.2
  check_mode: true
  register: upgrade

- name: Show it in plain words
  ansible.builtin.debug:
    var: upgrade.summary

- name: Migrate, unless a large table would be rewritten or read whole under a lock
  phase.console.phase_migrate:
    image: phasehq/backend:v2.73.2
    stop_on: [rewrite, scan, blocking_index, unknown_sql]
    stop_on_min_rows: 100000

- name: Go on after an index build that was cut off
  phase.console.phase_migrate:
    image: phasehq/backend:v2.73.2
    repair_indexes: true

- name: Migrate a checkout on this host to the migrations of another one
  phase.console.phase_migrate:
    deployment: local
    manage_dir: /srv/phase/current
    image: /srv/phase/releases/v2.73.2
    env_file: /etc/phase/backend.env

- name: See why the backend does not start
  phase.console.phase_migrate:
    state: info

- name: End a migration that waits for a lock for more than two minutes
  phase.console.phase_migrate:
    state: cleared
    stuck_after: 2m
"""

RETURN = r"""
pending:
  description: The pending migrations as C(app.name), in the order they run, as they were before this call.
  returned: success
  type: list
  elements: str
plan:
  description: What each pending migration does.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The migration as C(app.name).
      type: str
      returned: always
    summary:
      description: One line for people.
      type: str
      returned: always
    class:
      description:
        - The heaviest work on tables in use. One of C(none), C(catalog_only), C(validate), C(concurrent_index_build),
          C(data), C(index_build), C(scan), C(rewrite), C(unknown).
      type: str
      returned: always
    statements:
      description: Each statement with C(sql), C(class), C(tables) (C(table) and C(lock)) and C(why).
      type: list
      elements: dict
      returned: always
    tables:
      description: Each table locked, with the strongest C(lock), C(rows) (an estimate or null), C(bytes), and C(new).
      type: list
      elements: dict
      returned: always
    python_tables:
      description: Tables that the migration's Python code names, with C(rows) and C(bytes).
      type: list
      elements: dict
      returned: always
    concurrent_indexes:
      description: Indexes built concurrently, with C(index) and C(table).
      type: list
      elements: dict
      returned: always
    atomic:
      description: Whether it is rolled back as a whole when it fails.
      type: bool
      returned: always
    runs_python:
      description: Whether it runs Python.
      type: bool
      returned: always
    irreversible:
      description: Whether Django cannot reverse it.
      type: bool
      returned: always
    breaks_running_version:
      description: Whether the version that still runs fails from here until it is replaced.
      type: bool
      returned: always
    breaks_secret_reads:
      description: Whether reads of secrets are among what fails.
      type: bool
      returned: always
    breaks:
      description: Why it does.
      type: list
      elements: str
      returned: always
    findings:
      description: What O(stop_on) can refuse, with C(finding), C(table) and C(rows).
      type: list
      elements: dict
      returned: always
    notes:
      description: What could not be known.
      type: list
      elements: str
      returned: always
summary:
  description: The plan in plain words.
  returned: success
  type: list
  elements: str
  sample:
    - "29 migrations pending, database v2.54.0 to v2.73.0."
    - "api.0112_x: three concurrent index builds on api_secretevent (2.0 M rows, 2.1 GB): writes go on"
applied:
  description: What was applied, with C(name) and C(seconds). The seconds are null where a joined run did it.
  returned: success
  type: list
  elements: dict
applied_elsewhere:
  description: What another run applied while this one waited for it.
  returned: success
  type: list
  elements: str
unknown:
  description: Applied migrations that the image does not know. Then the module fails, since the database is ahead.
  returned: success or failure
  type: list
  elements: str
inconsistent:
  description: Applied migrations with a C(dependency) that is not applied. Then the module fails.
  returned: success or failure
  type: list
  elements: dict
duplicates:
  description: Migrations with more than one row in the ledger, with their C(ids).
  returned: success
  type: list
  elements: dict
from_leaves:
  description: The last migrations of each app that the database had.
  returned: success
  type: list
  elements: str
to_leaves:
  description: The last migrations of each app in the image.
  returned: success
  type: list
  elements: str
from_release:
  description:
    - The newest release of Phase whose migrations the database had all. A release without migrations of its own counts
      as the last one that had some.
  returned: success
  type: str
to_release:
  description: The same for the image.
  returned: success
  type: str
image:
  description:
    - The image of the migrations as C(name), and the one that runs as C(running), C(running_id), C(running_digest).
  returned: success
  type: dict
leftover_indexes:
  description:
    - Indexes that an interrupted migration left behind, with C(index), C(table), C(valid), C(bytes), C(migration).
  returned: success
  type: list
  elements: dict
repaired_indexes:
  description: Those of them that were dropped.
  returned: success
  type: list
  elements: dict
failed_job:
  description:
    - Of a Job that did not start or ended without a result, C(name), C(reason), C(exit_code), the last C(events), each
      with C(reason) and C(message), and the end of its C(log).
  returned: when a Job failed, for O(deployment=kubernetes)
  type: dict
joined:
  description: Whether a run was joined that had lost its caller.
  returned: success
  type: bool
retries:
  description: How often a lock timeout led to another try.
  returned: success
  type: int
blocked_by:
  description: Who held back the last wait for a lock that was seen.
  returned: when migrations ran
  type: list
  elements: dict
post_migrate_failed:
  description:
    - The exit code and the last output of a C(migrate) that failed after it had applied everything, as with redis down.
  returned: success
  type: dict
stopped_by:
  description: The findings that O(stop_on) refuses.
  returned: in check mode, or when refused
  type: list
  elements: dict
external_migration:
  description:
    - The value of C(EXTERNAL_MIGRATION) in the running backend, and whether the C(misspelt) C(EXTERNAL_MIGRATIONS) is
      set.
  returned: success
  type: dict
failed_migration:
  description: The migration that failed.
  returned: when one failed
  type: str
still_pending:
  description: What is pending after a failure.
  returned: when a migration failed
  type: list
  elements: str
output:
  description: The last lines that C(migrate) printed, secrets masked.
  returned: when a migration failed
  type: list
  elements: str
job:
  description: The container that migrates, and what was made out about it.
  returned: success, unless O(state=migrated)
  type: dict
  contains:
    state:
      description:
        - V(none), V(done), V(failed), V(working), V(blocked), V(stuck), or V(own) for a run of this module that is at
          work.
      type: str
    sentence:
      description: The same in a sentence, with who holds it back.
      type: str
    image:
      description: The image whose migrations it was to apply; null when that is not known.
      type: str
    container:
      description: Its name. This and what follows are there when there is a container.
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
  returned: success, unless O(state=migrated)
  type: list
  elements: dict
waiting:
  description: The components that O(state=started) starts.
  returned: success, unless O(state=migrated)
  type: list
  elements: str
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
from ansible_collections.phase.console.plugins.module_utils._upgrade.migrate import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
