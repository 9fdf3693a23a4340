#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
# Sets up and runs every test; takes the names of tiers and tests, --with-engines and --help.
cd "$(dirname "$0")" && . tests/tools/python.sh && run_tool tools.test "$@"
