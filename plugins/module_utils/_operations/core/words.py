# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbers, names and texts as sentences have them, and names as SQL has them. Pure."""

from __future__ import annotations

from typing import Any, Dict, Optional

SHOWN = 80  # characters of a text from outside


def quoted(text: str) -> str:
    """A text from outside, in a sentence: in double quotes, on one line, what is not printable escaped, shortened."""
    shown = text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
    return '"%s"' % "".join(_escaped(character) for character in shown)


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def identifier(name: str) -> str:
    """A name as SQL."""
    return '"%s"' % name.replace('"', '""')


def people_seconds(seconds: float) -> str:
    if seconds < 60:
        return "%d s" % seconds
    return "%d min" % (seconds // 60) if seconds < 3600 else "%.1f h" % (seconds / 3600)


def people_rows(rows: Optional[int]) -> str:
    if rows is None:
        return "unknown number of rows"
    if rows < 10000:
        return "%d row%s" % (rows, "" if rows == 1 else "s")
    if rows < 1000000:
        return "%d k rows" % round(rows / 1000)
    return "%.1f M rows" % (rows / 1e6)


def people_bytes(size: Optional[float]) -> str:
    """``8.2 kB``, ``82 MB``: powers of 1000."""
    if size is None:
        return "unknown"
    if size < 1000:
        return "%d B" % size
    value, unit = size / 1e3, 0
    while value >= 1000 and unit < 3:
        value, unit = value / 1000, unit + 1
    return ("%.1f %s" if value < 10 else "%.0f %s") % (value, ("kB", "MB", "GB", "TB")[unit])


def people_size(size: Dict[str, Any]) -> str:
    return people_rows(size["rows"]) + (", " + people_bytes(size["bytes"]) if size["bytes"] is not None else "")
