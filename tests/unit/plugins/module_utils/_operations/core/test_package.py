# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import subprocess
import sys

from ansible_collections.phase.console.plugins.module_utils._operations.core.package import (
    STARTER,
    opening,
    pack,
    reference,
)
from ansible_collections.phase.console.plugins.module_utils._operations.instance import information

ENVELOPE = {"request": {"subsets": []}, "timeouts": {}, "detached": False, "silence": 6}


def start(envelope, *flags, **options):
    """A fresh interpreter that gets the package and the envelope, and nothing else."""
    command = [sys.executable, *flags, "-c", STARTER]
    sent = opening(pack(), envelope)
    return subprocess.run(command, input=sent, capture_output=True, timeout=30, check=False, **options)


def said(process):
    return [json.loads(text) for text in process.stdout.splitlines()]


def closing(process):
    """The result or the error; that the caller has gone may be said after it."""
    (found,) = [line for line in said(process) if line["event"] in ("result", "error")]
    return found


def test_reference():
    assert reference(information.gather) == "_operations.instance.information:gather"


def test_a_fresh_python_runs_the_package_without_ansible_or_files(tmp_path):
    # -S -E: no site-packages, so neither Ansible nor psycopg2; the settings are missing, and that is said in our words
    envelope = dict(ENVELOPE, operation=reference(information.gather))
    process = start(envelope, "-S", "-E", cwd=tmp_path, env={})
    error = closing(process)["error"]
    assert error["kind"] == "application_failed", process.stderr
    assert "DATABASE_HOST" in error["message"]
    assert list(tmp_path.iterdir()) == []


def test_no_psycopg2_is_said():
    environment = {"DATABASE_HOST": "127.0.0.1", "DATABASE_NAME": "x", "DATABASE_USER": "x"}
    process = start(dict(ENVELOPE, operation=reference(information.gather)), "-S", env=environment)
    assert closing(process)["error"]["kind"] == "psycopg2_missing"


def test_the_package_holds_operations_and_errors_alone():
    import zlib

    names = set(json.loads(zlib.decompress(pack())))
    assert {"phase_console", "phase_console._errors", "phase_console._operations.core.remote"} <= names
    assert all(
        name == "phase_console" or name.startswith(("phase_console._errors", "phase_console._operations"))
        for name in names
    )
