#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_purge_logs
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Delete old read events from Phase's log
description:
  - Deletes events of the type read that are older than a number of days, with their tags, of an organisation, of one
    app or of all organisations. Events of creations, updates and deletions are the secrets' version history and
    always stay.
  - Works online, in small transactions, as the role that owns Phase's tables. It can be stopped at any moment; the
    next run goes on from what is there.
  - The freed space is used for new rows after the next vacuum. The files do not shrink by a purge.
  - Other tables that only grow are purged in the same way where O(other_logs) asks for it.
  - In check mode it counts exactly what would go, by app, environment and month, and tells what stands in the way.
extends_documentation_fragment:
  - phase.console.target
  - phase.console.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - In a real run the rows are counted beforehand only when a diff is asked for, since it reads the table once more.
  idempotent:
    support: full
options:
  organisation:
    description: The name of an organisation, as it is written there, capitals included.
    type: str
  all_organisations:
    description: Purge the events of every organisation.
    type: bool
    default: false
  app_id:
    description: The id of one app. Alone, or together with the O(organisation) it has to belong to.
    type: str
  retain_days:
    description:
      - How many days of 24 hours to keep, counted back from the server's clock. V(0) keeps no read event.
    type: int
    default: 30
    aliases: [retain]
  read_events:
    description: Whether read events go. Without them O(other_logs) has to say what does.
    type: bool
    default: true
  other_logs:
    description:
      - For each of these logs how many days of 24 hours to keep. What is not named stays. What the application still
        needs stays in any case; C(docs/purge.md) of the collection tells what that is.
      - A log whose table came with a later release of Phase is told in a warning.
    type: dict
    suboptions:
      audit_events:
        description:
          - Days of the organisations' audit log (Phase v2.69.0 and newer). O(log_streams) counts for it, too.
        type: int
      scim_events:
        description: Days of the log of SCIM provisioning (Phase v2.68.0 and newer).
        type: int
      sync_events:
        description: Days of the history of syncs that have ended. The newest of each sync stays.
        type: int
      lease_events:
        description: Days of the events of leases that have ended (Phase v2.52.0 and newer).
        type: int
      rotation_events:
        description: Days of the events of rotating secrets (Phase v2.70.0 and newer).
        type: int
      delivery_events:
        description:
          - Days of the deliveries of log streams (Phase v2.73.0 and newer), but for those that can be sent again.
        type: int
      sessions:
        description:
          - Days after which an expired session goes. Needs O(all_organisations), and is never archived.
        type: int
  minimum_retain_days:
    description:
      - A floor for O(retain_days), for an obligation to keep logs. A smaller O(retain_days) is an error, and so are
        fewer days in O(other_logs), but for O(other_logs.sessions).
      - The variable C(PHASE_CONSOLE_MINIMUM_RETAIN_DAYS) in the backend's environment sets one that no playbook can
        go below.
    type: int
    default: 0
  strategy:
    description:
      - V(delete) deletes in transactions of about O(transaction_time).
      - V(rewrite) copies the events that stay beside the table, keeps the copy up to date, and lets it take the table's
        place. It gives the space back at once, writes a fraction of the WAL and is the fastest where most of the table
        goes. It needs room for the copy, the right to create a schema in the database, and a moment without long
        transactions. Stopped before the swap, it has deleted nothing.
      - V(stock) runs the application's own command C(purge_app_logs), where that deletes read events only (v2.73.0
        and newer), and reads back what it did. It knows neither log streams nor pauses.
      - V(auto) takes V(rewrite) where at least half of the table goes, the server's disk can be seen and has room, and
        nothing stands in the way; otherwise V(delete) wherever that can work. It tells why.
    type: str
    choices: [auto, rewrite, delete, stock]
    default: auto
  foreign_key:
    description:
      - PostgreSQL checks for each event that goes whether a tag still refers to it, which takes most of the time.
      - V(set_aside) drops that foreign key for the time of the purge, then puts it back, deletes the tags that have no
        event (others can leave such meanwhile), and validates it. That is several times faster. Both ends need an
        exclusive lock for some milliseconds. A run that was cut off leaves it dropped until the next run, which puts
        it back first; meanwhile PostgreSQL does not keep anything else from leaving tags without events.
      - Where only few rows go, the key stays in any case.
    type: str
    choices: [keep, set_aside]
    default: keep
  log_streams:
    description:
      - V(respect) leaves every event that a log stream (Phase v2.73.0 and newer) has not delivered, that of a paused
        stream or a failed delivery included.
    type: str
    choices: [respect, ignore]
    default: respect
  max_duration:
    description: After this time no further transaction is begun, in seconds or as C(30m), C(4h). V(0) is no limit.
    type: str
    default: '0'
  transaction_time:
    description: How long a deleting transaction should take; the number of rows follows from it.
    type: str
    default: 250ms
  pause_file:
    description: While this file is there, on the host where the module runs, the purge waits.
    type: path
  archive_dest:
    description:
      - An existing directory on the host where the module runs; with C(delegate_to=localhost) that is the controller.
        What is deleted is written there before, as compressed lines of JSON with a manifest, mode 0600, and is on disk
        before the transaction that deletes it commits. What cannot be written is not deleted.
      - After a run that was cut off, the next one with the same directory completes its archive and tells which of the
        rows in it are still in the database.
      - Not with V(strategy=stock), which hands no rows over. M(phase.console.phase_archive_check) verifies archives.
    type: path
  throttle:
    description: Limits above which the purge waits. Each pause is told with its reason.
    type: dict
    suboptions:
      replica_lag:
        description: How far a replica may be behind. Seeing it needs a member of C(pg_monitor). V(0) is no limit.
        type: str
        default: 30s
      lock_wait:
        description: How long another session of the database may be waiting for a lock. V(0) is no limit.
        type: str
        default: 2s
      wal_rate:
        description: How much WAL the server may write in a second, in bytes or as C(50MB). V(0) is no limit.
        type: str
        default: '0'
      writer_latency:
        description: How long a small commit, tried once a second, may take. V(0) is no limit.
        type: str
        default: '0'
      autovacuum:
        description: Wait while a vacuum works on the table.
        type: bool
        default: false
      free_disk:
        description:
          - How much has to be free where the server keeps its data, in bytes or as C(10GB). Only seen where the
            operation runs on the server's own host. V(0) is no limit.
        type: str
        default: '0'
seealso:
  - module: phase.console.phase_info
  - module: phase.console.phase_archive_check
"""

EXAMPLES = r"""
- name: See what would go
  phase.console.phase_purge_logs:
    organisation: SpaceX
    retain_days: 90
  check_mode: true
  register: purge

- name: Keep what goes in an archive on the control node
  phase.console.phase_purge_logs:
    deployment: database
    login_host: db.example.com
    all_organisations: true
    retain_days: 365
    archive_dest: /var/lib/phase-archives
  delegate_to: localhost

- name: Purge at night, no longer than four hours, and wait while the replica is behind
  phase.console.phase_purge_logs:
    all_organisations: true
    retain_days: 90
    foreign_key: set_aside
    max_duration: 4h
    pause_file: /run/phase-purge.pause
    throttle:
      replica_lag: 10s
      wal_rate: 40MB

- name: Purge the other logs and no read events
  phase.console.phase_purge_logs:
    all_organisations: true
    read_events: false
    other_logs:
      audit_events: 365
      sync_events: 90
"""

RETURN = r"""
other_logs:
  description:
    - What became of each log in O(other_logs), by its name. C(table), C(retain_days), C(cutoff), C(eligible),
      C(held_back) and the reasons (C(kept), with C(rows) and C(why)), C(bytes), C(before) and C(after) as for the read
      events, and when not in check mode C(deleted), C(remaining) and C(stopped_by).
  returned: success
  type: dict
eligible:
  description:
    - Read events that may go. In check mode counted, in a real run those that went and those that are left.
    - Of other logs RV(other_logs) has the numbers.
  returned: success
  type: int
deleted:
  description: Read events that were deleted.
  returned: when not in check mode
  type: int
remaining:
  description: Read events that may go and are still there, because the run was stopped or somebody had locked them.
  returned: when not in check mode
  type: int
held_back:
  description: Read events that may not go because a log stream has not delivered them.
  returned: success
  type: int
log_streams:
  description: The streams that still want events from before the cutoff.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The stream's id.
      type: str
    name:
      description: Its name.
      type: str
    rows:
      description: The events it holds back.
      type: int
    why:
      description: How far it has come, or what failed.
      type: str
strategy:
  description: What was taken.
  returned: success
  type: str
stopped_by:
  description: V(max_duration), or nothing when it came to its end.
  returned: when not in check mode
  type: str
rows_per_second:
  description: Rows deleted per second, pauses included.
  returned: when not in check mode
  type: int
remaining_exact:
  description: Whether RV(remaining) was counted. It is an estimate where counting would have taken too long.
  returned: when not in check mode
  type: bool
seconds:
  description: How long deleting took, pauses included.
  returned: when something was to delete
  type: float
batches:
  description: In how many transactions.
  returned: when something was to delete
  type: int
tokens_kept:
  description: For how many service-account tokens the time of last use was written into its column.
  returned: when something was to delete
  type: int
paused:
  description: Seconds of waiting by reason.
  returned: when something was to delete
  type: dict
organisations:
  description: The organisations whose events it is about.
  returned: success
  type: list
  elements: str
cutoff:
  description: Read events up to this moment go (UTC); none without O(read_events).
  returned: success
  type: str
recovered:
  description: The foreign key that was put back after a run that was cut off, and how many tags without an event went.
  returned: when not in check mode
  type: dict
foreign_key:
  description:
    - Its C(state), V(kept), or V(restored) when it was set aside meanwhile; then also its name (C(constraint)) and the
      tags without an event that were deleted (C(orphan_tags)). V(set_aside) comes with a failure alone; the next run
      puts it back.
  returned: when something was to delete
  type: dict
token_last_used:
  description:
    - Service-account tokens whose time of last use is known by a row that goes. C(kept_in_column) tells whether it is
      written into C(last_used_at) before, as Phase does itself; before v2.69.0 there is no such column, and a warning
      tells of it.
  returned: success
  type: dict
plan:
  description:
    - How it is done. C(months) has the rows by organisation, app, environment and month; C(bytes), C(expected)
      (seconds, wal_bytes) and C(why) tell what to expect; C(obstacles) what else goes on, C(blocked_by) what this run
      would wait for; C(summary) tells all of it in lines for people.
  returned: success
  type: dict
archive:
  description:
    - The archive of what was deleted, null without O(archive_dest). C(path) and C(manifest) are null where nothing was
      archived. C(rows) (tags included), C(tables) (rows by table), C(bytes), C(sha256), C(batches), of which C(kept)
      were written and then not deleted; C(waiting) are batches whose transaction is still open, for which the next run
      completes the archive; C(settled) are the archives of earlier runs that were cut off, completed now.
    - In check mode C(path) is what it would be called, beside C(bytes_at_most) and C(bytes_free).
  returned: success
  type: dict
before:
  description: The table's C(rows) (the planner's estimate), C(dead_rows), C(table_bytes), C(index_bytes) and C(blocks).
  returned: success
  type: dict
after:
  description: The same afterwards; in check mode what is predicted.
  returned: success
  type: dict
"""

from ansible_collections.phase.console.plugins.module_utils._call.module import run_module
from ansible_collections.phase.console.plugins.module_utils._purge.purge_logs import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
