#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_realip_ranges
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Fetch the ranges that a CDN connects from, and doubt them
description:
  - Reads the published ranges of Cloudflare or of CloudFront, from where the module runs, and keeps the accepted ones
    in a file. Order and format make no difference.
  - A list that is empty, short, a web page or broken, too wide, not public, of the wrong family or overlapping is
    refused with the reason, and so is one that differs too much from the one accepted last. What was accepted stays
    in force.
  - When nothing can be reached, the ranges accepted last are returned, with a warning; without any, for Cloudflare,
    those that came with the collection.
extends_documentation_fragment:
  - phase.console.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  source:
    description: Whose ranges.
    type: str
    choices: [cloudflare, cloudfront]
    required: true
  cache:
    description:
      - The file that keeps the accepted ranges, and what saves reading an unchanged list again. Without one, nothing
        is kept, and nothing is ever changed.
    type: path
  urls:
    description:
      - Where to read them, instead of the publisher's own addresses; all of them make up the list.
      - HTTPS, or HTTP from this host itself. The answers are Cloudflare's or AWS's JSON, or text with a range on each
        line.
    type: list
    elements: str
  ca_bundle:
    description: A file with the certificates of authorities to trust as well, for a mirror of one's own.
    type: path
  timeout:
    description: Seconds for each answer.
    type: float
    default: 15
  max_change:
    description:
      - The share of the ranges, and of each family's addresses, from 0 to 1, that may be new, and that may be gone, at
        once.
    type: float
    default: 0.25
  accept_change:
    description: Accept a list that differs more than O(max_change), after a look at it.
    type: bool
    default: false
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_realip
    description: The role that uses the ranges.
"""

EXAMPLES = r"""
- name: Fetch the ranges of Cloudflare
  phase.console.phase_realip_ranges:
    source: cloudflare
    cache: /var/lib/phase.console/realip/cloudflare.json
  register: cloudflare
"""

RETURN = r"""
ranges:
  description: The ranges to trust, sorted, none inside another.
  returned: success
  type: list
  elements: str
origin:
  description: V(live) for a list that was read, V(not_modified), V(cache) or V(bundled) for the ones known before.
  returned: success
  type: str
accepted:
  description: When the ranges were accepted, or the date of the bundled ones (UTC).
  returned: success
  type: str
added:
  description: Ranges with addresses that were not trusted before.
  returned: success, and when refused for a change that is too large
  type: list
  elements: str
removed:
  description: Ranges with addresses that are not trusted any more.
  returned: success, and when refused for a change that is too large
  type: list
  elements: str
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

from ansible_collections.phase.console.plugins.module_utils._call.module import run_module
from ansible_collections.phase.console.plugins.module_utils._realip.refresh import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
