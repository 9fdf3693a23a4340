# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption
from ansible_collections.phase.console.plugins.module_utils._upgrade.plan import (
    breaking,
    disk_need,
    failing_seconds,
    reads_failed,
    upgrade_plan,
    upgrade_summary,
    upgrade_target,
    with_tag,
)

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
BACKEND, FRONTEND = "phasehq/backend:v2.73.2", "phasehq/frontend:v2.73.2"


def component(image, image_id=OLD):
    return {"container": "c", "image": image, "image_id": image_id, "digest": None, "status": "running", "health": None}


def components(image_id=OLD):
    return {
        "backend": component("phasehq/backend:latest", image_id),
        "worker": component("phasehq/backend:latest", image_id),
        "frontend": component("phasehq/frontend:latest", image_id),
        "postgres": component("postgres:15"),
    }


def migration(name, breaks=(), statements=(), tables=()):
    return {
        "name": name,
        "summary": name + ": words",
        "breaks": list(breaks),
        "statements": list(statements),
        "tables": tables,
    }


INSERTS = "column x of api_app is NOT NULL without a default: the running version's inserts fail"
READS = "column type of api_secretevent is NOT NULL without a default: the running version's inserts fail (reads fail)"
GONE = "column x of api_app is dropped: the running version's reads and writes of the table fail"


def facts(**more):
    found = {
        "deployment": "docker",
        "components": components(),
        "external_migration": {"value": "true", "misspelt": False},
        "storage": {"free_bytes": None},
        "target": {"backend": BACKEND, "worker": BACKEND, "frontend": FRONTEND},
        "images": {BACKEND: NEW, FRONTEND: NEW},
        "release": "",
        "restart": {},
        "migrate": {"plan": [migration("api.0119", [READS])], "stopped_by": [], "leftover_indexes": []},
        "backup": {
            "mode": "made",
            "dest": "/b/",
            "max_age": 60,
            "manifest": None,
            "predicted": {"path": "/b/x.dump", "bytes_at_most": 10, "bytes_free": 100},
        },
        "state": {},
        "repair": False,
    }
    found.update(more)
    return found


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("phasehq/backend:latest", "phasehq/backend:v1"),
        ("phasehq/backend", "phasehq/backend:v1"),
        ("host:5000/phasehq/backend", "host:5000/phasehq/backend:v1"),
        ("host:5000/phasehq/backend:v0@sha256:00", "host:5000/phasehq/backend:v1"),
    ],
)
def test_another_tag(image, expected):
    assert with_tag(image, "v1") == expected


def test_a_digest_is_the_backends_and_stands_without_a_tag():
    found = upgrade_target(components(), wanted(version="v2.73.2@" + NEW))
    assert found == {"backend": "phasehq/backend@" + NEW, "worker": "phasehq/backend@" + NEW, "frontend": FRONTEND}
    named = wanted(backend_image="host:5000/backend:v1@" + NEW)
    assert upgrade_target(components(), named)["worker"] == "host:5000/backend@" + NEW
    with pytest.raises(BadOption, match="no digest"):
        upgrade_target(components(), wanted(version="v2.73.2@sha256:abc"))


def replicas(*image_ids, **more):
    found = [dict(component("i", one), container="c-%d" % number) for number, one in enumerate(image_ids)]
    return dict(found[0], containers=found, **more)


@pytest.mark.parametrize(
    ("image_ids", "phase", "before", "expected"),
    [
        ((NEW, NEW), None, (), []),
        ((NEW, NEW, OLD), None, (), ["worker"]),
        ((NEW, NEW), "rollout", (OLD, OLD), []),
        ((NEW, NEW), "rollout", (OLD, OLD, OLD), ["worker"]),  # one was just being replaced
        ((NEW, NEW), "done", (OLD, OLD, OLD), []),
    ],
)
def test_each_replica_counts(image_ids, phase, before, expected):
    seen = dict(components(NEW), worker=replicas(*image_ids))
    began_with = {"worker": replicas(*before)} if before else {}
    state = {"phase": phase, "run": "r", "notes": {"before": began_with}} if phase else {}
    plan = upgrade_plan(facts(components=seen, state=state))
    assert plan["rollout"] == expected
    assert any("worker" in line and ", %d replicas" % len(image_ids) in line for line in plan["text"])


def test_a_replica_that_is_not_well_is_told():
    worker = replicas(OLD, OLD)
    worker["containers"][1].update(status="exited")
    told = upgrade_plan(facts(components=dict(components(), worker=worker)))["warnings"]
    assert told == ["Replica c-1 of the worker is exited."]


def test_an_image_without_a_name_has_no_other_tag():
    with pytest.raises(BadOption, match="no name"):
        with_tag(OLD, "v1")


def wanted(**more):
    return {"deployment": "docker", "version": "", "backend_image": "", "frontend_image": "", "release": "", **more}


def test_a_version_is_a_tag_of_what_runs():
    assert upgrade_target(components(), wanted(version="v2.73.2")) == {
        "backend": BACKEND,
        "worker": BACKEND,
        "frontend": FRONTEND,
    }


def test_parts_that_do_not_exist_have_no_target():
    only = {"backend": component("phasehq/backend:latest")}
    assert upgrade_target(only, wanted(backend_image="x:1", frontend_image="y:1")) == {"backend": "x:1"}


def test_a_target_has_to_be_named():
    for deployment in ("docker", "local"):
        with pytest.raises(BadOption):
            upgrade_target(components(), wanted(deployment=deployment))


def text(plan):
    return "\n".join(plan["text"])


def test_the_whole_plan():
    plan = upgrade_plan(facts())
    assert plan["needed"] and plan["rollout"] == ["backend", "worker", "frontend"] and plan["stops"] == []
    assert plan["pending"] == ["api.0119"] and plan["reads_fail_from"] == "api.0119"
    assert "back up, then migrate, then replace backend, then replace worker, then replace frontend" in text(plan)
    assert "fail from api.0119" in text(plan) and "/b/x.dump" in text(plan)


def test_nothing_to_do():
    plan = upgrade_plan(facts(components=components(NEW), migrate={"plan": []}))
    assert not plan["needed"] and plan["rollout"] == [] and plan["pending"] == []
    assert "nothing to do" in plan["text"][0] and "Backup" not in text(plan)


def test_the_same_tag_with_another_image_is_an_upgrade():
    target = {"backend": "phasehq/backend:latest"}
    plan = upgrade_plan(facts(target=target, images={"phasehq/backend:latest": NEW}, migrate={"plan": []}))
    assert plan["needed"] and plan["rollout"] == ["backend"]
    assert "Not needed" in text(plan)


def test_an_image_that_is_not_here_yet():
    plan = upgrade_plan(facts(images={}, migrate=None))
    assert plan["needed"] and "not on this engine yet" in text(plan) and "get the images, then back up" in text(plan)


@pytest.mark.parametrize(
    ("causes", "expected"), [([], None), ([INSERTS], None), ([INSERTS, READS], "m"), ([GONE], "m")]
)
def test_what_stops_reads(causes, expected):
    assert breaking([migration("m", causes)]) == expected


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (
            {"backup": {"mode": "present", "dest": "/b/", "max_age": 60, "manifest": None, "predicted": None}},
            "No backup",
        ),
        (
            {
                "backup": {
                    "mode": "made",
                    "dest": "/b/",
                    "max_age": 0,
                    "manifest": None,
                    "predicted": {"path": "/b/x", "bytes_at_most": 2e9, "bytes_free": 1e9},
                }
            },
            "may take 2.0 GB and 1.0 GB is free",
        ),
        (
            {
                "migrate": {
                    "plan": [migration("m")],
                    "stopped_by": [{"migration": "m", "finding": "scan", "table": "t"}],
                }
            },
            "refuses m",
        ),
        ({"migrate": {"plan": [migration("m")], "leftover_indexes": [{"index": "i", "table": "t"}]}}, "repair_indexes"),
        (
            {
                "storage": {"free_bytes": 5},
                "migrate": {
                    "plan": [
                        migration(
                            "m", (), [{"class": "rewrite", "tables": [{"table": "t"}]}], [{"table": "t", "bytes": 10}]
                        )
                    ]
                },
            },
            "of disk",
        ),
    ],
)
def test_what_stands_in_the_way(change, word):
    plan = upgrade_plan(facts(**change))
    assert len(plan["stops"]) == 1 and word in plan["stops"][0] and "In the way:" in plan["text"]


def test_leftover_indexes_are_no_obstacle_where_they_may_be_repaired():
    change = {"migrate": {"plan": [migration("m")], "leftover_indexes": [{"index": "i", "table": "t"}]}}
    assert upgrade_plan(facts(repair=True, **change))["stops"] == []


def test_disk_that_migrations_need():
    rewrite = {"class": "rewrite", "tables": [{"table": "t"}]}
    index = {"class": "concurrent_index_build", "tables": [{"table": "t"}]}
    tables = [{"table": "t", "bytes": 800}, {"table": "new", "bytes": None}]
    assert (
        disk_need([migration("m", (), [rewrite, index, {"class": "catalog_only", "tables": [{"table": "t"}]}], tables)])
        == 900
    )


def test_what_to_mind():
    plan = upgrade_plan(facts(external_migration={"value": None, "misspelt": True}))
    assert len(plan["warnings"]) == 2 and "Mind:" in plan["text"]


LOCAL = {
    "deployment": "local",
    "target": {"release": "/r/new"},
    "images": {},
    "release": "/r/new",
    "restart": {"backend": ["x"], "worker": ["y"]},
}


def local(image, **more):
    return facts(components={"backend": dict(component(image), image_id=None)}, **LOCAL, **more)


def test_local_replaces_what_has_a_restart_command():
    assert upgrade_plan(local("/r/old"))["rollout"] == ["backend", "worker"]
    assert upgrade_plan(local("/r/new"))["rollout"] == []


def test_local_goes_on_with_what_was_not_restarted():
    state = {"phase": "rollout", "run": "r", "notes": {"rolled_out": ["backend"]}}
    plan = upgrade_plan(local("/r/new", state=state))
    assert plan["rollout"] == ["worker"] and "goes on with run r" in plan["text"][0]


@pytest.mark.parametrize(
    ("pending", "phase"),
    [([migration("api.0119", [READS])], "migrate"), ([], "rollout"), (None, "migrate")],
)
def test_a_run_that_was_interrupted_in_the_rollout_is_not_told_as_migrating(pending, phase):
    state = {"phase": "migrate", "run": "r", "notes": {}}
    migrate = None if pending is None else {"plan": pending, "stopped_by": [], "leftover_indexes": []}
    assert upgrade_plan(facts(state=state, migrate=migrate))["text"][0].endswith("interrupted in phase %s" % phase)


def test_summary():
    state = {
        "run": "r",
        "target": {"backend": BACKEND},
        "started": 0,
        "updated": 9,
        "times": {"backup": [0, 2], "migrate": [2, 9]},
        "notes": {
            "before": components(),
            "after": components(NEW),
            "pending": ["api.0119"],
            "applied": [{"name": "api.0119", "seconds": 1.5}, {"name": "api.0120", "seconds": None}],
            "backup": {"path": "/b/x", "bytes": 1500},
            "leaf": "api.0136",
        },
    }
    summary = upgrade_summary(state)
    assert summary["seconds"] == {"backup": 2, "migrate": 7}
    assert summary["before"]["backend"]["image_id"] == OLD and summary["after"]["backend"]["image_id"] == NEW
    words = "\n".join(summary["text"])
    for word in ("api.0119 (1.5 s)", "/b/x", "api.0136", OLD, NEW):
        assert word in words
    assert "postgres" not in words


def test_summary_of_a_run_without_migrations():
    state = {"run": "r", "target": {"backend": BACKEND}, "started": 0, "updated": 1, "times": {}, "notes": {}}
    assert "none was made" in "\n".join(upgrade_summary(state)["text"])


def test_how_long_reads_failed():
    applied = [{"name": "a", "seconds": 5.0}, {"name": "b", "seconds": 1.0}, {"name": "c", "seconds": 2.0}]
    notes = {"reads_fail_from": "b", "applied": applied, "migrated_at": 100.0, "backend_answered": 104.5}
    assert reads_failed(notes) == 7.5
    assert reads_failed(dict(notes, reads_fail_from=None)) is None
    assert reads_failed(dict(notes, applied=[])) is None
    assert reads_failed(dict(notes, applied=[{"name": "b", "seconds": None}])) is None


def test_a_guess_at_how_long_reads_will_fail():
    scan = {"class": "scan", "tables": [{"table": "t"}]}
    short = {"class": "catalog_only", "tables": [{"table": "t"}]}
    tables = [{"table": "t", "bytes": 200_000_000}]
    plan = [
        migration("a", (), [scan], tables),
        migration("b", [READS], [short], tables),
        migration("c", (), [scan], tables),
    ]
    assert failing_seconds(plan, "b", "docker") == round(0.6 + 10 + 15)
    assert failing_seconds(plan, "c", "local") == round(0.3 + 10 + 5)
    assert upgrade_plan(facts(migrate={"plan": plan}))["reads_fail_seconds"] == 26
    assert upgrade_plan(facts(migrate={"plan": plan[:1]}))["reads_fail_seconds"] is None


def in_kubernetes(pending, **more):
    found = {name: dict(one, replicas={"wanted": 2, "ready": 2}) for name, one in components().items()}
    managed = [{"manager": "helm", "name": "phase", "chart": "phase-1.0.1", "revision": 3}]
    migrate = {"plan": pending, "stopped_by": [], "leftover_indexes": []}
    kubernetes = {"deployment": "kubernetes", "components": found, "images": {}, "migrate": migrate}
    return facts(**{**kubernetes, "scale_down": True, "managed_by": managed, **more})


def test_in_kubernetes_what_does_not_survive_is_scaled_down_first():
    pending = [migration("api.0118"), migration("api.0119", [READS])]
    plan = upgrade_plan(in_kubernetes(pending))
    assert (plan["breaks_at"], plan["reads_fail_from"]) == ("api.0119", "api.0118")
    assert plan["scale_down"] == ["backend", "worker"] and plan["rollout"] == ["backend", "worker", "frontend"]
    for words in (
        "scale backend and worker to 0, then migrate",
        "2 replicas -> phasehq/backend:v2.73.2",
        "fail from the scaling down (the running version does not survive api.0119)",
        "global.version=v2.73.2",
    ):
        assert words in text(plan)
    going_on = upgrade_plan(in_kubernetes(pending, scale_down=False))
    assert going_on["scale_down"] == [] and going_on["reads_fail_from"] == "api.0119"


def test_in_kubernetes_what_survives_rolls_without_a_gap():
    plan = upgrade_plan(in_kubernetes([migration("api.0120")]))
    assert plan["breaks_at"] is None and plan["scale_down"] == [] and plan["reads_fail_seconds"] is None
    assert "each once its successor is ready" in text(plan)


def test_in_kubernetes_names_are_compared():
    at_target = in_kubernetes([])
    for name, image in at_target["target"].items():
        at_target["components"][name]["image"] = "docker.io/" + image
    assert upgrade_plan(at_target)["needed"] is False and "Helm" not in text(upgrade_plan(at_target))
    worker = at_target["components"]["worker"]
    worker.update(status="stopped", replicas={"wanted": 0, "ready": 0})
    assert upgrade_plan(at_target)["rollout"] == []
    worker["replicas"]["kept"] = 2  # by a run that was cut off
    plan = upgrade_plan(at_target)
    assert plan["rollout"] == ["worker"] and "2 replicas -> " in text(plan)
    assert "a name that moves" in text(upgrade_plan(in_kubernetes([], target={"backend": "phasehq/backend:latest"})))


def test_reads_fail_from_the_scaling_down():
    assert reads_failed({"scaled_down_at": 100.0, "backend_answered": 130.5}) == 30.5
    assert reads_failed({"scaled_down_at": 100.0}) is None
