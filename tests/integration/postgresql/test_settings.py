# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""What a role, a database or its server may have set otherwise: everything works all the same.

That of migrations is in test_migrate_interrupted.py.
"""

# ruff: noqa: S608 - statements of tests, on databases of their own

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.core.database import connect
from ansible_collections.phase.console.plugins.module_utils._operations.core.settings import SETTINGS, wanted
from ansible_collections.phase.console.plugins.module_utils._operations.purge import throttle as _purge_throttle
from integration.purging import Instance
from integration.rewriting import Subject, fork
from integration.vacuuming import PURGE, Vacuum, entry
from sandbox.local import LocalInstance
from sandbox.postgresql import programs

OTHERWISE = {
    "idle_in_transaction_session_timeout": "500ms",
    "idle_session_timeout": "500ms",
    "transaction_timeout": "500ms",
    "statement_timeout": "500ms",
    "lock_timeout": "1ms",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "row_security": "on",
    "client_encoding": "LATIN1",
    "client_min_messages": "error",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Pacific/Kiritimati",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "default_table_access_method": "heap",
    "enable_tidscan": "off",
    "enable_seqscan": "off",
    "restrict_nonsystem_relation_kind": "view",
    "vacuum_truncate": "off",
}
ONE = "id = (select min(id) from api_organisation where name <> 'SpaceX')"


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    started = module_local_instance("v2.73.2", events=3000, superuser=False)
    for service in ("backend", "worker"):
        started.stop_service(service)
    return started


def test_the_list_is_tried_whole() -> None:
    assert {one.name for one in SETTINGS} <= set(OTHERWISE)
    assert all(one.why and one.since % 10000 == 0 for one in SETTINGS)


def alter(instance: LocalInstance, statement: str) -> None:
    """From another database, whose sessions have none of it."""
    with instance.server.administrator() as administrator, administrator.cursor() as cursor:
        cursor.execute(statement)


def known(subject: Subject) -> dict[str, str]:
    """Of OTHERWISE those that this server has."""
    names = {row[0] for row in subject.sql("select name from pg_settings")}
    return {name: value for name, value in OTHERWISE.items() if name in names}


@pytest.mark.parametrize("place", ["database", "role", "URL"])
def test_a_session_has_ours(instance: LocalInstance, place: str) -> None:
    subject = fork(instance)
    for name, value in known(subject).items():
        whose, url = {"database": f"database {subject.name}", "role": "role phase"}.get(place), subject.url
        if whose:
            alter(instance, f"alter {whose} set {name} = '{value}'")
        else:
            url += "?options=" + quote("-c %s=%s" % (name, value.replace(" ", "\\ ")))
        try:
            with contextlib.closing(connect({"dsn": url}, "test", {})) as connection, connection.cursor() as cursor:
                values = wanted({"statement_timeout": 0, "lock_timeout": 0}, connection.server_version)
                cursor.execute("select name, setting from pg_settings where name = any(%s)", (list(values),))
                assert dict(cursor.fetchall()) == values, name
        finally:
            if whose:
                alter(instance, f"alter {whose} reset {name}")


def test_what_the_url_asks_for_stays(instance: LocalInstance) -> None:
    url = instance.database_url + "?options=-csearch_path%3Dpg_catalog"
    with contextlib.closing(connect({"dsn": url}, "test", {})) as connection, connection.cursor() as cursor:
        cursor.execute("show search_path")
        assert cursor.fetchone() == ("pg_catalog",)


def delete(subject: Subject) -> None:
    done = Instance(subject.url).purge(all_organisations=True, strategy="delete")
    assert done["deleted"] > 0 == done["remaining"]


def rewrite(subject: Subject) -> None:
    done = Instance(subject.url).purge(all_organisations=True, strategy="rewrite")
    assert done["deleted"] > 0 == done["remaining"] and done["rewrite"]["unfinished"] is None


def vacuum(mode: str) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        assert entry(Vacuum(subject)(mode, force=True))["mode"] == mode

    return run


MODES = ("plain", "analyze", "reindex", "rewrite", "compact", "full")
WORK = {"delete": delete, "rewrite": rewrite, **{f"vacuum {mode}": vacuum(mode) for mode in MODES}}


@pytest.fixture
def pausing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A purge pauses twice for longer than any of the timeouts, as for a pause_file."""
    paused: list[float] = []
    gate = _purge_throttle.Control.gate

    def slowly(control: Any) -> Any:
        if len(paused) < 2:
            paused.append(0.8)
            time.sleep(0.8)
        return gate(control)

    monkeypatch.setattr(_purge_throttle.Control, "gate", slowly)
    yield paused


@pytest.mark.parametrize("work", WORK)
def test_all_of_them_at_once(instance: LocalInstance, work: str, pausing: list[float]) -> None:
    """All rows that go, and no others."""
    subject = fork(instance)
    kept = subject.kept()
    if work.startswith("vacuum"):
        subject.sql(PURGE)
    subject.sql(f"update api_organisation set name = '日本 Größe' where {ONE}")
    for name, value in known(subject).items():
        alter(instance, f"alter database {subject.name} set {name} = '{value}'")
    WORK[work](subject)
    alter(instance, f"alter database {subject.name} reset all")
    assert subject.rows() == kept and subject.leftovers() is None
    assert len(pausing) == (0 if work.startswith("vacuum") else 2)


def test_a_database_without_an_encoding(instance: LocalInstance) -> None:
    """SQL_ASCII hands bytes out as they were put in; Django puts UTF-8 in."""
    source = fork(instance)
    source.sql(f"update api_organisation set name = 'Größe' where {ONE}")
    name = "without_encoding"
    with instance.server.administrator() as administrator, administrator.cursor() as cursor:
        cursor.execute(f"drop database if exists {name}")
        cursor.execute(f"create database {name} template template0 encoding 'SQL_ASCII' locale 'C' owner phase")
    subject = Subject(instance, name)
    dump = subprocess.run([programs() / "pg_dump", source.url], check=True, capture_output=True).stdout
    command = [programs() / "psql", "--quiet", "--set=ON_ERROR_STOP=1", subject.url]
    subprocess.run(command, input=dump, check=True, capture_output=True)
    done = Instance(subject.url).purge()
    assert done["deleted"] > 0 == done["remaining"]


def test_row_security_is_never_passed_over(instance: LocalInstance) -> None:
    """The plan names the table that hides rows from the role; nothing is planned over the rest."""
    subject = fork(instance)
    subject.sql("alter table api_environment enable row level security")
    subject.sql("alter table api_environment force row level security")
    subject.sql("create policy half on api_environment using (id > '8')")
    for options in ({"all_organisations": True}, {"organisation": "SpaceX", "all_organisations": False}):
        with pytest.raises(PhaseError) as refused:
            Instance(subject.url).purge(check=True, **options)
        assert '"api_environment"' in refused.value.message and "row security" in refused.value.next_step
