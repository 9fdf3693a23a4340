#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_sso
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Diagnose and end a lockout by single sign-on
description:
  - Says whether an owner of an organisation would get in now and what stands in the way, switches the enforcement of
    SSO off, disables or deletes the organisation's identity providers, and puts back what it changed.
  - Each change is written to a snapshot first, made in one transaction, and recorded in Phase's audit log. Then the
    backend is made to forget the decision it keeps in redis, so that people get in at once and not within a minute.
  - Providers never go without the enforcement, because SSO that is required and has no provider locks everybody out.
  - For releases from v2.67.0. Earlier ones have no single sign-on of organisations, and this module says so.
extends_documentation_fragment:
  - phase.console.target
  - phase.console.snapshot
  - phase.console.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  organisation:
    description:
      - The organisation's name, to the letter.
      - Required but for O(state=restored), where the snapshot knows it.
    type: str
  state:
    description:
      - V(info) changes nothing.
      - V(enforcement_disabled) no longer requires SSO. The providers stay as they are.
      - V(providers_disabled) disables all providers too, and keeps their configuration. No released command of Phase
        does that.
      - V(providers_deleted) deletes the providers with their configuration. It needs O(confirm).
      - V(restored) puts back what the run that wrote O(snapshot) changed, exactly. It refuses when those rows were
        changed since, unless O(force) is set; then a provider of the same type that was added since goes.
    type: str
    default: info
  confirm:
    description: The organisation's name once more, for O(state=providers_deleted).
    type: str
  via:
    description:
      - V(stock) has Phase's own command C(disable_org_sso) make the change, for O(state=enforcement_disabled) and
        O(state=providers_deleted). It reports success whatever happens, so the rows are read back; snapshot, audit
        log and the decision in redis, which it does nothing about, are as with V(direct).
    type: str
    choices: [direct, stock]
    default: direct
notes:
  - With O(deployment=database) the backend cannot be asked. The doctor then says what it does not know, and a decision
    in redis goes on to count for up to 60 seconds after a change.
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_sso
    description: What to do about a lockout by single sign-on, step by step.
  - module: phase.console.phase_info
"""

EXAMPLES = r"""
- name: Would an owner get in, and if not, why
  phase.console.phase_sso:
    organisation: SpaceX
  register: sso

- name: Let people in with their passwords again
  phase.console.phase_sso:
    organisation: SpaceX
    state: enforcement_disabled
    reason: The identity provider is down
  register: opened

- name: Put everything back as it was
  phase.console.phase_sso:
    state: restored
    snapshot: "{{ opened.snapshot }}"

- name: Start over with single sign-on
  phase.console.phase_sso:
    organisation: SpaceX
    state: providers_deleted
    confirm: SpaceX
"""

RETURN = r"""
organisation:
  description: The organisation.
  returned: success
  type: dict
  contains:
    id:
      description: Its id.
      type: str
    name:
      description: Its name.
      type: str
sso:
  description: What is set at the end of the run; in check mode, what would be.
  returned: success
  type: dict
  contains:
    require_sso:
      description: Whether only sessions of the organisation's own provider are let in.
      type: bool
    providers:
      description: Its identity providers, without their configuration.
      type: list
      elements: dict
      contains:
        name:
          description: Its name.
          type: str
        type:
          description: Its type, such as V(entra_id).
          type: str
        enabled:
          description: Whether it is enabled.
          type: bool
        id:
          description: Its id.
          type: str
        updated_at:
          description: When it was last changed (UTC).
          type: str
    cached_decision:
      description: What the backend keeps in redis of RV(sso.require_sso). None where it keeps nothing, or is not asked.
      type: bool
    updated_at:
      description: When the organisation was last changed (UTC).
      type: str
before:
  description: The same, before the run.
  returned: when a state other than V(info) was asked for
  type: dict
after:
  description: The same as RV(sso).
  returned: when a state other than V(info) was asked for
  type: dict
summary:
  description: The change in sentences, or why there is nothing to do.
  returned: when a state other than V(info) was asked for
  type: list
  elements: str
doctor:
  description: Whether an owner gets in at the end of the run; in check mode, whether one would.
  returned: success
  type: dict
  contains:
    would_get_in:
      description: Whether an owner certainly gets in, with a password.
      type: bool
    through:
      description: Identity providers through which an owner may get in. Whether they work is theirs to say.
      type: list
      elements: str
    locked_out:
      description: Whether certainly no owner gets in, neither with a password nor through an identity provider.
      type: bool
    sentence:
      description: The answer in words.
      type: str
    findings:
      description: What stands in the way, or soon will.
      type: list
      elements: dict
      contains:
        finding:
          description:
            - One of C(enforcement), C(no_provider), C(providers_disabled), C(cached_decision), C(no_owner),
              C(password_login_off), C(redis_unreachable), C(backend_unseen), C(no_password), C(user_disabled),
              C(scim_managed), C(address_not_lower_case), C(domain_not_allowed).
          type: str
        owner:
          description: The address of the owner it is about. None for all of them.
          type: str
        sentence:
          description: What it is.
          type: str
        remedy:
          description: What helps.
          type: str
    owners:
      description: Each owner.
      type: list
      elements: dict
      contains:
        email:
          description: The address.
          type: str
        would_get_in:
          description: Whether this owner certainly gets in, with a password.
          type: bool
        through:
          description: Identity providers that may let this owner in.
          type: list
          elements: str
doctor_before:
  description: The same, before the run.
  returned: when a state other than V(info) was asked for
  type: dict
cache:
  description: What became of the decision that the backend keeps in redis.
  returned: when something was changed
  type: dict
  contains:
    cleared:
      description: Whether it was made to forget it.
      type: bool
    error:
      description: Why not.
      type: str
    seconds:
      description: For how long at most it may go on as before.
      type: int
snapshot:
  description: The file with what was changed, for O(state=restored).
  returned: when rows were changed
  type: str
audited:
  description: Whether the change is in Phase's audit log, which came with v2.69.0.
  returned: when rows were changed
  type: bool
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

from ansible_collections.phase.console.plugins.module_utils._access.sso import SPEC, run
from ansible_collections.phase.console.plugins.module_utils._call.targets import run_module


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
