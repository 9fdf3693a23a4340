# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""phase_restore on a real server: the backup's rows and no others, taken back, killed at each step, and refused."""

# ruff: noqa: S608 - the names are the test's own

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from integration.forks import Database, Fork, eventually
from integration.harness import Ansible, target

Factory = Callable[..., Any]
TABLES = "select tablename from pg_tables where schemaname = 'public' order by 1"
DIGEST = "select count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text from public.{} t"
SETTINGS = """
select d.datname, r.rolname, unnest(s.setconfig) from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase
left join pg_roles r on r.oid = s.setrole where d.datname = %s
union all select datname, pg_get_userbyid(datdba), datacl::text || datconnlimit from pg_database where datname = %s
order by 3
"""


@pytest.fixture(scope="module")
def instance(module_local_instance: Factory) -> Any:
    found = module_local_instance("v2.73.2", 2000, superuser=False)
    administer(found, "alter role phase createdb", "create role reader")
    return found


def administer(instance: Any, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
    with instance.server.administrator(database) as administrator, administrator.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


class Case:
    """A database of the server with a backup, and what is there to compare."""

    def __init__(self, instance: Any, ansible: Ansible, folder: Path) -> None:
        self.instance, self.ansible, self.folder = instance, ansible, folder
        self.fork = Fork(instance)
        self.name = self.fork.name
        self.where = {**target(instance), "environment": {"DATABASE_NAME": self.name}}
        self.options = {**self.where, "pg_bin_dir": str(instance.server.programs)}
        self.backup()

    def backup(self) -> None:
        made = self.ansible.module("phase_backup", {**self.options, "dest": f"{self.folder}/"})
        self.path = Path(made["manifest"]["path"])
        self.then = self.digest()

    def restore(self, **more: Any) -> dict[str, Any]:
        modes = {key: more.pop(key) for key in ("check", "diff", "expect_failure") if key in more}
        source = {"src": str(self.folder)} if more.get("state", "restored") == "restored" else {}
        return self.ansible.module("phase_restore", {**self.options, **source, **more}, **modes)

    def digest(self, name: str = "") -> dict[str, tuple[Any, ...]]:
        """Every table's number of rows and a digest of them."""
        database = Database(self.fork.url.rpartition("/")[0] + "/" + (name or self.name))
        return {table: database.sql(DIGEST.format(table))[0] for (table,) in database.sql(TABLES)}

    def databases(self) -> list[str]:
        like = f"select datname from pg_database where datname like '{self.name}%' order by 1"
        return [name for (name,) in administer(self.instance, like)]

    def change(self) -> dict[str, tuple[Any, ...]]:
        """A week of work; the digest afterwards."""
        ((organisation,),) = self.fork.sql("select id from api_organisation order by name limit 1")
        self.fork.sql(
            "update api_secret set comment = 'changed', updated_at = now()"
            " where id in (select id from api_secret limit 3)"
        )
        self.fork.sql(
            "delete from api_secretevent e where event_type = 'R'"
            " and not exists (select from api_secretevent_tags t where t.secretevent_id = e.id)"
        )
        self.fork.sql("update api_organisation set require_sso = not require_sso where id = %s", organisation)
        self.fork.sql(
            "insert into api_networkaccesspolicy"
            " (id, name, allowed_ips, is_global, created_at, updated_at, organisation_id)"
            " values ('p-new', 'guests', '10.0.0.0/8', true, now(), now(), %s)",
            organisation,
        )
        return self.digest()


@pytest.fixture
def case(instance: Any, ansible: Ansible, tmp_path: Path) -> Iterator[Case]:
    found = Case(instance, ansible, tmp_path / "backups")
    yield found
    for name in found.databases():
        administer(instance, f'drop database "{name}" with (force)')


def test_restored_taken_back_and_dropped(case: Case) -> None:
    name, instance = case.name, case.instance
    administer(
        instance,
        f"alter database {name} set work_mem = '5MB'",
        f'alter database {name} set search_path = "$user", public',
        f"alter role phase in database {name} set maintenance_work_mem = '70MB'",
        f"grant connect on database {name} to reader with grant option",
        f"alter database {name} connection limit 60",
        f"comment on database {name} is 'ours, 100 %'",
    )
    now = case.change()
    settings = administer(instance, SETTINGS.replace("%s", f"'{name}'"))

    checked = case.restore(check=True, diff=True)
    assert checked["changed"] and case.digest() == now and case.databases() == [name]
    plan, text = checked["plan"], " ".join(checked["plan"]["summary"])
    assert plan["backup"]["tables"] == {f"public.{table}": rows for table, (rows, _digest) in case.then.items()}
    assert plan["newer_rows"]["api_secret"] == 3 and plan["newer_rows"]["api_networkaccesspolicy"] == 1
    assert plan["access"] == [
        "Network policies new since, gone again: guests.",
        "Organisations (whether they demand single sign-on) changed since, as they were again: "
        + first_organisation(case)
        + ".",
    ]
    assert "the migrations that the present database has: those of Phase v2.73.0" in text
    assert checked["diff"]["before"].startswith(f"{name}: Phase v2.73.0")

    ((size,),) = administer(instance, f"select pg_database_size('{name}')")
    assert size <= plan["bytes_needed"] <= 8 * size, (size, plan["bytes_needed"])
    made = case.restore(diff=True)
    kept = made["old_database"]
    assert made["changed"] and case.digest() == case.then and case.digest(kept) == now
    assert case.databases() == sorted([name, kept]) and f"{kept}: Phase v2.73.0" in made["diff"]["after"]
    assert administer(instance, SETTINGS.replace("%s", f"'{name}'")) == settings
    comments = (
        f"select shobj_description(oid, 'pg_database') from pg_database where datname like '{name}%' order by datname"
    )
    first, second = (comment for (comment,) in administer(instance, comments))
    assert '"restored"' in first and '"kept"' in second
    assert first.endswith("\nours, 100 %") and second.endswith("\nours, 100 %")
    assert instance.healthy()

    again = case.restore()
    assert not again["changed"] and "force=true" in again["plan"]["summary"][0]

    case.fork.sql("update api_app set updated_at = now() where id in (select id from api_app limit 1)")
    restored = case.digest()
    checked = case.restore(state="returned", check=True)
    assert checked["changed"] and case.digest() == restored and "api_app 1" in " ".join(checked["plan"]["summary"])
    back = case.restore(state="returned")
    assert back["changed"] and case.digest() == now and case.digest(back["old_database"]) == restored
    assert case.databases() == sorted([name, back["old_database"]])
    assert not case.restore(state="returned")["changed"]

    checked = case.restore(state="dropped", check=True)
    assert checked["dropped"] == [back["old_database"]] and len(case.databases()) == 2
    assert case.restore(state="dropped")["changed"] and case.databases() == [name] and case.digest() == now
    assert not case.restore(state="dropped")["changed"]


def first_organisation(case: Case) -> str:
    return str(case.fork.sql("select name from api_organisation order by name limit 1")[0][0])


def halting(folder: Path, programs: Path) -> Path:
    """A folder whose pg_restore, when it restores, waits before the real one and after it for files to be there."""
    folder.mkdir()
    script = folder / "pg_restore"
    wait = "touch {0}/at-{1}; while [ ! -e {0}/go-{1} ]; do sleep 0.1; done"
    lines = [
        "#!/bin/sh",
        f'case "$*" in *--exit-on-error*) ;; *) exec {programs}/pg_restore "$@";; esac',
        wait.format(folder, 1),
        f'{programs}/pg_restore "$@" || exit',
        wait.format(folder, 2),
    ]
    script.write_text("\n".join(lines) + "\n", encoding="utf-8")
    script.chmod(0o755)
    return folder


WAITING = """
select count(*) from pg_stat_activity where application_name = 'phase.console restore' and wait_event_type = 'Lock'
"""


@contextlib.contextmanager
def holding(instance: Any, database: str, *statements: str) -> Iterator[None]:
    """The administrator's transaction, rolled back at the end."""
    with instance.server.administrator(database) as administrator:
        administrator.autocommit = False
        with administrator.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        yield
        administrator.rollback()


def test_killed_at_each_step(case: Case, tmp_path: Path) -> None:
    """While it restores, while it compares, while it renames: what serves is whole, and the next run ends it well."""
    now, instance = case.change(), case.instance
    for step in ("restoring", "comparing", "renaming"):
        folder = halting(tmp_path / step, instance.server.programs)
        task = {"phase.console.phase_restore": {**case.options, "src": str(case.folder), "pg_bin_dir": str(folder)}}
        run = case.ansible.popen_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}])
        run.wait_until((folder / "at-1").exists)
        half = next(name for name in case.databases() if "_restored_" in name)
        if step != "restoring":
            (folder / "go-1").touch()
            run.wait_until((folder / "at-2").exists)
            where = (
                (half, "lock table api_secret")
                if step == "comparing"
                else ("postgres", f"alter database {case.name} rename to x")
            )
            with holding(instance, *where):
                (folder / "go-2").touch()
                run.wait_until(lambda: administer(instance, WAITING) == [(1,)])
                run.stop()
        else:
            run.stop()
        for number in (1, 2):  # what waits beside the run has to end, too
            (folder / f"go-{number}").touch()
        eventually(lambda: administer(instance, WAITING) == [(0,)])
        assert case.digest() == now and case.databases() == [case.name, half]
    case.fork.sql("drop table django_migrations, api_secretevent cascade")  # nothing of Phase need be left
    somebodys = f"{case.name}_restored_20200101T000000Z"  # named as if a restore had made it, and without a mark
    others = f"{case.name}_x"  # what a restore of another database has under way
    for name in (somebodys, others):
        administer(instance, f'create database "{name}" template {case.name} owner phase')
    mark = json.dumps({"state": "half", "database": "another", "backup": "x", "sha256": "x", "at": "x"})
    administer(instance, f"comment on database {others} is 'phase.console {mark}'")
    made = case.restore()
    assert case.digest() == case.then
    assert case.databases() == sorted([case.name, somebodys, others, made["old_database"]])


def test_refusals_touch_nothing(case: Case, tmp_path: Path) -> None:
    now, instance, manifest = case.change(), case.instance, case.path.with_name(case.path.name + ".json")
    whole, described = case.path.read_bytes(), manifest.read_text(encoding="utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "pg_restore").write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    (tmp_path / "empty" / "pg_restore").chmod(0o755)

    def refused(kind: str, words: str, **more: Any) -> None:
        for check in (True, False):
            found = case.restore(**{"expect_failure": True, "check": check, **more})
            assert found["error"]["kind"] == kind and words in found["msg"], found["msg"]
        assert case.digest() == now and case.databases() == [case.name]

    case.path.write_bytes(whole[:-100])
    refused("backup_cut", "manifest says")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    case.path.write_bytes(flipped)
    refused("backup_damaged", "SHA-256")
    case.path.write_bytes(whole)
    manifest.write_text(json.dumps({**json.loads(described), "server_version": "99.1"}), encoding="utf-8")
    refused("backup_too_new", "99.1")
    manifest.write_text(described, encoding="utf-8")
    refused("no_space", "1.0 kB free", free_space="1KB")
    refused("backup_missing", "nowhere.dump", src=f"{case.folder}/nowhere.dump")
    refused("restore_failed", "pg_bin_dir", pg_bin_dir=str(tmp_path / "empty"))
    with holding(instance, case.name, "select 1"):
        refused("sessions_in_the_way", "postgres (pid")
    connection = psycopg2.connect(case.fork.url, application_name="phase.console purge somewhere")
    with contextlib.closing(connection):
        refused("sessions_in_the_way", "phase.console purge")
    administer(instance, "alter role phase nocreatedb")
    try:
        refused("not_allowed", "ALTER ROLE phase CREATEDB")
    finally:
        administer(instance, "alter role phase createdb")

    manifest.unlink()
    seen = case.restore(check=True)
    assert seen["changed"] and "no manifest" in seen["warnings"][0] and seen["plan"]["backup"]["started"] is None


def test_what_cannot_be_restored_leaves_nothing(case: Case) -> None:
    """A role that the backup's grants name is gone."""
    administer(case.instance, "create role guest", "grant select on api_app to guest", database=case.name)
    shutil.rmtree(case.folder)
    case.backup()
    administer(case.instance, "revoke select on api_app from guest", "drop role guest", database=case.name)
    failed = case.restore(expect_failure=True)
    assert failed["error"]["kind"] == "restore_failed" and '"guest" does not exist' in failed["msg"]
    assert case.databases() == [case.name] and case.digest() == case.then


def test_sessions_are_ended(case: Case) -> None:
    """The application's own always, others' when that is wanted."""
    administer(case.instance, "create role visitor login password 'visitor'", "grant pg_signal_backend to phase")
    url = case.fork.url
    with (
        contextlib.closing(psycopg2.connect(url)) as own,
        contextlib.closing(
            psycopg2.connect(url, user="visitor", password="visitor", application_name="a person")
        ) as other,
    ):
        refused = case.restore(expect_failure=True)
        assert refused["error"]["kind"] == "sessions_in_the_way" and '"a person")' in refused["msg"]
        own.cursor().execute("select 1")
        assert case.restore(end_other_sessions=True)["changed"] and case.digest() == case.then
        for connection in (own, other):
            with pytest.raises(psycopg2.Error):
                connection.cursor().execute("select 1")


STOP_OR_START = """
import sys
from pathlib import Path
from sandbox.local import LocalInstance
instance = LocalInstance(Path(sys.argv[2]))
running = instance.status()[sys.argv[3]] is not None
if running != (sys.argv[1] == "start"):
    getattr(instance, sys.argv[1] + "_service")(sys.argv[3])
"""


def test_the_playbook(ansible: Ansible, instance: Any, tmp_path: Path) -> None:
    """Backend and worker are stopped meanwhile and serve afterwards; a second run changes nothing."""
    database = Database(instance.database_url)

    def digest() -> dict[str, tuple[Any, ...]]:
        tables = [table for (table,) in database.sql(TABLES)]
        return {table: database.sql(DIGEST.format(table))[0] for table in tables}

    def command(verb: str) -> dict[str, list[str]]:
        run = ["env", f"PYTHONPATH={Path(__file__).parents[2]}", str(instance.python), "-c", STOP_OR_START, verb]
        return {part: [*run, str(instance.directory), part] for part in ("backend", "worker")}

    programs, folder = str(instance.server.programs), f"{tmp_path}/backups/"
    ansible.module("phase_backup", {**target(instance), "dest": folder, "pg_bin_dir": programs})
    then = digest()
    instance.sql("update api_secret set comment = 'changed', updated_at = now()")
    now = digest()
    assert now != then
    variables = {
        "phase_hosts": "localhost",
        "phase_target": target(instance),
        "phase_restore_src": folder,
        "phase_restore_pg_bin_dir": programs,
        "phase_restore_local_stop": command("stop"),
        "phase_restore_local_start": command("start"),
        "phase_restore_health_url": f"{instance.url}/health/",
    }
    before = instance.status()
    checked = ansible.playbook("restore", variables, check=True)
    assert checked.changed == 0 and digest() == now and instance.status() == before
    assert "api_secret" in checked.stdout and "into database phase: made at" in checked.stdout
    done = ansible.playbook("restore", variables, diff=True)
    after = instance.status()
    assert done.custom["phase_restore"]["old_database"].startswith("phase_before_restore_")
    assert digest() == then and instance.healthy()
    assert all(before[part] != after[part] and after[part] for part in ("backend", "worker"))
    again = ansible.playbook("restore", variables)
    assert again.changed == 0 and digest() == then and instance.status() == after
    ansible.playbook("restore", {**variables, "phase_restore_state": "returned"})
    assert digest() == now and instance.healthy()
    ansible.playbook("restore", {**variables, "phase_restore_state": "dropped"})
    assert administer(instance, "select datname from pg_database where datname like 'phase%'") == [("phase",)]
