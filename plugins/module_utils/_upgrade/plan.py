# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an upgrade will do and what it did, as data and in words. Pure: facts in, plan out."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .._errors import BadOption
from .._operations.core.releases import in_words, releases_of
from .._operations.core.words import people_bytes
from .._target.base import external_warnings
from .._target.kubernetes_state import helm_warning, qualified
from .state import describe_target, durations

Facts = Mapping[str, Any]
# The order that keeps secrets readable: the old backend is the part that breaks on new tables.
ORDER = ("backend", "worker", "frontend")


def with_tag(image: str, tag: str) -> str:
    """The same repository with another tag, or tag and digest: ``host:5000/phasehq/backend:latest`` and ``v2.73.2``."""
    name = image.partition("@")[0]
    if not name or name.startswith("sha256:"):
        raise BadOption(
            "The running image has no name (%s), so its version cannot be replaced." % image,
            "Set phase_upgrade_backend_image (and phase_upgrade_frontend_image).",
        )
    folder, slash, last = name.rpartition("/")
    return by_digest(folder + slash + last.partition(":")[0] + ":" + tag)


def by_digest(image: str) -> str:
    """``phasehq/backend:v2.73.2@sha256:...`` without its tag, which an engine does not look at beside a digest. So only
    an image with that very digest is found, and run."""
    name, at, digest = image.partition("@")
    if not at:
        return image
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise BadOption("%s has no digest after its @." % image, "Write it like v2.73.2@sha256:, with 64 hex digits.")
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(":")[0] + at + digest


def upgrade_target(components: Mapping[str, Mapping[str, Any]], wanted: Facts) -> Dict[str, str]:
    """What each part should run, by component (local: ``release``), from the role's options.

    ``wanted``: ``deployment``, ``version``, ``backend_image``, ``frontend_image``, ``release``. Parts that the instance
    does not have are left out. Raises BadOption when nothing says where the upgrade leads.
    """
    if wanted["deployment"] == "local":
        if not wanted["release"]:
            raise BadOption("No release is named.", "Set phase_upgrade_release to the folder of the new checkout.")
        return {"release": wanted["release"]}
    target = {}
    for name in ("backend", "frontend"):
        image = wanted[name + "_image"]
        if not image and wanted["version"] and name in components:
            # A digest is one image's, and that is the backend's.
            version = wanted["version"] if name == "backend" else wanted["version"].partition("@")[0]
            image = with_tag(components[name]["image"], version)
        if image and name in components:
            target[name] = by_digest(image)
    if "backend" not in target:
        raise BadOption(
            "No target is named.", "Set phase_upgrade_version, such as v2.73.2, or phase_upgrade_backend_image."
        )
    if "worker" in components:
        target["worker"] = target["backend"]
    return target


def _short(image_id: Optional[str]) -> str:
    return (image_id or "not here yet").rpartition("sha256:")[2][:12]


def failing_seconds(migrations: List[Facts], first: str, deployment: str) -> int:
    """A guess at how long reads will fail: from migration ``first`` until the new backend answers.

    Measured on a sandbox of 1 M events and two busy cores: 0.3 s for each of 22 migrations, 15 s to replace a container
    (5 s to restart a process); tables that are read or written whole at 20 MB/s.
    """
    names = [entry["name"] for entry in migrations]
    after = migrations[names.index(first) :]
    work = sum(
        size for entry in after for kind, size in _statement_sizes(entry) if kind not in ("none", "catalog_only")
    )
    return round(0.3 * len(after) + work / 20e6 + (5 if deployment == "local" else 15))


def _statement_sizes(migration: Facts) -> List[Tuple[str, int]]:
    """Each statement's class and the bytes of the tables that it touches."""
    sizes = {table["table"]: table.get("bytes") or 0 for table in migration.get("tables") or []}
    return [
        (statement["class"], sum(sizes.get(table["table"], 0) for table in statement["tables"]))
        for statement in migration.get("statements") or []
    ]


def rollout(facts: Facts) -> List[str]:
    """The parts that do not run what they should, in the order of their replacement."""
    if facts["deployment"] == "local":
        state = facts["state"]
        restarts = [name for name in ORDER if name in facts["restart"]]
        if facts["components"]["backend"]["image"] != facts["release"]:
            return restarts or ["backend"]
        begun = bool(state) and state["phase"] != "done"
        return [name for name in restarts if begun and name not in state["notes"].get("rolled_out", [])]
    return [name for name in ORDER if name in facts["target"] and _due(facts, name)]


def containers(component: Facts) -> List[Facts]:
    """All containers of a part."""
    return component.get("containers") or [component]


def _due(facts: Facts, name: str) -> bool:
    """Whether a container of the part runs another image, or is one that an interrupted run was just replacing.

    Of a Deployment, images are compared by name: their ids are known once they run.
    """
    component, image = facts["components"][name], facts["target"][name]
    if facts["deployment"] == "kubernetes":
        return qualified(component["image"]) != qualified(image) or "kept" in component["replicas"]
    wanted, state = facts["images"].get(image), facts["state"]
    now = containers(component)
    began_with = state["notes"].get("before", {}) if state and state["phase"] in ("migrate", "rollout") else {}
    before = {one["container"] for one in containers(began_with[name])} if name in began_with else set()
    return any(one["image_id"] != wanted for one in now) or bool(
        before - {one["container"] for one in now if one["status"] == "running"}
    )


def stops_reads(cause: str) -> bool:
    """Whether a break of the running version, in phase_migrate's words, stops it from reading secrets.

    A read inserts into api_secretevent (Phase v2.37.2 to v2.73.2), so another table's failing inserts do not; a column
    or table that is gone may.
    """
    return "api_secretevent" in cause or "inserts fail" not in cause


def breaking(migrations: List[Facts]) -> Optional[str]:
    """The first migration after which the running version cannot read secrets."""
    return next((str(entry["name"]) for entry in migrations if any(map(stops_reads, entry["breaks"]))), None)


def scale_down(facts: Facts) -> List[str]:
    """The parts that are scaled to 0 before the migrations: in Kubernetes, what does not survive them."""
    breaks = facts["migrate"] and breaking(facts["migrate"]["plan"])
    allowed = facts["deployment"] == "kubernetes" and facts["scale_down"]
    return [name for name in rollout(facts) if name != "frontend"] if allowed and breaks else []


def failing_from(facts: Facts) -> Optional[str]:
    """The migration with which reads begin to fail: the first of all where the backend is scaled to 0 before."""
    migrations = facts["migrate"]["plan"] if facts["migrate"] else []
    return str(migrations[0]["name"]) if scale_down(facts) else breaking(migrations)


def _component_lines(facts: Facts, parts: List[str]) -> List[str]:
    if facts["deployment"] == "local":
        return ["  %s -> %s" % (facts["components"]["backend"]["image"], facts["release"])]
    lines = []
    for name in ORDER:
        if name not in facts["components"]:
            continue
        component, image = facts["components"][name], facts["target"].get(name)
        images = ["%s (%s)" % (one["image"], _short(one["image_id"])) for one in containers(component)]
        line = "  %-9s %s" % (name, " and ".join(sorted(set(images))))
        counts = component.get("replicas") or {"wanted": len(images)}
        if counts["wanted"] > 1 or "kept" in counts:
            line += ", %d replicas" % counts.get("kept", counts["wanted"])
        if name in parts:
            line += " -> %s" % image
            line += "" if facts["deployment"] == "kubernetes" else " (%s)" % _short(facts["images"].get(image))
        else:
            line += ", stays" if image else ", stays: no target image is named for it"
        lines.append(line)
    return lines


def _migration_head(facts: Facts, pending: List[str]) -> str:
    migrate = facts["migrate"] or {}
    head = "Migrations: %d pending" % len(pending) if facts["migrate"] is not None else "Migrations"
    if migrate.get("from_release") and migrate.get("to_release"):
        head += ", database of %s, to %s" % (in_words(migrate["from_release"]), migrate["to_release"])
    return head


def _migration_lines(facts: Facts) -> List[str]:
    if facts["migrate"] is None:
        return ["  Not known: the target image is not on this engine yet. A real run gets it and tells before it acts."]
    pending = facts["migrate"]["plan"]
    if not pending:
        return ["  None pending."]
    return ["  %s" % entry["summary"] for entry in pending]


def _release_lines(releases: List[Dict[str, Any]]) -> List[str]:
    return [
        "  %s (%d migration%s): %s"
        % (
            one["release"] or "newer than this collection knows",
            len(one["migrations"]),
            "" if len(one["migrations"]) == 1 else "s",
            one["notes"],
        )
        for one in releases
    ]


def _reads_line(facts: Facts) -> str:
    if facts["migrate"] is None:
        return "  Not known before the migrations are."
    first = failing_from(facts)
    if first is None:
        how = {
            "local": ", but for the seconds of the restart.",
            "kubernetes": ": the Deployments replace their pods, by Phase's chart each once its successor is ready.",
        }.get(facts["deployment"], ", and fail for the seconds in which the backend is replaced.")
        return "  They go on, waiting for locks as told above%s" % how
    breaks = breaking(facts["migrate"]["plan"])
    begin = (
        "the scaling down (the running version does not survive %s)"
        if scale_down(facts)
        else ("%s, which the running version does not survive,")
    )
    return (
        "  They fail from %s until the new backend answers: for about %d s, by the migrations from there on, the "
        "sizes of their tables and one start of the backend."
        % (begin % breaks, failing_seconds(facts["migrate"]["plan"], first, facts["deployment"]))
    )


def _backup_line(facts: Facts) -> str:
    backup = facts["backup"]
    noted = facts["state"] and facts["state"]["phase"] != "done" and facts["state"]["notes"].get("backup")
    if noted:
        return "  Made by the run that was cut off: %s." % noted["path"]
    if backup["mode"] == "none":
        return "  None: phase_upgrade_backup=none. Migrations are one-way."
    if not needs_backup(facts):
        return "  Not needed: no migration is pending."
    if backup["manifest"]:
        return "  There: %s, of %s (%s)." % (
            backup["manifest"]["path"],
            backup["manifest"]["started"],
            people_bytes(backup["manifest"]["bytes"]),
        )
    predicted = backup["predicted"]
    if predicted is None:
        return "  Will be made once it is known that migrations are pending."
    return "  Will be made: %s, at most %s (%s free)." % (
        predicted["path"],
        people_bytes(predicted["bytes_at_most"]),
        people_bytes(predicted["bytes_free"]),
    )


def needs_backup(facts: Facts) -> bool:
    """Only migrations can lose data; a change of images alone can be undone."""
    return facts["migrate"] is None or bool(facts["migrate"]["plan"])


def stops(facts: Facts) -> List[str]:
    """What stands in the way, each with the way out."""
    found = []
    backup = facts["backup"]
    predicted = backup["predicted"]
    pending = facts["migrate"] is not None and bool(facts["migrate"]["plan"])
    if backup["mode"] == "present" and pending and not backup["manifest"]:
        found.append(
            "No backup younger than %d s of this database is at %s. Make one with phase_backup, or set "
            "phase_upgrade_backup=made." % (backup["max_age"], backup["dest"])
        )
    if backup["mode"] == "made" and pending and predicted and predicted["bytes_free"] < predicted["bytes_at_most"]:
        found.append(
            "The backup may take %s and %s is free at %s. Free some space, or name another phase_upgrade_backup_dest."
            % (people_bytes(predicted["bytes_at_most"]), people_bytes(predicted["bytes_free"]), predicted["path"])
        )
    for item in (facts["migrate"] or {}).get("stopped_by") or []:
        found.append(
            "phase_upgrade_stop_on refuses %s: %s%s. Plan a window for it, then run without that finding."
            % (item["migration"], item["finding"], " on " + item["table"] if item["table"] else "")
        )
    for item in (facts["migrate"] or {}).get("leftover_indexes") or [] if not facts["repair"] else []:
        found.append(
            "An interrupted migration left index %s on %s behind. Set phase_upgrade_repair_indexes=true to have it "
            "dropped and built again." % (item["index"], item["table"])
        )
    need, free = disk_need(facts["migrate"]["plan"]) if pending else 0, facts["storage"].get("free_bytes")
    if free is not None and need > free:
        found.append(
            "The migrations may take %s of disk and %s is free where PostgreSQL keeps its data. Free some space."
            % (people_bytes(need), people_bytes(free))
        )
    return found


def disk_need(migrations: List[Facts]) -> int:
    """Bytes that rewritten tables take beside the old ones, and an eighth of the table for each index that is built.

    A guess on the safe side; 12 indexes of Phase's largest table take less than its heap.
    """
    share = {"rewrite": 1.0, "index_build": 0.125, "concurrent_index_build": 0.125}
    return int(sum(share.get(kind, 0) * size for migration in migrations for kind, size in _statement_sizes(migration)))


def warnings(facts: Facts) -> List[str]:
    found = external_warnings(facts["external_migration"], facts["deployment"])
    for name in ORDER if facts["deployment"] != "local" else ():
        replicas = containers(facts["components"][name]) if name in facts["components"] else []
        for one in replicas if len(replicas) > 1 else []:
            if one["status"] != "running" or one["health"] not in (None, "healthy"):
                how = one["health"] if one["status"] == "running" else one["status"]
                found.append("Replica %s of the %s is %s." % (one["container"], name, how))
    for name in ("backend", "frontend"):
        if name in facts["components"] and name not in facts["target"] and facts["deployment"] != "local":
            found.append("The %s is not upgraded: no image is named for it." % name)
    if facts["deployment"] == "kubernetes":
        found += _kubernetes_warnings(facts)
    return found


def _kubernetes_warnings(facts: Facts) -> List[str]:
    releases = [one["name"] for one in facts["managed_by"] if one["manager"] == "helm"] if rollout(facts) else []
    moving = [name for name in sorted(facts["target"]) if qualified(facts["target"][name]).endswith(":latest")]
    return [helm_warning(name, facts["target"]["backend"]) for name in releases] + [
        "The %s's image %s is a name that moves. Kubernetes compares names and does not notice a newer image: name a "
        "version or a digest." % (name, facts["target"][name])
        for name in moving
    ]


def upgrade_plan(facts: Facts) -> Dict[str, Any]:
    """``needed``, ``pending``, ``releases`` (``core/releases.releases_of``), ``rollout``, ``breaks_at`` (the migration
    that the running version does not survive), ``scale_down`` (parts), ``reads_fail_from``, ``reads_fail_seconds``,
    ``stops``, ``warnings``, and ``text`` as lines.

    ``facts``: ``deployment``, ``components``, ``external_migration`` and ``storage`` as phase_info tells them;
    ``target`` as from ``upgrade_target``; ``images`` (id by name); ``release`` (local: resolved folder); ``restart``
    (local: argument lists by component); ``migrate`` (phase_migrate in check mode, null while the image is missing);
    ``backup`` (``mode``, ``dest``, ``max_age``, ``manifest``, ``predicted``); ``state``; ``repair``; kubernetes:
    ``managed_by`` as phase_info tells it, ``scale_down`` (whether that may be done).
    """
    parts, first = rollout(facts), failing_from(facts)
    pending = [str(entry["name"]) for entry in facts["migrate"]["plan"]] if facts["migrate"] else []
    needed = bool(parts or pending or facts["migrate"] is None)
    state = facts["state"]
    head = "Upgrade to %s" % describe_target(facts["target"])
    if state and state["phase"] != "done":
        head += ": goes on with run %s, which was interrupted in phase %s" % (state["run"], _interrupted_in(facts))
    elif not needed:
        head += ": nothing to do"
    text = [head, "Parts:"] + _component_lines(facts, parts)
    text += [_migration_head(facts, pending)] + _migration_lines(facts)
    releases = releases_of(pending)
    if releases:
        text += ["Releases in between that bring them, with their notes:"] + _release_lines(releases)
    if needed:
        text += ["Backup:", _backup_line(facts), "Reads of secrets:", _reads_line(facts)]
        text += ["Order:", "  " + ", then ".join(_order(facts, parts, pending))]
    told, blocked = warnings(facts), stops(facts)
    if told:
        text += ["Mind:"] + ["  " + line for line in told]
    if blocked:
        text += ["In the way:"] + ["  " + line for line in blocked]
    return {
        "needed": needed,
        "pending": pending,
        "releases": releases,
        "rollout": parts,
        "breaks_at": breaking(facts["migrate"]["plan"]) if facts["migrate"] else None,
        "scale_down": scale_down(facts),
        "reads_fail_from": first,
        "reads_fail_seconds": failing_seconds(facts["migrate"]["plan"], first, facts["deployment"]) if first else None,
        "stops": blocked,
        "warnings": told,
        "text": text,
    }


def _interrupted_in(facts: Facts) -> str:
    """The phase that an unfinished run was in. It writes down the rollout only once the first part is replaced."""
    phase = str(facts["state"]["phase"])
    migrated = facts["migrate"] is not None and not facts["migrate"]["plan"]
    return "rollout" if phase == "migrate" and migrated else phase


def _order(facts: Facts, parts: List[str], pending: List[str]) -> List[str]:
    steps = []
    if facts["migrate"] is None:
        steps.append("get the images")
    if needs_backup(facts) and facts["backup"]["mode"] == "made" and not facts["backup"]["manifest"]:
        steps.append("back up")
    if scale_down(facts):
        steps.append("scale %s to 0" % " and ".join(scale_down(facts)))
    if pending or facts["migrate"] is None:
        steps.append("migrate")
    return steps + ["replace %s" % name for name in parts] + ["verify"]


def upgrade_summary(state: Facts) -> Dict[str, Any]:
    """The record of a finished upgrade, and ``text``: its closing words as lines."""
    notes = state["notes"]
    times = durations(dict(state))
    text = [
        "Upgraded to %s in %.0f s (run %s)"
        % (describe_target(state["target"]), sum(seconds for _phase, seconds in times), state["run"])
    ]
    text.append("Phases: " + ", ".join("%s %.0f s" % pair for pair in times))
    after = notes.get("after") or {}
    for name, old in sorted((notes.get("before") or {}).items()):
        new = after.get(name) or {}
        if name in ORDER:
            text.append("  %-9s %s -> %s" % (name, _identity(old), _identity(new)))
    text.append("Migrations applied: %d" % len(notes.get("pending") or []))
    for entry in notes.get("applied") or []:
        took = entry["seconds"]
        text.append("  %s (%s)" % (entry["name"], "another run did it" if took is None else "%.1f s" % took))
    failing = reads_failed(notes)
    if failing is not None:
        text.append(
            "Reads of secrets failed for up to %.0f s, from %s until the new backend answered"
            % (failing, "the scaling down" if "scaled_down_at" in notes else notes["reads_fail_from"])
        )
    backup = notes.get("backup")
    text.append(
        "Backup: %s" % ("%s (%s)" % (backup["path"], people_bytes(backup["bytes"])) if backup else "none was made")
    )
    if notes.get("leaf"):
        text.append("Database and image agree on %s" % notes["leaf"])
    return {
        "run": state["run"],
        "target": state["target"],
        "before": notes.get("before") or {},
        "after": after,
        "applied": notes.get("applied") or [],
        "pending": notes.get("pending") or [],
        "backup": backup,
        "backend_answered": notes.get("backend_answered"),
        "reads_failed_seconds": failing,
        "seconds": dict(times),
        "text": text,
    }


def reads_failed(notes: Facts) -> Optional[float]:
    """Seconds from the migration that the old version did not survive, or its scaling down, until the new backend
    answered.

    None where there was none, or where the run was cut off in between.
    """
    if "scaled_down_at" in notes and "backend_answered" in notes:
        return float(notes["backend_answered"] - notes["scaled_down_at"])
    applied = notes.get("applied") or []
    names = [entry["name"] for entry in applied]
    if notes.get("reads_fail_from") not in names or any(entry["seconds"] is None for entry in applied):
        return None
    after = applied[names.index(notes["reads_fail_from"]) :]
    return float(sum(entry["seconds"] for entry in after) + notes["backend_answered"] - notes["migrated_at"])


def _identity(component: Facts) -> str:
    digest = component.get("digest") or component.get("image_id")
    return "%s%s" % (component.get("image"), " (%s)" % digest if digest else "")
