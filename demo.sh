#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
# Sets up .venv and a stand-in Phase, and upgrades it with the real playbook.
cd "$(dirname "$0")" && . tests/tools/python.sh && run_tool tools.demo "$@"
