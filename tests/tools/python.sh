# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
# shellcheck shell=bash
# Sourced by demo.sh and test.sh: runs a module of tests/tools with the first Python that is new enough.

run_tool() {
  local python
  for python in python3.11 python3.12 python3.13 python3.14 python3; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      # Compiled code is kept, outside the sources: each of the tests' many processes would compile everything anew.
      PYTHONPATH=tests PYTHONDONTWRITEBYTECODE='' PYTHONPYCACHEPREFIX="$PWD/.build/pycache" exec "$python" -m "$@"
    fi
  done
  echo "Python 3.11 or newer is needed and none was found on PATH (python3 is: $(python3 --version 2>&1))." >&2
  exit 2
}
