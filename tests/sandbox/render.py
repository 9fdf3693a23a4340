# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Write a release's checkout: `python -m sandbox.render v2.66.0 DEST`. The same release always gives the same bytes."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sandbox import facts

SOURCE = Path(__file__).resolve().parent / "phase"
STUB_APPS = ("account", "authtoken", "django_rq", "logs", "socialaccount")
# Two developers numbered on from 0084 at a time; 0093 brought them together.
FORKS = {
    "0085_alter_providercredentials_provider": ("0084_auto_20241008_0708",),
    "0093_merge_20241116_0744": ("0086_alter_environmentsync_service", "0092_secretevent_service_account_token"),
}
IRREVERSIBLE = ("0020", "0034", "0035", "0048", "0073", "0074", "0077", "0084", "0091")
SSO_COMMAND_SINCE = "v2.67.0"
LICENCE = "# SPDX-FileCopyrightText: 2026 The phase.console authors\n# SPDX-License-Identifier: GPL-3.0-or-later\n"


def render(version: str, destination: Path) -> Path:
    """Write the checkout of `version` to `destination`, which must not exist yet, and return it.

    It appears whole or not at all. Raises ValueError for a release that the sandbox does not know.
    """
    wanted = set(facts.migrations_since_baseline(version)) | {facts.baseline_migrations()[0]}
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{destination.name}-", dir=destination.parent) as scratch:
        checkout = Path(scratch) / "checkout"
        shutil.copytree(SOURCE, checkout, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        (checkout / "version.txt").write_text(f"{version}\n", encoding="utf-8")
        (checkout / "api" / "baseline.sql").write_text(baseline_sql(), encoding="utf-8")
        keep_migrations(checkout / "api" / "migrations", wanted)
        write_stubs(checkout / "api" / "migrations", "api", facts.baseline_migrations(), FORKS)
        for app in STUB_APPS:
            write_stubs(checkout / app / "migrations", app, facts.other_migrations(app), {})
        if facts.numbers(version) < facts.numbers(SSO_COMMAND_SINCE):
            (checkout / "api" / "management" / "commands" / "disable_org_sso.py").unlink()
        checkout.rename(destination)
    return destination


def keep_migrations(folder: Path, wanted: set[str]) -> None:
    """Remove what later releases bring."""
    for path in folder.glob("0*.py"):
        if path.stem not in wanted:
            path.unlink()
    missing = wanted - {path.stem for path in folder.glob("0*.py")}
    if missing:
        raise LookupError(f"The sandbox has no source for {', '.join(sorted(missing))}.")


def write_stubs(folder: Path, app: str, names: Iterable[str], forks: Mapping[str, tuple[str, ...]]) -> None:
    """Write the migrations that count by name only, each after the one before it unless `forks` says otherwise."""
    before: tuple[str, ...] = ()
    for name in names:
        path = folder / f"{name}.py"
        if not path.exists():
            path.write_text(stub(app, forks.get(name, before), name[:4] in IRREVERSIBLE), encoding="utf-8")
        before = (name,)


def stub(app: str, after: Iterable[str], irreversible: bool) -> str:
    """Source of a migration that does nothing; an irreversible one does it in Python, without a way back."""
    dependencies = ", ".join(f'("{app}", "{name}")' for name in after)
    function = "\n\ndef nothing(apps, schema_editor):\n    pass\n" if irreversible else ""
    operation = "migrations.RunPython(nothing)" if irreversible else ""
    return (
        f"{LICENCE}\nfrom django.db import migrations\n{function}\n\nclass Migration(migrations.Migration):\n"
        f"    dependencies = [{dependencies}]\n    operations = [{operation}]\n"
    )


def baseline_sql() -> str:
    """The schema at 0094: the tables of the facts, then the few others that they refer to."""
    tables = {name: table for name, table in facts.level(facts.LEVELS[0])["tables"].items() if name.startswith("api_")}
    statements = [create_table(name, table) for name, table in tables.items()]
    statements += [
        f"ALTER TABLE {name} ADD CONSTRAINT {constraint['name']} {constraint['definition']}"
        for kind in ("primary key", "unique")
        for name, table in tables.items()
        for constraint in table["constraints"]
        if constraint["type"] == kind
    ]
    statements += [
        index["definition"]
        for table in tables.values()
        for index in table["indexes"]
        if index["name"] not in {constraint["name"] for constraint in table["constraints"]}
    ]
    others = (SOURCE / "api" / "unlisted.sql").read_text(encoding="utf-8")
    references = [
        f"ALTER TABLE {name} ADD CONSTRAINT {constraint['name']} {constraint['definition']}"
        for name, table in tables.items()
        for constraint in table["constraints"]
        if constraint["type"] == "foreign key"
    ]
    return ";\n".join(statements) + ";\n\n" + others + "\n" + ";\n".join(references) + ";\n"


def create_table(name: str, table: Mapping[str, Any]) -> str:
    """CREATE TABLE with columns alone, in the order of the facts."""
    columns = ",\n  ".join(
        f'"{column["name"]}" {column["type"]}'
        + (" NOT NULL" if column["not_null"] else "")
        + (" GENERATED BY DEFAULT AS IDENTITY" if column.get("identity") == "d" else "")
        for column in table["columns"]
    )
    return f"CREATE TABLE {name} (\n  {columns}\n)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", help=f"a release from {facts.OLDEST} to {facts.NEWEST} or later")
    parser.add_argument("destination", type=Path, help="folder to write; must not exist")
    arguments = parser.parse_args()
    render(arguments.version, arguments.destination)


if __name__ == "__main__":
    main()
