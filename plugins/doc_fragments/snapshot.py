# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors

"""Options of the modules that change Phase's rows in an emergency and can put them back."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  snapshot:
    description:
      - The file to restore from with O(state=restored), as an earlier run returned it in RV(ignore:snapshot).
    type: path
  snapshot_dir:
    description:
      - The folder on the host of the task into which a snapshot is written before anything is changed. It is made, for
        its owner only, where it is missing.
      - The default is C(phase.console/snapshots) below E(XDG_STATE_HOME), or below C(~/.local/state).
    type: path
  reason:
    description:
      - Why this is done. It goes into the snapshot and into Phase's audit log.
    type: str
    default: ""
  force:
    description:
      - With O(state=restored), put the rows back even if they were changed since, or if the database is not the one the
        snapshot was made of, such as one restored from a dump. What refers to something that was deleted since is left
        out then, with a warning.
    type: bool
    default: false
"""
