#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_vacuum
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Give the space of Phase's tables back
description:
  - Looks at tables of Phase's database, says what would help and what it would cost, and does it. By default these are
    the audit log, C(api_secretevent), and its table of tags.
  - How full a table and its indexes are is estimated from a sample of its blocks, with no extension and no more rights
    than those of the tables' owner, as whom Phase itself connects.
  - What was predicted and what came of it are both returned.
  - Everything works as the owner of the tables. As another role it is refused, where PostgreSQL itself would only warn
    and leave the table out.
extends_documentation_fragment:
  - phase.console.target
  - phase.console.attributes
attributes:
  check_mode:
    support: full
    details:
      - A sample of each table is read in check mode too. What would stop the real run is a warning.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - A mode is carried out only where the table's state calls for it, see O(mode). O(force) overrides that.
options:
  mode:
    description:
      - V(auto) picks what helps and what lets everybody work on, and says why. It never picks V(full).
      - V(analyze) refreshes the statistics, once 2 % of the rows have changed.
      - V(plain) is C(VACUUM) with C(ANALYZE), in parallel, once 2 % of the rows are dead, a fifth was inserted, the end
        of the table is empty, or it nears the age at which PostgreSQL would insist. It makes room for new rows, and
        gives back nothing but an empty end.
      - V(reindex) is C(REINDEX INDEX CONCURRENTLY) for each index of which 30 % would come back.
      - V(rewrite) copies the rows into a new table beside the old one, keeps it up to date, and puts it in the old
        one's place, once 5 % would come back. Others wait for a moment at the swap. It needs room for the copy and the
        right to create a schema, and is refused for a table with something that a copy would lose.
      - V(repack) is C(pg_repack), where its extension is in the database, a program of the same version is among the
        database's own tools, and the role is a superuser.
      - V(compact) moves the last rows to the front, in small transactions that change no value, so that the end can be
        cut off. It needs no room for a copy, and is several times slower than writing the table anew.
      - V(full) is C(VACUUM FULL), once 5 % would come back. Nobody can read or write the table meanwhile, which stops
        Phase. It wants O(confirm_full) and enough free disk.
      - Every mode but V(analyze) also drops the invalid indexes that an interrupted C(REINDEX CONCURRENTLY) has left.
    type: str
    choices: [auto, analyze, plain, reindex, rewrite, repack, compact, full]
    default: auto
  tables:
    description:
      - Names of tables, as they are in the database. A table's indexes and its values kept out of line go with it, and
        with C(api_secretevent) goes C(api_secretevent_tags).
    type: list
    elements: str
    default: [api_secretevent]
  max_lock_wait:
    description:
      - How long a statement waits for others at most, seconds or V(30s), V(5m).
      - The lock that keeps everybody out is asked for in attempts of 150 ms, since all others queue behind it.
      - C(REINDEX CONCURRENTLY) also waits for transactions that are older than itself.
    type: str
    default: 1m
  max_duration:
    description:
      - After this time no further statement begins, and a compaction stops after the transaction it is in; seconds or
        V(30m), V(2h). V(0) is no limit. A further run goes on.
    type: str
    default: "0"
  confirm_full:
    description: Confirms that Phase may stand still for V(full).
    type: bool
    default: false
  free_space:
    description:
      - How much disk is free for PostgreSQL, such as V(50GB), where that cannot be seen, as with a managed database.
        Without that, what writes a copy is refused there. KB, MB and GB are powers of 1000, KiB, MiB and GiB of 1024.
    type: str
  force:
    description: Carry the mode out even where nothing calls for it. Not for V(auto).
    type: bool
    default: false
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_vacuum
    description: Which mode suits which table, and what each costs.
  - ref: ansible_collections.phase.console.docsite.guide_rewrite
    description: How the mode V(rewrite) works.
  - module: phase.console.phase_purge_logs
  - module: phase.console.phase_info
"""

EXAMPLES = r"""
- name: See what would help the audit log
  phase.console.phase_vacuum:
  check_mode: true

- name: Do it, while everybody works on
  phase.console.phase_vacuum:
    max_duration: 2h

- name: Write the audit log anew in a window
  phase.console.phase_vacuum:
    mode: full
    confirm_full: true

- name: Build the bloated indexes of two tables again, on a managed database
  phase.console.phase_vacuum:
    mode: reindex
    tables: [api_secretevent, api_auditevent]
    free_space: 40GB
"""

RETURN = r"""
session:
  description: Who this was and where.
  returned: success
  type: dict
  contains:
    now:
      description: The server's time (UTC).
      type: str
    user:
      description: The role that PostgreSQL checked rights for.
      type: str
    session_user:
      description: The role that logged in.
      type: str
    database:
      description: The database.
      type: str
    server_version:
      description: PostgreSQL's version.
      type: str
    superuser:
      description: Whether the role is a superuser.
      type: bool
free_bytes:
  description: Free disk where PostgreSQL keeps its data, or what O(free_space) said; null where that cannot be seen.
  returned: success
  type: int
statements:
  description: The statements that were run, in check mode those that would be.
  returned: success
  type: list
  elements: str
reason:
  description: What was chosen for each table, and why.
  returned: success
  type: str
stopped_by:
  description: V(max_duration) when the time ran out; null when everything was done.
  returned: success
  type: str
recovered:
  description: The rewrite that had been cut off and was put right first, in check mode would be; else null.
  returned: success
  type: dict
tables:
  description: One entry for each table.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The table.
      type: str
    mode:
      description: What was chosen; V(nothing), or V(cleanup) when only leftovers were dropped.
      type: str
    reason:
      description: Why.
      type: str
    statements:
      description: The statements that were run, in check mode those that would be.
      type: list
      elements: str
    predicted:
      description: What was said beforehand.
      type: dict
      contains:
        reclaimed_bytes:
          description: Bytes that come back to the file system.
          type: int
        lock:
          description: The strongest lock on the table, and what it means for others.
          type: str
        stall_seconds:
          description: About how long nobody can read or write the table, on an idle machine with the table in memory;
            several times that on a busy one or from disk.
          type: float
        needed_bytes:
          description: Free disk that it needs.
          type: int
        seconds:
          description: About how long it takes, likewise; null where nothing is known.
          type: float
    before:
      description: Sizes (C(total_bytes), C(table_bytes), C(heap_bytes), C(toast_bytes), C(index_bytes)), rows as
        PostgreSQL counts them (C(live_rows), C(dead_rows)), C(last_vacuum) and C(last_analyze).
      type: dict
    after:
      description: The same afterwards. In check mode, where something would be done, only the predicted C(total_bytes),
        C(live_rows) and C(dead_rows).
      type: dict
    reclaimed_bytes:
      description: Bytes that came back; V(0) in check mode.
      type: int
    seconds:
      description: How long it took.
      type: float
    rewrite:
      description: Of a rewrite, C(kept) rows, C(seconds) by phase, C(held_seconds) for which writers waited at the
        swap, C(attempts), and C(unfinished), what the next run has to tidy up.
      type: dict
    compaction:
      description: Of a compaction, the rows C(moved), the C(block) that it came down to, and what it was C(stopped_by).
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
from ansible_collections.phase.console.plugins.module_utils._vacuum.vacuum import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
