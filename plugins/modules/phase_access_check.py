#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_access_check
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Ask the running backend whether it lets somebody in
description:
  - Sends the running backend a real request, as a member who has signed in with a password, from an address, and tells
    what it answers. Nothing is computed here, so it shows what a change of policies or of single sign-on has come to.
  - Beside the backend, a session of the member is signed that is good for 30 seconds. It is sent to O(url) and nowhere
    else, and is in no result, log or argument. Phase keeps sessions in cookies, so nothing is written to its database.
  - The address is told in C(X-Real-IP) and C(X-Forwarded-For). What nginx makes of a client's address is not seen.
  - A service account cannot be asked for. Only its token lets it in, and the backend would note that as the token's
    last use; M(phase.console.phase_network_policy) says what the rules make of it.
  - O(deployment=database) cannot do this, since it reaches no application.
extends_documentation_fragment:
  - phase.console.target
  - phase.console.attributes
attributes:
  check_mode:
    support: full
    details:
      - It asks in check mode too. As after any request, the backend may keep for a minute whether the organisation
        requires single sign-on.
  diff_mode:
    support: none
    details:
      - It changes nothing.
  idempotent:
    support: full
options:
  organisation:
    description: The organisation's name, to the letter.
    type: str
    required: true
  account:
    description: The member's e-mail address, user name or id. By default the longest-standing owner.
    type: str
  address:
    description: The address that the member comes from. By default the request has the backend's own host for one.
    type: str
  url:
    description: Where the backend itself answers, as seen from where it runs.
    type: str
    default: http://127.0.0.1:8000
  request_timeout:
    description: How long to wait for each answer.
    type: str
    default: 10s
seealso:
  - module: phase.console.phase_health
"""

EXAMPLES = r"""
- name: See whether alice gets in from her new address
  phase.console.phase_access_check:
    organisation: SpaceX
    account: alice@example.com
    address: 203.0.113.7
  register: alice
  failed_when: alice is failed or not alice.access.granted
"""

RETURN = r"""
access:
  description: The backend's answer.
  returned: success
  type: dict
  contains:
    granted:
      description: Whether a password session of the member gets in.
      type: bool
    code:
      description:
        - Null, or why not, as V(IP_RESTRICTED) and V(SSO_REQUIRED) in Phase's own words, or V(NOT_A_MEMBER),
          V(UNAUTHENTICATED), V(REFUSED).
      type: str
    said:
      description: The backend's own words for that.
      type: str
    sentence:
      description: The same in one sentence.
      type: str
    address:
      description: The address that the backend saw. Null before v2.41.0, which does not tell.
      type: str
    account:
      description: The member that was asked for, as C(id), C(email) and C(owner).
      type: dict
    organisation:
      description: The organisation.
      type: str
    password_login:
      description: Whether the backend takes passwords at all; null where it does not tell, as before v2.67.0.
      type: bool
"""

from ansible_collections.phase.console.plugins.module_utils._access.access_check import SPEC, run
from ansible_collections.phase.console.plugins.module_utils._call.module import run_module


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
