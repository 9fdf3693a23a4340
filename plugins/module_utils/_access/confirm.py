# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A question that a run asks and another may answer: shall what was changed be kept?

Beside ``PATH``, which says how to put it back, stands ``PATH.waiting`` for as long as the question is open, with the
time it is open until (JSON ``until``, seconds since 1970). An answer renames it to ``PATH.kept`` or ``PATH.put_back``,
the end of the time to ``PATH.expired``. Only one can rename a file, so there is one answer, whoever gives it.
"""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Dict, Optional

from .._call.argspec import ArgumentSpec, duration
from .._call.files import write_private
from .._call.module import Call
from .._errors import PhaseError

WAITING = ".waiting"
KEPT, PUT_BACK, EXPIRED = "kept", "put_back", "expired"
ANSWERS = {"keep": KEPT, "put_back": PUT_BACK}
POLL = 0.5  # seconds between two looks
WORDS = {
    KEPT: "What was changed is kept",
    PUT_BACK: "It was to be put back at once",
    EXPIRED: "The time was up, so it was put back",
}


SPEC = ArgumentSpec(
    {
        "path": {"type": "path", "required": True},
        "answer": {"type": "str", "choices": ["ask", "keep", "put_back", "none"], "default": "keep"},
        "text": {"type": "list", "elements": "str", "default": []},
        "within": {"type": "str", "default": "30m"},
        "look": {"type": "float"},
    },
    target=False,
)


class NothingWaits(PhaseError):
    kind = "nothing_waits"


class AnsweredOtherwise(PhaseError):
    kind = "answered_otherwise"


def answer_of(path: str) -> Optional[str]:
    """KEPT, PUT_BACK, EXPIRED, or None while there is no answer."""
    return next((answer for answer in (KEPT, PUT_BACK, EXPIRED) if os.path.exists(path + "." + answer)), None)


def settle(path: str, answer: str) -> bool:
    """Give the answer. False where the question is not open (any more)."""
    try:
        os.rename(path + WAITING, path + "." + answer)
    except FileNotFoundError:
        return False
    return True


def open_until(path: str) -> Optional[float]:
    """Until when the question is open; None where it is not, or its file says nothing."""
    try:
        with open(path + WAITING, encoding="utf-8") as file:
            return float(json.load(file)["until"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ask(
    path: str, within: float, look: Optional[float], clock: Callable[[], float], sleep: Callable[[float], None]
) -> Dict[str, Any]:
    """Open the question, unless it is open or answered, and wait for ``look`` seconds (None: to the end) for an answer.

    Returns ``answer`` (None: none yet) and ``left``, the seconds it is still open. ``clock`` counts since 1970.
    """
    started = clock()
    if answer_of(path) is None and not os.path.exists(path + WAITING):
        write_private(path + WAITING, json.dumps({"until": started + within}).encode() + b"\n")
    while True:
        answer = answer_of(path)
        if answer is not None:
            return {"answer": answer, "left": 0.0}
        until = open_until(path)
        now = clock()
        if until is None or until <= now:  # or it has just been answered: then nothing is renamed here
            if not settle(path, EXPIRED) and answer_of(path) is None:
                return {"answer": EXPIRED, "left": 0.0}
            continue
        rest = until - now if look is None else min(until - now, started + look - now)
        if rest <= 0:
            return {"answer": None, "left": round(until - now, 1)}
        sleep(min(POLL, rest))


def give(path: str, answer: str, check: bool, now: float) -> Dict[str, Any]:
    """Answer the question with KEPT or PUT_BACK. Raises NothingWaits, AnsweredOtherwise.

    A run that lives ends its question at the time: one that is open longer, at ``now``, is that of a run that has died.
    """
    until = open_until(path)
    if answer == KEPT and until is not None and until <= now:
        raise NothingWaits(
            "The time to keep it was up, and no run waits any more: %s was not put back." % path,
            "To put it back, give that path as phase_recover_restore. To keep it, do nothing.",
        )
    changed = os.path.exists(path + WAITING) if check else settle(path, answer)
    before = answer if changed else answer_of(path)
    if before is None:
        raise NothingWaits(
            "No run asks whether to keep what %s would put back." % path,
            "Give the path that the waiting run has printed, on the host it works on.",
        )
    if (before == KEPT) != (answer == KEPT):
        raise AnsweredOtherwise(
            "That question has its answer. %s." % WORDS[before],
            "To put it back all the same, give that path as phase_recover_restore."
            if before == KEPT
            else "Run the recovery again.",
        )
    return {"answer": before, "left": 0.0, "changed": changed}


def run(call: Call) -> Dict[str, Any]:
    """The module's result. Asking changes nothing that matters, so it is never ``changed``."""
    params = call.params
    path = os.path.abspath(os.path.expanduser(params["path"])).rstrip("/")
    if params["answer"] == "none":
        return {"changed": False, "answer": answer_of(path), "left": 0.0, "path": path}
    if params["answer"] != "ask":
        return dict(give(path, ANSWERS[params["answer"]], call.check, call.now()), path=path)
    within = duration("within", params["within"])
    if call.check:
        return {"changed": False, "answer": answer_of(path), "left": within, "path": path}
    return dict(ask(path, within, params["look"], call.now, call.sleep), changed=False, path=path)
