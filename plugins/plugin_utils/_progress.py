# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shows what a module tells while it runs. The module's side is ``module_utils/_caller.py``.

Here (local connection, no become): the module runs as always, while a thread reads its file.
There (any other connection, or become): the module runs detached, as with ``async``, and each poll brings the new
lines and renews the lease. Both end in the same way: the lease goes, so a module that is still running ends too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.phase.console.plugins.module_utils._call.caller import FOLDER_PREFIX, LEASE_SUFFIX, VARIABLE
from ansible_collections.phase.console.plugins.module_utils._errors import ModuleLost

Event = Dict[str, Any]
Show = Callable[[Event], None]

LOCAL_LEASE = 10
LOCAL_INTERVAL = 0.2
# How long Ctrl-C, SIGTERM or the task's timeout leave a local module to end in order, before Ansible kills it.
DISMISSAL = 5
# A short outage of the network must not end a backup, so the lease of a remote module is longer.
REMOTE_LEASE = 30
REMOTE_INTERVAL = 0.4
# Without contact for this long the host is unreachable; the module has ended by then, since its lease ran out.
PATIENCE = 60
# How long a job may have neither a living process nor a result: starting Python, writing the result.
GRACE = 30
# How often to ask for the result while the module's process is alive, and before it is known.
STATUS_INTERVAL = 30
START_INTERVAL = 3
# async_wrapper wants a limit; the modules have their own timeouts, so this one is out of the way.
ASYNC_LIMIT = 7 * 24 * 3600
ASYNC_KEYS = frozenset(["ansible_job_id", "finished", "started", "results_file"])
LINES_PER_POLL = 200
LONGEST_MESSAGE = 500
ENDINGS = (signal.SIGINT, signal.SIGTERM)
MARK = "phase.console progress:"

display = Display()


def progress_line(action: str, host: str, event: Event) -> str:
    """``phase.console ACTION: [HOST] MESSAGE`` and, where there are counters, `` | NAME=VALUE ...``.

    What the host sends is not trusted: one line, no control characters, no endless text.
    """
    counters = " ".join(
        f"{name}={_counter(value)}" for name, value in event.items() if name not in ("event", "time", "message")
    )
    message = _printable(str(event.get("message", "")))
    return f"phase.console {action}: [{host}] {message}" + (f" | {_printable(counters)}" if counters else "")


def _counter(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text) if text == "" or " " in text else text


def _printable(text: str) -> str:
    clean = "".join(character if character.isprintable() else " " for character in text).strip()
    return clean if len(clean) <= LONGEST_MESSAGE else clean[: LONGEST_MESSAGE - 3] + "..."


def machine_readable(callback: str) -> bool:
    """Whether the standard output is one document, which lines of text would break."""
    return callback.rpartition(".")[2] in ("json", "jsonl")


def parse_event(line: str) -> Event:
    """One line of the file; an empty event for what is none (yet)."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


class Poll(NamedTuple):
    """One look at the folder. ``lines`` are whole; a module that is not ``alive`` has ended or not yet begun."""

    found: bool
    alive: bool
    lines: List[str]


def poll_command(folder: str, seen: int, pid: Optional[int]) -> str:
    """Renews the lease, tells whether the module lives, prints the lines from number ``seen``. POSIX shell."""
    alive = f"kill -0 {pid} 2>/dev/null" if pid else "false"
    return (
        f"cd {shlex.quote(folder)} 2>/dev/null || {{ echo '{MARK} missing'; exit 0; }}; "
        f"touch -c events{LEASE_SUFFIX}; if {alive}; then echo '{MARK} alive'; else echo '{MARK} gone'; fi; "
        f"tail -n +{seen + 1} events 2>/dev/null | head -n {LINES_PER_POLL}; echo; echo '{MARK} end'"
    )


def parse_poll(output: str) -> Optional[Poll]:
    """None when the output is not ours or was cut off. A login's greeting before it, and a terminal's line ends, pass.

    Lines are counted, not bytes: a terminal in between changes the number of bytes.
    """
    body = output.replace("\r\n", "\n")
    if f"{MARK} missing" in body:
        return Poll(found=False, alive=False, lines=[])
    _greeting, begin, rest = body.partition(f"{MARK} ")
    state, newline, rest = rest.partition("\n")
    content, end, _rest = rest.partition(f"\n{MARK} end")
    if not (begin and newline and end):
        return None
    # The line in the making has no end yet: it comes whole with the next poll.
    return Poll(found=True, alive=state == "alive", lines=content.split("\n")[:-1])


def follow(events: Path, show: Show, stop: threading.Event) -> None:
    """Show the lines of a local file and renew its lease until ``stop``; then show what is left.

    When the parent has died, nobody sees the lines any more: the lease goes, and the module ends.
    """
    # Signals are for the main thread: one that came here would leave it waiting for the module.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    lease = Path(str(events) + LEASE_SUFFIX)
    parent = os.getppid()
    position = 0
    while True:
        last = stop.wait(LOCAL_INTERVAL)
        if os.getppid() != parent:
            lease.unlink(missing_ok=True)
            return
        position = _show_from(events, position, show)
        if last:
            return
        os.utime(lease)


def _show_from(events: Path, position: int, show: Show) -> int:
    """Show the whole lines from ``position`` (bytes) on; the new position."""
    try:
        with events.open("rb") as file:
            file.seek(position)
            whole = file.read().rpartition(b"\n")[0:2]
    except FileNotFoundError:
        return position
    text = b"".join(whole)
    for line in text.decode("utf-8", "replace").splitlines():
        show(parse_event(line))
    return position + len(text)


@dataclasses.dataclass
class Job:
    """A detached module and what was seen of it. Times are monotonic seconds."""

    folder: str
    name: str
    contact: float  # the last answer of the host
    seen: int = 0  # lines shown
    pid: Optional[int] = None
    life: float = 0.0  # the module's process was last seen alive
    asked: float = 0.0  # the result was last asked for
    round_trip: float = 0.0  # of the last look
    lost: bool = False

    def __post_init__(self) -> None:
        self.life = self.asked = self.contact


def dismiss(events: Path) -> None:
    """Tell a module that is still running to end, and wait a moment: its last act is to remove the file."""
    Path(str(events) + LEASE_SUFFIX).unlink(missing_ok=True)
    end = time.monotonic() + DISMISSAL
    while events.exists() and time.monotonic() < end:
        time.sleep(0.05)


class _Interrupted(BaseException):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def orderly_end() -> Iterator[None]:
    """Ctrl-C and SIGTERM end a worker of Ansible on the spot. Inside, the body's ``finally`` comes first."""

    def leave(number: int, _frame: Any) -> None:
        for each in ENDINGS:
            signal.signal(each, signal.SIG_IGN)
        raise _Interrupted(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, leave) for number in ENDINGS}
    interrupted: Optional[int] = None
    try:
        yield
    except _Interrupted as error:
        interrupted = error.number
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interrupted is not None:
        os.kill(os.getpid(), interrupted)
        raise KeyboardInterrupt


class ProgressAction(ActionBase):
    """Runs the module of its own name and shows the progress it tells."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        result: Dict[str, Any] = super().run(tmp, task_vars)
        result.update(self._run_module(task_vars or {}))
        return result

    def _run_module(self, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        if self._task.async_val:
            # The user's own async: Ansible polls, and the module may outlive us.
            return dict(self._execute_module(task_vars=task_vars, wrap_async=not self._connection.has_native_async))
        wanted = self._wanted(task_vars)
        here = self._connection.transport == "local" and not self._connection.become
        with orderly_end():
            if wanted is False or getattr(self._connection._shell, "_IS_WINDOWS", False):
                return dict(self._execute_module(task_vars=task_vars))
            if here:
                return self._run_here(task_vars)
            if wanted is None and self._is_pipelining_enabled("new"):
                # With pipelining the arguments never touch the host's disk; detached they would.
                display.v("phase.console: no live progress on a pipelined connection unless phase_progress is true")
                return dict(self._execute_module(task_vars=task_vars))
            return self._run_there(task_vars)

    def _wanted(self, task_vars: Dict[str, Any]) -> Optional[bool]:
        """The variable ``phase_progress``; None when it is not set."""
        value = self._templar.template(task_vars.get("phase_progress"))
        return None if value is None else boolean(value)

    def _shower(self, task_vars: Dict[str, Any]) -> Show:
        host = str(task_vars.get("inventory_hostname", ""))
        if self._task.delegate_to:
            host += f" -> {self._task.delegate_to}"
        action = self._task.action.rpartition(".")[2]
        hidden = bool(self._task.no_log)
        beside = machine_readable(constants.DEFAULT_STDOUT_CALLBACK)

        def show(event: Event) -> None:
            if event.get("event") == "progress" and not hidden:
                display.display(progress_line(action, host, event), stderr=beside)

        return show

    @contextlib.contextmanager
    def _environment(self, events: str) -> Iterator[None]:
        position = len(self._task.environment)
        self._task.environment.append({VARIABLE: events})
        try:
            yield
        finally:
            del self._task.environment[position]

    # Here

    def _run_here(self, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=constants.DEFAULT_LOCAL_TMP))
        events = folder / "events"
        Path(str(events) + LEASE_SUFFIX).write_text(f"{LOCAL_LEASE}\n", encoding="ascii")
        stop = threading.Event()
        follower = threading.Thread(target=follow, args=(events, self._shower(task_vars), stop), daemon=True)
        follower.start()
        result: Optional[Dict[str, Any]] = None
        try:
            with self._environment(str(events)):
                result = dict(self._execute_module(task_vars=task_vars))
            return result
        finally:
            stop.set()
            follower.join()
            if result is None:
                dismiss(events)
            shutil.rmtree(folder, ignore_errors=True)

    # There

    def _run_there(self, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        folder = self._make_folder()
        if folder is None:
            display.v("phase.console: no live progress, since the host could not make a temporary folder with mktemp")
            return dict(self._execute_module(task_vars=task_vars))
        try:
            with self._environment(f"{folder}/events"), self._detached(folder):
                started: Dict[str, Any] = self._execute_module(task_vars=task_vars, wrap_async=True)
            if "ansible_job_id" not in started:
                return started
            return self._follow_there(Job(folder, str(started["ansible_job_id"]), time.monotonic()), task_vars)
        finally:
            # With the folder goes the lease: a module that is still running ends.
            with contextlib.suppress(AnsibleConnectionFailure):
                self._low_level_execute_command(f"rm -rf -- {shlex.quote(folder)}")

    def _follow_there(self, job: Job, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        """Look at the job until it has ended. A lost connection gets ``PATIENCE`` seconds to come back."""
        show = self._shower(task_vars)
        parent = os.getppid()
        while True:
            begun = time.monotonic()
            if os.getppid() != parent:
                raise AnsibleError("Ansible itself has ended, so the module is told to end as well.")
            try:
                result = self._look(job, show, task_vars)
                if result is not None:
                    return result
            except AnsibleConnectionFailure as error:
                if begun - job.contact > PATIENCE:
                    raise
                if not job.lost:
                    show({"event": "progress", "message": f"connection lost, trying again for {PATIENCE} s: {error}"})
                job.lost = True
                self._reset_connection()
            # A slow connection, or a busy controller, asks less often.
            time.sleep(max(REMOTE_INTERVAL, 2 * job.round_trip))

    def _look(self, job: Job, show: Show, task_vars: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """Show the new lines. The result, once the module has ended and every line was shown."""
        now = time.monotonic()
        poll = self._poll(job, show)
        if not poll.found:
            return _failure("The module saw no caller for too long, ended and left no result.")
        job.contact, job.lost = now, False
        if poll.alive:
            job.life = now
        # Asking for the result costs a second, so only when there may be one.
        if now - job.asked < (STATUS_INTERVAL if poll.alive else 0 if job.pid else START_INTERVAL):
            return None
        job.asked = now
        result = self._finished(job, task_vars)
        if result is None:
            ended = now - job.life > GRACE
            return _failure("The module's process has ended without a result: was it killed?") if ended else None
        while self._poll(job, show).lines:
            pass
        return result

    def _poll(self, job: Job, show: Show) -> Poll:
        begun = time.monotonic()
        answer = self._low_level_execute_command(poll_command(job.folder, job.seen, job.pid))
        job.round_trip = time.monotonic() - begun
        poll = parse_poll(answer["stdout"])
        if poll is None:
            raise AnsibleConnectionFailure(f"no answer from the host ({answer['rc']}): {answer['stderr'].strip()}")
        for event in map(parse_event, poll.lines):
            if event.get("event") == "start":
                job.pid = int(event["pid"])
                poll = poll._replace(alive=True)
            show(event)
        job.seen += len(poll.lines)
        return poll

    def _finished(self, job: Job, task_vars: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        result: Dict[str, Any] = self._execute_module(
            module_name="ansible.legacy.async_status",
            module_args={"jid": job.name, "mode": "status", "_async_dir": job.folder},
            task_vars=task_vars,
        )
        if not result.get("finished"):
            return None
        return {key: value for key, value in result.items() if key not in ASYNC_KEYS}

    def _make_folder(self) -> Optional[str]:
        """A folder of the user the module runs as. The task's own folder would not do: it belongs to the user of the
        connection, and async_wrapper removes it at its own time."""
        answer = self._low_level_execute_command(
            f'umask 077; folder=$(mktemp -d "${{TMPDIR:-/tmp}}/{FOLDER_PREFIX}XXXXXXXX" 2>/dev/null'
            f" || mktemp -d /tmp/{FOLDER_PREFIX}XXXXXXXX) && "
            f'echo {REMOTE_LEASE} > "$folder/events{LEASE_SUFFIX}" && echo "{MARK} $folder"'
        )
        _greeting, mark, rest = answer["stdout"].partition(f"{MARK} ")
        return rest.splitlines()[0] if mark and answer["rc"] == 0 else None

    @contextlib.contextmanager
    def _detached(self, folder: str) -> Iterator[None]:
        """As if the task had ``async``, with the job's own file in our folder, so that nothing is left in the home."""
        shell = self._connection._shell
        before = self.get_shell_option("async_dir")
        shell.set_option("async_dir", folder)
        self._task.async_val = ASYNC_LIMIT
        try:
            yield
        finally:
            self._task.async_val = 0
            shell.set_option("async_dir", before)

    def _reset_connection(self) -> None:
        with contextlib.suppress(AnsibleConnectionFailure, AttributeError):
            self._connection.reset()


def _failure(message: str) -> Dict[str, Any]:
    error = ModuleLost(message, "Run the task again: it finds out how far this one came.")
    return {
        "failed": True,
        "changed": False,
        "msg": f"{error.message} {error.next_step}",
        "error": {"kind": error.kind, "next_step": error.next_step},
    }
