# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""Keeps what Python compiles of zips: half of a module's time, since Ansible sends it as one and Python keeps nothing.

Python imports this at its start where harness.py has put this folder on its path.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import sys
import zipimport

FOLDER = os.environ.get("PYTHONPYCACHEPREFIX")
compile_source = zipimport._compile_source


def kept(path, source):
    """The code of a file in a zip: of an earlier process's, where name and content are the same."""
    key = hashlib.sha256(os.path.basename(path).encode() + b"\0" + source).hexdigest()
    place = os.path.join(FOLDER, "zips", "%s.%s" % (key, sys.implementation.cache_tag))
    try:
        with open(place, "rb") as file:
            return marshal.load(file)
    except (OSError, EOFError, ValueError):
        pass
    code = compile_source(path, source)
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        own = "%s.%d" % (place, os.getpid())
        with open(own, "wb") as file:
            marshal.dump(code, file)
        os.replace(own, place)
    except OSError:  # a module that runs as another user
        pass
    return code


if FOLDER:
    zipimport._compile_source = kept
