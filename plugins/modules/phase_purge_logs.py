#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_purge_logs
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Delete old read events and other old log rows of Phase
description:
  - Deletes read events that are older than a number of days, with their tags, of an organisation, of one app or of all
    organisations. Events of creations, updates and deletions are the secrets' version history; they always stay.
  - Works online, in small transactions, as the role that owns Phase's tables. It can be stopped at any moment; the
    next run continues.
  - The freed space is used for new rows after the next vacuum. The files do not shrink, unless O(strategy=rewrite).
  - Deletes rows of other logs in the same way, where O(other_logs) names them.
  - In check mode it counts exactly what it would delete, by app, environment and month, and names what is in the way.
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
    description: The name of an organisation, exactly as Phase shows it, capitals included.
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
    description: Whether to delete read events. Without them, O(other_logs) has to name what to delete.
    type: bool
    default: true
  other_logs:
    description:
      - How many days of 24 hours to keep, for each log to purge. Any other log stays as it is. Rows that the
        application still needs always stay; R(the guide,ansible_collections.phase.console.docsite.guide_purge) lists
        them.
      - A log whose table came with a later release of Phase is a warning.
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
          - Days of the deliveries of log streams (Phase v2.73.0 and newer). Failed ones that are not resolved stay.
        type: int
      sessions:
        description:
          - Days to keep a session after it has expired. Needs O(all_organisations). Sessions are never archived.
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
      - How read events are deleted. Rows of other logs are always deleted as by V(delete).
      - V(delete) deletes in transactions of about a quarter of a second.
      - V(rewrite) copies the events that stay beside the table, keeps the copy up to date, and lets it take the table's
        place. It gives the space back at once, writes a fraction of the WAL and is the fastest where most of the table
        is deleted. It needs room for the copy, the right to create a schema in the database, and a moment without long
        transactions. Stopped before the swap, it has deleted nothing.
      - V(auto) takes V(rewrite) where at least half of the table is deleted, the server's disk can be seen or is told
        by O(free_space) and has room, and no long transaction is open; otherwise V(delete). RV(plan) says why.
    type: str
    choices: [auto, rewrite, delete]
    default: auto
  free_space:
    description:
      - How much disk is free for PostgreSQL, such as V(50GB), where that cannot be seen, as with a managed database.
        It can be seen on the server's own host, and in the database's container on the same engine or cluster.
        KB, MB and GB are powers of 1000, KiB, MiB and GiB of 1024.
    type: str
  foreign_key:
    description:
      - PostgreSQL checks for each deleted event whether a tag still refers to it, which takes most of the time.
      - V(auto) leaves that check out where the role may set C(session_replication_role) (a superuser, as the
        application's role is with the stock Compose file, or since PostgreSQL 15 by a grant), for the deleting
        transactions alone. They delete the tags after their events, so that no tag is left without its event. Where
        triggers or other foreign keys depend on the two tables, the check stays, and also with O(archive_dest). Where
        the role may not leave it out, but owns the tables and would save at least a minute, V(auto) does as
        V(set_aside).
      - V(set_aside) drops that foreign key during the purge, then restores it, deletes tags without an event (others
        can leave such meanwhile), and validates it. Dropping and restoring each need an exclusive lock for some
        milliseconds. An interrupted run leaves the key dropped until the next run, which restores it first; until then
        PostgreSQL does not keep other sessions from leaving tags without events.
      - V(keep) checks each event.
      - Where only few rows are deleted, the check stays. RV(foreign_key) says why, RV(plan) how many seconds each way
        takes.
    type: str
    choices: [auto, keep, set_aside]
    default: auto
  log_streams:
    description:
      - What to keep of the events that a log stream (Phase v2.73.0 and newer) has not delivered.
      - V(respect_deliverable) keeps those that the stream can still deliver. The only adapter of Phase v2.73.2,
        Datadog's, skips events that are older than 17 hours and 20 minutes, also after a pause, and refuses to retry
        them. Of a provider that this collection does not know, all events may be deliverable.
      - V(respect_all) also keeps those that can no longer be delivered, for as long as the stream's cursor is before
        them or a failed delivery of them is not resolved. A stream that stays paused blocks the purge of its
        organisation.
      - V(ignore) keeps none.
      - Check mode counts what each stream holds back, and what is deleted without having been delivered.
    type: str
    choices: [respect_deliverable, respect_all, ignore]
    default: respect_deliverable
  max_duration:
    description: After this time no further transaction begins, in seconds or as C(30m), C(4h). V(0) is no limit.
    type: str
    default: '0'
  pause_file:
    description: While this file exists on the host where the module runs, the purge waits.
    type: path
  archive_dest:
    description:
      - An existing directory on the host where the module runs; with C(delegate_to=localhost) that is the controller.
        Each row is written there before it is deleted, as compressed lines of JSON with a manifest, mode 0600, and is
        on disk before the transaction that deletes it commits. A row that cannot be written is not deleted.
      - After an interrupted run, the next one with the same directory completes its archive and marks the batches whose
        rows are still in the database.
      - M(phase.console.phase_archive_check) verifies archives.
    type: path
  archive_values:
    description:
      - Whether archives keep the columns C(key), C(value) and C(comment) of read events. They are a copy of the
        secret, encrypted, which would outlive its deletion, so archives leave them out unless this is set. The manifest
        says which it was.
    type: bool
    default: false
  throttle:
    description: Limits above which the purge waits. Each pause is reported with its reason.
    type: dict
    suboptions:
      replica_lag:
        description: How far a replica may be behind. Only members of C(pg_monitor) can see it. V(0) is no limit.
        type: str
        default: 30s
      lock_wait:
        description: How long another session of the database may be waiting for a lock. V(0) is no limit.
        type: str
        default: 2s
      wal_rate:
        description: How much WAL the server may write in a second, in bytes or as C(50MB), C(50MiB). V(0) is no limit.
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
          - How much has to be free where the server keeps its data, in bytes or as C(10GB). Only known where the
            operation runs on the server's own host. V(0) is no limit.
        type: str
        default: '0'
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_purge
    description: What is deleted and what stays, for all logs.
  - ref: ansible_collections.phase.console.docsite.guide_archive
    description: An archive of the deleted rows.
  - ref: ansible_collections.phase.console.docsite.guide_rewrite
    description: The strategy that gives the space back too.
  - ref: ansible_collections.phase.console.docsite.guide_schedule
    description: A purge by systemd, Kubernetes or AWX.
  - module: phase.console.phase_info
  - module: phase.console.phase_archive_check
"""

EXAMPLES = r"""
- name: See what would be deleted
  phase.console.phase_purge_logs:
    organisation: SpaceX
    retain_days: 90
  check_mode: true
  register: purge

- name: Archive what is deleted on the control node
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
summary:
  description: What would be deleted, and what to expect; after a run what was deleted. Lines for people.
  returned: always
  type: list
  elements: str
logs:
  description:
    - Each log by its name, C(read_events) and those in O(other_logs). C(table), C(retain_days), C(cutoff) (rows up to
      this moment may be deleted, UTC), C(eligible), C(held_back) (older rows that stay) with the reasons in C(kept)
      (C(rows), C(why), and C(stream), the id of a log stream), C(undelivered) (rows that are deleted though a log
      stream has not delivered them, likewise), C(bytes), C(before) and C(after).
    - C(before) and C(after) are the table's C(rows) (the planner's estimate), C(dead_rows), C(table_bytes),
      C(index_bytes) and C(blocks). In check mode, C(after) is predicted.
    - When not in check mode also C(deleted), C(remaining) (rows that may be deleted and are still there, since the run
      was stopped or others had locked them), C(exact) (whether RV(remaining) was counted) and C(stopped_by).
  returned: always
  type: dict
eligible:
  description: Rows of all logs that may be deleted. In check mode counted, in a real run those deleted and those left.
  returned: always
  type: int
deleted:
  description: Rows of all logs that were deleted.
  returned: when not in check mode
  type: int
remaining:
  description: Rows of all logs that may be deleted and are still there.
  returned: when not in check mode
  type: int
held_back:
  description: Rows of all logs that are old enough and stay.
  returned: always
  type: int
stopped_by:
  description: V(max_duration), or nothing when the run was completed.
  returned: when not in check mode
  type: str
strategy:
  description: How the read events are deleted.
  returned: always
  type: str
organisations:
  description: The organisations whose rows are deleted.
  returned: always
  type: list
  elements: str
seconds:
  description: How long deleting took, pauses included.
  returned: when not in check mode
  type: float
rows_per_second:
  description: Rows deleted per second, pauses included.
  returned: when not in check mode
  type: int
batches:
  description: In how many transactions the read events were deleted.
  returned: when not in check mode
  type: int
paused:
  description: Seconds of waiting by reason.
  returned: when not in check mode
  type: dict
recovered:
  description:
    - What this run repaired of an interrupted one. Of a dropped foreign key its name (C(constraint)) and the number of
      tags without an event that were deleted (C(orphan_tags)).
  returned: when not in check mode
  type: dict
foreign_key:
  description:
    - Its C(state), V(kept) or V(unchecked) with the reason (C(why)), or V(restored) when this run had dropped it; then
      also C(constraint) and C(orphan_tags). V(set_aside) comes with a failure alone; the next run restores it.
  returned: when not in check mode
  type: dict
tokens_kept:
  description: For how many service-account tokens the time of last use was written into its column.
  returned: when not in check mode
  type: int
rewrite:
  description: With O(strategy=rewrite), what it copied (C(kept)), and how often and how long it held its lock.
  returned: when not in check mode
  type: dict
token_last_used:
  description:
    - Service-account tokens whose time of last use is known only by a read event that is deleted. With
      C(kept_in_column) it is written into C(last_used_at) first, as Phase does itself; before v2.69.0 there is no such
      column, and a warning names the tokens.
  returned: always
  type: dict
plan:
  description:
    - How the read events are deleted. C(months) are the rows by organisation, app, environment and month; C(expected)
      (C(seconds), C(wal_bytes)) and C(why) say what to expect; C(seconds) those by what becomes of the foreign key;
      C(obstacles) what else is at work on the database, C(blocked_by) what this run would wait for; C(recovery) what
      an interrupted run left.
  returned: success
  type: dict
archive:
  description:
    - The archive of what was deleted, null without O(archive_dest). C(path) and C(manifest) are null where nothing was
      archived. C(rows) (tags included), C(tables) (rows by table), C(bytes), C(sha256), C(batches), of which C(kept)
      were written and then not deleted; C(waiting) are batches whose transaction is still open, for which the next run
      completes the archive; C(settled) are the archives of interrupted runs that this run completed. C(left_out) are
      the columns by table that it does not keep, see O(archive_values).
    - In check mode C(path) is what it would be called, beside C(bytes_at_most) and C(bytes_free).
  returned: always
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

from ansible_collections.phase.console.plugins.module_utils._call.targets import run_module
from ansible_collections.phase.console.plugins.module_utils._purge.purge_logs import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
