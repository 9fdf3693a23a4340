# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings of a systemd timer, checked: none of them can end a line of a unit, or be expanded by systemd."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, Mapping

from . import values

PREFIX = "phase_timer_"  # of the role's variables, for messages

# systemd.time(7), "Parsing time spans". Units that nobody needs here are left out.
_SPAN = re.compile(r"infinity|[0-9]+ ?(?:s|sec|m|min|h|hr|d|w)?(?: [0-9]+ ?(?:s|sec|m|min|h|hr|d|w))*")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,60}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")  # systemd.exec(5), "User="; no numbers, no capitals
_WORDS = re.compile(r"[A-Za-z0-9',. -]{1,200}")


def _matching(pattern: "re.Pattern[str]", what: str, example: str) -> Callable[[str, Any], str]:
    def check(name: str, given: Any) -> str:
        if not isinstance(given, str) or not pattern.fullmatch(given):
            raise values.BadValue("%s is not %s: %.80r." % (name, what, given), "Use one such as %s." % example)
        return str(given)

    return check


def command(name: str, given: Any) -> List[str]:
    """A program by its path, and its arguments."""
    words = values.each(values.argument, name, given)
    if not words or not words[0].startswith("/"):
        raise values.BadValue("%s does not begin with an absolute path." % name, "systemd wants the program's path.")
    return words


_CHECKS: Dict[str, Callable[[str, Any], Any]] = {
    "name": _matching(_NAME, "a name for units", "phase-log-retention"),
    "description": _matching(_WORDS, "a description of plain words", "Keep Phase's log at a number of days"),
    "calendar": values.calendar,
    "random_delay": _matching(_SPAN, "a time span of systemd's", "15min"),
    "catch_up": values.flag,
    "command": command,
    "timeout": _matching(_SPAN, "a time span of systemd's", "15min"),
    "user": _matching(_USER, "the name of a user", "root"),
    "environment_file": lambda name, given: values.path(name, given) if given else "",
}


def settings(given: Mapping[str, Any]) -> Dict[str, Any]:
    """The same values by the same names, or BadValue."""
    options = values.known("timer", given, _CHECKS)
    return {name: check(PREFIX + name, options.get(name)) for name, check in _CHECKS.items()}
