# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""What instances can differ in: passwords from files, TLS, limits."""

from __future__ import annotations

from pathlib import Path

from sandbox.compose import HEALTH_CHECK, ComposeInstance, Variant
from sandbox.docker_instance import DockerInstance


def test_the_password_can_come_from_a_file_alone(tmp_path: Path) -> None:
    limits = {"backend": {"mem_limit": "512m", "cpus": 1}}
    with DockerInstance.start(
        tmp_path, "v2.66.0", variant=Variant(password_file=True, auth="scram-sha-256", services=limits)
    ) as instance:
        described = instance.inspect("phase-backend")
        assert described["HostConfig"]["Memory"] == 512 * 1024 * 1024
        assert not any(line.startswith("DATABASE_PASSWORD=") for line in described["Config"]["Env"])
        assert instance.secrets["DATABASE_PASSWORD"] not in instance.docker("inspect", "phase-postgres", "phase-worker")
        [(method,)] = instance.sql("SELECT DISTINCT auth_method FROM pg_hba_file_rules WHERE address = 'all'")
        assert method == "scram-sha-256"
        instance.sql("ALTER ROLE CURRENT_USER PASSWORD 'changed'")
        failed = instance.manage("migrate", "--check", check=False)
        assert failed.returncode == 1 and "password authentication failed" in failed.stderr


def test_a_server_can_require_tls_and_stop_offering_it(tmp_path: Path) -> None:
    variant = Variant(tls="required", auth="scram-sha-256", database_ssl="verify-full")
    with ComposeInstance.start(tmp_path / "phase", "v2.66.0", variant=variant) as instance:
        encrypted = (
            "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL"
        )
        assert instance.sql(encrypted) == [(True,)]
        plain = instance.run_once(
            "migrations", "phasehq/backend:v2.66.0", "env", "-u", "DATABASE_SSL", "PGSSLMODE=disable",
            "python", "manage.py", "migrate", "--check", check=False,
        )  # fmt: skip
        assert plain.returncode == 1 and "no encryption" in plain.stderr
        instance.sql("ALTER SYSTEM SET ssl = off")
        instance.sql("SELECT pg_reload_conf()")
        refused = instance.manage("migrate", "--check", check=False)
        assert refused.returncode == 1 and "does not support SSL" in refused.stderr


def test_the_backend_can_have_a_health_check(tmp_path: Path) -> None:
    with ComposeInstance.start(tmp_path / "phase", "v2.66.0", variant=HEALTH_CHECK) as instance:
        assert instance.inspect("phase-backend")["State"]["Health"]["Status"] in ("starting", "healthy")
        instance.compose("up", "--detach", "--wait", "--no-deps", "backend")
        assert instance.inspect("phase-backend")["State"]["Health"]["Status"] == "healthy"
