# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finding an organisation by the name that somebody typed."""

from __future__ import annotations

import difflib
import unicodedata
from typing import Any, Dict, List, Sequence

from ..._errors import PhaseError
from .words import quoted

SHOWN = 10  # names in a message


class OrganisationMissing(PhaseError):
    """No organisation has that name or id."""

    kind = "organisation_missing"


def _alike(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def choose(name: str, names: Sequence[str]) -> str:
    """The name itself, which is unique in Phase. Raises OrganisationMissing, with the name that was meant if any is.

    Names are compared here and not in SQL: PostgreSQL takes neither NUL characters nor surrogates.
    """
    if name in names:
        return name
    near = [known for known in names if _alike(known) == _alike(name)]
    near = near or difflib.get_close_matches(name[:100], names, 3, 0.75)
    if near:
        advice = "Did you mean %s? Names count to the letter." % " or ".join(map(quoted, near))
    elif names:
        more = " and %d more" % (len(names) - SHOWN) if len(names) > SHOWN else ""
        advice = "There are %s%s." % (", ".join(map(quoted, sorted(names)[:SHOWN])), more)
    else:
        advice = "This database has no organisation at all: check the target options."
    raise OrganisationMissing("There is no organisation %s." % quoted(name), advice)


def find(connection: Any, name: str) -> Dict[str, str]:
    """``id``, ``name`` and ``plan`` of the organisation of exactly this name. Raises OrganisationMissing."""
    organisations = known(connection)
    by_name = {organisation["name"]: organisation for organisation in organisations}
    return by_name[choose(name, list(by_name))]


def known(connection: Any) -> List[Dict[str, str]]:
    """Every organisation: ``id``, ``name``, ``plan``; by name."""
    with connection.cursor() as cursor:
        cursor.execute("select id::text, name::text, plan::text from api_organisation order by name, id")
        return [dict(zip(("id", "name", "plan"), row)) for row in cursor.fetchall()]
