#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_realip_check
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Say whom the network policies would keep out once Phase sees real addresses
description:
  - Holds the addresses that Phase has recorded lately, each with its account, and the operator's own against the
    network policies in force. Run it before the configuration of a proxy changes which addresses Phase sees.
  - An address of a trusted proxy tells nothing of its client. Accounts that were seen with such an address only are
    named too. They come in by the proxy's address today, and will be seen with another one.
  - Fails when anybody is in danger, unless O(lockout=warn).
extends_documentation_fragment:
  - phase.console.target
  - phase.console.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - It changes nothing.
  idempotent:
    support: full
options:
  trusted:
    description: The addresses and ranges of the proxies whose word about the client will be taken.
    type: list
    elements: str
    default: []
  addresses:
    description: Your own addresses, as the proxies see them.
    type: list
    elements: str
    default: []
  before:
    description:
      - The text of the proxy's configuration in force. Proxies that it believes and that O(trusted) lacks put all of
        their clients in danger, where policies are in force, since Phase sees the proxies' addresses from then on.
      - It counts what nginx's C(set_real_ip_from), C(geo $realip_remote_addr) and the files of role realip name. Of
        public ranges more than a quarter have to be gone, since publishers withdraw some.
    type: str
  account:
    description:
      - Your account, an e-mail address or an id. Without it, O(addresses) are judged for an account that has no
        policies of its own, in each organisation with global ones.
    type: str
  days:
    description: How far back to look.
    type: int
    default: 30
  lockout:
    description: What to do when somebody would be kept out, or nobody can tell.
    type: str
    choices: [stop, warn]
    default: stop
seealso:
  - module: phase.console.phase_nginx
  - module: phase.console.phase_network_policy
"""

EXAMPLES = r"""
- name: See who would be locked out behind Cloudflare
  phase.console.phase_realip_check:
    trusted: [173.245.48.0/20, 103.21.244.0/22]
    addresses: [198.51.100.7]
    account: alice@example.com
"""

RETURN = r"""
check:
  description: What was found.
  returned: success, and when somebody would be kept out
  type: dict
  contains:
    organisations:
      description: Names of the organisations with policies in force.
      type: list
      elements: str
    locked_out:
      description: Accounts, and addresses they came from that no policy in force lets in.
      type: list
      elements: dict
    behind_proxy:
      description:
        - Accounts that came from a trusted proxy's own address and from no other that is let in, with the C(entry) that
          lets the proxy in today.
      type: list
      elements: dict
    operator:
      description: Your own addresses, C(allowed) or not.
      type: list
      elements: dict
    dropped:
      description: Ranges that O(before) believes and O(trusted) does not, and headers that it believes from anybody.
      type: list
      elements: str
    recorded:
      description: How many different C(addresses) were recorded, and how many of them are C(proxies) or C(private).
      type: dict
    truncated:
      description: Whether there were more events than were looked at, which is the newest 2000 of each environment.
      type: bool
"""

from ansible_collections.phase.console.plugins.module_utils._call.module import run_module
from ansible_collections.phase.console.plugins.module_utils._realip.check import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
