# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 The phase.console authors
"""phase_network_policy about recorded addresses, on a real server, and role realip, which asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import PhaseError
from ansible_collections.phase.console.plugins.module_utils._operations.access import recorded
from ansible_collections.phase.console.plugins.module_utils._target.base import Limits
from ansible_collections.phase.console.plugins.module_utils._target.direct import DirectTarget
from ansible_collections.phase.console.plugins.modules import phase_network_policy
from integration.harness import Ansible, target
from sandbox.local import LocalInstance
from sandbox.phase.api.names import identifier

SPACEX = identifier(1, "organisation", "SpaceX")
ALICE = identifier(1, "member", "alice.spacex.1")
EMAIL = "alice.spacex.1@example.com"
EDGE = "173.245.48.9"
EVENT = """
    insert into api_auditevent (id, event_type, resource_type, resource_id, actor_type, actor_id, actor_metadata,
        resource_metadata, description, ip_address, user_agent, timestamp, organisation_id)
    values (gen_random_uuid()::text, 'U', 'app', 'x', 'user', %s, '{}', '{}', 'realip', %s, '',
        now() - %s::interval, %s)
"""


@pytest.fixture(scope="module")
def running(module_local_instance: Callable[..., LocalInstance]) -> LocalInstance:
    return module_local_instance("v2.73.2", 400)


@pytest.fixture
def instance(running: LocalInstance) -> Iterator[LocalInstance]:
    """Only what a test writes was recorded lately."""
    running.sql("update api_secretevent set timestamp = now() - interval '200 days'")
    yield running
    running.sql("delete from api_networkaccesspolicy")
    running.sql("delete from api_auditevent where description = 'realip'")


def policy(instance: LocalInstance, allowed: str) -> None:
    instance.sql(
        "insert into api_networkaccesspolicy (id, name, allowed_ips, is_global, created_at, updated_at,"
        " organisation_id) values ('realip', 'office', %s, true, now(), now(), %s)",
        allowed,
        SPACEX,
    )


def came(instance: LocalInstance, address: str, before: str = "1 day", member: str = ALICE) -> None:
    instance.sql(EVENT, member, address, before, SPACEX)


def check(
    instance: LocalInstance, organisation: str | None = None, **more: Any
) -> tuple[dict[str, Any], str, list[str]]:
    """What the module found, without Ansible in between, its summary, and its warnings."""
    params = {name: option.get("default") for name, option in phase_network_policy.SPEC.options.items()}
    asked = {"days": 30, "proxies": ["173.245.48.0/20"], "addresses": [], "account": None, **more}
    warnings: list[str] = []
    call = Call(
        params={**params, "organisation": organisation, "recorded": asked},
        check=False,
        diff=False,
        target=DirectTarget({"dsn": instance.database_url}, Limits()),
        report=lambda message, **counters: None,
        warn=warnings.append,
    )
    result = phase_network_policy.run(call)
    assert not result["changed"]
    return result["recorded"], " ".join(result["recorded"]["summary"]), warnings


def refused(instance: LocalInstance, **more: Any) -> str:
    with pytest.raises(PhaseError) as raised:
        check(instance, **more)
    return raised.value.kind


def test_audit_events_count_for_so_many_days(instance: LocalInstance) -> None:
    policy(instance, "192.0.2.0/24, 2001:db8::/32")
    came(instance, "192.0.2.1")
    came(instance, "2001:db8::1")
    came(instance, "198.51.100.7", "40 days")
    found, summary, _warnings = check(instance)
    assert (found["counts"]["addresses"], found["organisations"], summary) == (2, ["SpaceX"], "")
    assert f"{EMAIL} of SpaceX (198.51.100.7)" in check(instance, days=60)[1]


def test_events_of_secrets_count_too(instance: LocalInstance) -> None:
    policy(instance, "192.0.2.0/24")
    instance.sql(
        "update api_secretevent set timestamp = now(), user_id = %s, service_account_id = null,"
        " service_token_id = null, ip_address = '198.51.100.8' where id = (select v.id from api_secretevent v"
        " join api_environment e on e.id = v.environment_id join api_app a on a.id = e.app_id"
        " where a.organisation_id = %s limit 1)",
        ALICE,
        SPACEX,
    )
    (one,) = check(instance)[0]["kept_out"]
    assert (one["account"]["name"], one["address"], one["events"]) == (EMAIL, "198.51.100.8", 1)


def test_a_proxys_address_says_nothing_of_its_client(instance: LocalInstance) -> None:
    policy(instance, "173.245.48.0/20")
    came(instance, EDGE)
    found, summary, _warnings = check(instance)
    assert "with a proxy's address only" in summary
    assert found["behind_proxy"][0]["entry"] == "173.245.48.0/20"


def test_the_operators_own_account_counts(instance: LocalInstance) -> None:
    policy(instance, "192.0.2.0/24")
    assert check(instance, addresses=["192.0.2.4"], account=EMAIL)[0]["own_addresses"][0]["allowed"]
    _found, summary, _warnings = check(instance, addresses=["192.0.2.4", "198.51.100.9"], account=EMAIL)
    assert "own address in: 198.51.100.9 (SpaceX)" in summary and "192.0.2.4" not in summary
    assert refused(instance, addresses=["x"]) == "bad_option"
    assert refused(instance, account="nobody", addresses=["192.0.2.4"]) == "not_found"


def test_the_organisation_can_be_named(instance: LocalInstance) -> None:
    policy(instance, "192.0.2.0/24")
    came(instance, "198.51.100.7")
    assert check(instance, "SpaceX", addresses=["198.51.100.9"])[0]["kept_out"]
    found, summary, _warnings = check(instance, "Contoso", addresses=["198.51.100.9"])
    assert (found["kept_out"], found["organisations"], summary) == ([], [], "")
    assert refused(instance, organisation="Contoso", account=EMAIL, addresses=["192.0.2.4"]) == "not_found"


def test_a_file_that_is_only_written_waits_for_the_answer(
    instance: LocalInstance, ansible: Ansible, tmp_path: Path
) -> None:
    """With phase_realip_dest too; and trust that is dropped stops it, though each recorded address is let in."""
    policy(instance, "192.0.2.0/24")
    came(instance, "192.0.2.1")
    file = tmp_path / "haproxy.cfg"
    variables = {
        "phase_hosts": "localhost",
        "phase_target": target(instance),
        "phase_realip_proxy": "haproxy",
        "phase_realip_dest": str(file),
        "phase_realip_tls_certificate": "/etc/haproxy/phase.pem",
        "phase_realip_sources": [{"name": "aws_alb", "ranges": ["10.0.16.0/20"]}],
    }
    outside = {"phase_realip_operator_addresses": ["198.51.100.7"]}
    kept = ansible.playbook("realip", {**variables, **outside}, expect_failure=True)
    assert "No policy lets your own address in: 198.51.100.7 (SpaceX)" in kept.message and not file.exists()
    assert ansible.playbook("realip", variables).changed == 1
    text = file.read_text(encoding="utf-8")
    assert "10.0.16.0/20" in text

    dropped = ansible.playbook("realip", {**variables, "phase_realip_sources": []}, expect_failure=True)
    assert "in the place of their clients: 10.0.16.0/20" in dropped.message
    assert file.read_text(encoding="utf-8") == text
    again = ansible.playbook("realip", {**variables, **outside})  # nothing changes, so nobody is asked
    assert again.changed == 0


def test_what_was_not_looked_at_is_said(instance: LocalInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    policy(instance, "0.0.0.0/0, ::/0")
    instance.sql(
        "with one as (select environment_id from api_secretevent limit 1)"
        " update api_secretevent v set timestamp = now() from one where v.environment_id = one.environment_id"
    )
    found, _summary, warnings = check(instance)
    assert found["truncated"] is False and not any("more events" in text for text in warnings)
    monkeypatch.setattr(recorded, "NEWEST", 1)
    found, _summary, warnings = check(instance)
    assert found["truncated"] is True and any("more events" in text for text in warnings)


def test_earlier_releases(local_instance: Callable[..., LocalInstance]) -> None:
    """Without network policies nobody is kept out; without audit events those of secrets are left."""
    instance = local_instance("v2.37.2", 50)
    assert check(instance, addresses=["198.51.100.1"])[0]["organisations"] == []
    instance.manage("migrate", version="v2.42.0")
    policy(instance, "192.0.2.0/24")
    assert check(instance, days=3650)[0]["kept_out"]
