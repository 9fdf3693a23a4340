# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Live progress with the real ansible-playbook: over the local connection, by become, and over a real SSH connection.

The module is a stand-in that tells steps (progress/module.py); the action plugin and both ends of the channel are the
collection's own.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from sandbox.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
LINE = re.compile(r"^phase\.console (\w+): \[([^\]]+)\] step (\d+) of (\d+) at (\d+\.\d+) \| done=(\d+)$")
# 0.2 s here, 0.4 s and the way there; the rest is for a busy machine.
LATE = 1.0

ROUTE = """
    phase_steps:
      action_plugin: phase.console.phase_migrate
"""


@pytest.fixture(scope="module")
def collections(tmp_path_factory):
    """The collection with one module more, routed to the action plugin as the others are."""
    path = tmp_path_factory.mktemp("collections")
    console = path / "ansible_collections" / "phase" / "console"
    for name in ("meta", "plugins"):
        shutil.copytree(ROOT / name, console / name)
    shutil.copy(ROOT / "galaxy.yml", console)
    shutil.copy(Path(__file__).parent / "progress" / "module.py", console / "plugins" / "modules" / "phase_steps.py")
    runtime = console / "meta" / "runtime.yml"
    runtime.write_text(runtime.read_text(encoding="utf-8").rstrip() + ROUTE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def temporary():
    """Where every user of the tests makes temporary files; pytest's own folder is closed to the others."""
    path = Path(tempfile.mkdtemp(prefix="phase-test-"))
    path.chmod(0o1777)
    yield path
    shutil.rmtree(path)


class Sshd:
    """A server of our own on the loopback, for the user of the tests."""

    def __init__(self, folder, temporary):
        self.folder = folder
        self.key = folder / "key"
        for name in ("key", "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copy(folder / "key.pub", folder / "authorized_keys")
        self.port = free_port()
        (folder / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            f"PermitRootLogin prohibit-password\nMaxStartups 100\nSetEnv TMPDIR={temporary}\n",
            encoding="utf-8",
        )
        self.process = None

    def start(self):
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        command = [find_sshd(), "-D", "-f", self.folder / "config", "-E", self.folder / "log"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", self.port)) == 0, "sshd listens")

    def cut(self):
        """The server and every session of it, as when the network goes."""
        sessions = descendants(self.process.pid)
        self.process.kill()
        self.process.wait()
        for pid, name in sessions:
            if name.startswith("sshd"):
                kill(pid, signal.SIGKILL)


def find_sshd():
    return shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def descendants(pid):
    """(pid, command) of all children below, from /proc."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        name, _bracket, rest = text.partition("(")[2].rpartition(")")
        children.setdefault(int(rest.split()[1]), []).append((int(stat.parent.name), name))
    found, todo = [], [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            found.append(child)
            todo.append(child[0])
    return found


def kill(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, what, seconds=15.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory, temporary):
    if not find_sshd():
        pytest.skip("no sshd on this machine; on Debian and Ubuntu: apt install openssh-server")
    server = Sshd(tmp_path_factory.mktemp("sshd"), temporary)
    server.start()
    yield server
    server.cut()


LOCAL = {"ansible_connection": "local"}
SYSTEM_PYTHON = "/usr/bin/python3"
BECOME = {
    "ansible_become": True,
    "ansible_become_method": "su",
    "ansible_become_flags": "-s /bin/sh",
    "ansible_become_user": "nobody",
    "ansible_python_interpreter": SYSTEM_PYTHON,
}


def over_ssh(sshd):
    arguments = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ControlMaster=auto -o ControlPersist=30"
    return {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_port": sshd.port,
        "ansible_user": getpass.getuser(),
        "ansible_ssh_private_key_file": str(sshd.key),
        "ansible_ssh_args": arguments,
    }


@pytest.fixture(params=["local", "ssh", "local-become", "ssh-become"])
def where(request):
    """Each way a module can run, as the variables of its host."""
    if "become" in request.param:
        if os.geteuid() != 0:
            pytest.skip("becoming another user without a password needs root")
        if not Path(SYSTEM_PYTHON).exists():
            pytest.skip(f"no {SYSTEM_PYTHON}: the other user may not use the Python of the tests")
    connection = over_ssh(request.getfixturevalue("sshd")) if "ssh" in request.param else dict(LOCAL)
    return {**connection, **(BECOME if "become" in request.param else {})}


class Run:
    """One ansible-playbook, with the moment each of its lines came."""

    def __init__(self, process):
        self.process = process
        self.lines = []

    def read_until(self, text=None):
        for line in self.process.stdout:
            self.lines.append((time.time(), line.rstrip("\n")))
            if text is not None and text in line:
                return self
        self.process.wait()
        assert text is None, f"never printed {text!r}: {self.text}"
        return self

    @property
    def text(self):
        return "\n".join(line for _at, line in self.lines)

    @property
    def steps(self):
        """(came, host, told at, step) of each line of progress."""
        matches = [(came, LINE.match(line)) for came, line in self.lines]
        return [(came, m[2], float(m[5]), int(m[3])) for came, m in matches if m]


def environment(home, **more):
    """Nothing of a user's own Ansible, and the Ansible beside this Python."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PHASE_CONSOLE_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    return {**env, "PATH": path, "ANSIBLE_HOME": str(home), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8", **more}


@pytest.fixture
def play(collections, tmp_path, temporary):
    """play(host variables, task, hosts=...) starts ansible-playbook on one task."""
    started = []

    def start(variables, task, *, hosts=("one",), arguments=()):
        inventory = {"all": {"hosts": {host: {} for host in hosts}, "vars": {**PYTHON, **variables}}}
        (tmp_path / "inventory.json").write_text(json.dumps(inventory), encoding="utf-8")
        book = [{"hosts": "all", "gather_facts": False, "tasks": [task, SHOW]}]
        (tmp_path / "play.yml").write_text(json.dumps(book), encoding="utf-8")
        env = environment(tmp_path / "home", ANSIBLE_COLLECTIONS_PATH=str(collections), TMPDIR=str(temporary))
        command = ["ansible-playbook", "-i", tmp_path / "inventory.json", tmp_path / "play.yml", *arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, start_new_session=True
        )
        started.append(process)
        return Run(process)

    yield start
    for process in started:
        if process.poll() is None:
            for pid, _name in [*descendants(process.pid), (process.pid, "")]:
                kill(pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()
    wait_for(lambda: not list(temporary.glob("phase-console-*")), "no folder of progress is left")


PYTHON = {"ansible_python_interpreter": sys.executable}
SHOW = {"ansible.builtin.debug": {"msg": "result {{ steps | default({}) | to_json }}"}}


def steps(*, register="steps", **options):
    keywords = {key: options.pop(key) for key in list(options) if key in KEYWORDS}
    return {"phase.console.phase_steps": options, "register": register, **keywords}


KEYWORDS = ("async", "poll", "no_log", "loop", "delegate_to", "timeout", "ignore_errors", "vars", "diff")


def test_lines_come_while_the_module_runs(play, where):
    run = play(where, steps(steps=4, pause=1.5)).read_until()
    assert run.process.returncode == 0, run.text
    assert [(host, step) for _came, host, _told, step in run.steps] == [("one", n) for n in (1, 2, 3, 4)], run.text
    late = [came - told for came, _host, told, _step in run.steps]
    assert min(late) < LATE, late
    assert run.steps[0][0] < run.steps[-1][2], f"the first line came after the last step: {late}"
    assert '"done": 4' in run.text.replace("\\", "")
    assert "ansible_job_id" not in run.text


@pytest.fixture(params=["local", "ssh"])
def connection(request):
    return over_ssh(request.getfixturevalue("sshd")) if request.param == "ssh" else dict(LOCAL)


def soon(connection):
    """Seconds within which the lease would not have run out by itself, nor the patience with a killed module."""
    return 9.0 if connection == LOCAL else 28.0


@pytest.fixture
def endless(tmp_path):
    """Options of a module that runs until it is told to end, and a function for its process."""
    pid_file = tmp_path / "pid"

    def pid():
        wait_for(lambda: pid_file.exists() and pid_file.read_text(encoding="ascii"), "the module has started")
        return int(pid_file.read_text(encoding="ascii"))

    return {"steps": 600, "pause": 0.2, "pid_file": str(pid_file)}, pid


def test_every_host_and_item_shows_its_own_lines(play):
    run = play(LOCAL, steps(steps=2, pause=0.3, loop=["a", "b"]), hosts=("one", "two", "three")).read_until()
    assert run.process.returncode == 0, run.text
    shown = [(host, step) for _came, host, _told, step in run.steps]
    assert sorted(shown) == sorted((host, step) for host in ("one", "two", "three") for step in (1, 2, 1, 2))


def test_a_delegated_task_names_both_hosts(play):
    run = play(LOCAL, steps(steps=1, pause=0.1, delegate_to="localhost", vars=LOCAL)).read_until()
    assert [host for _came, host, _told, _step in run.steps] == ["one -> localhost"], run.text


def test_check_mode_is_shown_as_well(play, sshd):
    run = play(over_ssh(sshd), steps(steps=2, pause=0.1), arguments=["--check", "--diff"]).read_until()
    assert len(run.steps) == 2, run.text
    assert "changed=0" in run.text


def test_nothing_is_shown_for_no_log(play, sshd):
    run = play(over_ssh(sshd), steps(steps=2, pause=0.1, no_log=True)).read_until()
    assert run.process.returncode == 0, run.text
    assert "step 1" not in run.text


def test_it_can_be_turned_off(play, sshd):
    run = play(over_ssh(sshd), steps(steps=2, pause=0.1, vars={"phase_progress": "no"})).read_until()
    assert run.process.returncode == 0, run.text
    assert "step 1" not in run.text


@pytest.mark.parametrize("poll", [0, 1])
def test_a_task_with_async_of_its_own_runs_plainly(play, connection, poll, tmp_path):
    # Ansible asks the account for its home here, and the environment there: they differ in CI.
    place = {"ansible_async_dir": str(tmp_path / "async")}
    run = play(connection, steps(steps=2, pause=0.1, poll=poll, vars=place, **{"async": 30})).read_until()
    assert run.process.returncode == 0, run.text
    assert "step 1" not in run.text
    assert ('"done": 2' if poll else "ansible_job_id") in run.text.replace("\\", "")


def test_over_pipelining_only_when_asked_for(play, sshd):
    pipelined = {**over_ssh(sshd), "ansible_pipelining": True}
    assert not play(pipelined, steps(steps=2, pause=0.1)).read_until().steps
    assert len(play({**pipelined, "phase_progress": True}, steps(steps=2, pause=0.1)).read_until().steps) == 2


def test_a_failed_module_fails_the_task_with_its_own_words(play, sshd):
    run = play(over_ssh(sshd), steps(steps="many")).read_until()
    assert run.process.returncode == 2, run.text
    assert "could not be converted to" in run.text or "cannot be converted to" in run.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_the_module_ends_when_ansible_is_ended(play, connection, endless, number):
    options, pid = endless
    run = play(connection, steps(**options)).read_until("step 2")
    module = pid()
    os.kill(run.process.pid, number)
    wait_for(lambda: not alive(module), f"the module {module} has ended", soon(connection))


def test_ctrl_c_in_a_terminal_ends_the_module(play, connection, endless):
    options, pid = endless
    run = play(connection, steps(**options)).read_until("step 2")
    module = pid()
    os.killpg(run.process.pid, signal.SIGINT)  # a group of its own since start_new_session
    wait_for(lambda: not alive(module), f"the module {module} has ended", soon(connection))


def test_the_module_ends_with_the_timeout_of_the_task(play, connection, endless):
    options, pid = endless
    for timeout in (6, 60):  # on a busy machine six seconds may not be enough to begin
        run = play(connection, steps(**options, timeout=timeout)).read_until()
        assert run.process.returncode == 2, run.text
        assert re.search("(?i)timed out|expected time frame", run.text), run.text
        if Path(options["pid_file"]).exists():
            break
    wait_for(lambda: not alive(pid()), "the module has ended", soon(connection))


def test_a_killed_module_is_a_failure_and_no_wait(play, connection, endless):
    options, pid = endless
    run = play(connection, steps(**options)).read_until("step 2")
    os.kill(pid(), signal.SIGKILL)
    killed = time.monotonic()
    run.read_until()
    assert run.process.returncode == 2, run.text
    assert time.monotonic() - killed < soon(connection)


def test_an_outage_of_the_network_is_bridged(play, sshd):
    run = play(over_ssh(sshd), steps(steps=20, pause=0.5)).read_until("step 2")
    sshd.cut()
    run.read_until("connection lost, trying again for")
    sshd.start()
    run.read_until()
    assert run.process.returncode == 0, run.text
    assert [step for _came, _host, _told, step in run.steps] == list(range(1, 21))


def ad_hoc(collections, tmp_path, **more):
    env = environment(tmp_path, ANSIBLE_COLLECTIONS_PATH=str(collections), **more)
    command = ["ansible", "localhost", "-m", "phase.console.phase_steps", "-a", "steps=2 pause=0.1"]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=True)


def shown(output):
    return [line for line in output.splitlines() if LINE.match(line)]


def test_ad_hoc(collections, tmp_path):
    done = ad_hoc(collections, tmp_path)
    assert len(shown(done.stdout)) == 2, done.stdout


def test_a_json_document_stays_whole(collections, tmp_path):
    query = ["ansible-doc", "-t", "callback", "--json", "ansible.posix.json"]
    found = subprocess.run(query, capture_output=True, text=True, env=environment(tmp_path), check=False)
    if '"plugin_name"' not in found.stdout:
        pytest.skip("the collection ansible.posix, which brings the json callback, is not installed")
    json_output = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true"}
    done = ad_hoc(collections, tmp_path, **json_output)
    assert json.loads(done.stdout)["plays"]
    assert len(shown(done.stderr)) == 2, done.stderr
