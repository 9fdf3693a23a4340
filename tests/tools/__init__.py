# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""What stands behind ``demo.sh`` and ``test.sh``; the standard library only, since it makes the environments."""
