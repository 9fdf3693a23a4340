# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("api", "0120_invite_sa_inviter"), ("api", "0122_sso_audit_fks_set_null")]

    operations = []
