# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A question that a run asks and another run may answer: is a change to be kept?

Beside ``PATH``, which holds what undoes the change, ``PATH.waiting`` is there while the question is open, with the end
of its time (JSON ``until``, seconds since 1970). It is opened before the change, so the time counts from then on. An
answer renames it to ``PATH.kept`` or ``PATH.put_back``, the end of the time to ``PATH.expired``. A file can be renamed
once only, so there is one answer, whoever gives it.
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
    KEPT: "The change is kept",
    PUT_BACK: "The change was to be undone",
    EXPIRED: "The time was up, so the change was undone",
}


SPEC = ArgumentSpec(
    {
        "path": {"type": "path", "required": True},
        "answer": {"type": "str", "choices": ["ask", "keep", "put_back", "none"], "default": "keep"},
        "text": {"type": "list", "elements": "str", "default": []},
        "within": {"type": "str", "default": "30m"},
        "look": {"type": "float"},
    },
)


class QuestionFailed(PhaseError):
    """The question could not be written down; nothing may be changed then."""

    kind = "question_failed"


class NothingWaits(PhaseError):
    """No run asks whether to keep a change."""

    kind = "nothing_waits"


class AnsweredOtherwise(PhaseError):
    """The question was answered already, and otherwise."""

    kind = "answered_otherwise"


def answer_of(path: str) -> Optional[str]:
    """KEPT, PUT_BACK, EXPIRED, or None while there is no answer."""
    return next((answer for answer in (KEPT, PUT_BACK, EXPIRED) if os.path.exists(path + "." + answer)), None)


def settle(path: str, answer: str) -> bool:
    """Give the answer. False where the question is not open (any more)."""
    try:
        os.rename(path + WAITING, path + "." + answer)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def open_until(path: str) -> Optional[float]:
    """Until when the question is open; None where it is not, or its file says nothing."""
    try:
        with open(path + WAITING, encoding="utf-8") as file:
            return float(json.load(file)["until"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _open(path: str, until: float) -> None:
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        write_private(path + WAITING, json.dumps({"until": until}).encode() + b"\n")
    except OSError as error:
        raise QuestionFailed(
            "%s%s cannot be written: %s." % (path, WAITING, error.strerror or error),
            "Nothing was changed. Name a folder that this user may write to (phase_recover_dir), or add --become.",
        ) from error


def ask(
    path: str, within: float, look: Optional[float], clock: Callable[[], float], sleep: Callable[[float], None]
) -> Dict[str, Any]:
    """Open the question, unless it is open or answered, and wait for ``look`` seconds (None: to the end) for an answer.

    Returns ``answer`` (None: none yet) and ``left``, the seconds it is still open. ``clock`` counts since 1970.
    """
    started = clock()
    if answer_of(path) is None and not os.path.exists(path + WAITING):
        _open(path, started + within)
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

    A living run ends its question in time: one that is open at ``now``, after its end, is that of a run that has died.
    """
    until = open_until(path)
    if answer == KEPT and until is not None and until <= now:
        raise NothingWaits(
            "The time to keep it was up, and no run waits any more. What %s would undo is still there." % path,
            "To undo it, give that path as phase_recover_restore. To keep it, do nothing.",
        )
    changed = os.path.exists(path + WAITING) if check else settle(path, answer)
    before = answer if changed else answer_of(path)
    if before is None:
        raise NothingWaits(
            "No run asks whether to keep what %s would undo." % path,
            "Give the path that the waiting run has printed, on the host it works on.",
        )
    if (before == KEPT) != (answer == KEPT):
        raise AnsweredOtherwise(
            "The question of %s has its answer. %s." % (path, WORDS[before]),
            "To undo it all the same, give that path as phase_recover_restore."
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
