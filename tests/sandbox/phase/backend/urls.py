# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A password session (Phase's own path, where it has one, and a simpler one), who gets in, and a secret to read."""

from __future__ import annotations

from api import views
from api.graphql import graphql
from django.urls import path

from backend.middleware import health
from backend.release import since

urlpatterns = [
    path("auth/login/", views.login),
    path("graphql/", graphql),
    path("access/", views.access),
    path("secrets/", views.secrets),
]
if not since("v2.68.0"):
    urlpatterns.append(path("health/", health))
if since("v2.67.0"):
    urlpatterns.append(path("auth/password/login/", views.password_login))
