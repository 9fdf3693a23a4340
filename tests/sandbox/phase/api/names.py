# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `seed` calls things. Known by formula, so that a client needs nobody to tell it the ids."""

from __future__ import annotations

import hashlib
import uuid

PASSWORD = "correct horse battery staple"
# Organisation, plan, its apps, and the environments of each.
LAYOUT = (
    ("SpaceX", "EN", {"Launch": ("Development", "Staging", "Production"), "Ground": ("Development", "Production")}),
    ("Contoso", "PR", {"Shop": ("Development", "Production")}),
    ("Initech", "FR", {}),
)


def identifier(seed: int, kind: str, number: object) -> str:
    """The id of the n-th thing of a kind: a UUID's text, as in Phase."""
    return str(uuid.UUID(hashlib.md5(f"{seed}/{kind}/{number}".encode(), usedforsecurity=False).hexdigest()))


def token(seed: int, kind: str, number: object) -> str:
    """The token, 64 hexadecimal digits, of the n-th account of a kind (User, ServiceAccount, Service)."""
    return hashlib.sha256(f"{seed}/{kind}/{number}".encode()).hexdigest()


def digest(number: int) -> str:
    """The digest of the n-th secret's name, the same in each environment."""
    return hashlib.sha256(f"SECRET_{number}".encode()).hexdigest()
