# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three paths: who am I for the lockout tests, a password session, and a secret to read."""

from __future__ import annotations

from api import views
from django.urls import path

urlpatterns = [
    path("auth/login/", views.login),
    path("access/", views.access),
    path("secrets/", views.secrets),
]
