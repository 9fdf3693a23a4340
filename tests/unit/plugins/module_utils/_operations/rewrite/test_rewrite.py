# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.purge.strategy import Facts, choose
from ansible_collections.phase.console.plugins.module_utils._operations.rewrite.catalog import (
    Constraint,
    Index,
    Table,
    index,
)
from ansible_collections.phase.console.plugins.module_utils._operations.rewrite.errors import RewriteRefused
from ansible_collections.phase.console.plugins.module_utils._operations.rewrite.portrait import differences
from ansible_collections.phase.console.plugins.module_utils._operations.rewrite.sql import (
    fill,
    finish,
    fitted,
    hold_writers,
    literal,
    make_index,
    regrant,
    scanned,
    swap,
    work_schema,
)

KEY = Constraint("p", "log_pkey", "PRIMARY KEY (id)", "public.log", None, "'the key'")
PAIR = Constraint("u", "pair", "UNIQUE (a, id) DEFERRABLE INITIALLY DEFERRED", "public.log", None, None)
PARENT = Constraint(
    "f", "up", "FOREIGN KEY (a) REFERENCES public.parent(id) DEFERRABLE", "public.log", "public.parent", None
)
CHILD = Constraint(
    "f", "down", "FOREIGN KEY (log_id) REFERENCES public.log(id)", "public.tags", "public.log", "'the tags'"
)
TABLE = Table(
    oid=1,
    schema="public",
    name="log",
    key="id",
    key_type="text",
    columns=("id", '"Odd ""one"'),
    settings=("alter column a set statistics 7",),
    options=("fillfactor='90'",),
    grants=(("phase", "SELECT", False), ("reader", "SELECT", True)),
    comment="'it''s'",
    indexes=(Index("by_a", "CREATE INDEX by_a ON ", "USING btree (a)", 9, True, "'fast'"),),
    keys=(KEY, PAIR),
    outgoing=(PARENT,),
    incoming=(CHILD,),
)


def test_a_condition_that_is_unknown_keeps_the_row():
    assert "(e.a < 1) is not true" in fill(TABLE, "e.a < 1", "true")
    assert fill(TABLE, None, "true").endswith("where true and true")


def test_what_was_left_out_is_what_the_filter_of_the_scan_removed():
    scan = {"Node Type": "Tid Range Scan", "Alias": "e", "Actual Rows": 12.0, "Rows Removed by Filter": 30}
    insert = {"Node Type": "ModifyTable", "Alias": "log", "Actual Rows": 0, "Plans": [{"Plans": [scan]}]}
    assert scanned(insert) == (12, 30)
    del scan["Rows Removed by Filter"]
    assert scanned(insert) == (12, 0)


def test_indexes_are_replayed_on_the_copy():
    assert make_index(TABLE, TABLE.indexes[0]) == "CREATE INDEX by_a ON phase_console_rewrite.log USING btree (a)"
    found = index(
        "x", "CREATE INDEX x ON public.log USING gin (a)", "CREATE INDEX x ON ", "public.log ", 1, False, None
    )
    assert found.rest == "USING gin (a)"
    with pytest.raises(RewriteRefused):
        index(
            "x", "CREATE INDEX x ON ONLY public.log USING gin (a)", "CREATE INDEX x ON ", "public.log ", 1, False, None
        )


def test_the_copy_gets_all_that_is_not_a_row():
    done = finish(TABLE, [("phase", "SELECT", False), ("stranger", "INSERT", False)])
    copy = "phase_console_rewrite.log"
    assert done == [
        f"alter table only {copy} add constraint log_pkey primary key using index log_pkey",
        f"alter table only {copy} add constraint pair unique using index pair deferrable initially deferred",
        f"alter table only {copy} cluster on by_a",
        f"alter table only {copy} alter column a set statistics 7",
        f"alter table only {copy} reset (autovacuum_enabled, toast.autovacuum_enabled)",
        f"alter table only {copy} set (fillfactor='90')",
        f"revoke all on {copy} from phase",
        f"revoke all on {copy} from stranger",
        f"grant SELECT on {copy} to phase",
        f"grant SELECT on {copy} to reader with grant option",
        f"comment on table {copy} is 'it''s'",
        "comment on index phase_console_rewrite.by_a is 'fast'",
        f"comment on constraint log_pkey on {copy} is 'the key'",
    ]
    assert regrant(TABLE, list(reversed(TABLE.grants))) == []


def test_parents_are_locked_before_the_table():
    first, second = hold_writers(TABLE).split("; ")
    assert first == "lock table only public.parent in share row exclusive mode"
    assert second == "lock table only public.log, only public.tags in share row exclusive mode"


def test_the_swap_keeps_its_order():
    """The followers' foreign key first, or the table could not be emptied; the moves before the new foreign keys."""
    text = swap(TABLE, "somebody's host")
    order = [
        "alter table only public.tags drop constraint down",
        "create schema phase_console_replaced",
        "drop trigger phase_console_changed on public.log",
        "alter table public.log set schema phase_console_replaced",
        "alter table phase_console_rewrite.log set schema public",
        "truncate table only phase_console_replaced.log",
        f"alter table only public.log add constraint up {PARENT.definition} not valid",
        "alter table only public.tags add constraint down FOREIGN KEY (log_id) REFERENCES public.log(id) not valid",
        "comment on constraint down on public.tags is 'the tags'",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "somebody''s host" in text


@pytest.mark.parametrize("text, quoted", [("a", "'a'"), ("it's", "'it''s'"), ("a\\b'", "e'a\\\\b'''")])
def test_literals_survive_any_setting(text, quoted):
    assert literal(text) == quoted


def test_values_are_fitted_once():
    assert fitted("@a@ @b@", {"a": "@b@", "b": "2"}) == "@b@ 2"
    assert "'R' and '@key@'" in work_schema(TABLE, "e.a = 'R' and '@key@' = ''", "me").replace("''", "'")


def test_a_copy_that_is_not_alike_is_told_apart():
    one = {("column", "a"): {"type": "text", "comment": None}, ("table", ""): {"acl": [1]}}
    assert differences(one, dict(one)) == []
    two = {("column", "a"): {"type": "text", "comment": "x"}, ("index", "i"): {}}
    assert differences(one, two) == ["column a: comment", "index i is too many", "table  is missing"]


FACTS = Facts(
    server_version=150000,
    time_index=True,
    full_page_writes=True,
    eligible=80,
    total=100,
    share=0.8,
    blocks=10,
    rewrite={"refused": [], "free_bytes": 10**12, "waits_for": ""},
)


def test_auto_rewrites_only_what_is_worth_it_and_safe():
    assert choose("auto", FACTS).strategy == "rewrite"
    assert choose("auto", replace(FACTS, share=0.4)).strategy == "delete"
    assert choose("auto", replace(FACTS, share=None)).strategy == "delete"
    for change in ({"free_bytes": None}, {"waits_for": "pg_dump"}, {"refused": ["it has row security"]}):
        facts = replace(FACTS, rewrite=dict(FACTS.rewrite, **change))
        assert choose("auto", facts).strategy == "delete"
        assert choose("rewrite", facts).strategy == (None if "refused" in change else "rewrite")
