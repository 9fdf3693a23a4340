# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests' Kubernetes by hand: `python -m sandbox.cluster up`."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence

from . import ClusterMissing, Node, NodeError, _programs, find, up


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.cluster", description="The Kubernetes cluster of the tests."
    )
    parser.add_argument("action", choices=["build", "up", "env", "status", "kubectl", "down"])
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of kubectl")
    chosen = parser.parse_args(argv)
    if chosen.action == "down":
        print("down" if Node().stop() else "no node runs")
        return 0

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    # Whoever ends this program ends the build with it.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    try:
        if chosen.action == "build":
            print(_programs.ensure(report))
            return 0
        cluster = up(report) if chosen.action == "up" else find()
    except (ClusterMissing, NodeError) as error:
        print(error, file=sys.stderr)
        return 1
    if cluster is None:
        print("No cluster runs. Start one: python -m sandbox.cluster up", file=sys.stderr)
        return 1
    if chosen.action == "kubectl":
        command = cluster.command(*chosen.arguments)
        os.execvpe(command[0], command, cluster.environment())  # noqa: S606
    if chosen.action == "env":
        variables = {**cluster.variables(), "KUBECONFIG": str(cluster.kubeconfig)}
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))
    else:
        print(f"{cluster.kubeconfig}\n{cluster.kubectl('get', 'nodes,namespaces')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
