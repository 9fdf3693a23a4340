# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0119_secretevent_type_field")]

    operations = [
        migrations.AddField(
            model_name="customuser", name="full_name", field=models.CharField(blank=True, default="", max_length=128)
        ),
        migrations.CreateModel(
            name="EmailVerification",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("token", models.CharField(db_index=True, max_length=64, unique=True)),
                ("verified", models.BooleanField(default=False)),
                ("expires_at", models.DateTimeField()),
                ("user", models.OneToOneField(on_delete=models.CASCADE, to="api.customuser")),
            ],
        ),
    ]
