# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Real runs of modules and playbooks: nothing of a user's own Ansible gets in, and no secret gets into an argument.

Each run has a folder: ``stdout`` (what a user sees, standard error with it), ``record`` (the results as JSON lines)
and, as long as it runs, the playbook and its variables, readable by the owner alone.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
COLLECTION = "phase.console"
INVENTORY = "localhost ansible_connection=local ansible_python_interpreter='{{ ansible_playbook_python }}'\n"
SETTINGS = "[defaults]\ninternal_poll_interval = 0.02\n"
"""By default the controller looks a thousand times a second whether a task has ended: a tenth of a core for each."""
FOREIGN = ("ANSIBLE_", "PG", "DATABASE_", "PYTHONPATH", "PHASE_CONSOLE_RECORD", "PHASE_CONSOLE_RUN")
"""Variables of the calling shell that would change what is tested, by their beginnings."""


@dataclass(frozen=True)
class Task:
    """One result: ``status`` is ok, changed, failed, skipped or unreachable; ``action`` the full name of the module."""

    name: str
    action: str
    host: str
    status: str
    result: dict[str, Any]
    ignored: bool = False


@dataclass(frozen=True)
class PlayResult:
    """``stats``: per host ok, changed, failures, skipped, unreachable, rescued, ignored; ``custom``: from set_stats."""

    rc: int
    stdout: str
    tasks: list[Task] = field(default_factory=list)
    stats: dict[str, dict[str, int]] = field(default_factory=dict)
    custom: dict[str, Any] = field(default_factory=dict)

    @property
    def changed(self) -> int:
        return sum(host["changed"] for host in self.stats.values())

    @property
    def failed(self) -> list[Task]:
        return [task for task in self.tasks if task.status in ("failed", "unreachable") and not task.ignored]

    @property
    def message(self) -> str:
        """Of the first failure, for a test that expects one."""
        return str(self.failed[0].result.get("msg", "")) if self.failed else ""

    def results(self, action: str) -> list[dict[str, Any]]:
        """What each task of this module returned; ``phase_info`` and its full name both do."""
        wanted = _full_name(action)
        return [task.result for task in self.tasks if task.action == wanted and task.status != "skipped"]


class UnexpectedResult(AssertionError):
    """A run failed that should have passed, or the other way round."""


class Run:
    """A playbook that runs. ``wait`` gives its result; ``kill`` is the kill -9 of a lost controller."""

    def __init__(
        self, folder: Path, command: Sequence[str], cwd: Path, env: Mapping[str, str], private: Sequence[Path]
    ) -> None:
        self.folder, self._private = folder, private
        with (folder / "stdout").open("wb") as stdout:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**env, "PHASE_CONSOLE_RUN": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        return (self.folder / "stdout").read_text(encoding="utf-8", errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """The record so far; a line that is still being written is left for later."""
        record = self.folder / "record"
        lines = record.read_text(encoding="utf-8").splitlines(keepends=True) if record.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def wait_until(self, reached: Callable[[], bool], timeout: float = 300, poll: float = 0.1) -> None:
        """Wait for a moment in the run; a run that ends before it is an error, and so is the timeout."""
        deadline = time.monotonic() + timeout
        while not reached():
            if self.process.poll() is not None and not reached():
                raise UnexpectedResult(
                    f"the run ended (exit {self.process.returncode}) before the moment came:\n{self.output()}"
                )
            if time.monotonic() > deadline:
                raise UnexpectedResult(f"the moment did not come within {timeout:.0f} s:\n{self.output()}")
            time.sleep(poll)

    def wait_for_output(self, text: str, timeout: float = 300) -> None:
        self.wait_until(lambda: text in self.output(), timeout)

    def kill(self, *, everything: bool = False) -> None:
        """kill -9 of ansible-playbook alone, or of all that it started on this host too."""
        if everything:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()
        self._clean()

    def stop(self) -> None:
        """End whatever is left of it: for the clean-up of a test."""
        end_all([self])

    def wait(self, timeout: float = 600) -> PlayResult:
        try:
            rc = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.stop()
            raise UnexpectedResult(f"the run did not end within {timeout:.0f} s:\n{self.output()}") from None
        self._clean()
        tasks, stats, custom = [], {}, {}
        for event in self.events():
            if event["event"] == "task":
                tasks.append(Task(**{key: event[key] for key in event if key != "event"}))
            elif event["event"] == "stats":
                stats, custom = event["hosts"], event["custom"].get("_run", {})
        return PlayResult(rc, self.output(), tasks, stats, custom)

    def _clean(self) -> None:
        for path in self._private:
            path.unlink(missing_ok=True)


def end_all(runs: Sequence[Run]) -> None:
    """kill -9 of whatever is left of the runs, Ansible's workers with it: each of those is a session of its own.

    They are known by their environment: the id of a run that has ended, as a group's too, may be another's by now.
    """
    marks = {f"PHASE_CONSOLE_RUN={run.folder}".encode() for run in runs}
    while _kill_marked(marks):  # what was just started has not been seen
        time.sleep(0.01)
    for run in runs:
        run.process.wait()
        run._clean()


def _kill_marked(marks: set[bytes]) -> bool:
    """kill -9 of the processes that have one of the marks in their environment; whether there were any."""
    found = False
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and not marks.isdisjoint((entry / "environ").read_bytes().split(b"\0")):
                found = True
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:  # it has ended meanwhile, or is another user's
            continue
    return found


class Ansible:
    """Runs modules and playbooks with the Ansible of this environment and an ANSIBLE_HOME of its own in ``folder``."""

    def __init__(self, folder: Path, programs: Path = Path(sys.executable).parent) -> None:
        self.folder, self.programs = folder, programs
        self.runs: list[Run] = []
        self._numbers = itertools.count(1)
        for name in ("home", "tmp", "runs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "inventory").write_text(INVENTORY, encoding="utf-8")
        (folder / "ansible.cfg").write_text(SETTINGS, encoding="utf-8")

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        env.update(
            ANSIBLE_HOME=str(self.folder / "home"),
            ANSIBLE_LOCAL_TEMP=str(self.folder / "tmp"),
            ANSIBLE_REMOTE_TEMP=str(self.folder / "tmp"),
            TMPDIR=str(self.folder / "tmp"),
            ANSIBLE_CONFIG=str(self.folder / "ansible.cfg"),
            ANSIBLE_INVENTORY=str(self.folder / "inventory"),
            ANSIBLE_CALLBACK_PLUGINS=str(HERE / "callback_plugins"),
            ANSIBLE_CALLBACKS_ENABLED="phase_record",
            ANSIBLE_NOCOLOR="1",
            PYTHONPATH=str(HERE / "compiled"),
            # Ansible holds its output back where that is no terminal, and tests wait for lines.
            PYTHONUNBUFFERED="1",
            LC_ALL="C.UTF-8",
        )
        env["PATH"] = f"{self.programs}{os.pathsep}{env['PATH']}"
        env.update(more or {})
        return env

    def module(
        self,
        name: str,
        args: Mapping[str, Any],
        *,
        check: bool = False,
        diff: bool = False,
        expect_failure: bool = False,
        environ: Mapping[str, str] | None = None,
        timeout: float = 600,
    ) -> dict[str, Any]:
        """Run one module as it runs on a managed host, and return its result: its file, its arguments on stdin.

        What ``task`` does besides is ansible-playbook's part (templating, action plugins, packing, callbacks): the
        same for every call, and five times the processor time of the module's own. A failure raises unless it is
        expected; then a success raises.
        """
        folder = self._new_run()
        given = {**args, "_ansible_check_mode": check, "_ansible_diff": diff}
        given["_ansible_remote_tmp"] = str(self.folder / "tmp")
        short = _full_name(name).removeprefix(f"{COLLECTION}.")
        ended = subprocess.run(
            [self.programs / "python", "-m", f"ansible_collections.{COLLECTION}.plugins.modules.{short}"],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
            capture_output=True,
            text=True,
            errors="replace",
            cwd=self.folder,
            env=self.environment(environ),
            timeout=timeout,
            check=False,
        )
        output = ended.stdout + ended.stderr
        (folder / "stdout").write_text(output, encoding="utf-8")
        try:
            result = _as_ansible_shows(json.loads(ended.stdout))
        except ValueError:
            raise UnexpectedResult(f"{name} returned no result (exit {ended.returncode}):\n{output}") from None
        if bool(result["failed"]) != expect_failure:
            wanted = "should have failed" if expect_failure else "should have passed"
            raise UnexpectedResult(f"{name} {wanted}:\n{output}")
        return result

    def task(
        self,
        name: str,
        args: Mapping[str, Any],
        *,
        check: bool = False,
        diff: bool = False,
        verbosity: int = 0,
        expect_failure: bool = False,
        environ: Mapping[str, str] | None = None,
        timeout: float = 600,
    ) -> dict[str, Any]:
        """The same as the one task of a playbook."""
        task = {"name": name, _full_name(name): dict(args)}
        play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
        run = self.popen_playbook(play, check=check, diff=diff, verbosity=verbosity, environ=environ)
        result = run.wait(timeout)
        _expect(result, expect_failure)
        return result.tasks[-1].result

    def playbook(
        self,
        playbook: str | Path | list[dict[str, Any]],
        variables: Mapping[str, Any] | None = None,
        *,
        check: bool = False,
        diff: bool = False,
        verbosity: int = 0,
        expect_failure: bool | None = False,
        environ: Mapping[str, str] | None = None,
        timeout: float = 900,
    ) -> PlayResult:
        """Run a playbook to its end: a name such as ``upgrade`` (of the collection), a path, or plays as data.

        ``expect_failure=None`` leaves the judgement to the test.
        """
        run = self.popen_playbook(playbook, variables, check=check, diff=diff, verbosity=verbosity, environ=environ)
        result = run.wait(timeout)
        if expect_failure is not None:
            _expect(result, expect_failure)
        return result

    def popen_playbook(
        self,
        playbook: str | Path | list[dict[str, Any]],
        variables: Mapping[str, Any] | None = None,
        *,
        check: bool = False,
        diff: bool = False,
        verbosity: int = 0,
        environ: Mapping[str, str] | None = None,
    ) -> Run:
        """Start a playbook and return at once."""
        folder = self._new_run()
        private = [folder / "variables.json"]
        _write_private(private[0], dict(variables or {}))
        if isinstance(playbook, list):
            private.append(folder / "playbook.json")
            _write_private(private[1], playbook)
            playbook = private[1]
        command = [
            str(self.programs / "ansible-playbook"),
            _playbook_argument(playbook),
            "--extra-vars",
            f"@{private[0]}",
        ]
        command += ["--check"] * check + ["--diff"] * diff + ["-" + "v" * verbosity] * bool(verbosity)
        env = {**self.environment(environ), "PHASE_CONSOLE_RECORD": str(folder / "record")}
        run = Run(folder, command, self.folder, env, private)
        self.runs.append(run)
        return run

    def _new_run(self) -> Path:
        folder = self.folder / "runs" / f"{next(self._numbers):03}"
        folder.mkdir()
        return folder

    def close(self) -> None:
        """End what still runs."""
        end_all(self.runs)

    def keep(self, folder: Path) -> None:
        """Copy the runs' outputs and records there, for whoever reads a failure."""
        shutil.copytree(self.folder / "runs", folder, dirs_exist_ok=True)


def target(instance: Any) -> dict[str, Any]:
    """The options that lead a module to a sandbox instance of any kind; Docker itself is found by DOCKER_HOST."""
    kind = type(instance).__name__
    if kind == "LocalInstance":
        return {
            "deployment": "local",
            "manage_dir": str(instance.current),
            "python": str(instance.python),
            "env_file": str(instance.env_file),
        }
    if kind == "ComposeInstance":
        return {"deployment": "compose", "project_src": str(instance.project_src)}
    if kind == "ClusterInstance":
        cluster = {"kubeconfig": str(instance.kubeconfig)}
        return {"deployment": "kubernetes", "namespace": instance.namespace, "kubernetes": cluster}
    return {"deployment": "docker"}


def targeted(module: str, instance: Any) -> dict[str, Any]:
    """The same for a module of the action group; a module that works on files alone has no target."""
    runtime = yaml.safe_load((HERE.parents[1] / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    return target(instance) if module in runtime["action_groups"]["phase"] else {}


def answers(survey: str, **given: Any) -> dict[str, Any]:
    """What AWX hands on to a playbook: the defaults of its survey's questions, and what somebody has answered.

    Numbers come as such, and what is true or false comes as a text. A question with neither sends nothing.
    """
    text = (HERE.parents[1] / "playbooks" / "files" / f"survey_{survey}.json").read_text(encoding="utf-8")
    questions = json.loads(text)["spec"]
    strange = set(given) - {question["variable"] for question in questions}
    if strange:
        raise ValueError(f"nobody asks for {sorted(strange)}")
    return {**{one["variable"]: one["default"] for one in questions if "default" in one}, **given}


def upgrade_variables(instance: Any, version: str, folder: Path) -> dict[str, Any]:
    """What an operator writes to upgrade a local sandbox instance; backups and state go to `folder`."""
    from sandbox.postgresql import programs

    tests = HERE.parent
    restart = ["env", f"PYTHONPATH={tests}", str(instance.python), "-m", "sandbox", "restart"]
    parts = ("backend", "worker")
    return {
        "phase_hosts": "localhost",
        "phase_target": target(instance),
        "phase_upgrade_version": version,
        "phase_upgrade_release": str(instance.release(version)),
        "phase_upgrade_local_restart": {part: [*restart, "--dir", str(instance.directory), part] for part in parts},
        "phase_upgrade_health_url": f"{instance.url}/health/",
        "phase_upgrade_backup_dest": f"{folder}/backup/",
        "phase_upgrade_backup_pg_bin_dir": str(programs()),
        "phase_upgrade_state_dir": f"{folder}/state",
    }


def _as_ansible_shows(returned: dict[str, Any]) -> dict[str, Any]:
    """A module's own JSON with what ansible-playbook adds; from ansible-core 2.19 on, a warning is an object in it."""
    result = {"changed": False, "failed": False, **returned}
    if result.get("deprecations"):
        raise UnexpectedResult(f"deprecated: {result['deprecations']}")
    if "warnings" in result:
        result["warnings"] = [one if isinstance(one, str) else one["event"]["msg"] for one in result["warnings"]]
    return result


def _full_name(name: str) -> str:
    return name if "." in name else f"{COLLECTION}.{name}"


def _playbook_argument(playbook: str | Path) -> str:
    """A path where it is one, else the name of a playbook of the collection."""
    if isinstance(playbook, Path) or playbook.endswith((".yml", ".yaml", ".json")):
        return str(playbook)
    return _full_name(playbook)


def _write_private(path: Path, content: Any) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file)


def _expect(result: PlayResult, failure: bool) -> None:
    if bool(result.rc) != failure:
        wanted = "should have failed" if failure else "should have passed"
        raise UnexpectedResult(f"the run {wanted} (exit {result.rc}):\n{result.stdout}")
    if not result.tasks and not failure:
        raise UnexpectedResult(f"the run did nothing:\n{result.stdout}")
