# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for the app of this label: only its migrations' names count here."""

from __future__ import annotations

from django.apps import AppConfig


class Config(AppConfig):
    name = "account"
