# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.phase.console.plugins.module_utils._operations.core.releases import RELEASES, release_of
from ansible_collections.phase.console.plugins.module_utils._operations.migration.graph import (
    Graph,
    dotted,
    duplicates,
    inconsistent,
    known,
    leaves,
    unknown,
)


def key(name):
    return tuple(name.split("."))


def graph(**parents):
    """``a_1="a.0", ...`` as a graph: node a.1 depends on a.0."""
    nodes = {key(node.replace("_", ".")): [key(p) for p in names.split()] for node, names in parents.items()}
    return Graph(parents=nodes, disk=sorted(nodes))


CHAIN = graph(api_1="", api_2="api.1", api_3="api.2 auth.1", auth_1="")


def keys(*names):
    return [key(name) for name in names]


def test_a_database_ahead_has_rows_that_the_image_does_not_know():
    assert unknown(CHAIN, keys("api.1", "api.9", "other.1")) == keys("api.9", "other.1")
    assert unknown(CHAIN, keys("api.1", "auth.1")) == []


def test_what_a_squashed_migration_replaced_is_known():
    squashed = Graph(parents={key("api.s"): []}, disk=keys("api.s"), replaced={key("api.s"): keys("api.1", "api.2")})
    assert unknown(squashed, keys("api.1", "api.2")) == []
    assert dotted(known(squashed)) == ["api.1", "api.2", "api.s"]


def test_every_gap_is_named_across_apps():
    assert inconsistent(CHAIN, keys("api.3", "api.1")) == [
        (key("api.3"), key("api.2")),
        (key("api.3"), key("auth.1")),
    ]
    assert inconsistent(CHAIN, keys("api.1", "api.2", "api.3", "auth.1")) == []


def test_a_squashed_dependency_counts_when_all_that_it_replaces_is_applied():
    squashed = graph(api_s="", api_3="api.s")
    squashed.replaced = {key("api.s"): keys("api.1", "api.2")}
    assert inconsistent(squashed, keys("api.1", "api.2", "api.3")) == []
    assert inconsistent(squashed, keys("api.1", "api.3")) == [(key("api.3"), key("api.s"))]


def test_leaves_come_from_the_graph_and_not_from_names():
    """v2.69.0 of Phase added 0118_auditevent after v2.68.0 had 0126."""
    later = graph(api_0126="", api_0118="api.0126", auth_1="api.0118")
    assert leaves(later, keys("api.0126", "api.0118", "auth.1")) == keys("api.0118", "auth.1")
    assert leaves(later, keys("api.0126")) == keys("api.0126")


def test_duplicate_rows_with_their_ids():
    rows = [(1, "api", "1"), (2, "api", "2"), (7, "api", "1")]
    assert duplicates(rows) == [{"name": "api.1", "ids": [1, 7]}]


def test_the_release_is_the_newest_of_which_nothing_is_missing():
    names = dict(RELEASES)
    applied = [("api", name) for release, added in RELEASES for name in added]
    assert release_of(applied) == "v2.73.0"
    assert release_of(item for item in applied if item[1] not in names["v2.59.0"]) == "v2.54.0"
    assert release_of(item for item in applied if item[1] not in names["v2.73.0"][-1:]) == "v2.71.0"
    assert release_of([]) == ""


def test_no_migration_is_in_two_releases():
    names = [name for release, added in RELEASES for name in added]
    assert len(names) == len(set(names))
