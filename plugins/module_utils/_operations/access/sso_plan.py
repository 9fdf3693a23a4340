# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each state of phase_sso makes of the rows. Pure: rows in, images (see ``core/rows``) out."""

from __future__ import annotations

from typing import Any, List, Sequence

from ..core.rows import Image, Row, RowsChanged, describe, difference, image, real, row_of
from .shapes import SsoShown

ORGANISATION, PROVIDER = "api_organisation", "api_organisationssoprovider"
HIDDEN = ("config",)  # what never leaves but into a snapshot
OWN = ("require_sso", "updated_at")  # the organisation's columns that a change of SSO is about
CHANGES = ("enforcement_disabled", "providers_disabled", "providers_deleted")


def shown(organisation: Row, providers: Sequence[Row]) -> SsoShown:
    """What results say of the rows: ``require_sso`` and ``providers`` (name, type, enabled, id, updated_at)."""
    return {
        "require_sso": organisation["require_sso"] == "true",
        "updated_at": organisation["updated_at"],
        "providers": [
            {
                "name": str(row["name"]),
                "type": str(row["provider_type"]),
                "enabled": row["enabled"] == "true",
                "id": str(row["id"]),
                "updated_at": row["updated_at"],
            }
            for row in sorted(providers, key=lambda row: (str(row["name"]), str(row["id"])))
        ],
    }


def intended(state: str, organisation: Row, providers: Sequence[Row], now: str) -> List[Image]:
    """Images of the organisation and of every provider; a row that changes gets ``now`` as its updated_at.

    Enforcement goes with the providers: without an enabled one it would keep everybody out, and Phase itself switches
    it off with the last of them (mutations of v2.67.0 to v2.73.2).
    """

    open_to_all = organisation
    if organisation["require_sso"] != "false":
        open_to_all = dict(organisation, require_sso="false", updated_at=now)
    after: List[Any] = list(providers)
    if state == "providers_disabled":  # by none of Phase's members: updated_by is nobody
        disabled = {"enabled": "false", "updated_at": now, "updated_by_id": None}
        after = [row if row["enabled"] == "false" else dict(row, **disabled) for row in providers]
    elif state == "providers_deleted":
        after = [None for _row in providers]
    return [image(ORGANISATION, organisation, open_to_all)] + [
        image(PROVIDER, before, row) for before, row in zip(providers, after)
    ]


def restoring(
    snapshot: Sequence[Image], organisation: Row, providers: Sequence[Row], *, force: bool = False
) -> List[Image]:
    """Images that put back what the snapshot's run changed; the organisation's first, changed or not.

    Of the organisation only what belongs to SSO goes back. Raises RowsChanged where those rows are not as the run left
    them, or a provider of the same type, of which there can be one, was added since. With ``force`` that one goes.
    """
    now = {str(row["id"]): row for row in providers}
    images, differences = [image(ORGANISATION, organisation, organisation)], []
    for one in snapshot:
        if one["table"] == ORGANISATION:
            found: Any = organisation
            wanted: Any = dict(organisation, **{name: (one["before"] or {})[name] for name in OWN})
            expected: Any = dict(organisation, **{name: (one["after"] or {})[name] for name in OWN})
            images[0] = image(ORGANISATION, organisation, wanted)
        else:
            found, wanted, expected = now.get(one["key"]), one["before"], one["after"]
            if found is not None or wanted is not None:
                images.append(image(PROVIDER, found, wanted))
        if found != wanted:
            differences += difference(one["table"], one["key"], expected, found, HIDDEN)
    types = {one["after"]["provider_type"] for one in images[1:] if one["after"] is not None}
    touched = {one["key"] for one in images[1:]}
    for row in providers:
        if row["provider_type"] in types and row["id"] not in touched:
            images.append(image(PROVIDER, row, None))
            differences += difference(PROVIDER, str(row["id"]), None, row)
    if differences and real(images) and not force:
        raise RowsChanged(
            "Something was changed since the snapshot: %s." % describe(differences),
            "Look at it with state=info. force=true puts the snapshot's rows back all the same.",
            partial={"changed_since": differences},
        )
    return images


def outcome(images: Sequence[Image], organisation: Row, providers: Sequence[Row]) -> SsoShown:
    """What ``shown`` will say once the images are written."""
    rows = {(PROVIDER, str(row["id"])): row for row in providers}
    rows[ORGANISATION, str(organisation["id"])] = organisation
    for one in images:
        if one["after"] is None:
            rows.pop((one["table"], one["key"]), None)
        else:
            rows[one["table"], one["key"]] = one["after"]
    return shown(rows.pop((ORGANISATION, str(organisation["id"]))), list(rows.values()))


def _on_a_line(name: str) -> str:
    return name if name.isprintable() else repr(name)


def lines(state: SsoShown) -> List[str]:
    """What ``shown`` says, for a diff, a row a line."""
    said = ["require_sso: %s, updated_at: %s" % (str(state["require_sso"]).lower(), state["updated_at"])]
    for row in state["providers"]:
        said.append(
            "provider %s: %s (%s), enabled: %s, updated_at: %s"
            % (row["id"], _on_a_line(row["name"]), row["type"], str(row["enabled"]).lower(), row["updated_at"])
        )
    return said


def told(images: Sequence[Image]) -> List[str]:
    """The change in sentences, for people."""
    said = []
    for one in real(images):
        before, after = one["before"], one["after"]
        if one["table"] == ORGANISATION:
            if (before or {})["require_sso"] != row_of(one)["require_sso"]:
                required = row_of(one)["require_sso"] != "false"
                said.append("SSO is %s required." % ("again" if required else "no longer"))
            continue
        name = "Provider %s (%s)" % (_on_a_line(str(row_of(one)["name"])), row_of(one)["provider_type"])
        if after is None:
            said.append("%s is deleted." % name)
        elif before is None:
            said.append("%s is put back." % name)
        elif before["enabled"] != after["enabled"]:
            said.append("%s is %s." % (name, "enabled" if after["enabled"] == "true" else "disabled"))
        else:
            said.append("%s is as it was in the snapshot." % name)
    return said
