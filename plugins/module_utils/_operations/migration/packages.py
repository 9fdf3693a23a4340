# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the Python that runs a checkout has the packages that the release was made for: its ``requirements.txt``."""

from __future__ import annotations

import re
from typing import Callable, List, Optional

from .errors import PackagesDiffer

FILE = "requirements.txt"
SHOWN = 4
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^]]*\])?\s*===?\s*([^\s;#\\]+)\s*(?:[#\\].*)?")
Installed = Callable[[str], Optional[str]]


def numbers(version: str) -> List[int]:
    """``4.2.16`` as numbers; what follows them, such as ``rc1``, is left out."""
    found = re.match(r"[0-9]+(\.[0-9]+)*", version.lstrip("v"))
    parts = [int(part) for part in found.group().split(".")] if found else []
    while parts and parts[-1] == 0:
        parts.pop()
    return parts


def missing(text: str, installed: Installed) -> List[str]:
    """The pins of a requirements file that are not met, in words. A newer version than the pinned one is well, and so
    is psycopg2 for psycopg2-binary; pins that hold for some systems only are not looked at."""
    found = []
    for line in text.splitlines():
        pin = _PIN.fullmatch(line.strip())
        if pin is None:
            continue
        name, wanted = pin.group(1), pin.group(2)
        have = installed(name) or (installed(name[: -len("-binary")]) if name.endswith("-binary") else None)
        if have is None:
            found.append("%s %s is missing" % (name, wanted))
        elif numbers(have) < numbers(wanted):
            found.append("%s is %s instead of %s" % (name, have, wanted))
    return found


def version_of(name: str) -> Optional[str]:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check(folder: str, python: str) -> None:
    """Raise PackagesDiffer where the running Python, named ``python``, lacks what the checkout in ``folder`` pins."""
    try:
        with open("%s/%s" % (folder, FILE), encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return  # a release that says nothing
    found = missing(text, version_of)
    if found:
        more = " and %d more" % (len(found) - SHOWN) if len(found) > SHOWN else ""
        raise PackagesDiffer(
            "%s has other packages than the release in %s was made for: %s%s."
            % (python, folder, ", ".join(found[:SHOWN]), more),
            "Give each release an environment of its own, and set python to its place in the release, such as "
            ".venv/bin/python. Or install them: %s -m pip install -r %s/%s." % (python, folder, FILE),
        )
