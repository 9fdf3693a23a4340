# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Guards that nothing else would show to be gone: what changes, or dies, at the one moment that they are for.

Two more are elsewhere: the time limits of the dead-man's switch in the unit tests of core/remote, and skipped
deliveries of log streams in test_purge.py.
"""

# ruff: noqa: S608 - statements of tests, on databases of their own

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import Cancelled, PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.access import (
    network_policy as _network_policy,
)
from ansible_collections.phase.console.plugins.module_utils._operations.core import rows as _rows
from ansible_collections.phase.console.plugins.module_utils._operations.core.lock import Lock, key_of
from ansible_collections.phase.console.plugins.module_utils._operations.core.package import pack
from ansible_collections.phase.console.plugins.module_utils._operations.instance import restore as _restore
from ansible_collections.phase.console.plugins.module_utils._operations.migration import operation as _migration
from ansible_collections.phase.console.plugins.module_utils._operations.migration import repair as _repair
from ansible_collections.phase.console.plugins.module_utils._operations.purge import export as _export
from ansible_collections.phase.console.plugins.module_utils._operations.purge import foreign_key as _foreign_key
from ansible_collections.phase.console.plugins.module_utils._operations.purge import operation as _purge
from ansible_collections.phase.console.plugins.module_utils._operations.purge import throttle as _throttle
from ansible_collections.phase.console.plugins.module_utils._operations.rewrite import rewrite as _rewrite
from ansible_collections.phase.console.plugins.module_utils._operations.rewrite import swap as _swap
from ansible_collections.phase.console.plugins.module_utils._operations.rewrite.errors import RewriteRefused
from ansible_collections.phase.console.plugins.module_utils._operations.vacuum import operation as _vacuum
from integration.forks import eventually
from integration.purging import Instance, slowly
from integration.retaining import Row, World
from integration.rewriting import Subject, fork, killed
from sandbox.local import LocalInstance


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    started = module_local_instance("v2.73.2", events=3000, superuser=False)
    for service in ("backend", "worker"):
        started.stop_service(service)
    return started


@pytest.fixture
def subject(instance: LocalInstance) -> Subject:
    return fork(instance)


# A purge


def test_a_purge_that_has_lost_its_lock_ends(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one may have begun."""
    monkeypatch.setattr(_throttle, "EVERY", 0.05)
    gate, gone = _throttle.Control.gate, threading.Event()

    def losing(control: Any) -> Any:
        if not gone.is_set():
            gone.set()
            subject.administrator(
                "select pg_terminate_backend(pid, 5000) from pg_locks where locktype = 'advisory' "
                "and database = (select oid from pg_database where datname = current_database())"
            )
        return gate(control)

    monkeypatch.setattr(_throttle.Control, "gate", losing)
    with slowly(), pytest.raises(PhaseError) as lost:
        Instance(subject.url).purge(all_organisations=True, strategy="delete")
    assert lost.value.kind == "database_unreachable" and lost.value.next_step
    assert subject.sql(f"select count(*) > 0 from api_secretevent e where {subject.goes}") == [(True,)]


def test_the_tables_are_looked_at_again_under_the_lock(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    before, apply = subject.rows(), _purge._apply

    def changed(*arguments: Any) -> None:
        subject.sql("alter table api_secretevent alter column event_type type varchar(2)")
        apply(*arguments)

    monkeypatch.setattr(_purge, "_apply", changed)
    with pytest.raises(PhaseError) as refused:
        Instance(subject.url).purge(all_organisations=True, strategy="delete")
    assert refused.value.kind == "unknown_layout" and "event_type" in refused.value.message
    assert subject.rows() == before


def test_another_log_is_looked_at_again_under_the_lock(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    World(Instance(subject.url)).make([Row("audit_events")])
    delete = _purge.delete_others

    def changed(*arguments: Any) -> None:
        subject.sql("alter table api_auditevent alter column organisation_id type varchar(90)")
        delete(*arguments)

    monkeypatch.setattr(_purge, "delete_others", changed)
    options = {"all_organisations": True, "read_events": False, "other_logs": {"audit_events": 30}}
    with pytest.raises(PhaseError) as refused:
        Instance(subject.url).purge(**options)
    assert refused.value.kind == "unknown_layout" and "api_auditevent.organisation_id" in refused.value.message
    assert subject.sql("select count(*) from api_auditevent") == [(1,)]


def test_no_other_foreign_key_is_restored(subject: Subject) -> None:
    note = '{"name": "other", "definition": "FOREIGN KEY (secrettag_id) REFERENCES api_secrettag(id)", "comment": null}'
    subject.sql("comment on table api_secretevent_tags is '%s'" % (_foreign_key.WORDS + note))
    before, state = subject.rows(), subject.catalog()
    with pytest.raises(PhaseError) as refused:
        Instance(subject.url).purge(all_organisations=True, strategy="delete")
    assert refused.value.kind == "unknown_layout" and "secrettag_id" in refused.value.message
    assert subject.rows() == before and subject.catalog() == state


def test_nothing_goes_of_which_a_row_was_not_handed_over(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, write = subject.rows(), _export.Stream.write

    def losing(stream: Any, data: bytes) -> int:
        if stream.rows == 1 and not data.startswith(_export.TOTAL) and not hasattr(stream, "lost"):
            stream.lost = True
            return len(data)
        return write(stream, data)

    monkeypatch.setattr(_export.Stream, "write", losing)
    with pytest.raises(PhaseError) as refused:
        Instance(subject.url).purge(all_organisations=True, strategy="delete", archive_dest=str(tmp_path))
    assert "has other rows than it was said to have" in refused.value.message
    assert subject.rows() == before


# A rewrite, and a vacuum


def at_the_copy(subject: Subject, statement: str) -> Any:
    """A context in which the statement is run by another session once the rows are copied."""

    def report(message: str, **counters: Any) -> None:
        if message.startswith("Building"):
            subject.administrator(statement)

    return subject.context(report=report)


def test_a_copy_that_is_not_like_the_table_stays_out(subject: Subject) -> None:
    before = subject.rows()
    with pytest.raises(RewriteRefused) as refused:
        subject.rewrite(context=at_the_copy(subject, "grant select on api_secretevent to public"))
    assert "would not be like the table" in refused.value.message
    assert subject.rows() == before and subject.leftovers() is None


@pytest.mark.parametrize("moment", ["_stayers", "_wait_for_snapshots"])
def test_who_comes_at_the_last_moment_is_waited_for(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A snapshot that was taken after the look for them would find the new table empty; a dump after the wait for
    them has looked at the old table's definition."""
    kept, step, told = subject.kept(), getattr(_swap.Swap, moment), list[str]()
    name, every = "pg_dump" if moment == "_wait_for_snapshots" else "the test", len(subject.rows())
    with contextlib.closing(psycopg2.connect(subject.url, application_name=name)) as late:
        late.set_session(isolation_level="REPEATABLE READ")

        def coming(swap: Any, *arguments: Any) -> Any:
            found = step(swap, *arguments)
            if not told:
                late.cursor().execute("select from django_migrations")
            return found

        def report(message: str, **counters: Any) -> None:
            if "swap waits" in message:
                told.append(message)
                with late.cursor() as cursor:
                    cursor.execute("select from api_secretevent union all select from api_secretevent_tags")
                    assert cursor.rowcount == every
                late.rollback()

        monkeypatch.setattr(_swap.Swap, moment, coming)
        done = subject.rewrite(context=subject.context(report=report))
    assert done["attempts"] == 2 and name in told[0]
    assert subject.rows() == kept


def test_a_table_that_changes_before_it_is_guarded(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    before, lock = subject.rows(), _rewrite.Run._until_locked

    def late(run: Any, table: Any) -> None:
        subject.sql("alter table api_secretevent rename column path to place")
        lock(run, table)

    monkeypatch.setattr(_rewrite.Run, "_until_locked", late)
    with pytest.raises(RewriteRefused) as refused:
        subject.rewrite()
    assert refused.value.message == "The table was changed just now."
    assert subject.rows() == before and subject.leftovers() is None


def test_who_cancels_just_before_the_commit_finds_the_table_as_it_was(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, cancelled, statements = subject.rows(), threading.Event(), _swap.swap

    def at_last(*arguments: Any) -> str:
        cancelled.set()
        return statements(*arguments)

    monkeypatch.setattr(_swap, "swap", at_last)
    with pytest.raises(Cancelled):
        subject.rewrite(context=subject.context(cancelled=cancelled.is_set))
    assert cancelled.is_set() and subject.rows() == before and subject.leftovers() is None


def test_what_a_dead_client_left_at_work_is_ended(subject: Subject) -> None:
    """Its server process may still write into the copy."""
    before = subject.rows()
    assert killed(subject, 0, message="Building")
    with contextlib.closing(psycopg2.connect(subject.url, application_name="phase.console rewrite copy")) as left:
        ended: list[Any] = []

        def work() -> None:
            try:
                left.cursor().execute("select pg_sleep(60)")
            except psycopg2.Error as error:
                ended.append(error.pgcode)

        thread = threading.Thread(target=work)
        thread.start()
        eventually(
            lambda: subject.sql("select 1 from pg_stat_activity where query ~ 'pg_sleep.60' and state = 'active'")
        )
        assert subject.recover()["swapped"] is False
        thread.join(10)
        found = list(ended)
        with contextlib.suppress(psycopg2.InterfaceError):  # which it has closed by then
            left.cancel()
        thread.join()
    assert found in (["57P01"], [None])  # admin_shutdown, or no more than that the connection has gone
    assert subject.rows() == before and subject.leftovers() is None


@pytest.mark.parametrize("kind", ["purge", "vacuum"])
def test_a_vacuum_finds_who_began_since_the_plan(subject: Subject, kind: str) -> None:
    with contextlib.closing(subject.connect()) as connection:
        assert Lock(connection, key_of(kind), f"phase.console {kind} elsewhere").take()
        request = {"tables": [], "max_lock_wait": 1.0, "max_duration": 0, "host": "here", "run": "1"}
        with pytest.raises(PhaseError) as refused:
            _vacuum.apply(subject.context(), request)
    assert refused.value.kind == "lock_held" and f"{kind} elsewhere" in refused.value.message


# A migration


MIGRATION = {"host": "here", "run": "1", "non_atomic": [], "indexes": [], "image": "x", "lock_timeout": 1.0}
MIGRATION.update(retries=0, wait_for_lock=1.0, repair_indexes=False)


def test_a_ledger_that_moved_ahead_since_the_plan(subject: Subject) -> None:
    *known, newest = [
        f"{app}.{name}" for app, name in subject.sql("select app, name from django_migrations order by id")
    ]
    with pytest.raises(PhaseError) as refused:
        _migration.apply(subject.context(), {**MIGRATION, "pending": [], "known": known})
    assert refused.value.kind == "database_ahead" and newest in str(refused.value.as_dict())


@pytest.fixture
def one_pending(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A request to apply a migration by a manage.py that ends well and does nothing."""
    (tmp_path / "manage.py").write_text("raise SystemExit(0)\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    known = [f"{app}.{name}" for app, name in subject.sql("select app, name from django_migrations")]
    return {**MIGRATION, "pending": ["api.9999_new"], "known": [*known, "api.9999_new"]}


def test_a_migrate_that_ends_well_and_did_nothing(subject: Subject, one_pending: dict[str, Any]) -> None:
    with pytest.raises(PhaseError) as refused:
        _migration.apply(subject.context(package=pack()), one_pending)
    assert refused.value.kind == "ledger_moved" and "api.9999_new is not in the ledger" in refused.value.message


def test_what_an_interrupted_migration_left_at_work_is_ended(subject: Subject, one_pending: dict[str, Any]) -> None:
    with contextlib.closing(psycopg2.connect(subject.url, application_name=_repair.WORKER + " 7")) as left:
        left.cursor().execute("select 1")  # its transaction stays open
        with pytest.raises(PhaseError):
            _migration.apply(subject.context(package=pack()), one_pending)
        with pytest.raises(psycopg2.Error):
            left.cursor().execute("select 1")


# Rows of Phase's, and a restored database


def test_who_cancels_a_change_of_policies_finds_them_as_they_were(subject: Subject) -> None:
    ((organisation,),) = subject.sql("select id from api_organisation order by name limit 1")
    subject.sql(
        "insert into api_networkaccesspolicy (id, name, allowed_ips, is_global, created_at, updated_at,"
        " organisation_id) values ('p', 'Office', '10.0.0.0/8', true, now(), now(), %s)",
        organisation,
    )
    with contextlib.closing(subject.connect()) as connection:
        (row,) = _rows.fetch(connection, _network_policy.POLICY)
    changed = _rows.image(_network_policy.POLICY, row, {**row, "allowed_ips": "0.0.0.0/0"})
    with pytest.raises(Cancelled):
        _network_policy.apply(subject.context(cancelled=lambda: True), {"images": [changed], "events": []})
    assert subject.sql("select allowed_ips from api_networkaccesspolicy") == [("10.0.0.0/8",)]


def test_a_restored_database_that_is_not_the_backups(subject: Subject) -> None:
    tables = subject.sql("select format('public.%I', tablename) from pg_tables where schemaname = 'public'")
    rows = {name: subject.sql(f"select count(*) from {name}")[0][0] for (name,) in tables}
    ledger = [list(row) for row in subject.sql("select app, name from django_migrations")]
    context = subject.context(connect=lambda purpose, database: subject.connect())
    request = {"name": subject.name, "rows": rows, "ledger": ledger}
    assert _restore.check(context, request)["doubtful"] == []
    for other, words in (
        ({"rows": {**rows, "public.api_app": 99}}, "public.api_app has "),
        ({"rows": {**rows, "public.nothing": 0}}, "public.nothing is missing"),
        ({"ledger": ledger[:-1]}, "the ledger of migrations is another"),
    ):
        with pytest.raises(PhaseError) as refused:
            _restore.check(context, {**request, **other})
        assert refused.value.kind == "restore_failed" and words in refused.value.message


def test_who_connects_since_the_plan_is_not_thrown_out_of_a_database(subject: Subject) -> None:
    mark = {"state": "kept", "database": subject.name, "backup": "x", "sha256": "x", "at": "x"}
    request = {"database": subject.name, "incoming": "nothing", "outgoing": "old", "others": False, "carry": False}
    context = subject.context(connect=lambda purpose, database: psycopg2.connect(subject.url, dbname=database))
    with subject.instance.server.administrator(subject.name) as administrator, administrator.cursor() as cursor:
        with pytest.raises(PhaseError) as refused:
            _restore.exchange(context, {**request, "marks": {"incoming": mark, "outgoing": mark}})
        assert refused.value.kind == "sessions_in_the_way" and "postgres (pid" in refused.value.message
        cursor.execute("select 1")
