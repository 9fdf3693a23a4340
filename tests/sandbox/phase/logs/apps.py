# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The request log of the key management service."""

from __future__ import annotations

from django.apps import AppConfig


class Config(AppConfig):
    name = "logs"
