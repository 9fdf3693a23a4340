# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Django as the application itself sets it up."""

from __future__ import annotations

import os
import runpy
import sys
from typing import Callable, List, TypeVar

from ..._errors import ApplicationFailed, PhaseError

T = TypeVar("T")

_LOAD = "Check the backend's environment (it needs ALLOWED_HOSTS, ALLOWED_ORIGINS, DATABASE_*) and its image."


def with_django(function: Callable[[], T]) -> T:
    """Run manage.py of the current folder up to its dispatch, then ``function`` in its place.

    So the settings module, the path and the environment are those that the application's own commands get. Raises
    ApplicationFailed when manage.py or the settings cannot be loaded.
    """
    try:
        import django
        from django.core import management
    except ImportError as error:
        raise ApplicationFailed(
            "The Python in use has no Django (%s)." % error, "Use Phase's backend image, or name its interpreter."
        ) from error
    if not os.path.exists("manage.py"):
        raise ApplicationFailed(
            "There is no manage.py in %s." % os.getcwd(),
            "Use Phase's backend image, or set manage_dir to its checkout.",
        )
    outcome: List[T] = []

    def instead(argv: object = None) -> None:
        django.setup()
        try:
            outcome.append(function())
        except PhaseError:
            raise
        except Exception as error:
            raise _Inside(error) from error

    dispatch, arguments = management.execute_from_command_line, sys.argv
    management.execute_from_command_line, sys.argv = instead, ["manage.py"]
    sys.path.insert(0, os.getcwd())
    try:
        runpy.run_path("manage.py", run_name="__main__")
    except PhaseError:
        raise
    except _Inside as error:
        raise error.cause from None
    except Exception as error:  # settings are code of the application's: they may raise anything
        raise ApplicationFailed(
            "The application's settings cannot be loaded: %s: %s" % (type(error).__name__, error), _LOAD
        ) from error
    finally:
        management.execute_from_command_line, sys.argv = dispatch, arguments
    if not outcome:
        raise ApplicationFailed("manage.py ended before it ran a command.", _LOAD)
    return outcome[0]


class _Inside(Exception):
    """Carries an error of the function past the handler for the settings' errors."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause
