# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The request log of the key management service, older than everything else here."""

from __future__ import annotations

import uuid

from django.db import models


class KMSDBLog(models.Model):
    id = models.CharField(default=uuid.uuid4, editable=False, primary_key=True)
    timestamp = models.BigIntegerField()
    app_id = models.TextField()
    phase_node = models.TextField()
    event_type = models.TextField()
    ip_address = models.GenericIPAddressField()
    ph_size = models.BigIntegerField()
    asn = models.BigIntegerField(null=True)
    isp = models.TextField(null=True)
    edge_location = models.TextField(null=True)
    country = models.CharField(max_length=2, null=True)
    city = models.TextField(null=True)
    latitude = models.DecimalField(decimal_places=5, max_digits=9, null=True)
    longitude = models.DecimalField(decimal_places=5, max_digits=9, null=True)
