#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: phase_info
short_description: Tell what a Phase Console instance is and does
version_added: 0.1.0
description:
  - Tells the containers and images of an instance, its database, its migrations, its sizes, and who works in it now.
  - Reads only. Needs no credentials where the backend's container has them.
  - With V(access) among O(gather_subset), it sends the running backend a real request as a member who has signed in
    with a password, from an address, and returns the answer. It shows what a change of network policies or of single
    sign-on has led to.
author: The phase.console authors (@phase-console)
extends_documentation_fragment:
  - phase.console.attributes
  - phase.console.target
attributes:
  check_mode:
    support: full
    details:
      - Reads only, in check mode too. After a request of V(access), as after any other, the backend may keep for a
        minute whether the organisation requires single sign-on.
  diff_mode:
    support: none
    details: [Changes nothing.]
  idempotent:
    support: full
options:
  gather_subset:
    description:
      - What to tell. V(all) is everything but V(components) and V(access).
      - V(components) is what V(instance) has of the containers. Nothing is run for it, so in Kubernetes the right to
        look is enough. V(access) needs O(organisation).
      - For V(access) a session of the member is signed beside the backend. It is good for 30 seconds, is sent to O(url)
        alone, and is in no result, log or argument. Phase keeps sessions in cookies, so nothing is written to its
        database. A service account can't be asked for, since only its token lets it in; see
        M(phase.console.phase_network_policy). O(deployment=database) has no V(access), since it reaches no application.
    type: list
    elements: str
    choices: [connection, instance, migrations, storage, activity, components, access, all]
    default: [all]
  organisation:
    description: For V(access), the organisation's name, to the letter.
    type: str
  account:
    description: For V(access), the member's e-mail address, user name or id. The default is the longest-standing owner.
    type: str
  address:
    description:
      - For V(access), the address that the member comes from. It is sent in C(X-Real-IP) and C(X-Forwarded-For); what
        nginx makes of a client's address is not seen. Without it, the request comes from the backend's own host.
    type: str
  url:
    description: For V(access), where the backend itself answers, as seen from where it runs.
    type: str
    default: http://127.0.0.1:8000
  request_timeout:
    description: For V(access), how long to wait for each answer.
    type: str
    default: 10s
seealso:
  - module: phase.console.phase_network_policy
  - module: phase.console.phase_sso
"""

EXAMPLES = r"""
- name: See everything about the instance on this Docker host
  phase.console.phase_info:
  register: info

- name: Fail early when an index build was left half done
  phase.console.phase_info:
    gather_subset: [storage]
  register: info
  failed_when: info.phase.storage.invalid_indexes | length > 0

- name: See whether alice gets in from her new address
  phase.console.phase_info:
    gather_subset: [access]
    organisation: SpaceX
    account: alice@example.com
    address: 203.0.113.7
  register: info
  failed_when: info is failed or not info.phase.access.granted
"""

RETURN = r"""
phase:
  description: One key for each subset.
  returned: success
  type: dict
  contains:
    connection:
      description:
        - Which instance this is, without asking its database. C(deployment); in containers also C(container),
          C(project_name) and C(project_src), which are null without Compose.
      returned: when asked for
      type: dict
    instance:
      description:
        - The backend's C(image), C(image_id), C(digest) and C(container), all C(components) of the instance in the same
          form with C(status) and C(health), and C(external_migration). With Docker and Compose a component has
          C(containers), the same of each of its replicas; its own C(status) and C(health) are the worst of theirs.
        - In Kubernetes also C(cluster), C(namespace), C(release), C(managed_by) (a list with C(manager), which is helm,
          argocd or flux, and C(name); for Helm C(chart) and C(revision)), and for each component C(replicas)
          (C(wanted), C(ready)) and C(restarts).
        - C(database) has the server's version, the database, our role and whether it is a superuser, TLS, uptime.
      returned: when asked for
      type: dict
    components:
      description: The same without C(database).
      returned: when asked for
      type: dict
    migrations:
      description:
        - The ledger, with the number C(applied), the C(last) one, all C(names), and C(duplicates).
        - C(release) is the newest release of Phase that brought migrations and whose are all there. It may be a later
          one that brought none, before C(before_release), the next that did.
      returned: when asked for
      type: dict
    storage:
      description:
        - C(database_bytes), the largest C(tables) with bytes and estimated rows, C(invalid_indexes).
        - C(free_bytes) where PostgreSQL keeps its data; null when that cannot be seen from here.
      returned: when asked for
      type: dict
    activity:
      description: Number of C(sessions), C(long_transactions), C(blocked) sessions, C(advisory_locks), C(index_builds).
      returned: when asked for
      type: dict
    access:
      description: The running backend's answer.
      returned: when asked for
      type: dict
      contains:
        granted:
          description:
            - Whether the member gets in, with a password or by a provider of the instance that it has signed in by
              before. Before v2.67.0 nobody has a password, and none is asked for.
          type: bool
        code:
          description:
            - Null, or why not. V(IP_RESTRICTED) and V(SSO_REQUIRED) are Phase's own codes. V(INACTIVE) and
              V(NO_PASSWORD) are what the login would refuse. V(NOT_A_MEMBER), V(UNAUTHENTICATED) and V(REFUSED) stand
              for the backend's other answers.
          type: str
        said:
          description: The backend's own words for that.
          type: str
        sentence:
          description: The same in one sentence.
          type: str
        address:
          description: The address that the backend saw. Null before v2.41.0, which does not return it.
          type: str
        account:
          description:
            - The member that was asked for, with C(id), C(email), C(owner), C(active), C(password) (whether the member
              has a usable one) and C(scim) (whether SCIM manages the member).
          type: dict
        organisation:
          description: The organisation.
          type: str
        password_login:
          description: Whether the backend takes passwords at all; null where it does not say, as before v2.67.0.
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

from ansible_collections.phase.console.plugins.module_utils._call.targets import run_module
from ansible_collections.phase.console.plugins.module_utils._instance.info import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
