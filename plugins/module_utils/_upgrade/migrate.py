# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""phase_migrate: plan, refuse what must not run, apply, and say what happened."""

from __future__ import annotations

import secrets
import socket
from typing import Any, Dict, List, Optional

from .._call.argspec import APPLICATION, ArgumentSpec, duration, timeouts
from .._call.module import Call
from .._errors import PhaseError
from .._operations.core.releases import in_words
from .._operations.migration import operation as migrations
from .._operations.migration.errors import (
    ConflictingMigrations,
    DatabaseAhead,
    InconsistentHistory,
    LeftoverIndex,
    StoppedByFinding,
)
from .._operations.migration.plan import FINDINGS, refused
from .._operations.migration.types import ApplyRequest, LeftoverFacts, MigrationPlan, RefusedFinding
from .._target.base import external_warnings
from . import migration_job

Facts = Dict[str, Any]

SPEC = ArgumentSpec(
    {
        "state": {"default": "migrated"},
        "stuck_after": {"default": "60s"},
        "image": {},
        "timeout": {"default": "2h"},
        "wait_for_lock": {"default": "20s"},
        "lock_retries": {"type": "int", "default": 8},
        "stop_on": {"type": "list", "elements": "str", "choices": list(FINDINGS), "default": []},
        "stop_on_min_rows": {"type": "int", "default": 1},
        "repair_indexes": {"type": "bool", "default": False},
    },
    states=["migrated", "info", "cleared", "started"],
    deployments=APPLICATION,
    instead="Migrating needs the application. phase_info with gather_subset=migrations reads the ledger.",
)


def run(call: Call) -> Dict[str, Any]:
    """The module's result."""
    return migrated(call) if call.params["state"] == "migrated" else migration_job.run(call)


def migrated(call: Call) -> Dict[str, Any]:
    running = call.target.describe()
    image = call.params["image"]
    plan = call.run(migrations.plan, plan_request(call), image=image)
    result = shown(plan, running, image)
    refuse(plan, result)
    for text in warnings(plan, running["external_migration"], call.params):
        call.warn(text)
    if call.check and plan["pending"] and plan["leftover_indexes"] and not call.params["repair_indexes"]:
        raise left_behind(plan["leftover_indexes"], result)
    found = refused(plan["plan"], call.params["stop_on"], call.params["stop_on_min_rows"])
    if call.check:
        return dict(result, stopped_by=found)
    if plan["pending"] and found:
        raise stopped(found, result)
    if not plan["pending"]:
        return result
    try:
        outcome = apply(call, plan, image, result)
    except PhaseError as error:
        error.partial = failed(result, error.partial)
        raise
    for text in outcome_warnings(outcome):
        call.warn(text)
    return outcome


def plan_request(call: Call) -> Facts:
    """An image brings its packages; of a checkout they are looked at."""
    return {"packages": call.params["deployment"] == "local"}


def apply(call: Call, plan: MigrationPlan, image: Optional[str], result: Facts) -> Facts:
    """Run the migrations; a run of an earlier call that was joined may have had less to do than this one."""
    request = apply_request(call.params, plan, result["image"]["name"])
    outcome: Facts = dict(result, **call.run(migrations.apply, request, image=image, detached=True))
    if outcome["joined"]:
        after = call.run(migrations.plan, plan_request(call), image=image)
        refuse(after, outcome)
        if after["pending"]:
            request = apply_request(call.params, after, result["image"]["name"])
            rest = call.run(migrations.apply, request, image=image, detached=True)
            outcome.update(rest, joined=True, applied=outcome["applied"] + rest["applied"])
    outcome["changed"] = bool(outcome["applied"] or outcome["repaired_indexes"])
    done = [item["name"] for item in outcome["applied"]] + outcome["applied_elsewhere"]
    outcome["diff"] = difference(plan, done)
    return outcome


def apply_request(params: Any, plan: MigrationPlan, image: str) -> ApplyRequest:
    return {
        "host": socket.gethostname(),
        "run": secrets.token_hex(3),
        "image": image,
        "pending": plan["pending"],
        "known": plan["known"],
        "non_atomic": [entry["name"] for entry in plan["plan"] if not entry["atomic"]],
        "indexes": migrations.planned_indexes(plan["plan"]),
        "lock_timeout": timeouts(params)["lock"],
        "retries": params["lock_retries"],
        "wait_for_lock": duration("wait_for_lock", params["wait_for_lock"]),
        "repair_indexes": params["repair_indexes"],
    }


def shown(plan: MigrationPlan, running: Facts, image: Optional[str]) -> Facts:
    """The result of a run that does nothing, which is what check mode returns."""
    inner = ("conflicts", "known", "server_version")
    result: Facts = {key: value for key, value in plan.items() if key not in inner}
    result["image"] = {
        "name": image or running["image"],
        "running": running["image"],
        "running_id": running["image_id"],
        "running_digest": running["digest"],
    }
    result["summary"] = summary(plan)
    result["diff"] = difference(plan, plan["pending"])
    return dict(
        result,
        changed=bool(plan["pending"]),
        applied=[],
        applied_elsewhere=[],
        joined=False,
        retries=0,
        repaired_indexes=[],
        post_migrate_failed=None,
        external_migration=running["external_migration"],
    )


def refuse(plan: MigrationPlan, result: Facts) -> None:
    """Raise for what no option allows. ``migrate`` itself would run on a database ahead of its image."""
    partial = failed(result, {})
    name = result["image"]["name"]
    if plan["unknown"]:
        raise DatabaseAhead(plan["unknown"], name, partial)
    if plan["inconsistent"]:
        pairs = [
            "%(migration)s is applied and %(dependency)s, which it needs, is not" % p for p in plan["inconsistent"]
        ]
        raise InconsistentHistory(
            "The ledger django_migrations has gaps: %s." % "; ".join(pairs[:3]),
            "Nothing can be migrated safely from here. Restore a backup, or find out who changed the ledger.",
            partial=partial,
        )
    if plan["conflicts"]:
        apps = ["%s (%s)" % (app, ", ".join(names)) for app, names in sorted(plan["conflicts"].items())]
        raise ConflictingMigrations(
            "The migrations of %s end in more than one leaf: %s." % (name, "; ".join(apps)),
            "Use a released image of Phase's backend.",
            partial=partial,
        )


def failed(result: Facts, partial: Facts) -> Facts:
    """What a failure returns: the facts of the plan without its bulk, and what was done."""
    facts = {key: value for key, value in result.items() if key not in ("plan", "summary", "diff")}
    changed = bool(partial.get("applied") or partial.get("repaired_indexes"))
    return dict(facts, **dict(partial, changed=changed))


def left_behind(indexes: List[LeftoverFacts], result: Facts) -> LeftoverIndex:
    """What a real run is refused with, for check mode: it has to fail where that would."""
    names = ", ".join(
        "%s on %s (%s)" % (item["index"], item["table"], "valid" if item["valid"] else "INVALID") for item in indexes
    )
    return LeftoverIndex(
        "An interrupted migration left indexes behind: %s. Its next run would fail because they exist." % names,
        "Set repair_indexes=true to drop them concurrently and go on with the migration.",
        partial=failed(result, {}),
    )


def stopped(found: List[RefusedFinding], result: Facts) -> StoppedByFinding:
    texts = [
        "%s: %s%s" % (item["migration"], item["finding"], " on " + item["table"] if item["table"] else "")
        for item in found
    ]
    more = " and %d more" % (len(texts) - 5) if len(texts) > 5 else ""
    return StoppedByFinding(
        "stop_on refuses this plan: %s%s. Nothing was changed." % ("; ".join(texts[:5]), more),
        "Plan a window for it, then run without these in stop_on.",
        partial=dict(result, changed=False, stopped_by=found),
    )


# For people


def summary(plan: MigrationPlan) -> List[str]:
    """Lines for people: one for the whole, one for each migration."""
    here = in_words(plan["from_release"])
    if not plan["pending"]:
        return ["Nothing is pending; the database is at %s." % here]
    count = len(plan["pending"])
    first = "%d migration%s pending, database of %s, to %s." % (
        count,
        "" if count == 1 else "s",
        here,
        plan["to_release"] or "an unknown release",
    )
    return [first] + [entry["summary"] for entry in plan["plan"]]


def difference(plan: MigrationPlan, applied: List[str]) -> Dict[str, str]:
    """The ledger before and after: its leaves, and what is still to come."""
    done = set(applied)
    left = [name for name in plan["pending"] if name not in done]
    after = plan["to_leaves"] if not left else sorted(set(plan["from_leaves"]) | done)

    def text(leaves: List[str], pending: List[str]) -> str:
        return "".join("leaf %s\n" % name for name in leaves) + "".join("pending %s\n" % name for name in pending)

    return {
        "before_header": "django_migrations",
        "after_header": "django_migrations",
        "before": text(plan["from_leaves"], plan["pending"]),
        "after": text(after, left),
    }


def warnings(plan: MigrationPlan, external: Facts, params: Any) -> List[str]:
    found = external_warnings(external, params["deployment"])
    for duplicate in plan["duplicates"]:
        found.append(
            "%s has %d rows in django_migrations: two migrates ran at once. It does no harm."
            % (duplicate["name"], len(duplicate["ids"]))
        )
    return found


def outcome_warnings(outcome: Facts) -> List[str]:
    failed = outcome["post_migrate_failed"]
    if not failed:
        return []
    return [
        "All migrations were applied, and migrate then ended with exit code %s: %s. Is redis up? The step after the "
        "migrations schedules Phase's licence check there." % (failed["exit_code"], " / ".join(failed["output"][-3:]))
    ]
