# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can go wrong, as types. Every error carries one short sentence and the next step.

Imported on the Ansible side and, packed, inside the container: no Ansible import here.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Any, Dict, Optional


class PhaseError(Exception):
    """A failure that a person can act on.

    ``message`` says what is in the way, ``next_step`` what to do about it, ``partial`` what was already
    done or found (result keys, JSON-serialisable).
    """

    kind = "failed"

    def __init__(self, message: str, next_step: str = "", *, partial: Optional[Dict[str, Any]] = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.partial = dict(partial or {})

    def as_dict(self) -> Dict[str, Any]:
        return {"kind": self.kind, "message": self.message, "next_step": self.next_step, "partial": self.partial}


class RemoteError(PhaseError):
    """An error that was raised next to the database; it keeps the kind it had there."""

    def __init__(self, error: Dict[str, Any]) -> None:
        super().__init__(error["message"], error.get("next_step", ""), partial=error.get("partial"))
        self.kind = error["kind"]


class BadOption(PhaseError):
    """An option has a value that cannot be meant; nothing was changed."""

    kind = "bad_option"


class LibraryMissing(PhaseError):
    """A Python package that the work needs is missing; the message names it."""

    kind = "library_missing"


class PythonTooOld(PhaseError):
    """The Python that should do the work is older than the collection supports."""

    kind = "python_too_old"


class SystemRefused(PhaseError):
    """The operating system refused a call: a read-only file system, a full one, a missing right."""

    kind = "system_refused"


class Unforeseen(PhaseError):
    """An exception that no code has a name for."""

    kind = "unforeseen"


class ModuleLost(PhaseError):
    """The module's process ended without a result; Ansible's side says so."""

    kind = "module_lost"


# Reaching the instance


class ContainerMissing(PhaseError):
    """No container has that name."""

    kind = "container_missing"


class ContainerNotRunning(PhaseError):
    """The container exists and does not run."""

    kind = "container_not_running"


class ImageMissing(PhaseError):
    """The image is not on the engine or in the registry."""

    kind = "image_missing"


class EngineUnreachable(PhaseError):
    """The Docker engine does not answer, or refuses the connection."""

    kind = "engine_unreachable"


class InterpreterMissing(PhaseError):
    """There is no Python where the work has to be done."""

    kind = "interpreter_missing"


class CheckoutMissing(PhaseError):
    """There is no manage.py in manage_dir."""

    kind = "checkout_missing"


class NotSupported(PhaseError):
    """The module, or this option of it, does not work on this deployment."""

    kind = "not_supported"


# Kubernetes


class CredentialsMissing(PhaseError):
    """The API server does not accept the token, or a credential plugin failed."""

    kind = "credentials_missing"


class ApiUnreachable(PhaseError):
    """The Kubernetes API server does not answer."""

    kind = "api_unreachable"


class ApiRefused(PhaseError):
    """The API server answered with an error that has no type of its own; ``code`` is the HTTP status."""

    kind = "api_refused"
    code = 0


class Forbidden(PhaseError):
    """A right is missing; the message names verb and resource."""

    kind = "forbidden"


class NamespaceMissing(PhaseError):
    """The namespace does not exist."""

    kind = "namespace_missing"


class ReleaseMissing(PhaseError):
    """No backend is where the options lead, or more than one."""

    kind = "release_missing"


class PodNotReady(PhaseError):
    """The backend has no pod to work in; the message says why."""

    kind = "pod_not_ready"


class JobFailed(PhaseError):
    """A Job's pod did not come up, or ended without a result.

    ``partial["failed_job"]`` has its reason, exit code, events and log.
    """

    kind = "job_failed"


class RolloutFailed(PhaseError):
    """A new container or pod did not start or did not become healthy."""

    kind = "rollout_failed"


class ManagedElsewhere(PhaseError):
    """Another program makes this container or object from its own description, and would undo a change."""

    kind = "managed_elsewhere"


# The conversation with the remote side


class StreamLost(PhaseError):
    """The connection to the work beside the database broke."""

    kind = "stream_lost"


class IdleTimeout(PhaseError):
    """Nothing was heard from the work beside the database for timeouts.idle."""

    kind = "idle_timeout"


class TotalTimeout(PhaseError):
    """The work took longer than the timeout of the module."""

    kind = "total_timeout"


class Cancelled(PhaseError):
    """The caller went away, or asked to stop."""

    kind = "cancelled"


class NotTaken(PhaseError):
    """The module could not store the rows that an operation delivered; its own error names the reason."""

    kind = "not_taken"


# The database


class DriverMissing(PhaseError):
    """psycopg2 is missing for the Python that does the work."""

    kind = "psycopg2_missing"


class DatabaseUnreachable(PhaseError):
    """PostgreSQL does not answer, or refuses the connection."""

    kind = "database_unreachable"


class ConnectionFailed(PhaseError):
    """There is no connection, and neither the server nor the driver gives a code that says why."""

    kind = "connection_failed"


class WrongPassword(PhaseError):
    """PostgreSQL does not accept the password."""

    kind = "wrong_password"


class TlsRefused(PhaseError):
    """PostgreSQL and ssl_mode do not agree on TLS."""

    kind = "tls_refused"


class DatabaseMissing(PhaseError):
    """The server has no database of that name."""

    kind = "database_missing"


class NotPhase(PhaseError):
    """The database has no Phase tables."""

    kind = "not_phase"


class DatabaseFailed(PhaseError):
    """PostgreSQL reported an error that has no kind of its own."""

    kind = "database_error"


class LockHeld(PhaseError):
    """Another run of this collection works in the database."""

    kind = "lock_held"


class LockTimeout(PhaseError):
    """Others held a lock for longer than the caller waits."""

    kind = "lock_timeout"


class NotAllowed(PhaseError):
    """The role lacks a privilege that the work needs."""

    kind = "not_allowed"


class NoSpace(PhaseError):
    """The disk has too little room."""

    kind = "no_space"


# The application


class ApplicationFailed(PhaseError):
    """manage.py or its settings could not be loaded."""

    kind = "application_failed"


# Exceptions that are not ours


def said(error: Exception) -> str:
    """What an exception says, without the system's number and path."""
    return str(getattr(error, "strerror", None) or error)


def refusal(error: OSError, path: str = "") -> SystemRefused:
    """The typed error for a call that the operating system refused; ``path`` where the exception has none."""
    name = error.filename or path
    why = {
        errno.EROFS: "%s is on a read-only file system.",
        errno.ENOTDIR: "%s is below a file, where no folder can be.",
        errno.ENOSPC: "The file system of %s is full.",
        errno.EDQUOT: "The quota of this user on the file system of %s is used up.",
        errno.EACCES: "This user may not use %s.",
        errno.EPERM: "This user may not use %s.",
        errno.ENOENT: "There is no %s.",
    }.get(error.errno or 0)
    if why is None or not name:
        sentence = "The operating system refused%s: %s." % (" " + str(name) if name else "", error.strerror or error)
    else:
        sentence = why % name
    return SystemRefused(sentence, "Mend that, name another path, or run as another user (become), then run it again.")


def named(error: Exception) -> PhaseError:
    """The typed error for an exception that no code has turned into one, on either side: a sentence, no traceback."""
    if isinstance(error, ImportError):
        return LibraryMissing(
            "A Python package is missing for %s, which does the work: %s." % (sys.executable, error),
            "Install it there, or name a Python that has it (ansible_python_interpreter; deployment=local: python).",
        )
    if isinstance(error, OSError):
        return refusal(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = " (%s, line %s)" % (os.path.basename(frames[-1].filename), frames[-1].lineno) if frames else ""
    return Unforeseen(
        "The module met an error that it does not know: %s: %s%s" % (type(error).__name__, error, where),
        "Report it with this text and the versions of Phase and PostgreSQL. Run it again when you know the cause.",
    )
