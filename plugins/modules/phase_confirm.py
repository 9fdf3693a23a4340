#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_confirm
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Ask whether to keep a change, or answer a run that asks
description:
  - A recovery that is not confirmed is undone. With O(answer=ask), a run waits until there is an answer or the time is
    up. The time counts from the first call, which role P(phase.console.recover#role) makes before the change.
  - The answer comes from the terminal of that run, where it has one, or from this module in another run, such as a
    second job of AWX, with O(answer=keep) or O(answer=put_back).
  - The question is a file beside O(path) on the managed host, C(PATH.waiting), and answering renames it to C(PATH.kept)
    or C(PATH.put_back). So C(mv) on that host answers as well.
  - It undoes nothing itself. The role does, going by RV(answer).
extends_documentation_fragment:
  - phase.console.attributes
attributes:
  check_mode:
    support: full
    details:
      - It does not wait in check mode, and gives no answer.
  diff_mode:
    support: none
    details:
      - There is nothing to show beyond the answer.
  idempotent:
    support: full
    details:
      - The same answer a second time changes nothing; another answer is an error. So is V(keep) once the time is up.
options:
  path:
    description: What the question is about, such as the snapshot that the waiting run has printed.
    type: path
    required: true
  answer:
    description: V(ask) to wait for an answer, V(keep) or V(put_back) to give one, V(none) to show O(text) alone.
    type: str
    choices: [ask, keep, put_back, none]
    default: keep
  text:
    description:
      - Lines to show first, as they are, so that they can be copied. They go to standard error, at once, where Ansible
        may hold other output back until its end.
    type: list
    elements: str
    default: []
  within:
    description: With O(answer=ask), how long the question is open.
    type: str
    default: 30m
  look:
    description:
      - With O(answer=ask), return after so many seconds even without an answer. By default the call lasts until there
        is one or the time is up.
    type: float
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_recover
    description: The recovery that asks for a confirmation.
  - module: phase.console.phase_network_policy
  - module: phase.console.phase_sso
"""

EXAMPLES = r"""
- name: Keep what a waiting recovery has changed
  phase.console.phase_confirm:
    path: /var/lib/phase.console/recover/20261121T031500Z-network-lockout

- name: Ask for five minutes whether to keep it
  phase.console.phase_confirm:
    path: /var/lib/phase.console/recover/20261121T031500Z-network-lockout
    answer: ask
    within: 5m
  register: question
"""

RETURN = r"""
answer:
  description: V(kept), V(put_back) or V(expired); null where there is no answer yet.
  returned: success
  type: str
left:
  description: The seconds that the question is still open.
  returned: success
  type: float
path:
  description: What the question is about.
  returned: success
  type: str
error:
  description: What a playbook can branch on.
  returned: failure
  type: dict
  contains:
    kind:
      description: The kind, one of R(this list,ansible_collections.phase.console.docsite.guide_errors).
      type: str
      sample: lock_held
    next_step:
      description: What to do about it, which C(msg) ends in as well.
      type: str
"""

from ansible_collections.phase.console.plugins.module_utils._access.confirm import SPEC, run
from ansible_collections.phase.console.plugins.module_utils._call.module import run_module


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
