# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""``./demo.sh``: set up ``.venv``, start a stand-in Phase and upgrade it with the real playbook, twice.

It fails unless the first run brings the instance to the new release and the second one changes nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .environments import SetupError, project_environment
from .paths import BUILD, ROOT

if TYPE_CHECKING:
    from integration.harness import Ansible, PlayResult
    from sandbox.local import LocalInstance

FROM, TO = "v2.66.0", "v2.73.2"
EVENTS = 200_000
FOLDER = BUILD / "demo"


class DemoError(Exception):
    """The demonstration did not show what it should."""


def say(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def set_up() -> Path:
    """Make ``.venv``; returns its Python."""
    say("Setting up .venv (the first time this downloads Ansible)")
    return project_environment().bin / "python"


def demonstrate() -> None:
    """Runs in ``.venv``, whose packages the stand-in needs."""
    from integration.harness import Ansible
    from sandbox.local import LocalInstance

    if FOLDER.exists():
        _remove_earlier()
    say(f"Starting a stand-in Phase {FROM} with {EVENTS:,} events (PostgreSQL, redis, backend, worker)")
    with LocalInstance.start(FOLDER / "phase", FROM, EVENTS) as instance:
        ansible = Ansible(FOLDER / "ansible")
        try:
            summary = upgrade_twice(ansible, instance)
            show_ad_hoc(ansible, instance)
        finally:
            ansible.close()
    say("The upgrade, summed up")
    print("\n".join(summary))
    say("The stand-in is stopped. .venv stays: '. .venv/bin/activate', then Ansible and phase.console from any folder")


def _remove_earlier() -> None:
    """An earlier demonstration that was cut off may still run."""
    import shutil

    from sandbox.local import LocalInstance

    if (FOLDER / "phase" / "state.json").exists():
        LocalInstance(FOLDER / "phase").remove()
    shutil.rmtree(FOLDER)


def upgrade_twice(ansible: Ansible, instance: LocalInstance) -> list[str]:
    """Returns the lines of the first run's own summary."""
    from integration.harness import upgrade_variables

    variables = upgrade_variables(instance, TO, FOLDER)
    say(f"ansible-playbook phase.console.upgrade, to {TO}")
    first = follow(ansible, variables)
    if first.rc or not first.changed:
        raise DemoError(f"The upgrade should have passed and changed something; it ended with {first.rc}.")
    if instance.version != TO or not instance.healthy():
        raise DemoError(f"The instance should run {TO} and answer; it runs {instance.version}.")
    pending = instance.manage("showmigrations", "--plan").stdout.count("[ ]")
    if pending:
        raise DemoError(f"{pending} migrations of {TO} are still pending.")
    say("The same again: it has to change nothing")
    second = follow(ansible, variables)
    if second.rc or second.changed:
        raise DemoError(f"The second run should have changed nothing: exit {second.rc}, {second.changed} changes.")
    return list(first.custom["phase_upgrade"]["text"])


def follow(ansible: Ansible, variables: dict[str, Any]) -> PlayResult:
    """Run the playbook and show its output as it comes."""
    run = ansible.popen_playbook("upgrade", variables, environ={"ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false"})
    shown = 0
    while True:
        ended = run.process.poll() is not None
        output = run.output()
        print(output[shown:], end="", flush=True)
        shown = len(output)
        if ended:
            return run.wait()
        time.sleep(0.1)


def show_ad_hoc(ansible: Ansible, instance: LocalInstance) -> None:
    """One module, ad hoc and from another folder: no variable says where the collection is."""
    from integration.harness import target

    say("ansible -m phase.console.phase_info, from another folder")
    arguments = " ".join(f"{key}={value}" for key, value in {**target(instance), "gather_subset": "migrations"}.items())
    command = [str(ansible.programs / "ansible"), "localhost", "-m", "phase.console.phase_info", "-a", arguments]
    env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    done = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, check=False)
    print("\n".join(done.stdout.splitlines()[:12]) + "\n    ...")
    if done.returncode:
        raise DemoError(f"phase_info failed: {done.stdout}{done.stderr}")


def main() -> int:
    in_environment = Path(sys.prefix).resolve() == (ROOT / ".venv").resolve()
    try:
        if not in_environment:
            python = str(set_up())
            os.execv(python, [python, "-m", "tools.demo"])  # noqa: S606 (PYTHONPATH is inherited)
        demonstrate()
    except (DemoError, SetupError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
