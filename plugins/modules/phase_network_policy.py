#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_network_policy
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: See who is kept out by Phase's network policies, and let them in
description:
  - Shows the network policies of every organisation, says who is blocked by which one and why, and names the smallest
    change that lets them in.
  - Adds an address to the policies that keep it out, or switches policies off, and puts everything back from the
    snapshot that it writes first.
  - A change is one transaction. It sets the time of update as Phase does and empties the policy's I(updated by), since
    none of Phase's members made it. It adds rows to the audit log that Phase's console shows, as an emergency change
    with its reason. Phase reads policies on every request, so it takes effect at once.
  - Network policies came with Phase v2.41.0, the audit log with v2.69.0. On an older release O(state=info) says that
    there are no policies, and the other states fail.
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
  state:
    description:
      - V(info) changes nothing.
      - V(allowed) lets the addresses of O(allow) in by adding them to policies. With O(policies), to each of those that
        does not cover them; else, with O(diagnose.account), to the one policy in force for that account that lets the
        fewest others in; else, in every organisation in scope where global policies are enforced, to the oldest of
        them. What the policies in force let in already is not added.
      - V(reset) switches policies off by making them not global, which is Phase's emergency procedure. It does that to
        those in O(policies), or to all in scope. An account that has policies of its own stays bound by these, and can
        lose the way in that a global policy gave it. So it is worked out for every account who would newly be kept out;
        see O(lockout) and O(account_policies).
      - V(restored) puts everything back from O(snapshot), to the byte. It refuses when somebody changed the same rows
        since, and says what was changed, unless O(force) is set.
    type: str
    default: info
  organisation:
    description:
      - The name or id of an organisation. The case of the name counts. The default is all of them.
    type: str
  policies:
    description:
      - Names or ids of policies to change. With O(state=reset), an empty list stands for none of the global ones.
    type: list
    elements: str
  account_policies:
    description:
      - With O(state=reset), names or ids of policies to detach from every account they are attached to.
    type: list
    elements: str
  allow:
    description:
      - With O(state=allowed), addresses or CIDR ranges, IPv4 or IPv6. A range has to be written without host bits, and
        a range of everything is refused. The default is O(diagnose.address).
    type: list
    elements: str
  lockout:
    description:
      - With O(state=reset), what to do where an account that gets in today would be kept out. V(stop) changes nothing
        and fails, in check mode too; V(warn) names those accounts and goes on.
    type: str
    choices: [stop, warn]
    default: stop
  diagnose:
    description:
      - A question to answer, in every O(state), of who comes in from where.
    type: dict
    suboptions:
      address:
        description: The address from which the backend is reached.
        type: str
      account:
        description:
          - The email or id of a member, or the name or id of a service account. The default is an account that has no
            policies of its own, such as a service token, in O(organisation).
        type: str
      headers:
        description:
          - Headers of the request. Phase takes the address from C(X-Real-IP), else from the leftmost entry of
            C(X-Forwarded-For), else it is that of the peer, here O(diagnose.address). Before v2.54.2 it did not look at
            C(X-Real-IP). Where the database fits releases on both sides of that, an account that only one of them lets
            in counts as blocked.
        type: dict
  recorded:
    description:
      - With O(state=info), a question about many addresses, namely those that Phase has recorded lately, each with its
        account, and your own. Ask it before the configuration of a proxy changes which addresses Phase sees. The answer
        is in RV(recorded).
    type: dict
    suboptions:
      days:
        description: How far back to look.
        type: int
        default: 30
      proxies:
        description:
          - The addresses and ranges of the proxies whose word about the client will be taken. An address of theirs says
            nothing of its client, so accounts that were seen with such an address only are named.
        type: list
        elements: str
        default: []
      addresses:
        description: Your own addresses, as the proxies see them.
        type: list
        elements: str
        default: []
      account:
        description:
          - Your account, an e-mail address or an id. Without it, O(recorded.addresses) are judged for an account that
            has no policies of its own, in each organisation in scope with global ones.
        type: str
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_network_policy
    description: What to do about a lockout by a network policy, step by step.
  - module: phase.console.phase_info
"""

EXAMPLES = r"""
- name: Who keeps alice out?
  phase.console.phase_network_policy:
    diagnose:
      account: alice@example.com
      address: 203.0.113.7
  register: access

- name: Let her in, by the narrowest change
  phase.console.phase_network_policy:
    state: allowed
    allow: [203.0.113.7]
    diagnose:
      account: alice@example.com
      address: 203.0.113.7
    reason: The office moved to another provider
  register: access

- name: Put it back
  phase.console.phase_network_policy:
    state: restored
    snapshot: "{{ access.snapshot }}"

- name: See who would be kept out behind Cloudflare
  phase.console.phase_network_policy:
    recorded:
      proxies: [173.245.48.0/20, 103.21.244.0/22]
      addresses: [198.51.100.7]
      account: alice@example.com
  register: access
  failed_when: access is failed or access.recorded.summary | length > 0

- name: Switch every global policy of an organisation off
  phase.console.phase_network_policy:
    state: reset
    organisation: SpaceX
    reason: Everybody is locked out
"""

RETURN = r"""
policies:
  description:
    - The policies in scope as they are after the change, in check mode as they would be, by organisation and age.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The id.
      type: str
    name:
      description: The name.
      type: str
    organisation:
      description: Its C(id), C(name) and C(plan) (FR, PR or EN).
      type: dict
    allowed_ips:
      description: What is stored.
      type: str
    entries:
      description: The entries in it, as written.
      type: list
      elements: str
    networks:
      description: What the valid ones stand for.
      type: list
      elements: str
    invalid:
      description: The entries that are no address or range, which Phase passes over without a word.
      type: list
      elements: str
    is_global:
      description: Whether it is global.
      type: bool
    accounts:
      description: To whom it is attached; C(type) (member or service_account), C(id) and C(name).
      type: list
      elements: dict
    enforced_on:
      description:
        - What the organisation's plan makes of it, V(everybody), V(its accounts) or V(nobody). The Free plan enforces
          none, Pro those of an account, Enterprise the global ones too.
      type: str
    created_at:
      description: When it was made (UTC).
      type: str
    updated_at:
      description: When it was last changed (UTC).
      type: str
    updated_by:
      description: The member who changed it last, or nothing.
      type: str
organisations:
  description: The organisations in scope, with C(id), C(name), C(plan) and C(plan_name).
  returned: success
  type: list
  elements: dict
supported:
  description: Whether this release of Phase has network policies.
  returned: success
  type: bool
diagnosis:
  description: The answer to O(diagnose), before the change.
  returned: when O(diagnose) is given
  type: dict
  contains:
    blocked:
      description: Whether the account is kept out.
      type: bool
    sentence:
      description: Who is blocked by which policy and why, and the smallest change that lets them in.
      type: str
    rule:
      description: V(blocked), V(no_address), V(allowed), V(no_policy), V(free_plan) or V(no_policies).
      type: str
    address:
      description: The address that Phase sees.
      type: str
    address_from:
      description: What it was taken from, a header or C(the peer).
      type: str
    account:
      description: C(type), C(id) and C(name) of the account.
      type: dict
    organisation:
      description: C(id), C(name) and C(plan) of its organisation.
      type: dict
    policies:
      description: The policies in force for it; C(id), C(name), C(by) (attached or global) and C(invalid).
      type: list
      elements: dict
    change:
      description: Options of this module that let it in; nothing when it is not blocked.
      type: dict
diagnosis_after:
  description: The same after the change, in check mode as it would be.
  returned: when O(diagnose) is given
  type: dict
recorded:
  description: The answer to O(recorded).
  returned: when O(recorded) is given
  type: dict
  contains:
    summary:
      description: A sentence for each kind of danger; empty when every recorded address is let in.
      type: list
      elements: str
    organisations:
      description: Names of the organisations with policies in force.
      type: list
      elements: str
    kept_out:
      description: Accounts, and addresses they came from that no policy in force lets in.
      type: list
      elements: dict
    behind_proxy:
      description:
        - Accounts that came from a proxy's own address and from no other that is let in, with the C(entry) that lets
          the proxy in today.
      type: list
      elements: dict
    own_addresses:
      description: Your own addresses, C(allowed) or not.
      type: list
      elements: dict
    counts:
      description: How many different C(addresses) were recorded, and how many of them are C(proxies) or C(private).
      type: dict
    truncated:
      description: Whether there were more events than were looked at, which is the newest 2000 of each environment.
      type: bool
before:
  description: The rows that change, by table, every column in PostgreSQL's own text form.
  returned: success
  type: dict
after:
  description: The same rows after the change. In check mode the time of update is that of the check.
  returned: success
  type: dict
summary:
  description: The change in sentences, with who is newly kept out by it.
  returned: success
  type: list
  elements: str
kept_out:
  description: The accounts that get in from somewhere before the change, and not after it.
  returned: success, and when O(state=reset) is refused because of them
  type: list
  elements: dict
  contains:
    organisation:
      description: The organisation's name.
      type: str
    account:
      description: C(type), C(id) and C(name); null for all accounts that have no policies of their own.
      type: dict
    loses:
      description: The ranges from which it no longer gets in.
      type: list
      elements: str
    address:
      description: The address of O(diagnose), where it is among those; else null.
      type: str
    left:
      description: Names of the policies that are in force for it after the change.
      type: list
      elements: str
audit:
  description: The rows added to Phase's audit log. Empty on a release that has none, which is warned of.
  returned: success
  type: list
  elements: dict
snapshot:
  description: The file on the host of the task from which O(state=restored) undoes this change.
  returned: when something was changed, and when a change failed
  type: str
changed_since:
  description: How rows differ from what was expected; C(table), C(key), C(column), C(expected) and C(found).
  returned: when a change is refused because of it
  type: list
  elements: dict
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

from ansible_collections.phase.console.plugins.module_utils._access.network_policy import SPEC, run
from ansible_collections.phase.console.plugins.module_utils._call.targets import run_module


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
