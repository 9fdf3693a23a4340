# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module in front of a target that answers with facts; PostgreSQL itself is in the integration tests."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import LockTimeout, PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.rewrite.recovery import recover
from ansible_collections.phase.console.plugins.module_utils._operations.vacuum import operation as operations
from ansible_collections.phase.console.plugins.module_utils._target.base import Target
from ansible_collections.phase.console.plugins.module_utils._vacuum.vacuum import SPEC, tables_of
from ansible_collections.phase.console.plugins.modules import phase_vacuum
from ansible_collections.phase.console.tests.unit.plugins.module_utils._vacuum.vacuum_tables import index
from ansible_collections.phase.console.tests.unit.plugins.module_utils._vacuum.vacuum_tables import (
    table as bloated_table,
)
from ansible_collections.phase.console.tests.unit.plugins.modules.arguments import patch_module_args

MB = 1 << 20
STATE = {
    "heap_bytes": 91 * MB,
    "table_bytes": 91 * MB,
    "index_bytes": 7 * MB,
    "total_bytes": 98 * MB,
    "toast_bytes": 8192,
    "live_rows": 21100,
    "dead_rows": 78900,
    "modified_rows": 78900,
    "inserted_rows": 0,
    "last_vacuum": "2026-11-21T10:00:00.000000Z",
    "last_analyze": "2026-11-21T10:00:00.000000Z",
}
SERVER = {
    "now": "2026-11-21T10:10:00Z",
    "user": "phase",
    "session_user": "phase",
    "database": "phase",
    "server_version": "18.6",
    "server_version_num": 180006,
    "superuser": False,
    "standby": False,
    "block_size": 8192,
    "parallel_workers": 2,
    "freeze_max_age": 200000000,
    "max_wal_bytes": 1 << 30,
    "snapshots": [],
    "pg_repack": None,
    "connections": None,
}


def purged(name, **sizes):
    return bloated_table(
        name=name,
        oid=17000 + len(name),
        quoted="public." + name,
        owner="phase",
        column="id",
        triggers=[],
        rules=False,
        row_security=False,
        inherited=False,
        owned=True,
        freeze_age=1000,
        busy=[],
        rewrite={"refused": []},
        empty_end_blocks=0,
        state=dict(STATE, **sizes),
        indexes=[index("pkey", ["id"], bytes=1300000, unique=True, quoted="public.pkey")],
    )


class Known(Target):
    """A target with two tables: one to work on, and one in order."""

    def __init__(self, free=None, failure=None, **survey):
        in_order = purged(
            "api_secretevent_tags", heap_bytes=19 * MB, table_bytes=19 * MB, total_bytes=20 * MB, dead_rows=0
        )
        in_order["state"]["modified_rows"] = 0
        self.survey = {
            "server": dict(SERVER),
            "free_bytes": 100 << 30,
            "tables": [purged("api_secretevent"), in_order],
            "running": None,
            "leftovers": None,
            **survey,
        }
        self.free, self.failure, self.requests, self.piped = free, failure, [], (0, "")

    def free_disk(self):
        return self.free

    def pipe(self, argv, sink, *, image=None, stdin=None):
        self.requests.append(("pipe", argv[4:]))
        sink(b"pg_repack 1.4.8\n" if argv[-1] == "--version" else b"")
        return self.piped if argv[-1] != "--version" else (0, "")

    def run(self, operation, request, report, *, image=None, detached=False):
        self.requests.append((operation.__name__, request))
        if operation is recover:
            left, self.survey["leftovers"] = self.survey["leftovers"], None
            return {"recovered": left}
        if operation is operations.survey:
            return copy.deepcopy(self.survey)
        (table,) = request["tables"]
        statements = [step["statement"] for step in table["steps"]]
        after = dict(STATE, total_bytes=22 * MB, table_bytes=20 * MB, dead_rows=0)
        entry = {
            "name": table["name"],
            "done": statements,
            "seconds": 1.5,
            "after": after,
            "compaction": None,
            "rewrite": None,
        }
        if self.failure:
            entry["done"] = statements[:1]
            self.failure.partial = {"tables": [entry], "stopped_by": None, "snapshots": []}
            raise self.failure
        return {"tables": [entry], "stopped_by": None, "snapshots": []}


def run(target=None, check=False, **options):
    params = {name: option.get("default") for name, option in SPEC.options.items()}
    params.update(options)
    said = []
    target = target or Known()
    result = phase_vacuum.run(Call(params, check, True, target, lambda message, **counters: None, said.append))
    return result, target, said


def test_check_mode_only_looks():
    result, target, _said = run(check=True)
    assert [name for name, _request in target.requests] == ["survey"]
    assert result["changed"] and result["statements"] == result["tables"][0]["statements"]
    assert result["tables"][0]["after"]["total_bytes"] < 30 * MB and result["tables"][0]["reclaimed_bytes"] == 0
    assert result["session"]["user"] == "phase" and result["stopped_by"] is None


def test_prediction_and_fact_are_both_told():
    result, target, _said = run()
    planned, _target, _said = run(check=True)
    assert [name for name, _request in target.requests] == ["survey", "apply"]
    assert result["statements"] == planned["statements"] and result["reason"] == planned["reason"]
    entry = result["tables"][0]
    assert entry["predicted"] == planned["tables"][0]["predicted"]
    assert entry["reclaimed_bytes"] == 76 * MB and entry["after"]["dead_rows"] == 0 and entry["seconds"] == 1.5
    assert result["diff"]["before"] == "api_secretevent: %d bytes, 78900 rows dead\n" % (98 * MB)
    assert result["diff"]["after"] == "api_secretevent: %d bytes, 0 rows dead\n" % (22 * MB)


def test_a_table_in_order_is_not_sent_along():
    _result, target, _said = run()
    assert [table["name"] for table in target.requests[1][1]["tables"]] == ["api_secretevent"]


def test_nothing_to_do_is_no_change():
    target = Known()
    target.survey["tables"] = target.survey["tables"][1:]
    result, _target, _said = run(target)
    assert not result["changed"] and result["diff"] == dict(result["diff"], before="", after="")
    assert result["tables"][0]["after"] == result["tables"][0]["before"]


def test_with_the_events_goes_their_table_of_tags():
    assert tables_of(["api_secretevent"]) == ["api_secretevent", "api_secretevent_tags"]
    assert tables_of(["api_app", "api_app"]) == ["api_app"]
    assert tables_of(["api_secretevent_tags", "api_secretevent"]) == ["api_secretevent_tags", "api_secretevent"]


@pytest.mark.parametrize("names", [[], [""], ["  "], ["a\nb"], ["a\x00"], ["x" * 64], ["ä" * 32]])
def test_what_can_be_no_name(names):
    with pytest.raises(PhaseError) as refused:
        run(tables=names)
    assert refused.value.kind == "bad_option" and "tables" in refused.value.message


@pytest.mark.parametrize(
    "options, said",
    [({"force": True}, "force"), ({"max_lock_wait": "0"}, "max_lock_wait"), ({"max_duration": "x"}, "max_duration")],
)
def test_options_that_cannot_be_meant(options, said):
    with pytest.raises(PhaseError) as refused:
        run(**options)
    assert said in refused.value.message and refused.value.next_step


def test_full_is_refused_until_it_is_confirmed_and_told_in_check_mode():
    with pytest.raises(PhaseError) as refused:
        run(mode="full")
    assert refused.value.kind == "not_confirmed"
    assert refused.value.partial["tables"][0]["predicted"]["stall_seconds"] > 0
    assert refused.value.partial["changed"] is False
    result, _target, said = run(mode="full", check=True)
    assert result["changed"] and any("confirm_full" in text for text in said)
    assert run(mode="full", confirm_full=True)[0]["changed"]


def test_the_disk_is_asked_of_the_server_then_of_the_target_then_of_the_user():
    assert run(check=True)[0]["free_bytes"] == 100 << 30
    assert run(Known(free=5, free_bytes=None), check=True)[0]["free_bytes"] == 5
    assert run(Known(free=5), check=True, free_space=7)[0]["free_bytes"] == 7
    with pytest.raises(PhaseError) as refused:
        run(Known(free_bytes=None), mode="full", confirm_full=True)
    assert refused.value.kind == "no_space" and "free_space" in refused.value.message


def test_somebody_who_is_not_the_owner_is_told_so():
    _result, _target, said = run(Known(server=dict(SERVER, user="postgres", superuser=True)))
    assert any("postgres" in text and "belong to phase" in text for text in said)


def test_another_run_is_not_joined():
    busy = Known(running="purge: phase.console purge (pid 7)")
    with pytest.raises(PhaseError) as refused:
        run(busy)
    assert refused.value.kind == "lock_held" and "pid 7" in refused.value.message
    assert run(busy, check=True)[0]["changed"]


LEFT = {"name": "api_secretevent", "place": "public.api_secretevent", "who": "somebody", "swapped": False}


def test_what_a_killed_rewrite_left_is_put_right_before_anything_is_decided():
    result, target, said = run(Known(leftovers=LEFT))
    assert [name for name, _request in target.requests] == ["survey", "recover", "survey", "apply"]
    assert result["recovered"] == LEFT and any("cut off" in text for text in said)
    result, target, said = run(Known(leftovers=LEFT), check=True)
    assert [name for name, _request in target.requests] == ["survey"]
    assert result["changed"] and result["recovered"] == LEFT


def test_putting_right_is_a_change_by_itself():
    target = Known(leftovers=LEFT)
    target.survey["tables"] = target.survey["tables"][1:]
    result, target, _said = run(target)
    assert result["changed"] and result["statements"] == []


def test_a_rewrite_at_work_is_not_put_right():
    with pytest.raises(PhaseError) as refused:
        run(Known(leftovers=LEFT, running="rewrite: phase.console rewriting (pid 7)"))
    assert refused.value.kind == "lock_held" and refused.value.partial["changed"] is False


def test_the_table_of_tags_is_no_reason_to_refuse_unless_it_was_named():
    target = Known()
    target.survey["tables"][1] = dict(purged("api_secretevent_tags"), rewrite={"refused": ["an identity column"]})
    result, _target, said = run(target, mode="rewrite", check=True)
    assert [entry["mode"] for entry in result["tables"]] == ["rewrite", "plain"]
    assert any("identity column" in text and "plain VACUUM" in text for text in said)
    with pytest.raises(PhaseError) as refused:
        run(target, mode="rewrite", tables=["api_secretevent", "api_secretevent_tags"])
    assert refused.value.kind == "unsuitable"


def test_pg_repack_runs_beside_the_database_and_vacuum_follows():
    able = dict(SERVER, pg_repack="1.4.8", superuser=True)
    result, target, _said = run(Known(server=able), mode="repack")
    assert [name for name, _request in target.requests] == ["survey", "pipe", "pipe", "apply"]
    assert [text.split(" ")[0] for text in result["statements"]] == ["pg_repack", "VACUUM"]
    assert result["tables"][0]["reclaimed_bytes"] == 76 * MB
    for piped, kind in (((1, "ERROR: no"), "repack_failed"), ((0, "WARNING: timed out"), "skipped")):
        target = Known(server=able)
        target.piped = piped
        with pytest.raises(PhaseError) as failed:
            run(target, mode="repack")
        assert failed.value.kind == kind and piped[1] in failed.value.message
        assert failed.value.partial["changed"] is False


def test_a_failure_midway_tells_what_was_done():
    with pytest.raises(PhaseError) as failed:
        run(Known(failure=LockTimeout("It did not get its lock.", "Run it again.")))
    partial = failed.value.partial
    assert partial["changed"] and len(partial["statements"]) == 1
    assert partial["tables"][0]["reclaimed_bytes"] == 76 * MB
    assert partial["tables"][1]["after"] == partial["tables"][1]["before"]


def test_options_are_checked_by_ansible(capsys):
    with patch_module_args({"deployment": "database", "mode": "sideways"}), pytest.raises(SystemExit) as end:
        phase_vacuum.main()
    assert end.value.code == 1 and "sideways" in json.loads(capsys.readouterr().out)["msg"]


def test_every_mode_is_documented():
    for mode in SPEC.options["mode"]["choices"]:
        assert "V(%s)" % mode in phase_vacuum.DOCUMENTATION
