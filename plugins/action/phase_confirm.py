# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""phase_confirm, asking in the terminal as well where there is one.

What is said has to be seen even if the run is killed a moment later. The module waits in slices, so that a run that is
cut off leaves nothing behind for long, a connection that breaks can come back, and terminal and host are both heard.
Ansible runs this in a worker, which would go on waiting after a kill -9 of its parent; so it ends with its parent.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

SLICE = 5  # seconds; for so long the module may outlive a run that was killed
TYPING = 30  # seconds that a question stays before it is shown again
TOLD = 300  # seconds between two lines where nobody can type
PATIENCE = 120  # seconds that a lost host gets to come back
WORDS = {b"keep": "keep", b"back": "put_back"}

display = Display()


def remaining(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def end_with_parent(ended: threading.Event, poll: float = 1) -> None:
    """End this process once its parent is gone: nobody is left to do what the answer says."""
    parent = os.getppid()

    def watch() -> None:
        while not ended.wait(poll):
            if os.getppid() != parent:
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def tell(line: str) -> None:
    """Show it at once. Standard output is held back where it is no terminal, and a kill would take it along."""
    display.display(line, stderr=True)


def answer_in(typed: bytes) -> str | None:
    """The answer that what was typed ends in."""
    line = typed.strip().lower()
    return next((answer for word, answer in WORDS.items() if line.endswith(word)), None)


class ActionModule(ActionBase):
    """Runs the module phase_confirm, and asks whoever sits at the terminal."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._variables = task_vars or {}
        for line in self._task.args.get("text") or []:
            tell(str(line))
        if self._task.args.get("answer", "keep") == "ask" and not self._task.check_mode:
            ended = threading.Event()
            end_with_parent(ended)
            try:
                result.update(self._wait())
            finally:
                ended.set()
        else:
            result.update(self._module())
        return result

    def _module(self, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._execute_module(module_args={**self._task.args, **more}, task_vars=self._variables)
        return found

    def _wait(self) -> dict[str, Any]:
        if self._task.args.get("look") is not None:
            return {**self._patient(), "changed": False}
        found = self._patient(look=0)
        terminal, typed, told = True, b"", time.monotonic() - TOLD
        while not found.get("failed") and not found.get("answer"):
            if terminal:
                try:
                    typed = (typed + self._prompt(found["left"]))[-80:]
                except AnsiblePromptNoninteractive:
                    terminal = False
                except AnsiblePromptInterrupt:
                    typed = b"back"
                answer = answer_in(typed)
                found = self._given(answer) if answer else self._patient(look=0)
                continue
            if time.monotonic() - told >= TOLD:
                told = time.monotonic()
                tell(f"{self._name()}: waiting for an answer, {remaining(found['left'])} left")
            found = self._patient(look=SLICE)
        return {**found, "changed": False}

    def _given(self, answer: str) -> dict[str, Any]:
        """Give the answer; where somebody else was faster, theirs counts."""
        given = self._patient(answer=answer)
        return self._patient(look=0) if given.get("failed") else given

    def _patient(self, **more: Any) -> dict[str, Any]:
        """The module's result. A host that is lost gets PATIENCE seconds to come back."""
        lost: float | None = None
        while True:
            try:
                return self._module(**more)
            except AnsibleConnectionFailure as error:
                lost = lost or time.monotonic()
                if time.monotonic() - lost > PATIENCE:
                    raise
                tell(f"{self._name()}: connection lost, trying again: {error}")
                with contextlib.suppress(AnsibleConnectionFailure, AttributeError):
                    self._connection.reset()
                time.sleep(1)

    def _name(self) -> str:
        return f"phase.console phase_confirm: [{self._variables.get('inventory_hostname', '')}]"

    def _prompt(self, left: float) -> bytes:
        """What was typed, after Enter or TYPING seconds. Ctrl-C and missing terminals are Ansible's own exceptions."""
        question = (
            f"{self._name()} type keep to keep the change, back to undo it now; it is undone in {remaining(left)}: "
        )
        typed: bytes = display.prompt_until(question, seconds=max(1, min(TYPING, int(left))))
        return typed
