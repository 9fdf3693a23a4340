# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import NoSpace, NotAllowed
from ansible_collections.phase.console.plugins.module_utils._instance import restore
from ansible_collections.phase.console.plugins.module_utils._operations.instance import restore as operations
from ansible_collections.phase.console.plugins.modules import phase_restore

NOW = 1796076876.0  # 2026-11-30T22:14:36Z
SINCE = "2026-11-30T20:14:36Z"
ME = {
    "database": "phase",
    "role": "phase",
    "may_create": True,
    "may_end": True,
    "owner": "phase",
    "owns": True,
    "standby": False,
    "server_version": "15.4",
    "bytes": 12_000_000,
}
LEDGER = [["api", "0094_alter_app_organisation_alter_environment_app"], ["api", "0095_alter_environmentsync_service"]]
SURVEY = {
    "me": ME,
    "mark": None,
    "databases": [],
    "sessions": [],
    "slots": [],
    "ledger": LEDGER,
    "newer": {"api_secretevent": 3, "api_secret": 0, "api_app": None},
    "watched": {},
    "secret_changed": "2026-11-30T22:00:00Z",
    "secret_read": None,
}
TEXT = b"""--
-- PostgreSQL database dump
SET statement_timeout = 0;
COPY public.api_app (id, name, "timestamp") FROM stdin;
1\ta\\\\.\t2026
2\tb\\nc\t\\N
\\.


COPY public.api_empty (id) FROM stdin;
\\.

COPY public.django_migrations (id, app, name, applied) FROM stdin;
1\tapi\t0094_alter_app_organisation_alter_environment_app\t2026-11-30 20:00:00+00
2\tapi\t0095_alter_environmentsync_service\t2026-11-30 20:00:00+00
\\.

COPY public.api_networkaccesspolicy (id, name, allowed_ips, is_global, created_at) FROM stdin;
p1\toffice\t10.0.0.0/8\tt\t2026
\\.

SELECT pg_catalog.setval('public.api_app_id_seq', 1, true);
"""


def content(size=1 << 20):
    found = restore.Content()
    for at in range(0, len(TEXT), size):
        found.feed(TEXT[at : at + size])
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_a_dumps_text_is_counted_wherever_it_is_cut(size):
    found = content(size)
    assert found.rows == {
        "public.api_app": 2,
        "public.api_empty": 0,
        "public.django_migrations": 2,
        "public.api_networkaccesspolicy": 1,
    }
    assert found.ledger == LEDGER and found.bytes == len(TEXT)
    assert found.watched["api_networkaccesspolicy"]["p1"]["name"] == "office"


def test_fields_are_read_as_copy_writes_them():
    assert restore.unescaped("a\\tb\\\\n") == "a\tb\\n"
    assert restore.unescaped("\\N") is None and restore.unescaped("") == ""


def backup(**more):
    known = {
        "path": "/b/x.dump",
        "bytes": 5_000_000,
        "started": SINCE,
        "sha256": "ab",
        "sha256_checked": True,
        "server_version": "15.4",
        "release": "v2.38.0",
        "rows": 5,
        "tables": {"public.api_app": 2},
    }
    return {**known, **more}


def plan(survey=None, free=None, **more):
    return restore.make_plan(backup(**more), content(), survey or SURVEY, free, NOW, SINCE)


def test_the_plan_says_what_is_restored_and_what_is_lost():
    found = plan(free=10**9)
    text = " ".join(found["summary"])
    assert "Restores /b/x.dump into database phase: made at 2026-11-30T20:14:36Z (2.0 h ago)" in text
    assert "Its SHA-256 is that of its manifest." in text
    assert "since 2026-11-30T20:14:36Z, and so not in it: 3 rows (api_secretevent 3, api_app (too many" in text
    assert "newest secret change in the present database is of 2026-11-30T22:00:00Z" in text
    assert found["old_database"] == "phase_before_restore_20261130T221436Z" and found["old_database"] in text
    assert "the migrations that the present database has: those of Phase v2.38.0 or later, before v2.39.1" in text
    assert found["newer_rows"] == SURVEY["newer"] and "1.0 GB are free" in text


def test_another_ledger_and_a_missing_manifest_are_said():
    text = " ".join(plan({**SURVEY, "ledger": LEDGER[:1], "newer": {}}, sha256_checked=False)["summary"])
    assert "present database has those of v2.36.4" in text and "no manifest" in text
    assert "No row was added or changed" in text and "cannot be seen" in text
    assert "no Phase" in " ".join(plan({**SURVEY, "ledger": []})["summary"])


def test_access_that_comes_back_is_named():
    then = {
        "api_networkaccesspolicy": {
            "1": {"name": "office", "allowed_ips": "a", "is_global": "b"},
            "2": {"name": "vpn", "allowed_ips": "a"},
        },
        "api_usertoken": {"7": {"name": "laptop", "deleted_at": "False"}},
    }
    now = {
        "api_networkaccesspolicy": {"1": {"name": "office", "allowed_ips": "c"}, "3": {"name": "guests"}},
        "api_usertoken": {"7": {"name": "laptop", "deleted_at": "True"}},
    }
    assert restore.access(then, now) == [
        "Network policies deleted or revoked since, valid again: vpn.",
        "Network policies changed since, as they were again: office.",
        "Network policies new since, gone again: guests.",
        "User tokens deleted or revoked since, valid again: laptop.",
    ]
    assert restore.access(then, then) == []


def test_values_are_compared_by_digest_and_times_by_being_there():
    assert operations.shown("name", "office") == "office"
    assert len(operations.shown("config", '{"client_secret": "x"}')) == 64
    assert operations.shown("deleted_at", "2026") == "True" and operations.shown("deleted_at", None) == "False"


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"may_create": False}, NotAllowed, "ALTER ROLE phase CREATEDB"),
        ({"owns": False, "owner": "boss"}, NotAllowed, "OWNER TO phase"),
        ({"standby": True}, NotAllowed, "primary"),
    ],
)
def test_a_server_that_will_not_do_is_refused(more, error, words):
    with pytest.raises(error) as raised:
        restore.refuse_server({**SURVEY, "me": {**ME, **more}}, False)
    assert words in raised.value.next_step


def test_sessions_of_others_are_refused_and_the_applications_are_not():
    own = {"database": "phase", "pid": 1, "role": "phase", "application": "", "own": True}
    other = {"database": "phase", "pid": 2, "role": "ada", "application": "psql", "own": False}
    restore.refuse_server({**SURVEY, "sessions": [own]}, False)
    restore.refuse_server({**SURVEY, "sessions": [{**other, "database": "phase_before"}]}, False)
    with pytest.raises(operations.SessionsInTheWay) as raised:
        restore.refuse_server({**SURVEY, "sessions": [own, other]}, False)
    assert 'ada (pid 2, "psql")' in raised.value.message and "pid 1" not in raised.value.message
    restore.refuse_server({**SURVEY, "sessions": [own, other]}, True)
    with pytest.raises(NotAllowed, match="may not end"):
        restore.refuse_server({**SURVEY, "me": {**ME, "may_end": False}, "sessions": [other]}, True)


def test_room_and_version_are_refused_only_when_they_are_known_not_to_do():
    restore.refuse_space(plan())
    with pytest.raises(NoSpace):
        restore.refuse_space(plan(free=1000))
    restore.refuse_version("15.4", "15.1")
    with pytest.raises(restore.BackupTooNew):
        restore.refuse_version("17.2", "15.4")


def test_names_fit_and_marks_are_read_back():
    name = restore.named("ä" * 40, "before_restore", "20261130T221436Z")
    assert len(name.encode()) <= 63 and name.endswith("_before_restore_20261130T221436Z")
    mark = {"state": "kept", "database": "phase", "backup": "x.dump", "sha256": "ab", "at": SINCE}
    assert operations.marked(operations.comment_of(mark, "ours\nof old")) == (mark, "ours\nof old")
    assert operations.marked("phase.console {broken") == (None, "phase.console {broken")
    assert operations.marked(None) == (None, "")


@pytest.fixture
def folder(tmp_path):
    def write(name, data, **more):
        known = {
            "bytes": len(data),
            "sha256": "",
            "started": SINCE,
            "server_version": "15.4",
            "leaf": "",
            "migrations": 2,
        }
        (tmp_path / name).write_bytes(data)
        (tmp_path / (name + ".json")).write_text(json.dumps({**known, **more}))
        return str(tmp_path / name)

    write.path = str(tmp_path)
    return write


def test_the_newest_backup_of_a_folder_is_taken_and_a_cut_one_refused(folder):
    with pytest.raises(restore.BackupMissing):
        restore.chosen(folder.path)
    newest = folder("a.dump", b"1", started="2026-11-30T21:00:00Z")
    folder("b.dump", b"12")
    assert restore.chosen(folder.path)[0] == newest
    folder("a.dump", b"1", started="2026-11-30T21:00:00Z", bytes=9)
    with pytest.raises(restore.BackupCut, match="1 bytes and its manifest says 9"):
        restore.chosen(folder.path)


def test_a_backup_without_manifest_is_taken_and_one_with_a_strange_manifest_is_not(folder, tmp_path):
    path = folder("a.dump", b"1")
    (tmp_path / "a.dump.json").unlink()
    assert restore.chosen(path) == (path, None)
    (tmp_path / "a.dump.json").write_text("[]")
    with pytest.raises(restore.BackupDamaged):
        restore.chosen(path)
    assert phase_restore.SPEC.options["state"]["default"] == "restored"
