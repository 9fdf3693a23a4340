# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which release of Phase Console brought which migrations of its app ``api``. Releases not listed brought none."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Optional, Tuple

NOTES = "https://github.com/phasehq/console/releases"

RELEASES: Tuple[Tuple[str, Tuple[str, ...]], ...] = (
    (
        "v2.36.4",
        ("0094_alter_app_organisation_alter_environment_app",),
    ),
    (
        "v2.38.0",
        ("0095_alter_environmentsync_service",),
    ),
    (
        "v2.39.1",
        ("0096_organisationmemberinvite_role",),
    ),
    (
        "v2.40.1",
        (
            "0097_alter_secretfolder_unique_together_and_more",
            "0098_cleanup_duplicate_folders",
            "0099_remove_secretfolder_unique_secret_folder_and_more",
        ),
    ),
    (
        "v2.41.0",
        (
            "0100_networkaccesspolicy_and_more",
            "0101_networkaccesspolicy_updated_at",
            "0102_networkaccesspolicy_created_by_and_more",
        ),
    ),
    (
        "v2.48.0",
        ("0103_alter_environmentsync_service_and_more",),
    ),
    (
        "v2.49.2",
        (
            "0104_deduplicate_environment_keys",
            "0105_environmentkey_unique_envkey_user_and_more",
        ),
    ),
    (
        "v2.52.0",
        (
            "0106_dynamicsecret_dynamicsecretlease_and_more",
            "0107_dynamicsecret_key_map_dynamicsecretlease_credentials_and_more",
            "0108_dynamicsecretlease_cleanup_job_id_and_more",
            "0109_alter_dynamicsecret_key_map",
        ),
    ),
    (
        "v2.53.0",
        (
            "0110_serviceaccounttoken_created_by_service_account",
            "0111_identity_serviceaccount_identities",
        ),
    ),
    (
        "v2.54.0",
        ("0112_secretevent_secret_event_history_idx_and_more",),
    ),
    (
        "v2.59.0",
        (
            "0113_organisation_pricing_version",
            "0114_alter_environmentsync_service",
            "0115_migrate_free_tier_to_v2_pricing",
        ),
    ),
    (
        "v2.61.0",
        ("0116_app_description",),
    ),
    (
        "v2.62.0",
        ("0117_alter_environmentsync_service_and_more",),
    ),
    (
        "v2.64.0",
        (
            "0118_secret_type_field",
            "0119_secretevent_type_field",
        ),
    ),
    (
        "v2.67.0",
        (
            "0120_add_emailverification_and_user_full_name",
            "0121_organisation_require_sso_organisationssoprovider",
            "0122_sso_audit_fks_set_null",
        ),
    ),
    (
        "v2.68.0",
        (
            "0123_add_team_models",
            "0124_backfill_environment_key_grants",
            "0125_teams_and_scim",
            "0126_populate_team_owner",
        ),
    ),
    (
        "v2.69.0",
        (
            "0118_auditevent",
            "0119_auditevent_invite_resource_type",
            "0120_invite_sa_inviter",
            "0123_merge_20260509_1024",
            "0127_merge_20260518_0815",
            "0128_add_team_audit_resource_and_sa_token_last_used",
            "0129_wipe_orphan_envkeys_from_deleted_sas",
        ),
    ),
    (
        "v2.70.0",
        ("0130_rotating_secrets",),
    ),
    (
        "v2.71.0",
        ("0131_add_queued_sync_status",),
    ),
    (
        "v2.73.0",
        (
            "0132_log_streams",
            "0133_logstreamdeliveryevent_cursor_from_id_and_more",
            "0134_logstream_drop_job_id",
            "0135_sync_provider_service_choices",
            "0136_logstream_unresolved_idx",
        ),
    ),
)


def release_of(applied: Iterable[Tuple[str, str]]) -> str:
    """The newest release of Phase whose migrations are all applied; empty when older than the table begins."""
    names = {name for app, name in applied if app == "api"}
    found = ""
    for release, added in RELEASES:
        if not names.issuperset(added):
            break
        found = release
    return found


def releases_of(names: Iterable[str]) -> List[Dict[str, Any]]:
    """The releases that brought these migrations (``api.0119_...``), oldest first: ``release``, the address of its
    ``notes``, and its ``migrations`` among them. ``release`` is None for those of api that no known release brought."""
    wanted = [name.partition(".")[2] for name in names if name.startswith("api.")]
    found: List[Dict[str, Any]] = []
    for release, added in RELEASES:
        here = [name for name in wanted if name in added]
        if here:
            found.append({"release": release, "notes": "%s/tag/%s" % (NOTES, release), "migrations": here})
    known = {name for _release, added in RELEASES for name in added}
    newer = [name for name in wanted if name not in known]
    if newer:
        found.append({"release": None, "notes": NOTES, "migrations": newer})
    return found


def next_after(release: Optional[str]) -> Optional[str]:
    """The first release after this one that brought a migration, as far as is known."""
    names = [name for name, _added in RELEASES]
    return next(iter(names[names.index(release) + 1 :]), None) if release in names else None


def in_words(release: Optional[str]) -> str:
    """A release that is known by its migrations may also be a later one that brought none."""
    if not release:
        return "an unknown release"
    following = next_after(release)
    return "%s or later%s" % (release, ", before " + following if following else "")
