# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import subprocess
import sys

from ansible_collections.phase.console.plugins.lookup.controller import LookupModule, born


def test_names_this_process():
    (owner,) = LookupModule().run([])
    assert owner == {"host": socket.gethostname(), "pid": os.getpid(), "born": born(os.getpid())}


def test_tells_whether_a_process_is_gone():
    (owner,) = LookupModule().run([])
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    other = {"host": socket.gethostname(), "pid": process.pid, "born": born(process.pid)}
    assert LookupModule().run([owner, other]) == [False, False]
    process.kill()
    process.wait()
    assert LookupModule().run([other]) == [True]


def test_a_later_process_with_the_same_id_is_another_one():
    (owner,) = LookupModule().run([])
    assert LookupModule().run([dict(owner, born="1")]) == [True]


def test_of_another_host_nothing_is_known():
    (owner,) = LookupModule().run([])
    assert LookupModule().run([dict(owner, host="elsewhere", pid=999999999)]) == [False]
