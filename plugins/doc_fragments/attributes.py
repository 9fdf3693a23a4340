# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors

"""What every module of the collection states about itself; a module adds the C(support) of the first three."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Reports in check mode what it would do, from the same plan as a real run, and changes nothing.
  diff_mode:
    description: Returns the state before and after (in check mode, the predicted state after) in diff mode.
  idempotent:
    description: Changes nothing, and reports no change, when run again with the same options on an unchanged instance.
"""
