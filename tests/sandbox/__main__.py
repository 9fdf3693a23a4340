# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""The sandbox on this machine: `python -m sandbox up --dir D`, then `status`, `restart backend`, `seed`, `down`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from sandbox.facts import NEWEST
from sandbox.local import SERVICES, LocalInstance
from sandbox.processes import StartError


def up(arguments: argparse.Namespace) -> None:
    """Make the instance, or start what of it does not run, and say where it is."""
    if (arguments.dir / "state.json").exists():
        instance = LocalInstance(arguments.dir)
        instance.up()
    else:
        instance = LocalInstance.start(arguments.dir, arguments.version, arguments.events)
    print(f"Phase {instance.version} answers on {instance.url}, its settings are in {instance.env_file}.")


def down(arguments: argparse.Namespace) -> None:
    instance = LocalInstance(arguments.dir)
    if arguments.remove:
        instance.remove()
    else:
        instance.stop()


def restart(arguments: argparse.Namespace) -> None:
    LocalInstance(arguments.dir).restart(arguments.service)


def status(arguments: argparse.Namespace) -> None:
    instance = LocalInstance(arguments.dir)
    print(json.dumps({"version": instance.version, "url": instance.url, "processes": instance.status()}))


def seed(arguments: argparse.Namespace) -> None:
    print(LocalInstance(arguments.dir).manage("seed", "--events", str(arguments.events)).stdout, end="")


def parser() -> argparse.ArgumentParser:
    commands = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    chosen = commands.add_subparsers(required=True, metavar="COMMAND")
    for function, text in (
        (up, "make an instance, or start one again"),
        (down, "stop an instance; its data stay"),
        (restart, "restart one service from the current release"),
        (status, "what runs"),
        (seed, "add events"),
    ):
        command = chosen.add_parser(function.__name__, help=text)
        command.add_argument("--dir", type=Path, required=True, help="the instance's folder")
        command.set_defaults(function=function)
        if function is up:
            command.add_argument("--version", default=NEWEST)
        if function in (up, seed):
            command.add_argument("--events", type=int, default=0)
        if function is restart:
            command.add_argument("service", choices=SERVICES)
        if function is down:
            command.add_argument("--remove", action="store_true", help="delete the folder too")
    return commands


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        arguments.function(arguments)
    except (StartError, FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
