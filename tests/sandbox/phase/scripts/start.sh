#!/bin/sh
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# What the backend's container runs: migrations, unless EXTERNAL_MIGRATION is exactly "true", then the web process.
set -e
cd "$(dirname "$0")/.."
if [ "$EXTERNAL_MIGRATION" = "true" ]; then
    echo "EXTERNAL_MIGRATION is true: migrations are run elsewhere."
else
    python3 manage.py migrate
fi
exec gunicorn --bind "${BIND:-0.0.0.0:8000}" --workers "${GUNICORN_WORKERS:-2}" --graceful-timeout 90 backend.wsgi:application
