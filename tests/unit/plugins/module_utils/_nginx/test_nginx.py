# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from ansible_collections.phase.console.plugins.module_utils._nginx import file, host, nginx

SAID = (
    b"build configure arguments: --prefix=/x --conf-path=/opt/nginx.conf --pid-path=/run/n.pid\n"
    b"uptime 1000.50\nnow 5000\nchanged 4990\n"
    b"process 7 (nginx) S 1 7 7 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 90000 1 1 "
    b"nginx: master process nginx -g daemon off;\n"
    b"process 30 (nginx) S 7 7 7 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 91000 1 1 nginx: worker process \n"
    b"process 31 (nginx) S 7 7 7 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 91000 1 1 "
    b"nginx: worker process is shutting down \n"
    b"content\nserver { }\n\ncontent\n"
)


def test_a_look_is_taken_apart():
    look = host.look_of(SAID, 0)
    assert (look.main, look.pid_path, look.changed_ago, look.uptime) == ("/opt/nginx.conf", "/run/n.pid", 10, 1000.5)
    assert look.content == b"server { }\n\ncontent\n"
    assert [(worker.pid, worker.started) for worker in look.workers(7)] == [(30, 910.0)]


def test_a_file_that_is_not_there_is_told_from_an_empty_one():
    assert host.look_of(SAID, 1).content is None
    with pytest.raises(host.NginxFailed):
        host.look_of(b"", 127)


def test_the_inode_and_the_mode_stay_when_the_content_changes(tmp_path):
    path = tmp_path / "default.conf"
    path.write_bytes(b"long " * 10000)
    path.chmod(0o640)
    inode = path.stat().st_ino
    with path.open("rb") as mounted:
        file.write_in_place(str(path), b"short")
        assert mounted.read() == b"short"
    assert path.stat().st_ino == inode and stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_journal_keeps_what_was_there_for_the_owner_only(tmp_path):
    path = str(tmp_path / "default.conf")
    assert file.read_journal(path) is None
    file.write_journal(path, b"\x00old\n")
    assert file.read_journal(path) == b"\x00old\n"
    assert stat.S_IMODE(Path(file.journal_of(path)).stat().st_mode) == 0o600
    file.remove_journal(path)
    assert not list(tmp_path.iterdir())


def test_two_runs_do_not_work_on_one_file(tmp_path):
    path = tmp_path / "default.conf"
    with pytest.raises(file.FileTrouble, match="No such file"), file.only_one(str(path)):
        pass
    path.touch()
    with file.only_one(str(path)), pytest.raises(file.Busy), file.only_one(str(path)):
        pass
    with file.only_one(str(path)):
        pass


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ('2026/11/21 [emerg] 6#6: unknown directive "x" in /a:5\nnginx: test failed', 'unknown directive "x" in /a:5'),
        ("nginx: [emerg] host not found in upstream", "host not found in upstream"),
        ("sh: nginx: not found", "sh: nginx: not found"),
        ("", "it gives no reason"),
    ],
)
def test_the_complaint_is_nginx_own_reason(said, reason):
    assert nginx.complaint(said) == reason


def container(name, networks, mode="default"):
    return {"Id": name, "HostConfig": {"NetworkMode": mode}, "NetworkSettings": {"Networks": networks}}


def test_containers_meet_on_the_networks_they_share():
    nginx_there = container(
        "a", {"x": {"IPAddress": "10.0.0.2", "GlobalIPv6Address": "fd00::2"}, "y": {"IPAddress": "10.1.0.2"}}
    )
    backend = container("b", {"x": {"IPAddress": "10.0.0.3", "GlobalIPv6Address": ""}})
    assert host.shared(nginx_there, backend) == ["10.0.0.2", "fd00::2"]
    assert host.shared(backend, nginx_there) == ["10.0.0.3"]
    beside = container("c", {}, "container:a")
    assert host.namespace(beside) == host.namespace(nginx_there) != host.namespace(backend)


@pytest.mark.parametrize(
    ("folder", "path", "does"),
    [("/a/b", "/a/b", True), ("/a", "/a/b", True), ("/a/", "/a/b", True), ("/a/b", "/a/bc", False)],
)
def test_what_a_mount_covers(folder, path, does):
    assert host.covers(folder, path) == does


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        ({"stranger": {"passed_on": 0}, "live": {"skipped": None}}, []),
        ({"stranger": {"passed_on": 3}}, ["before v2.54.2"]),
        ({"stranger": {"passed_on": 0}, "unprobed": ["listen 1 quic"], "unreached": [8443]}, ["1 quic, port 8443."]),
        ({"stranger": {"passed_on": 0}, "live": {"skipped": "no members"}}, ["not asked whom it sees: no members."]),
    ],
)
def test_what_is_no_failure_is_said_all_the_same(probe, words):
    said = nginx.remarks(probe)
    assert len(said) == len(words) and all(word in text for word, text in zip(words, said))


@pytest.mark.parametrize(
    ("given", "words"),
    [({"attempts": 0}, "attempts is 0"), ({"content": " "}, "is empty"), ({"hops": [{"ranges": []}]}, "no ranges")],
)
def test_what_cannot_be_meant_is_refused(given, words):
    sound = {"content": "x", "probe": "full", "attempts": 1, "hops": [], "restart": False, "reload_timeout": 1.0}
    assert nginx.wanted_from(sound).attempts == 1
    with pytest.raises(nginx.BadOption, match=words):
        nginx.wanted_from({**sound, **given})


def test_a_failure_says_what_serves_now():
    failed = nginx.put_back(nginx.NotReloaded("It was not taken.", "See."))
    assert failed.message == "It was not taken. The old configuration serves again." and failed.partial["rolled_back"]
    failed = nginx.not_put_back(nginx.NotReloaded("It was not taken."), nginx.NotReloaded("Nor was that."))
    assert failed.message.endswith("either: Nor was that.") and failed.partial["rolled_back"] is False


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), ValueError("x"), nginx.NotReloaded("Not taken.")])
def test_whatever_stops_a_change_the_old_file_goes_back(tmp_path, raised):
    path = tmp_path / "default.conf"
    path.write_bytes(b"old")

    class Here(host.PlainNginx):
        def look(self):
            return host.Look(path.read_bytes(), 0, 0, "", "", (host.Process(7, 1, 0.0, "nginx: worker process"),))

        def master(self, _look, _main_pid_path=None):
            return 1

        def signal_reload(self):
            raise raised

    class Stopped(nginx.Configurator):
        def _bring_back(self, before, *_more):
            file.write_in_place(str(path), before)
            assert file.read_journal(str(path)) == b"old"  # until nginx has it again

    change = Stopped(Here(str(path), "nginx"), None, nginx.Wanted(b"new", probe="none"), lambda *_words: None)
    with pytest.raises(type(raised)) as failed:
        change._change(change._host.look(), "", False, [], {})
    assert failed.value is raised and path.read_bytes() == b"old" and file.read_journal(str(path)) is None


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("nginx version: nginx/1.22.1", "1.22.1"),
        ("nginx: [warn] odd\nnginx version: openresty/1.21.4.1", "1.21.4"),
        ("nginx version: nginx/1.26.3 (Ubuntu)", "1.26.3"),
        ("sh: nginx: not found", None),
    ],
)
def test_the_version_of_nginx(tmp_path, said, version):
    program = tmp_path / "nginx"
    program.write_text("#!/bin/sh\n[ $# = 1 ] && [ $1 = -v ] && printf '%%s\\n' '%s' >&2\n" % said, encoding="utf-8")
    program.chmod(0o700)
    assert host.PlainNginx("/etc/nginx/conf.d/default.conf", str(program)).version() == version


def test_only_a_run_that_was_cut_off_is_undone(tmp_path):
    path = tmp_path / "default.conf"
    path.write_bytes(b"half")

    def undo(check):
        here = host.PlainNginx(str(path), "/nonexistent/nginx")
        return nginx.Configurator(here, None, nginx.Wanted(b""), lambda *_words: None).only_recover(check)

    assert undo(False)["changed"] is False and undo(True)["nginx_version"] is None and path.read_bytes() == b"half"
    file.write_journal(str(path), b"whole")
    foreseen = undo(True)
    assert foreseen["changed"] and foreseen["recovered"] and path.read_bytes() == b"half"
    assert file.read_journal(str(path)) == b"whole"
