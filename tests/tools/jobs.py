# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Running the pieces of a test run side by side, and saying at the end what ran."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree

from .environments import SetupError
from .paths import LOGS

_print_lock = threading.Lock()
_running: set[subprocess.Popen[str]] = set()
_stopping = threading.Event()


def stop() -> None:
    """Have all jobs end, and what they have started with them."""
    _stopping.set()
    for process in list(_running):
        process.terminate()


@dataclass
class Outcome:
    """What one job did. ``notes`` are sentences for the summary: what was skipped and how to get it."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: Outcome) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.notes += other.notes


class Skip(Exception):
    """The job cannot run here; the message says why, and how to get it."""


class Log:
    """A job's log file; with ``prefix`` its lines are shown as they come."""

    def __init__(self, path: Path, prefix: str | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.prefix = path, prefix
        self.file: TextIO = path.open("w", encoding="utf-8")

    def run(self, command: Sequence[str | Path], cwd: Path, env: Mapping[str, str] | None = None) -> int:
        """Run it to its end with its output in the log; returns the exit code."""
        if _stopping.is_set():
            raise Skip("the run was stopped")
        words = [str(word) for word in command]
        self.write("$ " + " ".join(words) + "\n")
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=dict(env) if env is not None else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        _running.add(process)
        try:
            for line in process.stdout:
                self.write(line)
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            _running.discard(process)

    def write(self, text: str) -> None:
        self.file.write(text)
        self.file.flush()
        if self.prefix is not None:
            show(f"[{self.prefix}] {text.rstrip()}")

    def text(self) -> str:
        self.file.flush()
        return self.path.read_text(encoding="utf-8", errors="replace")


@dataclass
class Job:
    tier: str
    name: str
    run: Callable[[Log], Outcome]
    live: bool = False
    ahead: Callable[[Log], None] | None = None
    """What can be done for it before its turn comes, beside the others; it does that itself where this has failed."""
    outcome: Outcome | None = None

    @property
    def title(self) -> str:
        return f"{self.tier}/{self.name}"


def show(text: str) -> None:
    with _print_lock:
        print(text, flush=True)


def run_all(jobs: Iterable[Job], workers: int) -> None:
    """Run the jobs in their order, ``workers`` at a time; each gets its outcome."""
    jobs = list(jobs)
    for job in jobs:
        if job.ahead is not None:
            threading.Thread(target=_run_ahead, args=(job, job.ahead), daemon=True).start()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for future in [pool.submit(_run_one, job) for job in jobs]:
            future.result()


def _run_ahead(job: Job, ahead: Callable[[Log], None]) -> None:
    log = Log(LOGS / f"{job.tier}-ahead.log", f"{job.tier}/ahead")
    try:
        ahead(log)
    except Exception as error:  # the job finds out, and says so as its own failure
        log.write(f"{error}\n")


def _run_one(job: Job) -> None:
    log = Log(LOGS / f"{job.tier}-{job.name}.log", job.title if job.live else None)
    start = time.monotonic()
    try:
        job.outcome = job.run(log)
    except Skip as reason:
        job.outcome = Outcome(skipped=1, notes=[str(reason)])
    except (SetupError, OSError, subprocess.SubprocessError) as error:
        log.write(f"{error}\n")
        job.outcome = Outcome(failed=1)
    job.outcome.seconds = time.monotonic() - start
    _announce(job, log)


def _announce(job: Job, log: Log) -> None:
    assert job.outcome is not None
    word = "FAILED" if job.outcome.failed else "ok" if job.outcome.passed else "skipped"
    show(f"{word:8}{job.title} ({job.outcome.seconds:.1f} s)")
    if job.outcome.failed and not job.live:
        show(_tail(log.text()) + f"\n... the whole log: {os.path.relpath(log.path)}")


def _tail(text: str, most: int = 40) -> str:
    """What names a fault, wherever it is, and the end."""
    lines = text.rstrip().splitlines()
    faults = [line for line in lines[:-most] if line.startswith(("ERROR", "FAILED", "FATAL", "E   "))]
    return "\n".join("    " + line[:300] for line in [*faults[-most:], *lines[-most:]])


def command_outcome(code: int) -> Outcome:
    return Outcome(passed=1) if code == 0 else Outcome(failed=1)


def junit_outcome(reports: Iterable[Path], code: int) -> Outcome:
    """Counts out of JUnit files; a bad exit code without a failed test in them (a crash) counts as a failure too."""
    outcome = Outcome()
    for report in reports:
        for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 (written by our own pytest)
            skipped = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                outcome.failed += 1
            elif skipped is not None:
                outcome.skipped += 1
                outcome.notes.append(f"{case.get('name')}: {skipped.get('message')}")
            else:
                outcome.passed += 1
    if code and not outcome.failed:
        outcome.failed = 1
    return outcome


def summarise(jobs: Sequence[Job], required: bool, out: TextIO = sys.stdout) -> int:
    """Print what each tier ran; returns the exit code.

    With ``required`` a tier that has tests and ran none counts as failed; what was skipped beside others does not.
    """
    total = Outcome()
    for tier in dict.fromkeys(job.tier for job in jobs):
        print(f"\n{tier}", file=out)
        ran = Outcome()
        for job in (job for job in jobs if job.tier == tier):
            outcome = job.outcome or Outcome(failed=1, notes=["it did not run"])
            print(f"  {job.name:20} {_counts(outcome):40} {outcome.seconds:7.1f} s", file=out)
            for note in outcome.notes:
                print(f"      {note}", file=out)
            ran.add(outcome)
        if required and ran.skipped and not ran.passed and not ran.failed:
            print("  required here, and nothing of it ran: this counts as failed", file=out)
            ran = Outcome(failed=1)
        total.add(ran)
    print(f"\n{_counts(total)}", file=out, flush=True)
    return 1 if total.failed or not total.passed else 0


def _counts(outcome: Outcome) -> str:
    return f"{outcome.passed} passed, {outcome.failed} failed, {outcome.skipped} skipped"
