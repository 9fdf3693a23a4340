# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrades on a cluster: a gap where the old version does not survive the migrations, and none where it does.

One instance, two backends, an autoscaler and a budget for each part; a client reads secrets all the while. The upgrades
run under the documentation's Role for them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from integration import accounts, targets, upgrades
from integration.harness import Ansible
from sandbox.client import Client
from sandbox.cluster.instance import Variant

OLD, MIDDLE, NEW = "v2.54.0", "v2.66.0", "v2.73.2"
BREAKS = "api.0119_secretevent_type_field"
KEPT = "phase.console/replicas"


@pytest.fixture(scope="module")
def instance(module_cluster_instance: Callable[..., Any]) -> Any:
    variant = Variant(autoscaling=(2, 4), disruption_budget=True)
    instance = module_cluster_instance(OLD, events=0, replicas=2, variant=variant)
    for version in (MIDDLE, NEW):
        instance.point_to(version)
    instance.account = accounts.acting(instance, "upgrade")
    return instance


def variables(instance: Any, version: str, **more: Any) -> dict[str, Any]:
    given = upgrades.variables(instance, version, phase_target=instance.account, **more)
    given["phase_upgrade_backup_dest"] += f"{version}/"
    return given


def runs(instance: Any) -> dict[str, tuple[str, int, int]]:
    """Image, generation and pods of each part."""
    found = {}
    for part in ("backend", "worker", "frontend"):
        deployment = instance.get("deployment", f"{instance.name}-{part}")
        image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        assert KEPT not in deployment["metadata"].get("annotations", {})
        found[part] = (image, deployment["metadata"]["generation"], len(instance.pods(part)))
    return found


def whole(instance: Any, version: str) -> None:
    """It is at this version, two pods of each part, nothing of ours is left, and the database agrees."""
    targets.until(lambda: all(count == 2 for _image, _number, count in runs(instance).values()), 60)
    images = [f"docker.io/phasehq/{image}:{version}" for image in ("backend", "backend", "frontend")]
    assert [image for image, _number, _count in runs(instance).values()] == images
    names = upgrades.ledger(instance)
    assert len(names) == len(set(names)) and f"api.{upgrades.LEAF[version]}" in names
    assert upgrades.invalid_indexes(instance) == [] and upgrades.state(instance)["phase"] == "done"
    left = json.loads(instance.kubectl("get", "jobs,pods", "--selector=phase.console/backend", "--output=json"))
    assert left["items"] == []


def test_a_check_shows_everything_and_changes_nothing(ansible: Ansible, instance: Any) -> None:
    before = runs(instance), upgrades.tables(instance)
    done = ansible.playbook("upgrade", variables(instance, MIDDLE), check=True)
    plan = done.custom["phase_upgrade"]["plan"]
    text = "\n".join(plan["text"])
    assert plan["needed"] and plan["breaks_at"] == BREAKS and plan["scale_down"] == ["backend", "worker"]
    assert "scale backend and worker to 0" in text and "2 replicas" in text
    assert "Helm release phase" in text and f"global.version={MIDDLE}" in text
    assert (runs(instance), upgrades.tables(instance)) == before


def test_a_migration_that_fails_in_time_leaves_the_old_version_serving(ansible: Ansible, instance: Any) -> None:
    """A column is there already that a migration adds before the one that the old version does not survive."""
    before = runs(instance)
    instance.sql("alter table api_app add description text")
    failed = ansible.playbook("upgrade", variables(instance, MIDDLE), expect_failure=True)
    instance.sql("alter table api_app drop description")
    assert failed.failed[0].action == "phase.console.phase_migrate", failed.stdout
    assert "The old version serves again." in failed.stdout
    after = runs(instance)
    assert [one[0] for one in after.values()] == [one[0] for one in before.values()]
    assert after["backend"][1] > before["backend"][1] and after["backend"][2] == 2
    assert instance.healthy()


def test_killed_while_it_is_scaled_down_and_while_it_rolls(ansible: Ansible, instance: Any) -> None:
    """The plan's gap, seen by the client; the autoscalers leave 0 replicas alone, and have them again at the end."""

    def backend() -> dict[str, Any]:
        return dict(instance.get("deployment", f"{instance.name}-backend"))

    with Client(instance.url) as client:
        run = ansible.popen_playbook("upgrade", variables(instance, MIDDLE))
        run.wait_for_output(": Migrate with the target's code]")
        assert instance.pods("backend") == [] and instance.pods("worker") == []
        time.sleep(3)
        targets.kill(run)
        time.sleep(18)  # longer than an autoscaler's period
        assert backend()["spec"]["replicas"] == 0 and backend()["metadata"]["annotations"][KEPT] == "2"
        second = ansible.popen_playbook("upgrade", variables(instance, MIDDLE))
        second.wait_until(lambda: backend()["spec"]["replicas"] == 2)
        targets.kill(second)
        done = ansible.playbook("upgrade", variables(instance, MIDDLE))
        time.sleep(2)
    whole(instance, MIDDLE)
    began, report = upgrades.state(instance)["notes"]["scaled_down_at"], client.report()
    early = [window for window in report.windows if window.begin < began - 1]
    assert report.failures and not early and report.windows[-1].end is not None, (report, began)
    record = done.custom["phase_upgrade"]
    assert record["before"]["backend"]["image_id"] != record["after"]["backend"]["image_id"]


def test_what_the_old_version_survives_rolls_without_a_gap(ansible: Ansible, instance: Any) -> None:
    with Client(instance.url) as client:
        run = ansible.popen_playbook("upgrade", variables(instance, NEW), diff=True, verbosity=3)
        done = run.wait()
        assert not done.failed, done.message
        time.sleep(2)
    for name, secret in [*instance.secrets.items(), ("token", instance.account["kubernetes"]["api_key"])]:
        assert secret not in run.output(), name
    whole(instance, NEW)
    plan = done.custom["phase_upgrade"]["plan"]
    assert plan["pending"] and plan["breaks_at"] is None and plan["reads_fail_seconds"] is None
    report = client.report()
    assert report.reads > 50 and report.failing_seconds < 0.5, report

    before = runs(instance)
    again = ansible.playbook("upgrade", variables(instance, NEW))
    assert again.changed == 0 and runs(instance) == before
