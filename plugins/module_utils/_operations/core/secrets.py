# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeping secrets out of what people read."""

from __future__ import annotations

import re
from typing import Callable, Iterable, List, Mapping

_NAMES = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|PRIVATE|CREDENTIAL|(^|_)(KEY|URL|DSN|PASS)($|_)", re.IGNORECASE)
# Switches whose names sound secret, such as ENABLE_PASSWORD_AUTH, have such values. Hiding them would blank ordinary
# words in every result. Numbers of so few digits are ports, seconds and counts.
_ORDINARY = re.compile(
    r"(true|false|yes|no|on|off|none|null|enabled?|disabled?|required?|optional|default|auto|always|never|\d{1,5})$",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)@")
MASK = "********"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def secret_values(environment: Mapping[str, str], read: Callable[[str], str] = _read) -> List[str]:
    """Values of the variables whose names sound secret, and the content of the files that ``*_FILE`` names.

    Values of fewer than four characters and ordinary words are no secrets.
    """
    found = set()
    for name, value in environment.items():
        if _NAMES.search(name):
            found.add(read(value) if name.endswith("_FILE") else value)
    return sorted(
        (value for value in found if len(value) >= 4 and not _ORDINARY.match(value)),
        key=lambda value: (-len(value), value),
    )


def masker(values: Iterable[str]) -> Callable[[str], str]:
    """A function that replaces the values, and the password of any URL, in a text.

    A short value (under 8 characters) is replaced only where it stands alone, so that a password such as ``phase``
    does not blank every word that contains it.
    """
    parts = [re.escape(v) if len(v) >= 8 else r"(?<![\w-])%s(?![\w-])" % re.escape(v) for v in values]
    pattern = re.compile("|".join(parts)) if parts else None

    def mask(text: str) -> str:
        text = _USERINFO.sub(r"\1:%s@" % MASK, text)
        return pattern.sub(MASK, text) if pattern else text

    return mask
