# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packing the operations, so that another Python can run them with nothing written to its disk.

The package is a zlib-compressed JSON object, module name to source text, under the synthetic root ``phase_console``.
The starter reads it from standard input: first a line with its length, then the package, then a line with the
envelope (see ``core/remote``); everything after that is heartbeats.
"""

from __future__ import annotations

import json
import sys
import zlib
from typing import Any, Callable, Dict

from . import remote as _remote

ROOT = "phase_console"

# Kept short: it travels as an argument of the interpreter. It holds no data, so nothing secret is in argv.
STARTER = """
import importlib, importlib.util, json, sys, zlib
stdin = sys.stdin.buffer
package = stdin.read(int(stdin.readline()))
sources = json.loads(zlib.decompress(package))
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in sources:
            folder = any(other.startswith(name + '.') for other in sources)
            return importlib.util.spec_from_loader(name, self, is_package=folder)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile(sources[module.__name__], '<' + module.__name__ + '>', 'exec'), module.__dict__)
sys.meta_path.insert(0, Finder())
sys.exit(importlib.import_module('%s').main(stdin, package))
""" % (ROOT + _remote.__name__[_remote.__name__.rindex("._operations") :])


def _home() -> str:
    """The dotted name of the package that holds ``_operations``: the collection's module_utils, or ROOT when packed."""
    return __name__.rsplit("._operations", 1)[0]


def pack() -> bytes:
    """Pack every loaded module of ``_operations`` with the error types.

    What an operation needs it imports at its top, so that what is loaded is what it needs. The sources come out of the
    module's zip or from files: the loaders of both answer ``get_source``, Ansible's own with bytes.
    """
    home = _home()
    sources: Dict[str, str] = {ROOT: ""}
    for name, module in sorted(sys.modules.items()):
        if name == home + "._errors" or (name + ".").startswith(home + "._operations."):
            loader: Any = getattr(module.__spec__, "loader", None)
            source = loader.get_source(name) or ""
            sources[ROOT + name[len(home) :]] = source if isinstance(source, str) else source.decode()
    return zlib.compress(json.dumps(sources).encode())


def opening(package: bytes, envelope: Dict[str, Any]) -> bytes:
    """The bytes that the starter expects first on its standard input."""
    return b"%d\n%s%s\n" % (len(package), package, json.dumps(envelope).encode())


def reference(operation: Callable[..., Any]) -> str:
    """The packed name of an operation: ``_operations.migration.operation:plan``."""
    return "%s:%s" % (operation.__module__[len(_home()) + 1 :], operation.__name__)
