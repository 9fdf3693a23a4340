# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What the filters share."""

from __future__ import annotations

import functools
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError


def telling(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with its typed error as an error of Ansible's."""

    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except PhaseError as error:
            raise AnsibleFilterError("%s %s" % (error.message, error.next_step)) from error

    return wrapped
