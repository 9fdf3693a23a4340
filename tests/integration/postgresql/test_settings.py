# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""What a database, or its server, may have set otherwise: purge, rewrite and vacuum work all the same."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import psycopg2
import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.core.database import connect
from ansible_collections.phase.console.plugins.module_utils._operations.core.settings import SETTINGS, wanted
from integration.purging import Instance
from integration.rewriting import Subject, fork
from integration.vacuuming import Vacuum
from sandbox.local import LocalInstance

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


@pytest.fixture(scope="module")
def instance(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    started = module_local_instance("v2.73.2", events=3000, superuser=False)
    for service in ("backend", "worker"):
        started.stop_service(service)
    return started


def test_the_list_is_tried_whole() -> None:
    assert {one.name for one in SETTINGS} <= set(OTHERWISE)
    assert all(one.why and one.since % 10000 == 0 for one in SETTINGS)


def known(subject: Subject, name: str) -> bool:
    return bool(subject.sql("select 1 from pg_settings where name = %s", name))


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_setting_of_the_database(instance: LocalInstance, name: str) -> None:
    """A session has ours; then all rows that go and no others, with pauses longer than any timeout."""
    subject = fork(instance)
    if not known(subject, name):
        pytest.skip(f"this server has no {name}")
    kept = subject.kept()
    subject.sql("update api_organisation set name = '日本 Größe' where name <> 'SpaceX'")
    subject.sql(f"alter database {subject.name} set {name} = '{OTHERWISE[name]}'")
    with contextlib.closing(connect({"dsn": subject.url}, "test", {})) as connection, connection.cursor() as cursor:
        values = wanted({"statement_timeout": 0, "lock_timeout": 0}, connection.server_version)
        cursor.execute("select name, setting from pg_settings where name = any(%s)", (list(values),))
        assert dict(cursor.fetchall()) == values
    paused: list[float] = []

    def gate() -> None:
        if len(paused) < 2:
            paused.append(0.8)
            time.sleep(0.8)

    database = Instance(subject.url)
    checked = database.purge(check=True, all_organisations=True, strategy="rewrite")
    assert checked["plan"]["rewrite"]["refused"] == []
    assert subject.rewrite(gate=gate)["deleted"] == checked["eligible"] > 0
    assert subject_rows(subject) == kept
    assert database.purge(all_organisations=True)["changed"] is False
    assert Vacuum(subject)("plain", force=True)["changed"] is True


def subject_rows(subject: Subject) -> dict[str, str]:
    """Read past the setting, with those that the digests were made with."""
    subject.administrator(f"alter database {subject.name} reset all")
    return subject.rows()


def test_every_name_is_read_from_a_database_without_an_encoding(instance: LocalInstance) -> None:
    """SQL_ASCII hands bytes out as they were put in; Django puts UTF-8 in."""
    name = "without_encoding"
    with instance.server.administrator() as administrator, administrator.cursor() as cursor:
        cursor.execute(f"create database {name} template template0 encoding 'SQL_ASCII' locale 'C' owner phase")
    url = str(instance.database_url).rpartition("/")[0] + "/" + name
    with contextlib.closing(psycopg2.connect(url, client_encoding="UTF8")) as made, made.cursor() as cursor:
        cursor.execute("create table t as select 'Größe'::text as name")
        made.commit()
    with contextlib.closing(connect({"dsn": url}, "test", {})) as connection, connection.cursor() as cursor:
        cursor.execute("select name from t")
        assert cursor.fetchone() == ("Größe",)


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
