# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models
from django.utils import timezone


class Migration(migrations.Migration):
    dependencies = [("api", "0106_dynamicsecret_dynamicsecretlease_and_more")]

    operations = [
        migrations.AddField(model_name="dynamicsecret", name="key_map", field=models.JSONField(default=list)),
        migrations.AddField(model_name="dynamicsecretlease", name="credentials", field=models.JSONField(default=list)),
        migrations.AddField(
            model_name="dynamicsecretleaseevent",
            name="created_at",
            field=models.DateTimeField(auto_now_add=True, default=timezone.now),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="dynamicsecretleaseevent",
            name="event_type",
            field=models.CharField(default="created", max_length=50),
        ),
        migrations.AddField(
            model_name="dynamicsecretleaseevent",
            name="ip_address",
            field=models.GenericIPAddressField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="dynamicsecretleaseevent", name="metadata", field=models.JSONField(blank=True, default=dict)
        ),
        migrations.AddField(
            model_name="dynamicsecretleaseevent",
            name="organisation_member",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.organisationmember"
            ),
        ),
        migrations.AddField(
            model_name="dynamicsecretleaseevent",
            name="service_account",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=models.SET_NULL, related_name="+", to="api.serviceaccount"
            ),
        ),
        migrations.AddField(
            model_name="dynamicsecretleaseevent", name="user_agent", field=models.TextField(blank=True, null=True)
        ),
        migrations.AlterField(
            model_name="dynamicsecretleaseevent",
            name="id",
            field=models.BigAutoField(primary_key=True, serialize=False),
        ),
        migrations.AlterField(
            model_name="dynamicsecretleaseevent",
            name="lease",
            field=models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="api.dynamicsecretlease"),
        ),
    ]
