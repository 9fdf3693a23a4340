#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_nginx
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Give Phase's nginx a configuration, proved against forged client addresses
description:
  - Has nginx test the new configuration where it runs (C(nginx -t)), in place of the file and without touching it.
  - Tries it out beside the nginx that serves. Requests with forged headers are sent from next to Phase's backend, once
    as a stranger and once as a trusted proxy, and the address that the backend would believe is compared with the
    truth.
  - Writes the file in place, because a container keeps the file that a single-file bind mount named at its start. Reads
    it back inside the container, reloads, and waits until new workers serve.
  - Sends forged requests to the nginx that serves now, and asks Phase itself whom it sees.
  - If any of this fails, the old configuration serves on, or again, and the module says what was believed. A run that
    was cut off is undone by the next one.
extends_documentation_fragment:
  - phase.console.target
  - phase.console.attributes
attributes:
  check_mode:
    support: full
    details:
      - Runs C(nginx -t) on the new configuration too, in a folder in memory that is removed. It does not try it out.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - When the file is as wanted but was changed after nginx had last been reloaded, nginx is reloaded.
options:
  content:
    description: The new configuration. One of this and O(src) is needed.
    type: str
  src:
    description: The file that has the new configuration, on the host of the task.
    type: path
  path:
    description: The configuration file, as nginx sees it. It has to be below the folder of C(nginx.conf).
    type: str
    default: /etc/nginx/conf.d/default.conf
  nginx_container:
    description:
      - Name of nginx's container. The default is C(phase-nginx), or O(nginx_service) for O(deployment=compose).
    type: str
  nginx_service:
    description: Compose service of nginx.
    type: str
    default: nginx
  nginx:
    description: The program, for O(deployment=local), where nginx runs on the host of the task.
    type: path
    default: nginx
  probe:
    description:
      - V(full) tries the configuration out before it is written, and asks Phase whom it sees after it was.
      - V(trial) does the first only, without a session of Phase's. V(none) does neither.
    type: str
    choices: [full, trial, none]
    default: full
  attempts:
    description: How many forged requests to send before the file is written, 1 or more.
    type: int
    default: 200
  hops:
    description:
      - The proxies before the one that connects to nginx, the nearest first, when the configuration verifies them by
        other means than C(real_ip_recursive). They are played in the probe.
    type: list
    elements: dict
    suboptions:
      ranges:
        description: Where its connections come from.
        type: list
        elements: str
        required: true
      header:
        description: The header in which it tells its client.
        type: str
        default: X-Forwarded-For
      source:
        description: What it is, for the reader.
        type: str
      entry:
        description: Its entry in C(X-Forwarded-For), from the right. Not used.
        type: int
  restart:
    description:
      - Restart nginx's container when it does not have the file that its mount names, because that was replaced by
        another one, be it with the same content.
    type: bool
    default: false
  recover_only:
    description:
      - Only undo a run that was cut off, if there is one. Neither O(content) nor O(src) is needed then.
    type: bool
    default: false
  reload_timeout:
    description: Seconds within which new workers have to serve.
    type: float
    default: 30
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_nginx
    description: How a configuration is tested before it is installed.
  - module: phase.console.phase_network_policy
"""

EXAMPLES = r"""
- name: Apply a configuration
  phase.console.phase_nginx:
    src: /etc/phase/nginx.conf

- name: See whether nginx would take it, and what would change
  phase.console.phase_nginx:
    src: /etc/phase/nginx.conf
  check_mode: true
  diff: true
"""

RETURN = r"""
path:
  description: The file as nginx sees it.
  returned: success
  type: str
file:
  description: The same file on the host.
  returned: success
  type: str
nginx_test:
  description: What C(nginx -t) said of the new configuration.
  returned: success without O(recover_only), and when it failed
  type: dict
  contains:
    ok:
      description: Whether nginx takes it.
      type: bool
    output:
      description: Its lines.
      type: list
      elements: str
reload:
  description: Whether nginx is reloaded.
  returned: success
  type: bool
recovered:
  description: Whether an earlier run had been cut off; what nginx had before that run was put back first.
  returned: success
  type: bool
nginx_version:
  description: The version of nginx, such as 1.26.3; null where it does not run.
  returned: success with O(recover_only)
  type: str
rolled_back:
  description: Whether the old configuration serves again.
  returned: when it failed after the file had been written
  type: bool
probe:
  description: What came of the forged requests; none when nothing was changed, in check mode and with O(probe=none).
  returned: success, and when an address was forged
  type: dict
  contains:
    stranger:
      description:
        - Of the requests from outside, how many were sent (C(attempts)), refused by nginx (C(refused)), reached the
          listener (C(reached)), reached it with a wrong address (C(wrong)), and reached it with a forged
          C(X-Forwarded-For), which Phase before v2.54.2 believes (C(passed_on)).
      type: dict
    insider:
      description: The same for requests from a trusted proxy.
      type: dict
    findings:
      description: The first requests that came with a wrong address, with C(headers), C(truth) and C(believed).
      type: list
      elements: dict
    unreached:
      description: Ports of nginx that the prober cannot reach, such as those on loopback.
      type: list
      elements: int
    unprobed:
      description:
        - What no request was made up for, namely locations given by a regular expression, and listens for QUIC and on
          Unix sockets. There is a warning of these, and of what is C(unreached).
      type: list
      elements: str
    live:
      description: The same counts for the nginx that serves, as Phase saw it; C(skipped) says why it was not asked.
      type: dict
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
from ansible_collections.phase.console.plugins.module_utils._nginx.nginx import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
