# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Guards that are taken away one at a time, in a copy of the checkout: the test named beside each has to fail then.

    PYTHONPATH=tests .venv/bin/python -m tools.slips [PART OF A GUARD'S NAME ...]

Says of each whether its test noticed, which has to pass without the slip. All of them take a quarter of an hour.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .paths import ROOT
from .tree import make_tree

UTILS = "plugins/module_utils"
UNITS = "tests/unit/plugins/module_utils/_operations"
POSTGRESQL = "tests/integration/postgresql"


class Slip(NamedTuple):
    """``text`` stands once in ``file``, which is below UTILS; ``test`` is pytest's name for what has to fail."""

    guard: str
    file: str
    text: str
    instead: str
    test: str


def guarded(name: str) -> str:
    return f"{POSTGRESQL}/test_guards.py::{name}"


SLIPS = (
    # A purge
    Slip(
        "a purge confirms its lock",
        "_operations/purge/throttle.py",
        "        self._confirm()\n",
        "",
        guarded("test_a_purge_that_has_lost_its_lock_ends"),
    ),
    Slip(
        "the layout is looked at again under the lock",
        "_operations/purge/operation.py",
        "    check_layout(session.connection, foreign_key_missing=marker is not None)\n",
        "",
        guarded("test_the_tables_are_looked_at_again_under_the_lock"),
    ),
    Slip(
        "another log's layout is looked at again under the lock",
        "_operations/purge/logs.py",
        '    check_log(session.connection, log, plan["release"])\n',
        "",
        guarded("test_another_log_is_looked_at_again_under_the_lock"),
    ),
    Slip(
        "a trigger that came meanwhile is not left out",
        "_operations/purge/operation.py",
        "why = foreign_key.must_check(session.connection)  #",
        "why = None  #",
        f"{POSTGRESQL}/test_purge_unchecked.py::test_a_trigger_that_came_since_the_plan_fires",
    ),
    Slip(
        "one purge at a time",
        "_operations/purge/workplace.py",
        "if not self.lock.take():",
        "if not self.lock.take() and False:",
        f"{POSTGRESQL}/test_purge_interrupted.py::test_pause_one_at_a_time_and_the_end_of_the_caller",
    ),
    Slip(
        "no other foreign key is restored than Phase's",
        "_operations/purge/foreign_key.py",
        'if note["definition"].replace(" NOT VALID", "") != INCOMING:',
        "if False:",
        guarded("test_no_other_foreign_key_is_restored"),
    ),
    Slip(
        "exported rows are counted",
        "_operations/purge/export.py",
        'if stream.rows != sum(totals["tables"].values()):',
        "if False:",
        guarded("test_nothing_goes_of_which_a_row_was_not_handed_over"),
    ),
    Slip(
        "a foreign key that nobody knows is refused",
        "_operations/purge/scope.py",
        "if len(incoming) != len(expected):",
        "if False:",
        f"{POSTGRESQL}/test_purge.py::test_an_unknown_layout_is_refused",
    ),
    Slip(
        "a delivery that was refused is not deleted",
        "_operations/core/remote.py",
        "answer = self._life.answer()",
        "answer = TAKEN if self._life.answer() else b''",
        f"{POSTGRESQL}/test_archive.py::test_a_full_disk_deletes_nothing_more",
    ),
    Slip(
        "skipped deliveries hold events back",
        "_operations/purge/streams.py",
        "d.status in ('failed', 'skipped')",
        "d.status in ('failed')",
        f"{POSTGRESQL}/test_purge.py::test_a_failed_delivery_and_the_event_at_the_cursor",
    ),
    # A rewrite
    Slip(
        "copy and table are compared before the swap",
        "_operations/rewrite/swap.py",
        "        if different:\n",
        "        if False:\n",
        guarded("test_a_copy_that_is_not_like_the_table_stays_out"),
    ),
    Slip(
        "a cancel just before COMMIT is heard",
        "_operations/rewrite/swap.py",
        "self._context.check_cancelled()  #",
        "pass  #",
        guarded("test_who_cancels_just_before_the_commit_finds_the_table_as_it_was"),
    ),
    Slip(
        "snapshots from before the last changes are waited for",
        "_operations/rewrite/swap.py",
        "        self._wait_for_snapshots(self._context.clock())\n",
        "",
        guarded("test_who_comes_at_the_last_moment_is_waited_for[_stayers]"),
    ),
    Slip(
        "a dump that comes at the last moment is waited for",
        "_operations/rewrite/swap.py",
        "        if dumps:\n",
        "        if False:\n",
        guarded("test_who_comes_at_the_last_moment_is_waited_for[_wait_for_snapshots]"),
    ),
    Slip(
        "a table changed before the guard is refused",
        "_operations/rewrite/rewrite.py",
        "if (again.place, again.columns, again.key) != (table.place, table.columns, table.key):",
        "if False:",
        guarded("test_a_table_that_changes_before_it_is_guarded"),
    ),
    Slip(
        "a rewrite looks itself for what it would lose",
        "_operations/rewrite/rewrite.py",
        '        if refused:\n            raise RewriteRefused(\n                "%s cannot be rewritten',
        '        if False:\n            raise RewriteRefused(\n                "%s cannot be rewritten',
        f"{POSTGRESQL}/test_rewrite.py::test_refuses_what_a_copy_would_lose",
    ),
    Slip(
        "a rewrite gives way to who alters the table",
        "_operations/rewrite/copy.py",
        "        if waiter:\n",
        "        if False:\n",
        f"{POSTGRESQL}/test_rewrite.py::test_gives_way_during_a_pause",
    ),
    Slip(
        "one rewrite at a time",
        "_operations/rewrite/recovery.py",
        "    if lock.take():\n",
        "    if lock.take() or True:\n",
        f"{POSTGRESQL}/test_rewrite.py::test_only_one_rewrite_at_a_time",
    ),
    Slip(
        "a dead client's server processes are ended",
        "_operations/rewrite/recovery.py",
        "        end_left_behind(context, session)\n",
        "",
        guarded("test_what_a_dead_client_left_at_work_is_ended"),
    ),
    # A vacuum
    Slip(
        "a vacuum stays out of the way of others",
        "_operations/vacuum/operation.py",
        "if not taken else _others(runner.work)",
        "if not taken else None",
        guarded("test_a_vacuum_finds_who_began_since_the_plan[purge]"),
    ),
    Slip(
        "one vacuum at a time",
        "_operations/vacuum/operation.py",
        "if found or not taken:",
        "if found and taken:",
        guarded("test_a_vacuum_finds_who_began_since_the_plan[vacuum]"),
    ),
    # A migration
    Slip(
        "a ledger ahead is refused under the lock",
        "_operations/migration/operation.py",
        "        if unknown:\n",
        "        if False:\n",
        guarded("test_a_ledger_that_moved_ahead_since_the_plan"),
    ),
    Slip(
        "the exit code 0 of migrate is not believed",
        "_operations/migration/operation.py",
        "if not missing and attempt.exit_code == 0:",
        "if attempt.exit_code == 0:",
        guarded("test_a_migrate_that_ends_well_and_did_nothing"),
    ),
    Slip(
        "what an interrupted run left at work is ended",
        "_operations/migration/operation.py",
        "        repair.end_remnants(context, self._watcher)\n",
        "",
        guarded("test_what_an_interrupted_migration_left_at_work_is_ended"),
    ),
    Slip(
        "an index of another table is not dropped",
        "_operations/migration/repair.py",
        'if table != plan["table"]:',
        "if False:",
        f"{POSTGRESQL}/test_migrate_interrupted.py::test_an_index_of_that_name_on_another_table_is_never_dropped",
    ),
    # Rows of Phase's
    Slip(
        "rows are compared with the plan before they are written",
        "_operations/core/rows.py",
        "    expect(connection, images, hidden, lock=True)\n",
        "",
        f"{POSTGRESQL}/test_rows.py::test_a_change_of_somebody_else_is_seen_and_nothing_is_written",
    ),
    Slip(
        "rows refer to nothing that was deleted",
        "_operations/core/references.py",
        "            if not lost:\n",
        "            if True:\n",
        f"{POSTGRESQL}/test_network_policy.py::test_an_attachment_to_what_was_deleted_since_is_left_out_by_force",
    ),
    Slip(
        "a policy is put back only where it is as the change left it",
        "_operations/access/network_policy.py",
        "    _rows.expect(connection, pending)\n",
        "",
        f"{POSTGRESQL}/test_network_policy.py::test_a_restore_refuses_what_was_changed_since",
    ),
    Slip(
        "who cancels a change of policies finds them as they were",
        "_operations/access/network_policy.py",
        "            context.check_cancelled()\n",
        "",
        guarded("test_who_cancels_a_change_of_policies_finds_them_as_they_were"),
    ),
    Slip(
        "Phase's own command is not believed",
        "_operations/access/sso.py",
        'if not ended or state["require_sso"] or (',
        "if not ended or (",
        f"{POSTGRESQL}/test_sso.py::test_a_command_that_only_says_it_did",
    ),
    # A restore
    Slip(
        "restored rows are counted",
        "_operations/instance/restore.py",
        "            if found != here:\n",
        "            if False:\n",
        guarded("test_a_restored_database_that_is_not_the_backups"),
    ),
    Slip(
        "the restored ledger is compared",
        "_operations/instance/restore.py",
        'if not wrong and sorted(_ledger(connection)) != sorted(request["ledger"]):',
        "if False:",
        guarded("test_a_restored_database_that_is_not_the_backups"),
    ),
    Slip(
        "a database that holds something is not taken for a leftover",
        "_operations/instance/restore.py",
        ' and _empty(context, one["name"])',
        "",
        f"{POSTGRESQL}/test_restore.py::test_killed_at_each_step",
    ),
    Slip(
        "what a restore of another database has under way is not dropped",
        "_operations/instance/restore.py",
        ' and known["database"] == database\n',
        "\n",
        f"{POSTGRESQL}/test_restore.py::test_killed_at_each_step",
    ),
    Slip(
        "sessions that came since the plan are not ended",
        "_operations/instance/restore.py",
        "    if told and not others:\n",
        "    if False:\n",
        guarded("test_who_connects_since_the_plan_is_not_thrown_out_of_a_database"),
    ),
    Slip(
        "a backup's digest is compared",
        "_instance/restore.py",
        'if manifest and manifest["sha256"] != digest:',
        "if False:",
        f"{POSTGRESQL}/test_restore.py::test_refusals_touch_nothing",
    ),
    Slip(
        "a restore needs room",
        "_instance/restore.py",
        "        refuse_space(plan)\n",
        "",
        f"{POSTGRESQL}/test_restore.py::test_refusals_touch_nothing",
    ),
    # The dead-man's switch
    Slip(
        "a silent caller is lost",
        "_operations/core/remote.py",
        "silence or None)",
        "None)",
        f"{UNITS}/core/test_remote.py::test_a_caller_that_falls_silent_is_lost",
    ),
    Slip(
        "what does not end by itself is ended",
        "_operations/core/remote.py",
        "            timer.start()\n",
        "",
        f"{UNITS}/core/test_remote.py::test_what_does_not_end_by_itself_is_ended",
    ),
)


def make_copy() -> Path:
    """A copy with an environment of its own, whose links, being relative, lead to the copy's collection."""
    tree = make_tree("slips")
    shutil.copytree(ROOT / ".venv", tree / ".venv", symlinks=True, copy_function=os.link)
    for script in (tree / ".venv" / "bin").iterdir():
        if script.is_file() and not script.is_symlink() and script.read_bytes().startswith(b"#!"):
            text = script.read_text(encoding="utf-8").replace(str(ROOT / ".venv"), str(tree / ".venv"))
            script.unlink()
            script.write_text(text, encoding="utf-8")
            script.chmod(0o755)
    return tree


def passes(tree: Path, test: str) -> bool:
    """Whether a test passes in the copy."""
    units = ["-c", os.devnull, "--rootdir=.", "--import-mode=importlib"] if test.startswith("tests/unit") else []
    command = [
        str(tree / ".venv" / "bin" / "python"),
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        *units,
        test,
    ]
    environment = {**os.environ, "PYTHONPATH": f"{tree.parents[2]}{os.pathsep}{tree / 'tests'}"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=False).returncode == 0


def verdict(tree: Path, slip: Slip) -> str:
    file = tree / UTILS / slip.file
    text = file.read_text(encoding="utf-8")
    if not passes(tree, slip.test):
        return "FAILS WITHOUT IT"
    file.write_text(text.replace(slip.text, slip.instead), encoding="utf-8")
    survived = passes(tree, slip.test)
    file.write_text(text, encoding="utf-8")
    return "SURVIVES" if survived else "noticed"


def main(words: list[str]) -> int:
    tree, found = make_copy(), []
    for slip in SLIPS:
        if not words or any(word in slip.guard for word in words):
            found.append(verdict(tree, slip))
            print(f"{found[-1]}: {slip.guard} ({slip.test})", flush=True)
    return int(set(found) != {"noticed"})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
