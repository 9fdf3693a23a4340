# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The tier without services: linters, types, documentation, our own gates, and units on every Python found."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from . import versions
from .environments import Environment, SetupError, cached_environment, interpreters, project_environment
from .jobs import Job, Log, Outcome, Skip, command_outcome, junit_outcome
from .paths import BUILD, LOGS, REQUIREMENTS, ROOT
from .tree import has_test, make_tree

UNIT_PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
MANAGED_ONLY, MANAGED_KINDS = ("3.9", "3.10"), ("modules", "module_utils")
"""Pythons of managed hosts that no ansible-core of ours has a controller for, and the plugins that run there."""
CORES = {"2.18": ("3.11", "3.12", "3.13"), "2.21": ("3.13", "3.12", "3.14")}
"""Other versions of ansible-core that are tested, and the Pythons that can run them as controllers, the best first."""
INTEGRATION_REQUIREMENTS = REQUIREMENTS / "integration.txt"
SANITY_SUBSET = ("validate-modules", "runtime-metadata", "action-plugin-docs", "ansible-doc")
EXPECTED_WARNINGS = ()
"""Lines of galaxy-importer that are no fault; none at present."""


def static_environment(log: Log) -> Environment:
    environment = cached_environment("static", "static", "units", log=log.file)
    versions.note_packages(environment)
    return environment


def _bundle(log: Log) -> Path:
    """The ansible_collections folder that the `ansible` package brought, for the dependencies."""
    return project_environment(log=log.file).site_packages() / "ansible_collections"


def project_tree(name: str, log: Log) -> Path:
    return make_tree(name, _bundle(log))


def tool_env(
    environment: Environment, tree: Path | None = None, pythons: Sequence[Path] | None = None
) -> dict[str, str]:
    """The environment on PATH first, then the interpreters; no pyenv shims, which break ansible-test."""
    inherited = [part for part in os.environ["PATH"].split(os.pathsep) if Path(part).name != "shims"]
    if pythons is None:
        pythons = [path.parent for path in interpreters(UNIT_PYTHONS).values()]
    env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    env["PATH"] = os.pathsep.join([str(environment.bin), *map(str, pythons), *inherited])
    env["LC_ALL"] = "C.UTF-8"
    if tree is not None:
        env["ANSIBLE_COLLECTIONS_PATH"] = str(tree.parents[2])
    return env


def _tool(name: str, *arguments: str, in_tree: bool = False) -> Callable[[Log], Outcome]:
    """A job that is one command of the static environment, passed when it exits with 0."""

    def run(log: Log) -> Outcome:
        environment = static_environment(log)
        tree = project_tree(name, log) if in_tree else None
        return command_outcome(
            log.run([environment.bin / name, *arguments], cwd=tree or ROOT, env=tool_env(environment, tree))
        )

    return run


def mypy(log: Log) -> Outcome:
    environment, tree = static_environment(log), project_tree("mypy", log)
    env = {**tool_env(environment), "MYPYPATH": str(tree.parents[2])}
    package = "ansible_collections.phase.console.plugins"
    cache = BUILD / "mypy"
    command = [environment.bin / "mypy", "--config-file", ROOT / "pyproject.toml", "--cache-dir", cache, "-p", package]
    return command_outcome(log.run(command, cwd=tree.parents[2], env=env))


def galaxy_importer(log: Log) -> Outcome:
    """Build the tarball and import it as Galaxy does.

    The importer says success even where it skipped its checks, so what it wrote is read.
    """
    environment, tree = static_environment(log), project_tree("galaxy-importer", log)
    # It sets the path of collections to its own copy alone; what ours depends on is found on Python's path.
    env = {**tool_env(environment, tree), "PYTHONPATH": str(tree.parents[2])}
    work = BUILD / "galaxy-importer"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    if log.run(
        [environment.bin / "ansible-galaxy", "collection", "build", "--output-path", work, tree], cwd=work, env=env
    ):
        return Outcome(failed=1)
    tarball = next(work.glob("*.tar.gz"))
    if log.run([environment.bin / "python", "-m", "galaxy_importer.main", tarball], cwd=work, env=env):
        return Outcome(failed=1)
    faults = _importer_faults(log.text(), json.loads((work / "importer_result.json").read_text(encoding="utf-8")))
    for fault in faults:
        log.write(f"galaxy-importer: {fault}\n")
    return Outcome(failed=1) if faults else Outcome(passed=1)


def _importer_faults(output: str, result: dict[str, object]) -> list[str]:
    faults = [
        line for line in output.splitlines() if re.match(r"(WARNING|ERROR): ", line) and line not in EXPECTED_WARNINGS
    ]
    if "...ansible-lint run complete" not in output:
        faults.append("it did not run ansible-lint")
    documented = {entry["content_name"] for entry in result["docs_blob"]["contents"] if entry.get("doc_strings")}  # type: ignore[index]
    faults += [f"it read no documentation of {name}" for name in _modules() if name not in documented]
    return faults


def _modules() -> list[str]:
    return sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("phase_*.py"))


def seed_pip(environment: Environment, log: Log) -> None:
    """Give ansible-test the pip it wants for its environments, out of the package registry.

    Left alone it fetches a script from a host of its own. Its cache has a file per pip version; ours
    runs the wheel beside it.
    """
    code = (
        "import ansible_test._internal.python_requirements as r, inspect, re;"
        "print(re.search(r\"pip='([0-9.]+)'\", inspect.getsource(r)).group(1))"
    )
    found = subprocess.run([environment.bin / "python", "-c", code], capture_output=True, text=True, check=False)
    version = found.stdout.strip()
    if not version:
        raise SetupError(f"ansible-test's pip version was not found: {found.stderr}")
    cache = Path.home() / ".ansible" / "test" / "cache"
    script = cache / f"get_pip_{version.replace('.', '_')}.py"
    if script.exists():
        return
    cache.mkdir(parents=True, exist_ok=True)
    if log.run(
        [environment.bin / "python", "-m", "pip", "download", "-q", "--no-deps", "-d", cache, f"pip=={version}"],
        cwd=ROOT,
    ):
        raise SetupError(f"pip {version}, which ansible-test wants, could not be downloaded")
    script.write_text(_GET_PIP.format(version=version), encoding="utf-8")


_GET_PIP = """\
import os, runpy, sys
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "pip-{version}-py3-none-any.whl"))
given = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.argv = ["pip", "install", "--no-index", "--find-links", here, "pip=={version}"] + given
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def _ansible_test(
    environment: Environment, tree: Path, log: Log, *arguments: str, pythons: Sequence[Path] | None = None
) -> int:
    """Run ansible-test with the interpreters in `pythons` (folders) on PATH: by default the real ones of this machine.

    Its own way, an environment for each interpreter and run, takes longer than the tests.
    """
    seed_pip(environment, log)
    env = tool_env(environment, None, pythons)
    return log.run([environment.bin / "ansible-test", *arguments, "--color", "no"], cwd=tree, env=env)


def sanity(log: Log) -> Outcome:
    environment, tree = static_environment(log), project_tree("sanity", log)
    code = _ansible_test(environment, tree, log, "sanity")
    outcome = command_outcome(code)
    outcome.notes += _missing_pythons()
    return outcome


def units(only: Sequence[str] = ()) -> Callable[[Log], Outcome]:
    """The unit tests on each supported Python that this machine has.

    On the newest ansible-test runs them; on the others pytest alone does, in a third of the time: ansible-test has a
    process for each test.
    """

    def run(log: Log) -> Outcome:
        environment, tree = static_environment(log), project_tree("units", log)
        targets, outcome = _unit_targets(tree, only), Outcome()
        found = interpreters(UNIT_PYTHONS)
        environments = {
            version: cached_environment(f"units-{version}", "units", python=str(python), log=log.file)
            for version, python in found.items()
        }
        newest = list(found)[-1]
        for version in found:
            if version == newest:
                outcome.add(_units_by_ansible_test(environment, tree, log, version, environments[version], targets))
            else:
                core = environment.site_packages() / "ansible"
                outcome.add(_units(environments[version], tree, log, version, targets, core))
        outcome.notes += _missing_pythons()
        return outcome

    return run


def _units_by_ansible_test(
    environment: Environment, tree: Path, log: Log, version: str, python: Environment, targets: Sequence[str] = ()
) -> Outcome:
    arguments = ["units", "--python", version, *targets]
    code = _ansible_test(environment, tree, log, *arguments, pythons=[python.bin])
    return junit_outcome((tree / "tests" / "output" / "junit").glob(f"python{version}-*.xml"), code)


def _units(
    environment: Environment, tree: Path, log: Log, version: str, targets: Sequence[str] = (), core: Path | None = None
) -> Outcome:
    """By pytest alone, with the ansible package of the environment or the one at ``core``.

    Where the Python is too old for a controller, the tests of modules and module_utils run.
    """
    library = BUILD / "units" / version
    library.mkdir(parents=True, exist_ok=True)
    if core is not None:
        (library / "ansible").unlink(missing_ok=True)
        (library / "ansible").symlink_to(core)
    here = [f"tests/unit/plugins/{kind}" for kind in MANAGED_KINDS] if version in MANAGED_ONLY else ["tests/unit"]
    chosen = [target for target in targets if any(target.startswith(folder) for folder in here)] if targets else here
    if not chosen:
        return Outcome()
    report = LOGS / f"units-{tree.parents[2].name}-{version}.xml"
    report.unlink(missing_ok=True)
    path = [str(tree.parents[2]), *([str(library)] if core else [])]
    env = {**tool_env(environment, tree), "PYTHONPATH": os.pathsep.join(path)}
    command = [environment.bin / "python", "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", ".", *chosen]
    command += ["--import-mode=importlib", "-p", "no:cacheprovider", f"--junit-xml={report}"]
    code = log.run(command, cwd=tree, env=env)
    return junit_outcome([report] if report.exists() else [], code)


def _unit_targets(tree: Path, only: Sequence[str]) -> list[str]:
    """The files that have one of the wanted tests, or none for all of them."""
    files = sorted((tree / "tests" / "unit").rglob("test_*.py")) if only else []
    return [str(file.relative_to(tree)) for file in files if any(has_test(file, name) for name in only)]


def _missing_pythons(versions: tuple[str, ...] = UNIT_PYTHONS) -> list[str]:
    missing = [version for version in versions if version not in interpreters(versions)]
    return (
        [f"not on Python {', '.join(missing)}: not found on PATH or under pyenv; install it and run again"]
        if missing
        else []
    )


def _core_environment(version: str, log: Log) -> tuple[str, Environment]:
    """(the version of its Python, the environment) of an ansible-core; raises Skip where there is no Python for it."""
    found = interpreters(CORES[version])
    if not found:
        raise Skip(f"ansible-core {version} needs Python {' or '.join(CORES[version])}; install it and run again")
    python_version, python = next(iter(found.items()))
    name = f"core-{version}"
    return python_version, cached_environment(name, name, "units", python=str(python), log=log.file)


def core_environments(log: Log) -> dict[str, dict[str, str]]:
    """For each other ansible-core that can run here, its folder of programs and a folder of collections for it."""
    found = {}
    for version in CORES:
        try:
            environment = _core_environment(version, log)[1]
        except Skip:
            continue
        collections = project_tree(f"integration-{version}", log).parents[2]
        found[version] = {"programs": str(environment.bin), "collections": str(collections)}
    return found


def other_core(version: str) -> Callable[[Log], Outcome]:
    """Sanity that depends on ansible-core, units and a smoke run with another version of it."""

    def run(log: Log) -> Outcome:
        python_version, environment = _core_environment(version, log)
        tree = project_tree(f"core-{version}", log)
        outcome = Outcome()
        subset = [word for name in SANITY_SUBSET for word in ("--test", name)]
        code = _ansible_test(environment, tree, log, "sanity", *subset, "--python", python_version)
        outcome.add(command_outcome(code))
        outcome.add(_units(environment, tree, log, python_version))
        outcome.add(_smoke(environment, tree, log))
        return outcome

    return run


def _smoke(environment: Environment, tree: Path, log: Log) -> Outcome:
    """The playbooks parse and the modules are documented, under this ansible-core."""
    env, outcome = tool_env(environment, tree), Outcome()
    playbooks = [f"phase.console.{path.stem}" for path in sorted((tree / "playbooks").glob("*.yml"))]
    modules = [f"phase.console.{module}" for module in _modules()]
    for command in (
        ["ansible-playbook", "--syntax-check", "-i", "localhost,", *playbooks],
        ["ansible-doc", "-t", "module", *modules],
    ):
        outcome.add(command_outcome(log.run([environment.bin / command[0], *command[1:]], cwd=BUILD, env=env)))
    return outcome


def gates(only: str = "") -> Callable[[Log], Outcome]:
    """The collection's own rules, as pytest files in tests/gates."""

    def run(log: Log) -> Outcome:
        return _gates(log, only)

    return run


def _gates(log: Log, only: str) -> Outcome:
    environment = project_environment(INTEGRATION_REQUIREMENTS, log=log.file)
    versions.note_packages(environment)
    report = LOGS / "gates.xml"
    env = {**tool_env(environment), "PYTHONPATH": "tests"}
    command = [
        environment.bin / "python",
        "-m",
        "pytest",
        "tests/gates",
        f"--junit-xml={report}",
        "-o",
        "cache_dir=.build/pytest",
    ]
    report.unlink(missing_ok=True)
    code = log.run([*command, *(["-k", only] if only else [])], cwd=ROOT, env=env)
    return junit_outcome([report] if report.exists() else [], code)


def jobs_with_tests(names: Sequence[str]) -> list[tuple[Job, list[str]]]:
    """The units and gates that have tests of these names, for a run of them alone; each with the names it has."""
    found = []
    in_units = [name for name in names if _unit_targets(ROOT, [name])]
    if in_units:
        found.append((Job("static", "units", units(in_units)), in_units))
    files = list((ROOT / "tests" / "gates").glob("test_*.py"))
    in_gates = [name for name in names if any(has_test(file, name) for file in files)]
    if in_gates:
        found.append((Job("static", "gates", gates(" or ".join(in_gates))), in_gates))
    return found


def jobs() -> list[Job]:
    """The longest first, so that two workers end together."""
    steps: list[tuple[str, Callable[[Log], Outcome]]] = [
        ("sanity", sanity),
        ("units", units()),
        *((f"core-{version}", other_core(version)) for version in CORES),
        ("galaxy-importer", galaxy_importer),
        ("ansible-lint", _tool("ansible-lint", "--strict", "--profile", "production", in_tree=True)),
        ("antsibull-docs", antsibull_docs),
        ("gates", gates()),
        ("mypy", mypy),
        ("ruff", _tool("ruff", "check", "--no-cache", ".")),
        ("changelog", _tool("antsibull-changelog", "lint")),
        ("reuse", _tool("reuse", "lint", in_tree=True)),
    ]
    return [Job("static", name, run) for name, run in steps]


def antsibull_docs(log: Log) -> Outcome:
    environment, tree = static_environment(log), project_tree("antsibull-docs", log)
    env = tool_env(environment, tree)
    command = [
        "lint-collection-docs",
        "--plugin-docs",
        "--validate-collection-refs",
        "dependent",
        ".",
    ]
    return command_outcome(log.run([environment.bin / "antsibull-docs", *command], cwd=tree, env=env))
