# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""A test run that is interrupted ends soon, with servers that have left their parents and take no SIGTERM."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SERVER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
RUN = """
import subprocess, sys, threading
from pathlib import Path
from tools import ending

over = threading.Event()

def work():
    starter = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]], " \
        "start_new_session=True, stdout=subprocess.PIPE); p.stdout.readline(); print(p.pid, flush=True)"
    started = subprocess.run([sys.executable, "-c", starter, sys.argv[1]], stdout=subprocess.PIPE, text=True)
    Path(sys.argv[2]).write_text(started.stdout)
    if sys.argv[3] == "waits":
        over.wait(600)
    return 3

sys.exit(ending.supervised(work, over.set if sys.argv[4] == "listens" else lambda: None))
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt the children of others")


def started(tmp_path: Path, *words: str) -> tuple[subprocess.Popen[str], Path]:
    note = tmp_path / "pid"
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, SERVER, str(note), *words],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return run, note


def lives(note: Path) -> bool:
    """Whether the server runs; one that was killed may wait to be buried for another moment."""
    try:
        stat = Path(f"/proc/{note.read_text().strip()}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("manner", ["listens", "does not"])
def test_it_ends_within_ten_seconds(tmp_path: Path, number: signal.Signals, manner: str) -> None:
    run, note = started(tmp_path, "waits", manner)
    deadline = time.monotonic() + 30
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert lives(note)
    run.send_signal(number)
    assert run.wait(10) == 128 + number
    assert not lives(note)


@linux
def test_a_server_that_is_left_is_named(tmp_path: Path) -> None:
    run, note = started(tmp_path, "ends", "listens")
    said = run.communicate(timeout=30)[0]
    assert run.returncode == 3
    assert f"Still running at the end, and killed: {note.read_text().strip()} " in said
    assert not lives(note)
