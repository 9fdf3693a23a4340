# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""A stand-in for Phase Console: tables, commands and web process equal the real ones' where it matters (README.md)."""
