# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the upgrade share: its variables for each kind of instance, and what is seen from outside."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from integration.forks import eventually
from integration.harness import target
from sandbox.postgresql import programs

LEAF = {
    "v2.54.0": "0112_secretevent_secret_event_history_idx_and_more",
    "v2.66.0": "0119_secretevent_type_field",
    "v2.73.2": "0136_logstream_unresolved_idx",
}
TESTS = Path(__file__).resolve().parents[1]


def state_dir(instance: Any) -> Path:
    return Path(instance.directory) / "state"


def backups(instance: Any) -> list[Path]:
    """Everything in the folder of backups, hidden files included."""
    folder = Path(instance.directory) / "backups"
    return sorted(folder.iterdir()) if folder.exists() else []


def variables(instance: Any, version: str = "v2.73.2", **more: Any) -> dict[str, Any]:
    """The role's variables for an upgrade of this instance, backup and state inside its folder."""
    common = {
        "phase_upgrade_version": version,
        "phase_upgrade_backup_dest": f"{instance.directory}/backups/",
        "phase_upgrade_state_dir": str(state_dir(instance)),
        "phase_upgrade_health_timeout": 60,
        "phase_upgrade_stop_timeout": 5,
    }
    options = target(instance)
    if options["deployment"] == "local":
        restart = ["env", f"PYTHONPATH={TESTS}", sys.executable, "-m", "sandbox", "restart"]
        common.update(
            phase_upgrade_release=str(instance.release(version)),
            phase_upgrade_local_restart={
                part: [*restart, part, "--dir", str(instance.directory)] for part in ("backend", "worker")
            },
            phase_upgrade_backup_pg_bin_dir=str(programs()),
            phase_upgrade_health_url=f"{instance.url}/health/",
        )
    elif options["deployment"] != "kubernetes":
        options["docker"] = {"docker_host": instance.engine.host}
    return {**common, "phase_target": options, **more}


def state(instance: Any) -> dict[str, Any]:
    """The remembered course of the upgrade, read from its file."""
    (path,) = state_dir(instance).glob("upgrade-*.json")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def ledger(instance: Any) -> list[str]:
    """Every row of django_migrations, duplicates too."""
    return [name for (name,) in instance.sql("select app || '.' || name from django_migrations order by id")]


def tables(instance: Any) -> str:
    """A fingerprint of columns, indexes and their validity, constraints and row numbers: changed by any migration."""
    columns = instance.sql(
        "select table_name, column_name, data_type, is_nullable, column_default from information_schema.columns"
        " where table_schema = 'public' order by 1, 2"
    )
    indexes = instance.sql(
        "select i.indexrelid::regclass::text, i.indisvalid, pg_get_indexdef(i.indexrelid) from pg_index i"
        " join pg_class c on c.oid = i.indrelid where c.relnamespace = 'public'::regnamespace order by 1"
    )
    return hashlib.sha256(repr((columns, indexes)).encode()).hexdigest()


def containers(instance: Any) -> dict[str, tuple[str, str]]:
    """Id and start of every container on its network. One-off ones that are just going are given a while."""
    deadline = time.monotonic() + 60
    while True:
        listed = instance.docker(
            "ps", "--all", "--filter", f"network={instance.network}", "--format", "{{.Names}}"
        ).split()
        if all(name.startswith("phase-") for name in listed) or time.monotonic() > deadline:
            found = {name: instance.inspect(name) for name in listed}
            return {name: (inspect["Id"], inspect["State"]["StartedAt"]) for name, inspect in found.items()}
        time.sleep(0.5)


def invalid_indexes(instance: Any) -> list[str]:
    return [name for (name,) in instance.sql("select indexrelid::regclass::text from pg_index where not indisvalid")]


def settled(instance: Any, version: str) -> None:
    """Assert that the instance is at `version`, whole, with nothing twice and nothing left over."""
    names = ledger(instance)
    assert len(names) == len(set(names))
    assert [name for name in names if name == f"api.{LEAF[version]}"]
    assert invalid_indexes(instance) == []
    assert state(instance)["phase"] == "done"
    eventually(instance.healthy)
    assert [path.name for path in backups(instance) if path.name.startswith(".")] == []
    assert len([path for path in backups(instance) if path.suffix == ".dump"]) <= 1
