# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that must not depend on anything."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse

from backend.release import VERSION


def health(request: HttpRequest) -> HttpResponse:
    """Say that this process lives, without a look at database or redis."""
    return JsonResponse({"status": "alive", "version": VERSION})


class HealthCheckMiddleware:
    """`/health/` ahead of the check of the Host header, as since v2.68.0; before that it is an ordinary view."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info == "/health/":
            return health(request)
        return self.get_response(request)
