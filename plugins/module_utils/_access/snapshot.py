# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a change of Phase's rows undoes it: a file on the host of the task, written before the change.

It is JSON: ``format``, ``version``, ``sha256`` and ``body``, the checksum being that of the body. The body names the
module, the time, the database (``rows.identity``), what it is of, the reason, and holds the row images of ``core/rows``
with everything in them: the mode is 0600, and what Phase stores encrypted is encrypted in it too.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import secrets
import socket
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence, TypedDict, cast

from .._call.argspec import ArgumentSpec
from .._call.files import write_private
from .._errors import BadOption, PhaseError
from .._operations.core.rows import Identity, Image

FORMAT = "phase.console snapshot"
VERSION = 1


class Body(TypedDict):
    """What a snapshot says. ``of`` is in words and gives the file its name; ``more`` is the module's own."""

    module: str
    created: str
    database: Identity
    of: str
    reason: str
    images: List[Image]
    more: Dict[str, Any]


class SnapshotFailed(PhaseError):
    """A snapshot could not be written; nothing was changed."""

    kind = "snapshot_failed"


class SnapshotUnusable(PhaseError):
    """A snapshot is missing, damaged, or of something else."""

    kind = "snapshot_unusable"


def snapshot_spec() -> ArgumentSpec:
    """The options of the doc fragment ``snapshot``, for modules with ``state=restored``."""
    return ArgumentSpec(
        {
            "snapshot": {"type": "path"},
            "snapshot_dir": {"type": "path"},
            "reason": {"type": "str", "default": ""},
            "force": {"type": "bool", "default": False},
        },
        required_if=[("state", "restored", ["snapshot"])],
    )


def plain(name: str, value: str, longest: int = 1000) -> str:
    """A text that PostgreSQL can store and a line can show. Raises BadOption.

    PostgreSQL's text has no NUL character (documentation, 8.3), and UTF-8 no surrogates.
    """
    if any(ord(character) < 32 or 0xD800 <= ord(character) <= 0xDFFF or ord(character) == 127 for character in value):
        raise BadOption("%s holds a control character: %r." % (name, value[:80]), "Write it as plain text.")
    if len(value) > longest:
        raise BadOption("%s is longer than %d characters." % (name, longest), "Shorten it.")
    return value


def operator(environment: Mapping[str, str]) -> str:
    """Who runs this where, for an audit row: ``alice@bastion``; with sudo, the one who called it."""
    try:
        user = environment.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = str(os.getuid())
    name = "%s@%s" % (user, socket.gethostname())
    return "".join(character for character in name if character.isprintable())[:200]


def default_folder(environment: Mapping[str, str]) -> str:
    """``$XDG_STATE_HOME/phase.console/snapshots``, by default below ``~/.local/state``."""
    home = environment.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(home, "phase.console", "snapshots")


def body(
    module: str,
    database: Identity,
    of: str,
    images: Sequence[Image],
    *,
    now: float,
    reason: str = "",
    more: Optional[Mapping[str, Any]] = None,
) -> Body:
    return {
        "module": module,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "database": database,
        "of": of,
        "reason": reason,
        "images": list(images),
        "more": dict(more or {}),
    }


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def slug(text: str) -> str:
    """A part of a file's name: small letters, digits and dashes, at most 40 characters."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "unnamed"


def file_name(content: Body) -> str:
    """``network-policy-20260801T031500Z-spacex-1a2b3c4d.json``, another name each time: nobody removes another's."""
    moment = re.sub(r"[-:]", "", content["created"])
    module = slug(content["module"].replace("phase_", "", 1))
    return "%s-%s-%s-%s.json" % (module, moment, slug(content["of"]), secrets.token_hex(4))


def save(folder: Optional[str], content: Body, environment: Mapping[str, str]) -> str:
    """Write the snapshot, mode 0600, into ``folder`` (made with mode 0700); its path. It is on disk when this returns.

    Raises SnapshotFailed, and then the change must not be made.
    """
    folder = os.path.abspath(os.path.expanduser(folder or default_folder(environment)))
    path = os.path.join(folder, file_name(content))
    whole = {"format": FORMAT, "version": VERSION, "sha256": _checksum(content), "body": content}
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        write_private(path, json.dumps(whole, indent=1, sort_keys=True).encode() + b"\n")
    except OSError as error:
        raise SnapshotFailed(
            "The snapshot cannot be written to %s: %s." % (folder, error.strerror or error),
            "Nothing was changed. Name a folder that this user may write to with snapshot_dir.",
        ) from error
    return path


def load(path: str, module: str) -> Body:
    """The body of a snapshot of this module. Raises SnapshotUnusable, which says what is wrong with the file."""
    path = os.path.abspath(os.path.expanduser(plain("snapshot", path, 4096)))
    again = "Name the file that a run of %s returned as snapshot." % module
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise SnapshotUnusable("%s cannot be read: %s." % (path, error.strerror or error), again) from error
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        whole = None
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise SnapshotUnusable("%s is not a snapshot, or was cut off." % path, again)
    if whole.get("version") != VERSION:
        raise SnapshotUnusable(
            "%s has version %s, and this release reads version %d." % (path, whole.get("version"), VERSION),
            "Restore it with the release of the collection that wrote it.",
        )
    found = whole.get("body")
    if not isinstance(found, dict) or _checksum(found) != whole.get("sha256"):
        raise SnapshotUnusable("%s is damaged: its checksum is not that of its content." % path, again)
    if not _known_shape(found):
        raise SnapshotUnusable("%s has not the content of a snapshot." % path, again)
    content = cast(Body, found)
    if content["module"] != module:
        raise SnapshotUnusable("%s is a snapshot of %s." % (path, content["module"]), "Restore it with that module.")
    return content


def _known_shape(content: Mapping[str, Any]) -> bool:
    """Whether it is what ``body`` makes, as whoever reads it relies on."""
    parts = {"module": str, "created": str, "database": dict, "of": str, "images": list, "more": dict}
    return all(isinstance(content.get(name), kind) for name, kind in parts.items()) and all(
        isinstance(one, dict)
        and isinstance(one.get("table"), str)
        and isinstance(one.get("key"), str)
        and all(side in one and isinstance(one[side], (dict, type(None))) for side in ("before", "after"))
        and (one["before"] is not None or one["after"] is not None)
        for one in content["images"]
    )


def check_database(content: Body, database: Identity) -> None:
    """Raise SnapshotUnusable when the snapshot is of another database than ``_rows.identity`` says this one is."""
    then: Mapping[str, Any] = content["database"]
    now: Mapping[str, Any] = database
    other = [
        name
        for name, value in sorted(then.items())
        if value is not None and now.get(name) is not None and now[name] != value
    ]
    if other:
        raise SnapshotUnusable(
            "The snapshot is of another database: its %s."
            % " and its ".join("%s is %s, and here it is %s" % (name, then[name], now[name]) for name in other),
            "Check the target options. If this is the same data, moved or restored from a dump, set force.",
        )


def images_of(content: Body) -> List[Image]:
    return list(content["images"])
