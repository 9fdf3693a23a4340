# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The hosts that a playbook of the collection works on."""

from __future__ import annotations

DOCUMENTATION = r"""
name: hosts
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: The hosts that a playbook of the collection works on
description:
  - Returns the value of the variable C(phase_hosts) where it is set, else V(phase) where the inventory has a group of
    that name, else V(localhost). It never returns V(all), which would take a staging and a production instance alike.
  - Fails where no host of the inventory, or none within C(--limit), matches. Ansible itself would say that no hosts
    matched, and exit with 0.
options:
  _terms:
    description: Nothing.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Look at the instance
  hosts: "{{ lookup('phase.console.hosts') }}"
  tasks:
    - name: Look
      phase.console.phase_info:
"""

RETURN = r"""
_raw:
  description: A pattern of hosts.
  type: list
  elements: str
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.lookup import LookupBase

GROUP = "phase"
HERE = "localhost"


def pattern(variables: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> str:
    """``phase_hosts``, or the group ``phase``, or this machine."""
    wanted = variables.get("phase_hosts")
    if isinstance(wanted, (list, tuple)):
        return ",".join(str(one) for one in wanted)
    return str(wanted) if wanted else GROUP if GROUP in groups else HERE


def matching(hosts: str, groups: Mapping[str, Sequence[str]], limit: str | None) -> list[str]:
    """The names of the hosts that the pattern stands for, by Ansible's own reading of patterns.

    AnsibleError for a pattern that cannot be read, and with ``host_pattern_mismatch=error`` for one without a match.
    """
    inventory = InventoryManager(loader=DataLoader(), sources=None, parse=False)
    for group, names in groups.items():
        inventory.add_group(group)
        for name in names:
            inventory.add_host(name, group)
    if limit:
        inventory.subset(limit)
    return [str(host) for host in inventory.get_hosts(hosts)]


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        given = dict(variables or {})
        groups = given.get("groups") or {}
        if self._templar is not None and "phase_hosts" in given:
            given["phase_hosts"] = self._templar.template(given["phase_hosts"])
        hosts, limit = pattern(given, groups), given.get("ansible_limit")
        found, reason = [], None
        try:
            found = matching(hosts, groups, limit)
        except AnsibleError as error:
            reason = error
        if not found:
            within = f" within --limit {limit}" if limit else ""
            raise AnsibleError(
                f"No host matches {hosts}{within}, so nothing was done. Put the instance's host into the group {GROUP} "
                f"of the inventory, or name it with -e phase_hosts=HOST. Without an inventory that has this group, the "
                f"playbook works on {HERE}."
            ) from reason
        return [hosts]
